"""The handler's interface: how a handler is loaded, and what it is given."""

import contextlib
import functools
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Sequence

from orderflow.consume.own_modules import import_own, names_another, step_back
from orderflow.consume.tracebacks import traceback_of
from orderflow.errors import OrderError, describe
from orderflow.model.delivery_id import delivery_id
from orderflow.model.records import Headers, Message, headers_of, time_of
from orderflow.shadowed import file_in_place_of

Order = Dict[str, Any]
Handler = Callable[..., Any]
MAX_LAYERS = 20


class Delivery(NamedTuple):
    """Where an order came from.

    `id` is unique to the order and stays the same across attempts, crashes and replays: use it to make
    side effects idempotent.
    """

    id: str
    topic: str
    partition: int
    offset: int
    key: Optional[bytes]
    headers: Headers
    timestamp: Optional[int]
    """Milliseconds since the epoch, or None if the broker gave none."""
    attempt: int
    """1 for the first call."""
    headers_left_out: Optional[str] = None
    """Why the headers cannot be read: accessing them then raises HeadersUnreadable. None if they can."""


class HeadersUnreadable(OrderError):
    """The handler asked for headers that the Kafka client can never read."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the order's headers cannot be read: {why}", "process.headers_unreadable")


class DeliveryWithoutHeaders(Delivery):
    """A delivery with unreadable headers. An empty list would be a lie that handlers might rely on."""

    @property
    def headers(self) -> Headers:
        """Raises HeadersUnreadable, which dead-letters the order at once."""
        raise HeadersUnreadable(self.headers_left_out or "")


def delivery_of(message: Message, attempt: int, topic_id: Optional[str] = None) -> Delivery:
    """The delivery for the `attempt`-th call of a record."""
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    headers, left_out = headers_of(message)
    form = Delivery if left_out is None else DeliveryWithoutHeaders
    return form(
        id=delivery_id(topic, partition, offset, headers, topic_id),
        topic=topic,
        partition=partition,
        offset=offset,
        key=message.key(),
        headers=list(headers),
        timestamp=time_of(message)[1],
        attempt=attempt,
        headers_left_out=left_out,
    )


class HandlerUnusable(Exception):
    """A handler cannot be used; the text says which and why."""

    def __init__(self, message: str, traceback: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.traceback = traceback
        """The lines of the error's traceback where it is one of the handler's own code."""


def load(name: str) -> Handler:
    """Load the handler named by `module:function` or `path/to/file.py:function`, or its factory."""
    function = named_function(name, "handler")
    require_handler_or_factory(function, name)
    return function


def require_handler_or_factory(function: Handler, name: str) -> None:
    """Raise `HandlerUnusable` for what cannot be a handler, nor the factory of one."""
    if not callable(function):
        raise HandlerUnusable(f"handler {name!r} is no function")
    with looking_at(f"handler {name!r}"):
        if is_factory(function):
            _require_no_generator(function, name, FORGOTTEN)
        else:
            _require_usable(function, name)


@contextlib.contextmanager
def looking_at(wanted: str) -> Iterator[None]:
    """Raise `HandlerUnusable` where a user's code raises while it is only looked at, as `__getattr__` may."""
    try:
        yield
    except HandlerUnusable:
        raise
    except Exception as error:
        raise unusable(f"{wanted} cannot be looked at", error) from error


def named_function(name: str, role: str) -> Callable[..., Any]:
    """The function that a setting names. `role` is what messages call it. Raises HandlerUnusable."""
    source, separator, attribute = name.rpartition(":")
    if not separator or not source or not attribute:
        raise HandlerUnusable(f"{role} {name!r} is not of the form module:function or file.py:function")
    module = _module(source, f"{role} {name!r}")
    with looking_at(f"{role} {name!r}"):
        function = getattr(module, attribute, None)
    if function is None:
        raise HandlerUnusable(
            f"{role} {name!r}: {source} has no function {attribute}{_where(source, module)}"
        )
    if not callable(function):
        raise HandlerUnusable(f"{role} {name!r}: {attribute} is not a function")
    return function  # type: ignore[no-any-return]


def _where(source: str, module: Any) -> str:
    """Where a module was found: a file `queue.py` is not, if the standard library's is loaded already."""
    file = None if source.endswith(".py") else getattr(module, "__file__", None)
    return "" if file is None else f"; it is {file}. If another one is meant, name its file"


FORGOTTEN = "is a generator: put @contextmanager (or @asynccontextmanager) of contextlib above it"
DOES_NOTHING = (
    "makes a context manager, which does nothing for an order. It is a factory if it needs no argument: "
    "`yield` the function that takes an order"
)
NEVER_RUNS = "is a generator: calling it does not run it. Return a value instead of `yield`"


def require_usable(function: Handler, name: str) -> None:
    """Raise `HandlerUnusable` for a function that does not run when called, or takes no order."""
    with looking_at(f"handler {name!r}"):
        _require_usable(function, name)


def _require_usable(function: Handler, name: str) -> None:
    _require_no_generator(function, name, NEVER_RUNS)
    if inspect.isclass(function) and any("__call__" in vars(base) for base in function.__mro__):
        raise HandlerUnusable(f"handler {name!r} is a class with __call__: name an instance of it instead")
    if makes_manager(function):
        raise HandlerUnusable(f"handler {name!r} {DOES_NOTHING}")
    if callable(function) and type(function).__call__ in _DECORATING:
        raise HandlerUnusable(
            f"handler {name!r} is a context manager that was made already: name the function that makes it"
        )
    if _takes_delivery_first(function):
        raise HandlerUnusable(
            f"handler {name!r} takes its delivery first, where it is given the order: write (order, delivery)"
        )
    if not wants_delivery_by_name(function):
        wants_delivery(function, name)


def _require_no_generator(function: Handler, name: str, why: str) -> None:
    kinds = (inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(kind(layer) for layer in _layers(function) for kind in kinds):
        raise HandlerUnusable(f"handler {name!r} {why}")


def is_factory(function: Handler) -> bool:
    """Whether it makes the handler instead of being one.

    It takes no argument then; or it needs none, and what it makes is a context manager.
    """
    if not needs_no_order(function):
        return False
    return makes_manager(function) or not _fits(inspect.signature(function), 0)


def needs_no_order(function: Handler) -> bool:
    """Whether it can be called without arguments, as a factory is."""
    try:
        return _fits(inspect.signature(function))
    except (TypeError, ValueError):
        return False


_MAKERS = tuple(
    make(iter).__code__  # type: ignore[arg-type]
    for make in (contextlib.contextmanager, contextlib.asynccontextmanager)
)
"""The code that runs in place of a function under @contextmanager, or its async form."""
_DECORATING = tuple(
    vars(getattr(contextlib, name))["__call__"]
    for name in ("ContextDecorator", "AsyncContextDecorator")
    if hasattr(contextlib, name)  # the second since Python 3.10
)
"""Context managers can be called, with the function to decorate."""


def makes_manager(function: Handler) -> bool:
    """Whether calling it gives a context manager: its own body, if it has one, does not run then."""
    return any(map(_makes_manager, _layers(function)))


def _makes_manager(layer: Any) -> bool:
    if inspect.isclass(layer):
        return hasattr(layer, "__enter__") or hasattr(layer, "__aenter__")
    return getattr(layer, "__code__", None) in _MAKERS


def is_async(function: Handler) -> bool:
    """Whether calling it hands back a coroutine: `async def`, also in a partial, a method or a `__call__`."""
    return any(map(inspect.iscoroutinefunction, _layers(function)))


def is_async_inside(function: Handler) -> bool:
    """Whether it wraps an async function and is none itself.

    Calling it hands back a coroutine, or a result if the wrapper runs the function by `asyncio.run`.
    """
    for layer in _layers(function):
        inner = getattr(layer, "__wrapped__", None)
        for _ in range(MAX_LAYERS):
            if inner is None:
                break
            if is_async(inner):
                return True
            inner = getattr(inner, "__wrapped__", None)
    return False


def _layers(function: Any) -> Iterator[Any]:
    """The handler and what it calls: the function inside a partial, a method or an object's `__call__`.

    Decorators are not unwrapped: `functools.wraps` around `asyncio.run` makes a plain handler of an async
    function.
    """
    for _ in range(MAX_LAYERS):
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif not inspect.isroutine(function) and not inspect.isclass(function):
            function = type(function).__call__


def _module(source: str, wanted: str) -> Any:
    if source.endswith(".py") and not Path(source).is_file():
        raise HandlerUnusable(f"{wanted} cannot be loaded: {source}: no such file")
    try:
        return _from_file(Path(source)) if source.endswith(".py") else import_own(source)
    except (Exception, SystemExit) as error:
        raise unusable(f"{wanted} cannot be loaded", error) from error
    finally:
        step_back()


def unusable(what: str, error: BaseException) -> HandlerUnusable:
    """The error to raise for one of the handler's code; with its traceback where that tells something."""
    failure = describe(error)
    text = f"{what}: {type(error).__name__}" + (f": {failure.message}" if failure.message else "")
    in_its_place = file_in_place_of(error)
    if in_its_place is not None:
        text += f"; {in_its_place}"
    has_place = failure.frame is not None or isinstance(error, SyntaxError)
    return HandlerUnusable(text, traceback_of(error) if has_place else ())


def _from_file(path: Path) -> Any:
    # A handler in queue.py or email.py must not replace the module of that name, nor be found in its place.
    name = f"handler_{path.stem}" if names_another(path.stem) else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _takes_delivery_first(function: Handler) -> bool:
    """Whether it names them the other way round. A `delivery` alone may be what its orders are."""
    try:
        names = list(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return False
    return names[:1] == ["delivery"] and "order" in names


def wants_delivery(function: Handler, name: Optional[str] = None) -> bool:
    """True for `process(order, delivery)`, False for `process(order)`. Raises HandlerUnusable for neither.

    A second parameter that has a default is wanted if it is named `delivery`. `name` is for the message.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    places = [one.name for one in signature.parameters.values() if one.kind in _BY_POSITION]
    if _fits(signature, 0) and places[1:2] != ["delivery"]:
        return False
    if _fits(signature, 0, 1):
        return True
    raise HandlerUnusable(f"handler {(name or function)!r} takes neither (order) nor (order, delivery)")


def wants_delivery_by_name(function: Handler) -> bool:
    """Whether only its name reaches a parameter named `delivery`, as in `process(order, *, delivery)`."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    place = list(signature.parameters).index("delivery") if "delivery" in signature.parameters else 0
    if place == 0 or (place == 1 and signature.parameters["delivery"].kind in _BY_POSITION):
        return False
    is_bound = any(
        isinstance(one, functools.partial) and "delivery" in one.keywords for one in _layers(function)
    )
    return not is_bound and _fits(signature, 0, delivery=1)


_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _fits(signature: inspect.Signature, *arguments: Any, **named: Any) -> bool:
    try:
        signature.bind(*arguments, **named)
    except TypeError:
        return False
    return True


def by_position(function: Handler) -> Handler:
    """The handler, which takes its delivery as the second argument if it wants one."""
    if not wants_delivery_by_name(function):
        return function

    def call(order: Order, delivery: Delivery) -> Any:
        return function(order, delivery=delivery)

    async def call_async(order: Order, delivery: Delivery) -> Any:
        return await function(order, delivery=delivery)

    return call_async if is_async(function) else call
