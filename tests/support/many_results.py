"""Handlers that end an order in as many ways as the documents name, for a consumer and for the test kit.

The order's customer says which way. Topics are named in the environment, as a consumer's handler has them.
"""

import asyncio
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import itertools
import os
import uuid
from typing import Any, Callable, Dict, Iterator, NoReturn

from orderflow import InvalidOrder, Publish, RejectOrder, RetryLater

Order = Dict[str, Any]
DISCOUNTS: Dict[str, int] = {}


@dataclasses.dataclass
class Parcel:
    """A result, with something in it."""

    content: Any


class Size(enum.Enum):
    """A result that stands for its value."""

    LARGE = "L"


class Silent:
    """An object without a text of its own."""


class Open:
    """A context manager that nobody entered."""

    def __enter__(self) -> "Open":
        return self

    def __exit__(self, *why: object) -> None:
        pass


@contextlib.contextmanager
def nothing() -> Iterator[None]:
    """Never entered."""
    yield


async def later() -> int:
    """Never awaited."""
    return 1


def mail(value: Any, **more: Any) -> Publish:
    """A result for another topic."""
    return Publish(value, topic=os.environ["MAIL"], **more)


def raised(error: BaseException) -> NoReturn:
    """Raise it."""
    raise error


def from_a_cause() -> None:
    """Raise an error that has a cause."""
    try:
        DISCOUNTS["QM"]
    except KeyError as error:
        raise ValueError("no such discount") from error


WAYS: Dict[str, Callable[[], Any]] = {
    "nothing": lambda: None,
    "text": lambda: "hällo",
    "bytes": lambda: b"\x00\xff",
    "memoryview": lambda: memoryview(b"abcdef")[::2],
    "number": lambda: 10**400,
    "dict": lambda: {"a": [1, {"b": None}], "t": (1, "x")},
    "usual forms": lambda: [decimal.Decimal("1.10"), datetime.date(2026, 1, 2), uuid.UUID(int=5), b"\xff"],
    "dataclass": lambda: Parcel(Size.LARGE),
    "enum": lambda: Size.LARGE,
    "empty list": list,
    "set": lambda: {1},
    "nan": lambda: float("nan"),
    "infinite decimal": lambda: {"a": decimal.Decimal("-inf")},
    "half a pair": lambda: {"a": "\ud800"},
    "key of a date": lambda: {datetime.date(2026, 1, 2): 1},
    "address": Silent,
    "address inside": lambda: {"a": [Silent()]},
    "too large": lambda: "x" * 1_100_000,
    "coroutine": later,
    "coroutine inside": lambda: {"a": [later()]},
    "generator": lambda: (x for x in [1]),
    "generator in a dataclass": lambda: Parcel(x for x in [1]),
    "lazy": lambda: zip([1], [2]),
    "lazy inside": lambda: {"a": {"b": itertools.chain([1])}},
    "function": lambda: later,
    "class": lambda: Parcel,
    "context manager": nothing,
    "context manager of a class": Open,
    "publish": lambda: Publish({"a": 1}, headers={"kind": "own"}),
    "tombstone": lambda: Publish(None),
    "mail": lambda: mail("on its way", headers=[("a", "1"), ("a", None), ("traceparent", "own")]),
    "several": lambda: [mail(1), mail(2), mail(None)],
    "deque": lambda: collections.deque([mail(1)]),
    "values": lambda: {"a": mail(1)}.values(),
    "mixed": lambda: [mail(1), 2],
    "in a dict": lambda: {"a": mail(1)},
    "in a dict's key": lambda: {mail(1): 2},
    "deep": lambda: {"a": {"b": [mail(1)]}},
    "in a list of lists": lambda: [[mail(1)]],
    "in a dataclass": lambda: Parcel(mail(1)),
    "in another": lambda: mail(mail(1)),
    "nan in a publish": lambda: mail(float("nan")),
    "no topic's name": lambda: Publish(1, topic="a b"),
    "topic of Kafka": lambda: Publish(1, topic="__consumer_offsets"),
    "key of a number": lambda: Publish(1, key=5),  # type: ignore[arg-type]
    "header of a number": lambda: Publish(1, headers={"a": 1}),  # type: ignore[arg-type]
    "rejected": lambda: raised(RejectOrder("no")),
    "rejected with a reason": lambda: raised(RejectOrder("no", reason="process.too_dear")),
    "invalid": lambda: raised(InvalidOrder("price", "is too low")),
    "asked for later": lambda: raised(RetryLater("closed", after=0.1)),
    "failed": lambda: raised(TimeoutError("no answer")),
    "failed from a cause": from_a_cause,
    "base exception": lambda: raised(GeneratorExit()),
}
"""By customer. Whoever is not named here is served without a result."""


def handle(order: Order) -> Any:
    """End the order in its customer's way."""
    way = WAYS.get(order["customer_id"])
    return None if way is None else way()


async def handle_at_once(order: Order) -> Any:
    """The same in a coroutine that never waits."""
    return handle(order)


async def handle_later(order: Order) -> Any:
    """The same in one that waits."""
    await asyncio.sleep(0.001)
    return handle(order)
