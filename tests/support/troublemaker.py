"""Trouble for running consumers: killed at random moments and started again."""

import csv
import os
import random
import time
from pathlib import Path
from typing import List, Sequence

from tests.support.pipeline import SAMPLE, Pipeline, Running, eventually

ORDERS = Path(os.environ.get("ORDERFLOW_ORDERS", str(SAMPLE)))
"""The real orders that the tests publish: the sample that is shipped, or all of them if you have the file."""
SEED = int(os.environ.get("CHAOS_SEED", str(time.time_ns() % 1_000_000)))
STOPPED = (143, -15)
"""Stopped by SIGTERM: in its own time, or before it had begun to listen."""
QUICK_SESSIONS = ("-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=1500")
"""A group notices a dead member after 6 s instead of the shipped time; the least that a broker allows."""


def order_ids(path: Path = ORDERS) -> List[str]:
    """The ids of all orders in the file."""
    with path.open(encoding="utf-8", newline="") as rows:
        return [row["order_id"] for row in csv.DictReader(rows)]


def crash_consumers(
    shop: Pipeline,
    handler: str,
    consumers: int,
    kills: int,
    orders: int,
    sessions: Sequence[str] = QUICK_SESSIONS,
) -> None:
    """Run consumers, kill one of them after the other at random moments of its work, and start it again.

    They still run when this returns, so that the last death is followed by work; then they are stopped.
    """
    print(f"CHAOS_SEED={SEED}")  # shown when a test fails
    moments = random.Random(SEED)
    running = [shop.consume(handler, *sessions) for _ in range(consumers)]
    for _ in range(kills):
        victim = moments.randrange(consumers)
        _let_work(shop, running, orders, moments.uniform(0.05, 1.0))
        running[victim].kill()
        running[victim] = shop.consume(handler, *sessions)
    _let_work(shop, running, orders, 0.5)
    for each in running:
        assert each.stop().code in STOPPED, each.describe()


def _let_work(shop: Pipeline, running: List[Running], orders: int, seconds: float) -> None:
    """Wait until handlers are being called again, or all `orders` were, and then `seconds` more."""
    called = len(shop.calls())
    eventually(
        lambda: len(shop.calls()) > called or len({call.delivery for call in shop.calls()}) == orders,
        timeout_s=60,
        why=lambda: "\n".join(each.describe() for each in running),
    )
    time.sleep(seconds)
