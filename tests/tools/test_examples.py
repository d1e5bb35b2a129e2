"""The examples do what their text says: they are the first code of ours that a user copies."""

import csv
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from orderflow import RejectOrder, RetryLater
from orderflow.consume.handler import Delivery, Handler, load
from tests.support.account import Line, Position, result_id
from tests.support.pipeline import ROOT, SAMPLE

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

    def do_POST(self) -> None:
        """Answer one request."""
        order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.headers["Idempotency-Key"], order))
        self.send_response(int(order["product_id"]))
        self.send_header("Retry-After", "7")
        self.end_headers()
        self.wfile.write(b"42")

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


@pytest.mark.parametrize(("status", "error"), [("404", RejectOrder), ("429", RetryLater), ("503", OSError)])
def test_each_refusal_of_the_service_means_something(reserve: Handler, status: str, error: type) -> None:
    """4xx: never. 429: later, when it says. 5xx: again, by the back-off."""
    with pytest.raises(error) as raised:
        reserve({**ORDER, "product_id": status}, delivery())

    if isinstance(raised.value, RetryLater):
        assert raised.value.after_s == 7
