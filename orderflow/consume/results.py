"""Checks a handler's result: whether the handler really ran, and the bytes to publish."""

import collections.abc
import concurrent.futures
import contextlib
import dataclasses
import datetime
import decimal
import enum
import functools
import inspect
import itertools
import json
import math
import types
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Set, Tuple, Type

from orderflow.consume.addresses import names_address
from orderflow.consume.misplaced import fault_of_place
from orderflow.errors import NothingRan, UnusableResult, class_name_of

PLAIN = frozenset((str, bytes, bool, int, float))
"""Types that prove that the handler ran: none can stand for work still to be done."""

MAX_PATH = 120
MAX_KEY = 40
MAX_DEPTH = 900
"""Slightly less than where the encoder hits the interpreter's recursion limit."""

_LEAVES = PLAIN | {
    type(None),
    bytearray,
    datetime.date,
    datetime.datetime,
    datetime.time,
    datetime.timedelta,
    decimal.Decimal,
}
"""Types of parts that hold nothing and stand for no work; they are told from others by their type alone."""

_CONTAINERS: Tuple[Tuple[Type[Any], Callable[[Any], List[Any]]], ...] = (
    (dict, lambda held: [*dict.keys(held), *dict.values(held)]),
    (list, lambda held: [*list.__iter__(held)]),
    (tuple, lambda held: [*tuple.__iter__(held)]),
    (set, lambda held: [*set.__iter__(held)]),
    (frozenset, lambda held: [*frozenset.__iter__(held)]),
    (collections.deque, lambda held: [*collections.deque.__iter__(held)]),
)
"""Each with how to look inside without running what a subclass of somebody's own has overridden."""

_chained = itertools.chain.from_iterable

LAZY = "a lazy iterator, which has not called anything yet: use a loop"
FUTURE = "a future, whose work may not be done: return its result()"
POOLED = "a promise of a pool, whose work may not be done: return what its get() gives"

_MANAGERS: Tuple[Type[Any], ...] = (
    type(contextlib.contextmanager(iter)(())),
    type(contextlib.asynccontextmanager(iter)(())),  # type: ignore[arg-type]
)
"""What a function under @contextmanager, or its async form, gives."""

_NOT_RUN: Tuple[Tuple[Tuple[Type[Any], ...], str], ...] = (
    ((types.GeneratorType,), "a generator, whose body has not begun: return a value instead of `yield`"),
    ((types.AsyncGeneratorType,), "an async generator, whose body has not begun"),
    (_MANAGERS, "a context manager that was not entered, so that its body has not begun"),
    ((concurrent.futures.Future,), FUTURE),
    (
        (types.FunctionType, types.BuiltinFunctionType, types.MethodType, functools.partial),
        "a function that was not called",
    ),
)


def require_outcome(result: object) -> None:
    """Raise `NothingRan` for a result whose work has not been done: an awaitable, a generator, a function.

    That includes those anywhere inside it: `return {"charges": (charge(line) for line in lines)}`.
    """
    if is_plain(result):
        return
    if isinstance(result, type):
        raise NothingRan(f"the handler returned a class that was not called: {result.__name__}")
    _require_run(result)


def is_plain(result: object) -> bool:
    """Whether types alone tell that it has run and holds no Publish, as those of most results do."""
    kind = type(result)
    return kind in PLAIN or (kind is dict and _is_flat(result))  # type: ignore[arg-type]


def require_no_manager(result: object) -> None:
    """Raise `NothingRan` for a context manager of any class.

    Only for a handler that may be a factory. Another one may return a response or a cursor, which is a
    context manager as well, and whose work is done.
    """
    kind = type(result)
    if hasattr(kind, "__exit__") or hasattr(kind, "__aexit__"):
        raise NothingRan(f"the handler returned {_a(result)}, a context manager that was not entered")


def _is_flat(result: Dict[Any, Any]) -> bool:
    return _LEAVES.issuperset(map(type, result.values())) and _LEAVES.issuperset(map(type, result))


def _require_run(result: object) -> None:
    parts = _parts_that_hold_none(result)
    by_type = {type(part): part for part in parts}  # thousands of parts are of a few types
    why = next(filter(None, map(_why_nothing_ran, by_type.values())), None)
    if why is not None:
        for part in parts:
            _close(part)
        raise NothingRan(f"the handler returned {why}")


def _parts_that_hold_none(result: object) -> List[object]:
    """What is inside the result at any depth, less what is plain.

    It goes level by level, since each step in C costs a tenth of one in Python; and notes where it has been,
    since a result may hold itself.
    """
    found: List[object] = []
    seen: Set[int] = set()
    level: List[object] = [result]
    while level:
        level = _not_seen(level, seen)
        held: List[Iterable[object]] = [part for part in level if type(part) is dict]
        others = [part for part in level if type(part) is not dict] if len(held) < len(level) else []
        held += [*map(dict.values, held)]  # type: ignore[arg-type]
        holding = {kind for kind in set(map(type, others)) if _can_hold(kind)}
        found += [part for part in others if type(part) not in holding]
        held += [_inside(part) for part in others if type(part) in holding]
        if _LEAVES.issuperset(map(type, _chained(held))):
            break
        level = [part for part in _chained(held) if type(part) not in _LEAVES]
    return found


def _not_seen(parts: List[object], seen: Set[int]) -> List[object]:
    """Those that were not seen before, each once; now they have been."""
    places = set(map(id, parts))
    if len(places) < len(parts) or not seen.isdisjoint(places):
        by_place = {id(part): part for part in parts}
        parts = [part for place, part in by_place.items() if place not in seen]
    seen |= places
    return parts


def _can_hold(kind: Type[Any]) -> bool:
    """Whether values of this type are containers or dataclasses."""
    return issubclass(kind, tuple(container for container, _ in _CONTAINERS)) or dataclasses.is_dataclass(
        kind
    )


def _inside(part: Any) -> List[Any]:
    """The parts of a container or a dataclass."""
    for kind, look in _CONTAINERS:
        if isinstance(part, kind):
            return look(part)
    return [getattr(part, field.name, None) for field in dataclasses.fields(part)]


def _why_nothing_ran(result: object) -> Optional[str]:
    """Why a result's work is not done, which its type tells; None if it is, or if nothing tells."""
    if inspect.isawaitable(result):
        return f"{_a(result)}, which has to be awaited: `return await …`, in an `async def` handler"
    why = next((why for kinds, why in _NOT_RUN if isinstance(result, kinds)), None)
    if why is not None or isinstance(result, type):
        return why
    kind = type(result)
    if kind.__module__ in ("builtins", "itertools") and isinstance(result, collections.abc.Iterator):
        return LAZY
    if hasattr(kind, "add_done_callback"):  # as in the futures of gRPC, Google's clients and Dask
        return FUTURE
    if any(base.__module__ == "multiprocessing.pool" for base in kind.__mro__):
        return POOLED
    return f"{_a(result)} that can be called and was not" if callable(result) else None


def _close(result: object) -> None:
    """Close a coroutine, so that it does not warn on stderr that it was never awaited."""
    if isinstance(result, (types.CoroutineType, types.GeneratorType)):
        try:
            result.close()
        except Exception:  # noqa: BLE001 - it is already running elsewhere and refuses to end
            return


def encode_result(result: Any) -> bytes:
    """Encode a result for publishing: bytes as they are, str as UTF-8, anything else as JSON.

    Raises `UnusableResult` if it cannot be encoded or could not be read back; no retry would help.
    """
    if type(result) is bytes:
        return result
    try:
        return _encoded(result)
    except (NothingRan, MemoryError):  # running out of memory may be temporary
        raise
    except Exception as error:
        fault = fault_of_place(result)
        if fault is not None:
            raise UnusableResult(fault, "publish.invalid") from error
        raise UnusableResult(_described(result, error)) from error


def _encoded(result: Any) -> bytes:
    if isinstance(result, (bytes, bytearray, memoryview)):
        return bytes(memoryview(result))  # a subclass may override `__bytes__`
    if isinstance(result, str):
        return str.encode(result)
    text = _JSON.encode(result)
    if "\\ud" in text:  # half a surrogate pair is not valid text, and strict readers reject it
        _UNESCAPED.encode(result).encode()
    return text.encode()


def _jsonable(value: Any) -> Any:
    """A value that JSON cannot represent, in its usual form: times as ISO 8601, the rest mostly as text."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(memoryview(value)).decode("latin-1")
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, decimal.Decimal) and not value.is_finite():
        raise ValueError(f"{value} is not a number")
    fields = _fields_of(value)
    if fields is not None:
        return fields
    _require_run(value)
    return _text_of(value)


def _text_of(value: object) -> str:
    """The text of an object that JSON has no form for. Raises TypeError if it would be lost in it."""
    fault = fault_of_place(value)
    if fault is not None:
        raise TypeError(fault)
    text = str(value)
    if names_address(value, text):
        raise TypeError("it has no text of its own, only an address in memory")
    return text


def _fields_of(value: object) -> Optional[Dict[str, Any]]:
    """The fields of a dataclass by name; None for anything else."""
    if isinstance(value, type) or not dataclasses.is_dataclass(value):
        return None
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


_JSON = json.JSONEncoder(separators=(",", ":"), default=_jsonable, allow_nan=False)
_UNESCAPED = json.JSONEncoder(separators=(",", ":"), default=_jsonable, allow_nan=False, ensure_ascii=False)


# --- describing what is wrong with a result


def _described(result: object, error: Exception) -> str:
    """The first part of the result that cannot be published: its path and type."""
    try:
        fault = next(_faults(result), None)
    except Exception:  # noqa: BLE001 - iterating may run the handler's code, too
        fault = None
    if fault is None:
        return f"a result of type {class_name_of(type(result))} cannot be published: {_text(error)}"
    return f"{fault.path} cannot be published: {fault.what}"


class _Part(NamedTuple):
    """A value inside a result."""

    value: Any
    path: str
    above: Optional["_Part"]
    depth: int


class _Fault(NamedTuple):
    path: str
    what: str


def _faults(result: object) -> Iterator[_Fault]:
    """The faults of a result in order. Not recursive, since too much depth is one of them."""
    parts: List[_Part] = [_Part(result, "the result", None, 0)]
    while parts:
        part = _opened(parts.pop())
        what = _fault_of(part)
        if what is not None:
            yield _Fault(part.path, f"{class_name_of(type(part.value))}: {what}")
            continue
        inner = list(_inner(part))
        parts += reversed(inner)


def _opened(part: _Part) -> _Part:
    """A dataclass as the dict that is published of it, a member of an enum as its value."""
    value = part.value
    while isinstance(value, enum.Enum) and not isinstance(value, (str, int, float)):
        value = value.value
    fields = _fields_of(value)
    return part._replace(value=value if fields is None else fields)


def _fault_of(part: _Part) -> Optional[str]:
    if isinstance(part.value, (dict, list, tuple)):
        return _fault_of_nesting(part)
    return _fault_of_plain(part.value)


def _fault_of_plain(value: object) -> Optional[str]:
    if value is None or isinstance(value, bool):
        return None
    check = next((check for kind, check in _CHECKS if isinstance(value, kind)), _fault_of_object)
    return check(value)


def _fault_of_nesting(part: _Part) -> Optional[str]:
    if part.depth > MAX_DEPTH:
        return f"nested more than {MAX_DEPTH} deep"
    above = part.above
    while above is not None:
        if above.value is part.value:
            return f"it contains itself (it is {above.path})"
        above = above.above
    keys = part.value if isinstance(part.value, dict) else ()
    return next(filter(None, map(_fault_of_key, keys)), None)


def _fault_of_key(key: object) -> Optional[str]:
    what = _fault_of_plain(key)
    if isinstance(key, (str, int, float)) or key is None:
        return what and f"a key: {what}"
    return f"a key of type {class_name_of(type(key))}; keys in JSON are strings"


def _inner(part: _Part) -> Iterator[_Part]:
    if isinstance(part.value, dict):
        for key, value in part.value.items():
            yield _Part(value, _longer(part.path, key), part, part.depth + 1)
    elif isinstance(part.value, (list, tuple)):
        for index, value in enumerate(part.value):
            yield _Part(value, _longer(part.path, index), part, part.depth + 1)


def _longer(path: str, key: object) -> str:
    if len(path) > MAX_PATH:
        return path if path.endswith("…") else f"{path}…"
    shown = repr(key)
    return f"{path}[{shown if len(shown) <= MAX_KEY else shown[:MAX_KEY] + '…'}]"


def fault_of_text(value: str) -> Optional[str]:
    """What keeps a text from being encoded; None if nothing does."""
    try:
        str.encode(value)
    except UnicodeEncodeError as error:
        return f"half a surrogate pair at character {error.start}"
    return None


def _fault_of_float(value: float) -> Optional[str]:
    return None if math.isfinite(value) else f"{float.__repr__(value)} is not a JSON number"


def _fault_of_int(value: int) -> Optional[str]:
    try:
        int.__repr__(value)
    except ValueError:
        return "an integer with more digits than Python can print"
    return None


def _fault_of_object(value: object) -> Optional[str]:
    try:
        str.encode(_jsonable(value))
    except Exception as error:  # noqa: BLE001 - str() may run the handler's code
        return _text(error)
    return None


_CHECKS: Tuple[Tuple[Type[Any], Callable[[Any], Optional[str]]], ...] = (
    (str, fault_of_text),
    (float, _fault_of_float),
    (int, _fault_of_int),
)


def _text(error: Exception) -> str:
    try:
        return f"{class_name_of(type(error))}: {error}"
    except Exception:  # noqa: BLE001 - its text may run the handler's code, too
        return class_name_of(type(error))


def _a(result: object) -> str:
    name = type(result).__name__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
