"""The handler's interface: how a handler is loaded, and what it is given."""

import functools
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional

from orderflow.errors import OrderError
from orderflow.model.delivery_id import delivery_id
from orderflow.model.records import Headers, Message, headers_of, time_of

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


def load(name: str) -> Handler:
    """Load the function named by `module:function` or `path/to/file.py:function`."""
    source, separator, attribute = name.rpartition(":")
    if not separator or not source or not attribute:
        raise HandlerUnusable(f"handler {name!r} is not of the form module:function or file.py:function")
    module = _module(source, name)
    function = getattr(module, attribute, None)
    if function is None:
        raise HandlerUnusable(f"handler {name!r}: {source} has no function {attribute}")
    if not callable(function):
        raise HandlerUnusable(f"handler {name!r}: {attribute} is not a function")
    require_usable(function, name)
    return function  # type: ignore[no-any-return]


def require_usable(function: Handler, name: str) -> None:
    """Raise `HandlerUnusable` for a function that does not run when called, or takes no order."""
    runs_later = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    if any(kind(layer) for layer in _layers(function) for kind in runs_later):
        why = "is async or a generator: calling it does not run it"
        raise HandlerUnusable(f"handler {name!r} {why}. Use a plain `def`; it may call asyncio.run(...)")
    if inspect.isclass(function) and any("__call__" in vars(base) for base in function.__mro__):
        raise HandlerUnusable(f"handler {name!r} is a class with __call__: name an instance of it instead")
    wants_delivery(function)


def _layers(function: Any) -> Iterator[Any]:
    """The handler and what it calls: the function inside a partial, a method or an object's `__call__`.

    Decorators are not unwrapped: `functools.wraps` around `asyncio.run` makes a good handler of an async
    function. A bad wrapper shows in what it returns for the first order.
    """
    for _ in range(MAX_LAYERS):
        yield function
        if isinstance(function, functools.partial):
            function = function.func
        elif inspect.ismethod(function):
            function = function.__func__
        elif not inspect.isroutine(function) and not inspect.isclass(function):
            function = type(function).__call__


def _module(source: str, name: str) -> Any:
    try:
        return _from_file(Path(source)) if source.endswith(".py") else importlib.import_module(source)
    except (Exception, SystemExit) as error:
        raise HandlerUnusable(
            f"handler {name!r} cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    # A handler in queue.py or config.py must not replace the module of that name.
    name = f"handler_{path.stem}" if path.stem in sys.modules else path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def wants_delivery(function: Handler) -> bool:
    """True for `process(order, delivery)`, False for `process(order)`."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return False
    for arguments in (1, 2):
        try:
            signature.bind(*range(arguments))
            return arguments == 2
        except TypeError:
            continue
    raise HandlerUnusable(f"handler {function!r} takes neither (order) nor (order, delivery)")
