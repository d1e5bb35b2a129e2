"""The examples on docs/handlers.md do what the page says."""

import asyncio
import inspect
import re
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest

from orderflow import RejectOrder, RetryLater
from orderflow.consume.handler import Delivery, load, wants_delivery
from orderflow.consume.life_cycle import LifeCycle
from orderflow.consume.publications import Targets
from tests.support.memory import Stored
from tests.support.pipeline import ROOT

PAGE = (ROOT / "docs" / "handlers.md").read_text(encoding="utf-8")
EXAMPLES = {name: code for code, name in re.findall(r"```python\n(# shop\.py:(\w+)\n.*?)```", PAGE, re.S)}
ORDER = {
    "order_id": "O-1",
    "customer_id": "C-1",
    "product_id": "CD",
    "quantity": 2,
    "price": 9.99,
    "timestamp": None,
}
DELIVERY = Delivery("orders-0-41", "orders", 0, 41, b"ann", [], None, 1)
TARGETS = Targets("done", 1_000_000, lambda topic: 1_000_000)


@pytest.fixture(autouse=True)
def _forget_shop() -> Iterator[None]:
    """Each example is the module `shop`."""
    yield
    sys.modules.pop("shop", None)


def published(name: str, folder: Path, **order: Any) -> List[Dict[str, Any]]:
    """What an example publishes for an order: topic and value."""
    path = folder / "shop.py"
    path.write_text(EXAMPLES[name], encoding="utf-8")
    life = LifeCycle(load(f"{path}:{name}"), name)
    handler = life.open()
    arguments = ({**ORDER, **order}, DELIVERY) if wants_delivery(handler) else ({**ORDER, **order},)
    try:
        result = handler(*arguments)
        if inspect.isawaitable(result):
            assert life.calls_on is not None
            result = life.calls_on.run(result)
        return [record._asdict() for record in TARGETS.records_of(Stored(41, b"ann"), result)]
    finally:
        life.close()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("charge", [b'{"order_id":"O-1","paid":true}']),
        ("ship", [b'{"order_id":"O-1","items":2}', b"on its way"]),
        ("billing", [b'{"order_id":"O-1","rows":0}']),
        ("reserving", [b'{"order_id":"O-1","reserved":"orders-0-41"}']),
    ],
)
def test_an_example_publishes_what_it_says(name: str, values: List[bytes], tmp_path: Path) -> None:
    """Opened, called and closed as the consumer does it."""
    assert values == [record["value"] for record in published(name, tmp_path)]


def test_every_example_is_tried() -> None:
    """A block that is not named after a function would not be."""
    assert {"charge", "ship", "billing", "reserving"} == set(EXAMPLES)
    assert len(EXAMPLES) == PAGE.count("```python")


def test_the_first_example_rejects_and_waits(tmp_path: Path) -> None:
    """As its comments say."""
    with pytest.raises(RejectOrder, match="too expensive"):
        published("charge", tmp_path, price=10_001)
    with pytest.raises(RetryLater, match="closed"):
        published("charge", tmp_path, product_id="closed")


def test_the_second_example_chooses_topic_key_and_headers(tmp_path: Path) -> None:
    _, mail = published("ship", tmp_path)

    assert ("mail", b"C-1", [("kind", b"shipping")]) == (mail["topic"], mail["key"], mail["headers"])


def test_no_loop_is_left() -> None:
    """The examples above ran on one each."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
