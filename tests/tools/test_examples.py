"""The examples do what their text says: they are the first code of ours that a user copies."""

import csv
import json
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Dict, Iterator, List, Tuple
from urllib.error import HTTPError

import pytest

from orderflow import RejectOrder, RetryLater
from orderflow.consume.handler import Delivery, Handler, load
from tests.support.account import Line, Position, result_id
from tests.support.pipeline import ROOT, SAMPLE

NO_CONTENT = 204
ORDER = {"order_id": "A1", "product_id": "CD", "quantity": 2, "price": 5.0}


def example(name: str) -> Handler:
    return load(f"{ROOT}/examples/{name}")


def delivery(attempt: int = 1) -> Delivery:
    return Delivery("orders-0-7", "orders", 0, 7, b"A1", [], None, attempt)


def real_orders() -> List[Dict[str, Any]]:
    with SAMPLE.open(encoding="utf-8", newline="") as rows:
        read = csv.DictReader(rows)
        return [{**row, "quantity": int(row["quantity"]), "price": 1.0} for row in read]


def failures(handler: Handler, attempt: int) -> Dict[str, int]:
    """How many of the real orders fail at this attempt, by the class of the error."""
    failed: Dict[str, int] = {}
    for order in real_orders():
        try:
            handler(order, delivery(attempt))
        except Exception as error:  # noqa: BLE001 (whatever a handler raises is its business)
            failed[type(error).__name__] = failed.get(type(error).__name__, 0) + 1
    return failed


def test_a_receipt_can_be_counted() -> None:
    """The account finds an order by the field `delivery` of its receipt."""
    receipt = example("checkout.py:charge")({**ORDER, "quantity": 6}, delivery())
    result = Line(Position("processed", 0, 0), None, json.dumps(receipt).encode())

    assert receipt["charged"] == 27.0
    assert result_id(result) == delivery().id


@pytest.mark.parametrize(
    ("handler", "first", "later"),
    [
        ("charge", {"PaymentTimeout": 128, "IndexError": 108}, {"IndexError": 112}),
        ("charge_fixed", {"PaymentTimeout": 128}, {}),
    ],
)
def test_the_checkout_fails_for_the_orders_that_it_says(
    handler: str, first: Dict[str, int], later: Dict[str, int]
) -> None:
    """One in fifty fails once; those of ten CDs or more always fail, until the bug is fixed."""
    charge = example(f"checkout.py:{handler}")

    assert failures(charge, attempt=1) == first
    assert failures(charge, attempt=2) == later


class Stock(BaseHTTPRequestHandler):
    """A stock service that answers what the product's name asks for."""

    seen: List[Tuple[str, Dict[str, Any]]] = []
    retry_after = "7"

    def do_POST(self) -> None:
        """Answer one request."""
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.headers["Idempotency-Key"], order))
        status = int(order["product_id"])
        self.send_response(status)
        self.send_header("Retry-After", self.retry_after)
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        if status != NO_CONTENT:
            self.wfile.write(b"42")

    def do_GET(self) -> None:
        """Answer whoever follows a redirect."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'"a page"')

    def log_message(self, *args: Any) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def reserve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Handler]:
    """The handler of examples/http_api.py, in front of a service that listens on a free port."""
    server = HTTPServer(("127.0.0.1", 0), Stock)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STOCK_URL", f"http://127.0.0.1:{server.server_port}/reserve")
    yield example("http_api.py:reserve")
    server.shutdown()
    server.server_close()


def test_a_good_answer_of_the_service_is_the_result(reserve: Handler) -> None:
    """The order goes out as JSON under its delivery id, so that a second call does no harm."""
    result = reserve({**ORDER, "product_id": "200"}, delivery())

    assert result == {"order_id": "A1", "delivery": "orders-0-7", "reservation": 42}
    assert Stock.seen[-1] == ("orders-0-7", {**ORDER, "product_id": "200"})


def test_a_success_without_a_body_is_a_success(reserve: Handler) -> None:
    """Nothing is sent again."""
    asked = len(Stock.seen)

    assert reserve({**ORDER, "product_id": "204"}, delivery())["reservation"] is None
    assert asked + 1 == len(Stock.seen)


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_redirect_is_no_reservation(reserve: Handler, status: str) -> None:
    """Followed, it would be another request than the one that was made. It is no fault of the order's."""
    with pytest.raises(HTTPError, match=status):
        reserve({**ORDER, "product_id": status}, delivery())


def test_the_service_may_name_a_date(reserve: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP allows it in place of seconds."""
    monkeypatch.setattr(Stock, "retry_after", formatdate(time.time() + 600, usegmt=True))
    with pytest.raises(RetryLater) as raised:
        reserve({**ORDER, "product_id": "429"}, delivery())

    assert raised.value.after_s is not None
    assert 500 <= raised.value.after_s <= 600


@pytest.mark.parametrize(
    ("retry_after", "after_s"),
    [("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("soon", 5), ("-3", 5), ("", 5)],
)
def test_a_date_that_has_passed_is_now_and_what_says_nothing_five_seconds(
    reserve: Handler, monkeypatch: pytest.MonkeyPatch, retry_after: str, after_s: float
) -> None:
    """Whatever the service sends, the order is tried again."""
    monkeypatch.setattr(Stock, "retry_after", retry_after)
    with pytest.raises(RetryLater) as raised:
        reserve({**ORDER, "product_id": "429"}, delivery())

    assert raised.value.after_s == after_s


@pytest.mark.parametrize(("status", "error"), [("404", RejectOrder), ("429", RetryLater), ("503", OSError)])
def test_each_refusal_of_the_service_means_something(reserve: Handler, status: str, error: type) -> None:
    """4xx: never. 429: later, when it says. 5xx: again, by the back-off."""
    with pytest.raises(error) as raised:
        reserve({**ORDER, "product_id": status}, delivery())

    if isinstance(raised.value, RetryLater):
        assert raised.value.after_s == 7
