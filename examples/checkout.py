"""The handler of the demo: charges the customer, with two kinds of trouble that every shop knows.

A payment times out for one order in fifty and works on the second attempt. A bug hits every order of ten CDs
or more; `charge_fixed` is the same handler without it. Nothing here knows about Kafka, retries or dead
letters: the handler raises, and the consumer does the rest.

    python consumer.py --handler examples/checkout.py:charge
"""

import zlib
from typing import Any, Dict

DISCOUNT_PERCENT = [0, 0, 0, 5, 5, 5, 10, 10, 10, 15]
"""By number of CDs. Nobody thought of ten or more."""

ONE_IN = 50


class PaymentTimeout(Exception):
    """The payment provider did not answer in time."""


def charge(order: Dict[str, Any], delivery: Any) -> Dict[str, Any]:
    """Charge an order and return its receipt. Fails for every order of ten CDs or more."""
    call_payment_provider(order["order_id"], delivery.attempt)
    return receipt(order, delivery.id, DISCOUNT_PERCENT[order["quantity"]])


def charge_fixed(order: Dict[str, Any], delivery: Any) -> Dict[str, Any]:
    """Like `charge`, with the bug fixed: larger orders get the last discount of the table."""
    call_payment_provider(order["order_id"], delivery.attempt)
    step = min(order["quantity"], len(DISCOUNT_PERCENT) - 1)
    return receipt(order, delivery.id, DISCOUNT_PERCENT[step])


def call_payment_provider(order_id: str, attempt: int) -> None:
    """Stand in for a call over the network. It fails or not by the order's id, so every run is the same."""
    if attempt == 1 and zlib.crc32(order_id.encode()) % ONE_IN == 0:
        raise PaymentTimeout("no answer from the payment provider")


def receipt(order: Dict[str, Any], delivery_id: str, discount_percent: int) -> Dict[str, Any]:
    """What is published to PROCESSED_TOPIC. `delivery` is the order's id, so results can be counted."""
    full = order["quantity"] * order["price"]
    return {
        "order_id": order["order_id"],
        "delivery": delivery_id,
        "charged": round(full * (100 - discount_percent) / 100, 2),
    }
