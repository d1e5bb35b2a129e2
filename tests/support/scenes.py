"""What the engine makes of an order, as a table: what its handler does at each call, and what must follow.

The same scenes are run in memory, against the scripted session, and against a real broker.
"""

import asyncio
from typing import Any, Callable, Dict, NamedTuple, Optional

from orderflow import RejectOrder, RetryLater
from orderflow.errors import InvalidOrder

MAX_RETRIES = 3
"""The budget of the scenes: four calls."""


class Expected(NamedTuple):
    """What must come of an order."""

    calls: int
    reason: Optional[str]
    """Of its dead letter; None where it is processed."""


class Scene(NamedTuple):
    """An order's story."""

    does: Callable[[int], Any]
    """What the handler does at its n-th call, from 1."""
    expected: Expected


def _fails_until(last: int) -> Callable[[int], Any]:
    def does(attempt: int) -> Any:
        if attempt <= last:
            raise ConnectionError("not now")
        return {"attempt": attempt}

    return does


def _raises(make: Callable[[], BaseException], until: int = 99) -> Callable[[int], Any]:
    def does(attempt: int) -> Any:
        if attempt <= until:
            raise make()
        return None

    return does


async def _never_run() -> None:
    """A coroutine that its handler forgot to await."""


SCENES: Dict[str, Scene] = {
    "succeeds": Scene(lambda attempt: {"attempt": attempt}, Expected(1, None)),
    "returns-nothing": Scene(lambda attempt: None, Expected(1, None)),
    "fails-once": Scene(_fails_until(1), Expected(2, None)),
    "fails-up-to-its-last-call": Scene(_fails_until(3), Expected(4, None)),
    "always-fails": Scene(_fails_until(99), Expected(4, "process.retries_exhausted")),
    "is-rejected": Scene(_raises(lambda: RejectOrder("too dear")), Expected(1, "process.rejected")),
    "is-rejected-later": Scene(
        lambda attempt: _raises(lambda: RejectOrder("no") if attempt > 2 else OSError("down"))(attempt),
        Expected(3, "process.rejected"),
    ),
    "breaks-a-rule": Scene(
        _raises(lambda: InvalidOrder("price", "must not be negative")),
        Expected(1, "validate.price"),
    ),
    "asks-to-wait": Scene(_raises(lambda: RetryLater("closed", after=0.1), until=2), Expected(3, None)),
    "asks-to-wait-too-often": Scene(
        _raises(lambda: RetryLater("closed", after=0.1)), Expected(4, "process.retries_exhausted")
    ),
    "is-cancelled-once": Scene(_raises(asyncio.CancelledError, until=1), Expected(2, None)),
    "interrupts-itself": Scene(_raises(KeyboardInterrupt, until=1), Expected(2, None)),
    "runs-out-of-memory-once": Scene(_raises(MemoryError, until=1), Expected(2, None)),
    "forgets-to-await": Scene(lambda attempt: _never_run(), Expected(1, "process.not_run")),
    "returns-no-json": Scene(lambda attempt: {"price": float("nan")}, Expected(1, "publish.unencodable")),
    "returns-no-json-after-a-failure": Scene(
        lambda attempt: _fails_until(1)(attempt) and {"set": float("inf")}, Expected(2, "publish.unencodable")
    ),
}
"""By name, which is also what an order of this scene is called."""
