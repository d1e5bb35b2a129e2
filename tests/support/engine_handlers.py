"""Handlers for the tests of the engine under load and failure, beside those of tests/support/handlers.py."""

import json
import os
import signal
import time
import zlib
from typing import Any, Dict, List

from orderflow import RejectOrder
from tests.support.handlers import TROUBLE, Trouble, works
from tests.support.scenes import SCENES

Order = Dict[str, Any]

LIFE = int(os.environ.get("LIFE", "0"))
_calls_at_s: List[float] = []


def most_fail(order: Order, delivery: Any) -> Order:
    """Fail three of five orders while there is trouble: many, and still no outage."""
    if zlib.crc32(order["order_id"].encode()) % 5 < 3 and os.path.exists(TROUBLE):
        raise Trouble("three of five")
    return works(order, delivery)


def bad_customer_hurts(order: Order, delivery: Any) -> Order:
    """Fail for every order of customer C0 while there is trouble."""
    if order["customer_id"] == "C0" and os.path.exists(TROUBLE):
        raise Trouble("this customer is blocked")
    return works(order, delivery)


def bad_ones_fail(order: Order, delivery: Any) -> Order:
    """Fail for orders whose id starts with BAD while there is trouble."""
    if order["order_id"].startswith("BAD") and os.path.exists(TROUBLE):
        raise Trouble("what this order needs is down")
    return works(order, delivery)


def customer_never_works(order: Order, delivery: Any) -> Order:
    """Fail for every order of customer C0, always."""
    if order["customer_id"] == "C0":
        raise Trouble("this customer is blocked for good")
    return works(order, delivery)


def slow_ones_sleep(order: Order, delivery: Any) -> Order:
    """Take SLOW_S seconds for orders whose id starts with SLOW."""
    if order["order_id"].startswith("SLOW"):
        result = works(order, delivery)
        time.sleep(float(os.environ["SLOW_S"]))
        return result
    return works(order, delivery)


def bad_ones_are_rejected(order: Order, delivery: Any) -> Order:
    """Reject orders whose id starts with BAD."""
    if order["order_id"].startswith("BAD"):
        raise RejectOrder("not sold any more")
    return works(order, delivery)


def reads_headers(order: Order, delivery: Any) -> Order:
    """Look at all headers of every order."""
    assert dict(delivery.headers) is not None
    return works(order, delivery)


def tells_its_id(order: Order, delivery: Any) -> Order:
    """Reject every order while there is trouble, else return what it is called."""
    if os.path.exists(TROUBLE):
        raise RejectOrder("not today")
    return {"id": delivery.id}


def dies_at_full_speed(order: Order) -> None:
    """Do nothing LIFE times; then tell JOURNAL when each call was, and die as by kill -9."""
    _calls_at_s.append(time.monotonic())
    if len(_calls_at_s) == LIFE:
        with open(os.environ["JOURNAL"], "w", encoding="utf-8") as journal:
            json.dump(_calls_at_s, journal)
        os.kill(os.getpid(), signal.SIGKILL)


def tells_its_scene(order: Order, delivery: Any) -> Any:
    """Do what the scene says that an order is named after; see scenes.py."""
    works(order, delivery)
    return SCENES[order["order_id"]].does(delivery.attempt)
