"""Handlers for the black-box tests: they keep a journal of calls, and the test decides when trouble ends."""

import ctypes
import os
import time
import zlib
from typing import Any, Dict

from orderflow import RejectOrder, RetryLater

JOURNAL = os.environ.get("JOURNAL")
TROUBLE = os.environ.get("TROUBLE", "/nonexistent")
"""While this file exists, what is troubled fails."""
CALL_S = float(os.environ.get("CALL_S", "0"))
"""Seconds that a call takes."""
UNLUCKY_ONE_IN = 50

Order = Dict[str, Any]


class Trouble(Exception):
    """What the handlers here raise when a call is to fail."""


def works(order: Order, delivery: Any) -> Order:
    """Process every order."""
    _journal(delivery, "called")
    time.sleep(CALL_S)
    return {"order_id": order["order_id"], "delivery": delivery.id}


def unlucky_ones_fail(order: Order, delivery: Any) -> Order:
    """Fail for 2 % of orders while there is trouble."""
    if is_unlucky(order["order_id"]) and os.path.exists(TROUBLE):
        _journal(delivery, "failed")
        raise Trouble("this order is out of luck")
    return works(order, delivery)


def customer_fails(order: Order, delivery: Any) -> Order:
    """Fail for every order of customer BAD while there is trouble."""
    if order["customer_id"] == "BAD" and os.path.exists(TROUBLE):
        _journal(delivery, "failed")
        raise Trouble("this customer is blocked")
    return works(order, delivery)


def poison_fails(order: Order, delivery: Any) -> Order:
    """Fail for orders whose id starts with POISON, always."""
    if order["order_id"].startswith("POISON"):
        _journal(delivery, "failed")
        raise Trouble(f"poison {order['order_id']}")
    return works(order, delivery)


def trouble_and_poison_fail(order: Order, delivery: Any) -> Order:
    """Fail for POISON always, and for orders whose id starts with TROUBLE while there is trouble."""
    if order["order_id"].startswith("TROUBLE") and os.path.exists(TROUBLE):
        _journal(delivery, "failed")
        raise Trouble("not now")
    return poison_fails(order, delivery)


def poison_is_rejected(order: Order, delivery: Any) -> Order:
    """Reject orders whose id starts with POISON: not worth a retry."""
    if order["order_id"].startswith("POISON"):
        _journal(delivery, "failed")
        raise RejectOrder("we do not sell poison")
    return works(order, delivery)


def poison_asks_to_wait(order: Order, delivery: Any) -> Order:
    """Ask for a second call after 1 s for orders whose id starts with POISON, then process them."""
    if order["order_id"].startswith("POISON") and delivery.attempt == 1:
        _journal(delivery, "failed")
        raise RetryLater("not before one second has passed", after=1)
    return works(order, delivery)


def poison_kills(order: Order, delivery: Any) -> Order:
    """End the whole process, without any chance to clean up, for orders whose id starts with POISON."""
    if order["order_id"].startswith("POISON"):
        _journal(delivery, "killed")
        os._exit(70)
    return works(order, delivery)


def poison_crashes(order: Order, delivery: Any) -> Order:
    """Crash the interpreter by reading address 0 for orders whose id starts with POISON."""
    if order["order_id"].startswith("POISON"):
        _journal(delivery, "killed")
        ctypes.string_at(0)
    return works(order, delivery)


def poison_hangs(order: Order, delivery: Any) -> Order:
    """Never return for orders whose id starts with POISON."""
    while order["order_id"].startswith("POISON"):
        _journal(delivery, "killed")
        time.sleep(3600)
    return works(order, delivery)


def poisons_crash_and_hang(order: Order, delivery: Any) -> Order:
    """Crash for orders whose id starts with POISON-CRASH, never return for other poison."""
    if order["order_id"].startswith("POISON-CRASH"):
        return poison_crashes(order, delivery)
    return poison_hangs(order, delivery)


def everything_fails(order: Order, delivery: Any) -> Order:
    """Fail for every order while there is trouble."""
    if os.path.exists(TROUBLE):
        _journal(delivery, "failed")
        raise Trouble("the whole shop is closed")
    return works(order, delivery)


def plain(order: Order) -> None:
    """The smallest handler: one argument, no result."""


def as_text(order: Order) -> str:
    """A result that is text."""
    return f"bought: {order['product_id']} €"


def as_bytes(order: Order) -> bytes:
    """A result that is bytes."""
    return b"\x00\xff" + str(order["order_id"]).encode()


def as_list(order: Order) -> Any:
    """A result that is neither text nor bytes."""
    return [order["order_id"], {"quantity": order["quantity"]}]


def is_unlucky(order_id: str) -> bool:
    """Whether an order is among the 2 % that have trouble; it depends on nothing but its id."""
    return zlib.crc32(order_id.encode()) % UNLUCKY_ONE_IN == 0


def _place(delivery: Any) -> str:
    """The order's position, which is not its id once it was replayed."""
    return f"{delivery.topic}-{delivery.partition}-{delivery.offset}"


def _journal(delivery: Any, outcome: str) -> None:
    """One line a call, written at once: what a killed process has begun is on record."""
    if JOURNAL is None:
        return
    key = "-" if delivery.key is None else delivery.key.decode("ascii", "replace")
    line = f"{time.monotonic():.4f} {os.getpid()} {_place(delivery)} {delivery.attempt} {outcome} {key}\n"
    journal = os.open(JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(journal, line.encode())
    os.close(journal)


not_a_function = 7
