"""Orders of one's own through all three scripts: a schema that shares no field with the shipped one."""

import json
from pathlib import Path
from typing import Any, Callable, Dict

import pytest

from orderflow.avro.codec import OrderDecoder, load_schema
from tests.support.pipeline import ROOT, Finished, Pipeline, reason

pytestmark = pytest.mark.broker

EXAMPLE = ROOT / "examples" / "shipments"
SHIPMENTS = {"ORDER_SCHEMA": str(EXAMPLE / "shipment.avsc"), "ORDER_KEY": "tracking_number"}
RULES = str(EXAMPLE / "shipping.py:check")
HEADER = "tracking_number,carrier,recipient,parcels,due,created_at"


def parcels(weight_kg: str) -> str:
    return json.dumps([{"sku": "S-1", "weight_kg": weight_kg}])


def shipment(number: str, **changes: Any) -> Dict[str, Any]:
    return {
        "tracking_number": number,
        "carrier": "ROAD",
        "recipient": {"name": "Ann", "city": "Köln"},
        "parcels": [{"sku": "S-1", "weight_kg": "1.5"}],
        "due": "2026-12-01",
        "created_at": "2026-11-28T12:30:00Z",
        **changes,
    }


@pytest.fixture
def shop(pipeline: Callable[..., Pipeline]) -> Pipeline:
    made = pipeline(**SHIPMENTS, MAX_RETRIES="0")
    made.succeed("producer.py", "--count", "0")  # creates the topic
    return made


def publish(shop: Pipeline, path: Path, text: str, code: int = 0) -> Finished:
    path.write_text(text, encoding="utf-8")
    finished = shop.run("producer.py", "--input", str(path))
    assert finished.code == code, finished.err
    return finished


def ship(shop: Pipeline, *arguments: str) -> Finished:
    handler = f"{EXAMPLE / 'shipping.py'}:ship"
    return shop.succeed("consumer.py", "--handler", handler, "--until-drained", *arguments)


def test_a_schema_that_shares_no_field_with_ours_goes_through_all_three_scripts(
    shop: Pipeline, tmp_path: Path
) -> None:
    """Made up, from JSON and from CSV; judged by its own rules; listed, shown, repaired and replayed."""
    made_up = ("--count", "20", "--seed", "7", "--invalid", "20%")
    shop.succeed("producer.py", *made_up, RULES=RULES)
    lines = [shipment("J-1"), shipment("J-2", due="tomorrow"), shipment("J-3", parcels=[])]
    bad = publish(shop, tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)), code=3)
    recipient = json.dumps({"name": "Bo", "city": "Rome"}).replace('"', '""')
    cells = parcels("-2").replace('"', '""')
    row = f'C-1,AIR,"{recipient}","{cells}",2026-12-01,2026-11-28T12:30:00Z'
    publish(shop, tmp_path / "b.csv", f"{HEADER}\n{row}\n")

    ship(shop, "--rules", RULES)

    assert "a.jsonl:2: due: 'tomorrow' is not a date such as 2026-11-28" in bad.err
    letters = {str(letter.key.decode()): str(reason(letter)) for letter in shop.dead_letters() if letter.key}
    own = {key: code for key, code in letters.items() if code.startswith("validate.")}
    assert own == {"J-3": "validate.parcels", "C-1": "validate.parcels[0].weight_kg"}
    assert len(shop.orders()) == len(shop.results()) + len(shop.dead_letters())

    listed = shop.succeed("dlq_handler.py", "list", "--where", 'recipient.city = "Rome"', "--json")
    assert json.loads(listed.out)["payload"]["tracking_number"] == "C-1"
    where = ("--where", 'tracking_number = "J-3"')
    shown = shop.succeed("dlq_handler.py", "list", *where)
    assert "parcels must not be empty" in shown.out
    repaired = (
        "--set",
        f"parcels={parcels('2.5')}",
        "--set",
        'due="2026-12-24"',
        "--reason",
        "repacked",
        "--yes",
        "--rules",
        RULES,
    )
    replayed = shop.succeed("dlq_handler.py", "replay", *where, *repaired)
    assert "1 of 1 sent" in replayed.err + replayed.out

    ship(shop, "--rules", RULES)
    results = [json.loads(line.value or b"") for line in shop.results()]
    assert {"tracking_number": "J-3", "due": "2026-12-24", "weight_kg": "2.500"} in results


def test_without_rules_of_ones_own_a_foreign_schema_is_read_as_it_is(shop: Pipeline) -> None:
    """The shipped rules have nothing to judge in it; the made-up orders follow it."""
    shop.succeed("producer.py", "--count", "30")

    ship(shop)

    schema = load_schema((EXAMPLE / "shipment.avsc").read_text(encoding="utf-8"))
    decode = OrderDecoder(schema, lambda ref: schema, 1_000_000).decode
    orders = [decode(line.value) for line in shop.orders()]
    assert (30, 30) == (len({order["tracking_number"] for order in orders}), len(shop.results()))
