"""A handler that calls a service over HTTP: which answers mean never, later, and try again.

A status code becomes an exception, which is all that the consumer needs to know. An idempotency key makes a
repeated call harmless. Use it as a start for your own:

    STOCK_URL=http://localhost:8000/reserve python consumer.py --handler examples/http_api.py:reserve
"""

import email.utils
import json
import os
import time
import urllib.error
import urllib.request
from typing import Any, Dict

from orderflow import RejectOrder, RetryLater

STOCK_URL = os.environ["STOCK_URL"]
"""Read when the consumer starts, so that a missing setting stops it then and not at the first order."""

TIMEOUT_S = 10
TOO_MANY_REQUESTS = 429
BUSY_FOR_S = 5.0
"""Where the service does not say for how long."""


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect to whoever made the request: urllib would follow one of a POST by a GET."""

    def redirect_request(self, *args: Any) -> None:
        """Make no other request, so that the answer is raised as an HTTPError."""


OPENER = urllib.request.build_opener(NoRedirects)


def reserve(order: Dict[str, Any], delivery: Any) -> Dict[str, Any]:
    """Reserve the stock of an order.

    A time-out, a redirect and an answer of 500 and above are raised unchanged, so they are retried with
    back-off.
    """
    try:
        answer = _post(STOCK_URL, order, delivery.id)
    except urllib.error.HTTPError as error:
        raise _meaning(error) from error
    return {"order_id": order["order_id"], "delivery": delivery.id, "reservation": answer}


def _post(url: str, order: Dict[str, Any], delivery_id: str) -> Any:
    """The answer's JSON; None if it has no body, which is a success as well.

    After a crash the same order can be sent again; the service recognises it by its idempotency key.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": delivery_id}
    request = urllib.request.Request(url, json.dumps(order).encode(), headers)
    with OPENER.open(request, timeout=TIMEOUT_S) as answer:
        body = answer.read()
    return json.loads(body) if body else None


def _meaning(error: urllib.error.HTTPError) -> Exception:
    if error.code == TOO_MANY_REQUESTS:
        return RetryLater(
            "the stock service is busy", after=_busy_for_s(error.headers.get("Retry-After", ""))
        )
    if 400 <= error.code < 500:
        return RejectOrder(f"the stock service answers {error.code}: {error.reason}")
    return error


def _busy_for_s(retry_after: str) -> float:
    """HTTP allows seconds and a date in this header."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        free_at = email.utils.parsedate_to_datetime(retry_after)
    except (TypeError, ValueError):
        return BUSY_FOR_S
    return max(0.0, free_at.timestamp() - time.time())
