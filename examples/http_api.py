"""A handler that calls a service over HTTP: which answers mean never, later, and try again.

A status code becomes an exception, which is all that the consumer needs to know. An idempotency key makes a
repeated call harmless. Use it as a start for your own:

    STOCK_URL=http://localhost:8000/reserve python consumer.py --handler examples/http_api.py:reserve
"""

import json
import os
import urllib.error
import urllib.request
from typing import Any, Dict

from orderflow import RejectOrder, RetryLater

STOCK_URL = os.environ["STOCK_URL"]
"""Read when the consumer starts, so that a missing setting stops it then and not at the first order."""

TIMEOUT_S = 10
TOO_MANY_REQUESTS = 429
NOT_OUR_FAULT = 500


def reserve(order: Dict[str, Any], delivery: Any) -> Dict[str, Any]:
    """Reserve the stock of an order.

    A time-out, or an answer of 500 and above, is raised unchanged, so it is retried with back-off.
    """
    try:
        answer = _post(STOCK_URL, order, delivery.id)
    except urllib.error.HTTPError as error:
        raise _meaning(error) from error
    return {"order_id": order["order_id"], "delivery": delivery.id, "reservation": answer}


def _post(url: str, order: Dict[str, Any], delivery_id: str) -> Any:
    """After a crash the same order can be sent again; the service recognises it by its idempotency key."""
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
