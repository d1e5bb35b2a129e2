"""Loading a handler by name, and what it is given."""

import functools
import queue
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple

import pytest

import config
from orderflow.consume.handler import (
    Delivery,
    HandlerUnusable,
    _layers,
    delivery_of,
    is_async,
    is_async_inside,
    load,
    wants_delivery,
    wants_delivery_by_name,
)
from orderflow.consume.own_modules import let_own_modules_win
from orderflow.consume.own_rules import load_rules
from orderflow.consume.tracebacks import traceback_of
from tests.support.memory import Stored


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Write a handler's file: `file(source)` is its path. What it imports is forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(source: str, name: str = "shop_handler.py") -> str:
        path = tmp_path / name
        path.write_text(source, encoding="utf-8")
        return str(path)

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]


# --- loading


def test_a_function_of_a_file_is_loaded(file: Callable[..., str]) -> None:
    """`path/to/file.py:function`, wherever the file lies."""
    handler = load(file("def process(order): return order['id'] + 1") + ":process")

    assert 8 == handler({"id": 7})


def test_a_function_of_a_module_is_loaded(file: Callable[..., str]) -> None:
    """`module:function`, from where Python finds modules."""
    file("def process(order): return 'done'")

    assert "done" == load("shop_handler:process")({})


def test_a_file_may_define_dataclasses_and_errors(file: Callable[..., str]) -> None:
    """Both look their module up by name, which must therefore be there; errors are named after the file."""
    source = (
        "from __future__ import annotations\nimport dataclasses\n"
        "@dataclasses.dataclass\nclass Line:\n    item: str\n"
        "class NoStock(Exception): pass\n"
        "def process(order): raise NoStock(Line('x'))"
    )
    handler = load(file(source) + ":process")

    with pytest.raises(Exception, match="Line") as caught:
        handler({})
    assert "shop_handler" == type(caught.value).__module__


def test_a_file_does_not_replace_a_module_of_its_name(file: Callable[..., str]) -> None:
    """A handler in queue.py must not break whatever imports `queue` after it."""
    handler = load(file("def process(order): return 'mine'", "queue.py") + ":process")

    assert "mine" == handler({})
    assert sys.modules["queue"] is queue


def test_a_callable_object_is_a_handler(file: Callable[..., str]) -> None:
    """An instance with `__call__`, or a partial, is as good as a function."""
    source = (
        "import functools\ndef charge(bank, order): return bank\nprocess = functools.partial(charge, 'bank')"
    )

    assert "bank" == load(file(source) + ":process")({})


def test_a_wrapper_that_runs_an_async_function_is_a_handler(file: Callable[..., str]) -> None:
    """What a decorator wraps says nothing about what the decorated function does."""
    source = (
        "import asyncio, functools\n"
        "def sync(function):\n"
        "    @functools.wraps(function)\n"
        "    def run(*arguments): return asyncio.run(function(*arguments))\n"
        "    return run\n"
        "@sync\n"
        "async def process(order): return 'ran'"
    )

    assert "ran" == load(file(source) + ":process")({})


HOSTILE = """
class Unseen:
    def __getattr__(self, name):
        raise RuntimeError(f"no {name} here")
    def __call__(self, order):
        return None

def __getattr__(name):
    raise RuntimeError(f"no {name} here")

unseen = Unseen()
"""


@pytest.mark.parametrize("name", ["unseen", "missing"])
@pytest.mark.parametrize("read", [load, load_rules])
def test_code_that_raises_when_it_is_looked_at_is_told_as_the_users(
    file: Callable[..., str], read: Callable[[str], Any], name: str
) -> None:
    """With its place; it is no fault of the toolkit's."""
    with pytest.raises(HandlerUnusable, match=r"cannot be looked at: RuntimeError: no \w+ here") as raised:
        read(f"{file(HOSTILE)}:{name}")

    assert raised.value.traceback


def test_an_object_that_calls_itself_is_looked_at_no_further() -> None:
    """The search for what runs has an end."""
    source = "class C:\n def __call__(self, order): return 1\nprocess = C()\nC.__call__ = process"
    namespace: Dict[str, Any] = {}
    exec(source, namespace)

    with pytest.raises(RecursionError):
        namespace["process"]({})
    assert 20 == len(list(_layers(namespace["process"])))


def test_a_module_without_the_function_is_told_with_its_file() -> None:
    """A file of that name beside the consumer is not what was found, if the module was loaded already."""
    with pytest.raises(HandlerUnusable, match=r"json has no function charge; it is .*__init__\.py"):
        load("json:charge")


@pytest.mark.parametrize("name", ["process", "shop.py", ":process", "shop.py:", "", ":"])
def test_a_name_of_another_form_is_refused(name: str) -> None:
    """The message says which forms there are."""
    with pytest.raises(HandlerUnusable, match=r"module:function or file\.py:function"):
        load(name)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("raise RuntimeError('no database')", "RuntimeError: no database"),
        ("import not_installed_anywhere", "ModuleNotFoundError: .*not_installed_anywhere"),
        ("def process(order) return 1", "SyntaxError"),
        ("import sys\nsys.exit('usage: ...')", "SystemExit: usage"),
        ("", "has no function process"),
        ("process = 3", "process is not a function"),
        ("def process(): yield 1", "put @contextmanager"),
        ("async def process(): yield 1", "@asynccontextmanager"),
        ("def process(order, delivery, database): pass", r"handler '.*:process' takes neither"),
        ("def process(delivery, order): pass", r"write \(order, delivery\)"),
        ("async def process(delivery, *, order=None): pass", r"write \(order, delivery\)"),
        ("def process(*, order): pass", "takes neither"),
        ("def process(order, database, *, delivery): pass", "takes neither"),
        ("async def process(order): yield 1", "generator"),
        ("def process(order): yield 1", "generator"),
        ("class C:\n def __call__(self, order): yield\nprocess = C()", "generator"),
        ("class C:\n async def __call__(self, order): yield\nprocess = C()", "generator"),
        (
            "class C:\n def __init__(self, bank): pass\n def __call__(self, order): pass\nprocess = C",
            "a class with __call__",
        ),
        ("from functools import partial as p\ndef f(a, order): yield\nprocess = p(f, 1)", "generator"),
        (
            "import contextlib\n@contextlib.contextmanager\ndef process(order): yield",
            "makes a context manager, which does nothing for an order",
        ),
        (
            "import contextlib\n@contextlib.asynccontextmanager\nasync def process(order, delivery): yield",
            "makes a context manager",
        ),
        (
            "import contextlib\n@contextlib.contextmanager\ndef f(): yield\nprocess = f()",
            "is a context manager that was made already",
        ),
    ],
)
def test_an_unusable_file_is_refused(file: Callable[..., str], source: str, says: str) -> None:
    """At the start, once, and not at the first order: among them what would never run when it is called."""
    with pytest.raises(HandlerUnusable, match=says):
        load(file(source) + ":process")


ASYNC = [
    "async def process(order): pass",
    "class C:\n async def __call__(self, order): pass\nprocess = C()",
    "class C:\n async def run(self, order): pass\nprocess = C().run",
    "from functools import partial as p\nasync def f(a, order): pass\nprocess = p(f, 1)",
    "from functools import partial as p\nclass C:\n async def __call__(self, a, order): pass\n"
    "class D:\n __call__ = C()\nprocess = p(p(C()), 1)",
]


@pytest.mark.parametrize("source", ASYNC)
def test_an_async_handler_is_known_by_every_form_of_it(file: Callable[..., str], source: str) -> None:
    """It is called on an event loop."""
    handler = load(file(source) + ":process")

    assert (True, False) == (is_async(handler), is_async_inside(handler))


def test_a_wrapper_of_an_async_function_may_be_either(file: Callable[..., str]) -> None:
    """Whether it hands back a coroutine shows only when it is called."""
    source = (
        "import functools\nasync def f(order): pass\n@functools.wraps(f)\ndef process(order): return f(order)"
    )
    handler = load(file(source) + ":process")

    assert (False, True) == (is_async(handler), is_async_inside(handler))
    assert not is_async_inside(one)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("def total():\n    return {}['sku']\ntotal()", "return {}['sku']"),
        ("def process(order) return 1", "def process(order) return 1"),
    ],
)
def test_a_file_that_fails_shows_where(file: Callable[..., str], source: str, says: str) -> None:
    """Its own frames, and none of what imported it."""
    with pytest.raises(HandlerUnusable) as caught:
        load(file(source) + ":process")

    assert any(says in line for line in caught.value.traceback)
    assert not any("importlib" in line or "orderflow/" in line for line in caught.value.traceback)


def test_what_is_not_there_has_no_traceback() -> None:
    """No code of the handler's ran."""
    with pytest.raises(HandlerUnusable) as caught:
        load("no_such_module_here:process")

    assert () == caught.value.traceback


def test_the_handlers_own_modules_win_where_names_meet(
    file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`import config` in a handler means the one beside it; who has imported ours keeps it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setitem(sys.modules, "config", config)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    file("NAME = 'theirs'", "config.py")
    path = file("import config\nfrom config import NAME\ndef process(order): return NAME")
    let_own_modules_win(path)

    assert "theirs" == load(f"{path}:process")({})
    assert config.SETTINGS


def test_ours_stays_where_the_handler_has_none_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is imported twice."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    let_own_modules_win("shop.billing")

    assert sys.modules["config"] is config


def test_a_working_directory_that_was_removed_keeps_no_handler_out(
    file: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a deployment does that clears old releases away under running consumers. Errors are told, too."""
    path = file("def process(order): raise ValueError('told')")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "old").mkdir()
    monkeypatch.chdir(tmp_path / "old")
    (tmp_path / "old").rmdir()
    let_own_modules_win(path)

    with pytest.raises(ValueError, match="told") as raised:
        load(f"{path}:process")({})
    assert "ValueError: told" == traceback_of(raised.value)[-1]


@pytest.mark.parametrize("name", ["no/such/file.py:process", "no_such_module_here:process", "..:process"])
def test_what_is_not_there_is_refused(name: str) -> None:
    """A missing file or module names itself."""
    with pytest.raises(HandlerUnusable, match=r"cannot be loaded: .*"):
        load(name)


# --- what it wants


def one(order: Any) -> None:
    """Take the order."""


def both(order: Any, delivery: Any) -> None:
    """Take the order and its delivery."""


@pytest.mark.parametrize(
    ("function", "wants"),
    [
        (one, False),
        (both, True),
        (lambda order, database=None: None, False),
        (lambda order, delivery, database=None: None, True),
        (lambda *arguments: None, False),
        (lambda order, **options: None, False),
        (functools.partial(both, delivery=3), False),
        (len, False),
        (lambda order, delivery=None: None, True),
        (lambda order, delivery=None, database=None: None, True),
        (functools.partial(lambda bank, order, delivery=None: None, "bank"), True),
        (lambda delivery, order=None: None, False),
        (lambda order, *delivery: None, False),
    ],
)
def test_a_delivery_is_given_to_those_that_need_it(function: Callable[..., Any], wants: bool) -> None:
    """A second parameter that has a default is the handler's own business, unless it is named `delivery`."""
    assert wants == wants_delivery(function)


@pytest.mark.parametrize(
    ("function", "by_name"),
    [
        (lambda order, *, delivery: None, True),
        (lambda order, *, delivery=None: None, True),
        (lambda order, database=None, delivery=None: None, True),
        (functools.partial(lambda order, bank, delivery: None, bank="bank"), True),
        (functools.partial(both, delivery=3), False),
        (lambda order, **options: None, False),
        (lambda order, delivery=None: None, False),
        (lambda order, *, delivery, bank: None, False),
        (len, False),
    ],
)
def test_a_delivery_may_be_wanted_by_its_name(function: Callable[..., Any], by_name: bool) -> None:
    """Wherever the parameter stands, unless somebody has bound it already."""
    assert by_name == wants_delivery_by_name(function)


def test_a_delivery_tells_where_the_order_stands() -> None:
    """Its id is the same at each attempt."""
    first, third = delivery_of(Stored(41, b"ann"), 1), delivery_of(Stored(41, b"ann"), 3)

    assert Delivery("orders-0-41", "orders", 0, 41, b"ann", [], 1_764_000_000_000, 1) == first
    assert (first.id, 3) == (third.id, third.attempt)


def test_a_record_without_a_time_has_none() -> None:
    """The client reports kind 0 and a number that means nothing."""

    class Timeless(Stored):
        def timestamp(self) -> Tuple[int, int]:
            """No time: the kind says so."""
            return 0, -1

    assert delivery_of(Timeless(0, None), 1).timestamp is None
