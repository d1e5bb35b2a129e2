"""Loads the rules that the setting RULES names."""

import inspect
from typing import Any, Callable

from orderflow.consume.handler import HandlerUnusable, looking_at, named_function
from orderflow.consume.own_modules import let_own_modules_win
from orderflow.model.orders import OrderRules, own_rules


def load_rules(name: str) -> OrderRules:
    """The rules named by `module:function` or `path/to/file.py:function`. Raises HandlerUnusable."""
    let_own_modules_win(name.rpartition(":")[0])
    function = named_function(name, "rules")
    require_usable_rules(function, name)
    return own_rules(function, name)


def require_usable_rules(function: Callable[..., Any], name: str) -> None:
    """Raise HandlerUnusable for a function that does not run when called, or does not take an order alone."""
    with looking_at(f"rules {name!r}"):
        _require_usable_rules(function, name)


def _require_usable_rules(function: Callable[..., Any], name: str) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise HandlerUnusable(f"rules {name!r}: is async, so calling it does not run it; use a plain `def`")
    if inspect.isgeneratorfunction(function):
        raise HandlerUnusable(f"rules {name!r}: is a generator, so calling it does not run it")
    if inspect.isclass(function):
        raise HandlerUnusable(f"rules {name!r}: is a class; name a function that takes an order")
    try:
        inspect.signature(function).bind({})
    except TypeError:
        raise HandlerUnusable(f"rules {name!r}: must take one argument, the order") from None
    except ValueError:  # a built-in without a signature
        pass
