"""A handler that calls a service over HTTP: which answers mean never, later, and again.

Owns: the meaning of status codes for an order, and the key that makes a repeated call harmless.
Does not know: Kafka. What is raised here is all that the consumer needs.
Used by: you, as a start:

    STOCK_URL=http://localhost:8000/reserve python consumer.py --handler examples/http_api.py:reserve
"""

import json
import os
import urllib.error
import urllib.request
from typing import Any, Dict

from orderflow import RejectOrder, RetryLater

STOCK_URL = os.environ["STOCK_URL"]
"""Read when the consumer starts: a handler that cannot work is named then, not at the first order."""

TIMEOUT_S = 10
TOO_MANY_REQUESTS = 429
NOT_OUR_FAULT = 500


def reserve(order: Dict[str, Any], delivery: Any) -> Dict[str, Any]:
    """Reserve the stock of an order.

    A time-out or an answer of 500 and above is raised as it is, and so retried with back-off.
    """
    try:
        answer = _post(STOCK_URL, order, delivery.id)
    except urllib.error.HTTPError as error:
        raise _meaning(error) from error
    return {"order_id": order["order_id"], "delivery": delivery.id, "reservation": answer}


def _post(url: str, order: Dict[str, Any], delivery_id: str) -> Any:
    """After a crash the same order can be sent again: the service knows it by its idempotency key."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": delivery_id}
    request = urllib.request.Request(url, json.dumps(order).encode(), headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def _meaning(error: urllib.error.HTTPError) -> Exception:
    if error.code == TOO_MANY_REQUESTS:
        return RetryLater("the stock service is busy", after=float(error.headers.get("Retry-After", 5)))
    if error.code < NOT_OUR_FAULT:
        return RejectOrder(f"the stock service answers {error.code}: {error.reason}")
    return error
