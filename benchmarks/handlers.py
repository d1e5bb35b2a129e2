"""Handlers that the benchmarks run in consumer.py, one for each kind of load."""

import os
import time
from typing import Any, Dict, Optional, Set

from benchmarks.work import CALLS_A_TICK, NEW, marks, number_of
from orderflow import RetryLater
from orderflow.consume.handler import Delivery

Order = Dict[str, Any]

SHARE = os.environ.get("BENCH_FAILING", "none")
"""The end of the numbers of the orders that fail: `00` is one in a hundred."""
ONE_IN_20 = ("00", "20", "40", "60", "80")
"""How the numbers of these end."""
WAITING = int(os.environ.get("BENCH_WAITING", "0"))
PERCENT = int(os.environ.get("BENCH_PERCENT", "0"))
TROUBLE = os.environ.get("BENCH_TROUBLE", "/nonexistent")
"""While this file exists, PERCENT of the orders fail."""
EVERY = int(os.environ.get("BENCH_EVERY", "1"))
CALLS = os.environ.get("BENCH_CALLS", os.devnull)
CPU_S = int(os.environ.get("BENCH_CPU_US", "0")) / 1e6

_marks = marks()
_calls = os.open(CALLS, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
_failed: Set[str] = set()
_computed = 0

nothing = _marks.handle


def some_fail_first(order: Order) -> None:
    """A share of the orders fails at the first call. Only first calls count as handled."""
    number = order["order_id"]
    if not number.endswith(SHARE):
        return _marks.handle(order)
    if number in _failed:
        return None
    _failed.add(number)
    _marks.handle(order)
    raise ConnectionError("not yet")


def some_wait(order: Order) -> None:
    """One in 20 of the first orders waits for hours, up to a limit; all others finish at once.

    It looks at the others no longer than `some_fail_first` does, whose speed it is compared with.
    """
    number = order["order_id"]
    if number.endswith(ONE_IN_20) and number_of(number) <= 20 * WAITING:
        raise RetryLater(after=36_000)
    _marks.handle(order)


def millisecond(order: Order, delivery: Delivery) -> None:
    """Work for about a millisecond, and write the order to a file that survives a kill."""
    os.write(_calls, f"{delivery.id}\n".encode())
    time.sleep(0.001)


def five_milliseconds(order: Order) -> None:
    """Wait, as for the answer of another service."""
    time.sleep(0.005)
    _marks.handle(order)


def compute(order: Order) -> None:
    """Use the processor, and nothing else."""
    global _computed
    if CPU_S:
        until_s = time.thread_time() + CPU_S
        while time.thread_time() < until_s:
            pass
    _computed += 1
    if _computed % CALLS_A_TICK == 0:
        os.write(_calls, f"{time.monotonic():.4f},{os.getpid()}\n".encode())


def tell_time(order: Order, delivery: Delivery) -> bytes:
    """The intended send time, which is in the order, and the time of this call, both in microseconds."""
    return f"{order['timestamp']},{_now_us()}".encode()


def a_share_fails(order: Order) -> bytes:
    """Fail for the same share of keys while there is trouble; else tell the order's number and its time."""
    number = number_of(order["order_id"])
    if number % 100 < PERCENT and os.path.exists(TROUBLE):
        raise ConnectionError("what this order needs is down")
    return f"{number},{order['timestamp']}".encode()


def tell_partition(order: Order, delivery: Delivery) -> None:
    """Write down when which partition was worked on, and by whom."""
    line = f"{time.monotonic():.4f},{os.getpid()},{delivery.partition},{order['order_id']}\n"
    os.write(_calls, line.encode())


def every_nth_waits(order: Order, delivery: Delivery) -> Optional[bytes]:
    """Fill a ledger with every nth order for hours, and write down each order that was sent afterwards."""
    if order["order_id"].startswith(NEW):
        os.write(_calls, f"{time.monotonic():.4f}\n".encode())
        return tell_time(order, delivery)
    _marks.handle(order)
    if delivery.offset % EVERY == 0:
        raise RetryLater(after=36_000)
    return None


def _now_us() -> int:
    return time.time_ns() // 1000
