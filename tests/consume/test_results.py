"""A handler's results: work that has not run is not done, and anything published can be read back."""

import asyncio
import collections
import concurrent.futures
import contextlib
import dataclasses
import datetime
import decimal
import functools
import gc
import io
import itertools
import json
import multiprocessing.pool
import sqlite3
import threading
import types
import warnings
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Generator, Iterator, List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.consume.results import encode_result, require_outcome
from orderflow.errors import NothingRan, UnusableResult

Order = Dict[str, Any]


# --- whether anything ran


async def charge(order: Order) -> None:
    """Charge, but only when it is awaited."""


class Later:
    """An awaitable of somebody's own."""

    def __await__(self) -> Generator[Any, None, None]:
        """Do the work."""
        yield


@types.coroutine
def old_style() -> Iterator[None]:
    """A coroutine as it was written before `async def`."""
    yield


def lines() -> Iterator[int]:
    """A generator."""
    yield 1


async def async_lines() -> AsyncIterator[int]:
    """An async generator."""
    yield 1


def future() -> "asyncio.Future[None]":
    """A future of asyncio, on a loop that does not run."""
    loop = asyncio.new_event_loop()
    try:
        return loop.create_future()
    finally:
        loop.close()


@contextlib.contextmanager
def billing(path: Any = ":memory:") -> Iterator[Any]:
    """A factory."""
    yield charge


@contextlib.asynccontextmanager
async def async_billing(path: Any = ":memory:") -> AsyncIterator[Any]:
    """An async factory."""
    yield charge


class Bank:
    """A handler that is an object."""

    def __call__(self, order: Order) -> None:
        """Charge."""


@dataclasses.dataclass
class Receipt:
    """A result of somebody's own."""

    detail: Any


class RemoteFuture:
    """A future of somebody else's library."""

    def add_done_callback(self, function: Callable[..., None]) -> None:
        """Call it once the work is done."""


def pooled() -> Any:
    """What a pool of threads gives for work."""
    with multiprocessing.pool.ThreadPool(1) as pool:
        return pool.apply_async(print, ())


def circle(*parts: Any) -> List[Any]:
    """A list that holds itself."""
    ring: List[Any] = [{}, *parts]
    ring[0]["ring"] = ring
    return ring


PROMISES: Dict[str, Callable[[], Any]] = {
    "coroutine": lambda: charge({}),
    "old coroutine": old_style,
    "awaitable": Later,
    "asyncio future": future,
    "future of a pool": concurrent.futures.Future,
    "generator": lines,
    "async generator": async_lines,
    "lazy map": lambda: map(print, [1]),
    "lazy filter": lambda: filter(print, [1]),
    "function": lambda: charge,
    "method": lambda: Later().__await__,
    "partial": lambda: functools.partial(print, 1),
    "list of coroutines": lambda: [charge({}), charge({})],
    "tuple with one at its end": lambda: (1, None, "x", charge({})),
    "dict with a coroutine": lambda: {"id": 1, "paid": charge({})},
    "context manager": billing,
    "async context manager": async_billing,
    "object with __call__": Bank,
    "class": lambda: Bank,
    "zip": lambda: zip(map(print, [1])),
    "iterator of calls": lambda: iter(print, None),
    "chain": lambda: itertools.chain([1]),
    "future of another library": RemoteFuture,
    "result of a thread pool": pooled,
    "generator deep inside": lambda: {"order": 1, "detail": {"charges": lines()}},
    "coroutine deep inside": lambda: [{"a": [({"b": charge({})},)]}],
    "coroutine in a set": lambda: {"all": {charge({})}},
    "coroutine in a deque": lambda: collections.deque([charge({})]),
    "coroutine in a dataclass": lambda: {"receipt": Receipt([charge({})])},
    "coroutine in an ordered dict": lambda: collections.OrderedDict(a={"b": charge({})}),
    "futures as keys": lambda: {concurrent.futures.Future(): "charge"},
    "coroutine beside a circle": lambda: circle(charge({})),
}


@pytest.mark.parametrize("promise", PROMISES.values(), ids=PROMISES.keys())
def test_a_promise_of_work_is_no_outcome(promise: Callable[[], Any]) -> None:
    """The order has failed at once, with a reason of its own: each further call would promise the same."""
    with pytest.raises(NothingRan) as caught:
        require_outcome(promise())

    assert ("process.not_run", "process", False) == (
        caught.value.reason,
        caught.value.stage,
        caught.value.retryable,
    )
    assert str(caught.value).startswith("the handler returned a")


def test_a_coroutine_is_named_with_what_to_do() -> None:
    """Who forgot an `await` learns where to put it."""
    with pytest.raises(NothingRan, match=r"returned a coroutine, which has to be awaited: .*return await"):
        require_outcome(charge({}))


@pytest.mark.parametrize(
    "name", ["coroutine", "list of coroutines", "dict with a coroutine", "coroutine deep inside"]
)
def test_a_coroutine_is_closed(name: str) -> None:
    """Or Python complains at a later moment, on a stderr full of other things."""
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        with pytest.raises(NothingRan):
            require_outcome(PROMISES[name]())
        gc.collect(1)  # the young ones are enough: of all that other tests left, it takes a second

    told = [str(complaint.message) for complaint in complaints]
    assert [] == [one for one in told if "coroutine" in one]  # what other tests left may complain too


def test_a_coroutine_that_runs_elsewhere_is_left_alone() -> None:
    """It cannot be closed while it runs; the verdict is the same."""
    seen: List[str] = []

    async def outer() -> None:
        try:
            require_outcome(coroutine)
        except NothingRan:
            seen.append("told")

    coroutine = outer()
    asyncio.run(coroutine)

    assert ["told"] == seen


@pytest.mark.parametrize(
    "result",
    [
        None,
        b"",
        "",
        0,
        1.5,
        True,
        {},
        [],
        (),
        {"id": 1, "lines": [1], "total": decimal.Decimal(1)},
        {1, 2},
        datetime.date(2024, 5, 17),
        object(),
        sqlite3.connect(":memory:").execute("select 1"),
        io.StringIO("a response"),
        memoryview(b"x"),
        range(3),
        collections.OrderedDict(a=1),
        Receipt({"a": [1, {2}]}),
        {"failed_of": KeyError, "error": KeyError("x")},
        circle(),
    ],
    ids=lambda result: type(result).__name__,
)
def test_what_is_no_promise_is_an_outcome(result: Any) -> None:
    """A cursor of a database is an iterator, and has run."""
    require_outcome(result)


# --- what is published


@pytest.mark.parametrize(
    ("result", "value"),
    [
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"x"), b"x"),
        (memoryview(b"x"), b"x"),
        (memoryview(b"abcd")[::2], b"ac"),
        ("größe", "größe".encode()),
        ("", b""),
        ({"id": 1, "ok": True}, b'{"id":1,"ok":true}'),
        ([1, None], b"[1,null]"),
        (0, b"0"),
        (False, b"false"),
        (2**64, b"18446744073709551616"),
        ({"at": datetime.date(2024, 5, 17)}, b'{"at":"2024-05-17"}'),
        ({"total": decimal.Decimal("9.99")}, b'{"total":"9.99"}'),
        ({"raw": b"\xe9"}, b'{"raw":"\\u00e9"}'),
        ({"smile": "\U0001f600"}, b'{"smile":"\\ud83d\\ude00"}'),
        ({"path": "\\ud800"}, b'{"path":"\\\\ud800"}'),
        ({2: "a", None: "b", True: "c"}, b'{"2":"a","null":"b","true":"c"}'),
    ],
)
def test_a_result_becomes_bytes(result: Any, value: bytes) -> None:
    """Bytes as they are, text as UTF-8, the rest as compact JSON; what JSON lacks, as text."""
    assert value == encode_result(result)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_inside_a_result_are_published_as_what_they_hold(kind: Callable[[bytes], Any]) -> None:
    """A database driver gives a column of bytes in any of these forms."""
    assert b'{"blob":"ab\\u00ff"}' == encode_result({"blob": kind(b"ab\xff")})


class Stubborn(bytes):
    """Bytes that pretend to be others."""

    def __bytes__(self) -> bytes:
        """Not what they are."""
        raise ValueError("no")


def test_a_subclass_of_bytes_is_sent_as_the_bytes_it_holds() -> None:
    """Whatever it says of itself."""
    assert (b"x", bytes) == (encode_result(Stubborn(b"x")), type(encode_result(Stubborn(b"x"))))


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=6,
).filter(lambda value: not isinstance(value, str))


@settings(max_examples=50, deadline=None)
@given(JSON)
def test_what_is_json_can_be_read_back(result: Any) -> None:
    """Whatever text it holds."""
    assert result == json.loads(encode_result(result))


# --- what cannot be published


class Mute:
    """Has no text."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError("no text today")


class Rude(Mute):
    """Has no text, and neither has the error that says so."""

    def __str__(self) -> str:
        """Fail twice."""
        raise Unspeakable


class Unspeakable(Exception):
    """An error without a text."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError


class Slippery(Dict[str, Any]):
    """Cannot be looked into."""

    def items(self) -> Any:
        """Fail."""
        raise OSError("slipped")


class Plain:
    """Whose text is an address in memory."""


class Cursor:
    """Tells its address among other things, as that of a database does."""

    def __repr__(self) -> str:
        """As psycopg2's."""
        return f"<cursor object at 0x{id(self):x}; closed: 0>"


ADDRESSES = {
    "plain object": Plain(),
    "repr of its own": Cursor(),
    "lock": threading.Lock(),
    "code": compile("1", "shop.py", "eval"),
    "set of objects": {Plain()},
    "deque of objects": collections.deque([Plain()]),
    "namespace": types.SimpleNamespace(who=[Plain()]),
    "values of a dict": {"who": Plain()}.values(),
}


@pytest.mark.parametrize("value", ADDRESSES.values(), ids=ADDRESSES.keys())
def test_an_address_in_memory_is_not_published(value: Any) -> None:
    """Nobody could make anything of it."""
    with pytest.raises(UnusableResult, match="no text of its own") as caught:
        encode_result({"who": value})

    assert "publish.unencodable" == caught.value.reason


@pytest.mark.parametrize(
    "text", [f"0x{0xDEADBEEF:x}", "<fault at 0x7ffd1234abcd>", "at 0x", "a colour: 0xffee00"]
)
def test_a_text_with_a_number_in_it_that_looks_like_an_address_is_published(text: str) -> None:
    """Only the address of the object, or of one that it holds, is none of its own."""

    class Told:
        def __str__(self) -> str:
            return text

    assert {"x": text} == json.loads(encode_result({"x": Told()}))


def test_an_error_is_published_as_its_message_whatever_that_tells() -> None:
    """What a client says of a connection that failed names an object of its own."""
    error = ConnectionError(Plain(), "refused")

    assert {"error": str(error)} == json.loads(encode_result({"error": error}))


def ring() -> Any:
    """A dict that contains itself."""
    lines: Dict[str, Any] = {"lines": [1]}
    lines["lines"].append(lines)
    return lines


def deep(levels: int) -> Any:
    """Lists in lists."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


UNUSABLE = {
    "contains itself": (ring, r"the result\['lines'\]\[1\] cannot be published: dict: it contains itself"),
    "deep": (lambda: deep(100_000), "nested more than 900 deep"),
    "nan": (lambda: {"total": float("nan")}, r"the result\['total'\] cannot be published: float: nan"),
    "infinity": (lambda: [1, -float("inf")], r"the result\[1\] cannot be published: float: -inf"),
    "nan alone": (lambda: float("nan"), "the result cannot be published: float: nan"),
    "nan as a key": (lambda: {float("inf"): 1}, "a key: inf"),
    "half a pair alone": (
        lambda: "a\ud800",
        "the result cannot be published: str: half a surrogate pair .* 1",
    ),
    "half a pair inside": (lambda: {"name": "\udc80"}, r"the result\['name'\] .*str: half a surrogate pair"),
    "half a pair as a key": (lambda: {"\ud800": 1}, "the result .*a key: half a surrogate pair"),
    "tuple as a key": (lambda: {"x": {(1, 2): 1}}, r"the result\['x'\] .*a key of type tuple"),
    "bytes as a key": (lambda: {b"x": 1}, "a key of type bytes"),
    "no text": (lambda: [Mute()], r"the result\[0\] .*Mute: RuntimeError: no text today"),
    "no text at all": (lambda: {"a": Rude()}, r"the result\['a'\] .*Rude: .*Unspeakable"),
    "slippery": (lambda: [Slippery(a=1)], "cannot be published: OSError: slipped"),
    "an address": (lambda: {"who": Plain()}, r"the result\['who'\] .*Plain: .*no text of its own"),
    "long keys": (lambda: {"k" * 9999: {"l" * 9999: float("nan")}}, r"\['kkk.*…\]\['lll.*…\] cannot"),
}


@pytest.mark.parametrize(("make", "says"), UNUSABLE.values(), ids=UNUSABLE.keys())
def test_what_cannot_be_published_says_what_and_where(make: Callable[[], Any], says: str) -> None:
    """The order has failed at once: the same call would return the same. No value is shown, only its type."""
    with pytest.raises(UnusableResult, match=says) as caught:
        encode_result(make())

    assert ("publish.unencodable", "publish", False) == (
        caught.value.reason,
        caught.value.stage,
        caught.value.retryable,
    )
    assert len(str(caught.value)) < 400


def test_an_integer_that_python_does_not_write_out_is_unusable() -> None:
    """Pythons of today refuse more than 4,300 digits; older ones write them."""
    huge = 10**5_000
    try:
        str(huge)
    except ValueError:
        with pytest.raises(UnusableResult, match=r"the result\['n'\] .*int: an integer with more digits"):
            encode_result({"n": huge})
    else:
        assert encode_result({"n": huge}).endswith(b"0}")


def test_a_promise_inside_what_is_published_is_found_at_any_depth() -> None:
    """It would be published as the address of a coroutine."""
    with pytest.raises(NothingRan, match="a coroutine"):
        encode_result({"orders": [{"paid": charge({})}]})


def test_memory_that_is_short_is_no_fault_of_the_result() -> None:
    """The next call may have enough."""

    class Large:
        def __str__(self) -> str:
            raise MemoryError

    with pytest.raises(MemoryError):
        encode_result([Large()])


def test_an_awaitable_is_one_by_its_type() -> None:
    """An object that answers to every name is no promise."""

    class Obliging:
        def __getattr__(self, name: str) -> Callable[[], Awaitable[None]]:
            raise AttributeError(name) if name.startswith("__") else RuntimeError

    require_outcome(Obliging())
