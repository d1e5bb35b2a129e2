"""The file of orders that could not be delivered: every line of it can be sent again."""

import json
import os
from pathlib import Path
from typing import Any, Dict

import pytest

from orderflow.avro.codec import load_schema
from orderflow.avro.order_fields import fields_of
from orderflow.produce.order_file import JsonLine, RawRecord
from orderflow.produce.undelivered import Undelivered
from tests.support.schemas_for_tests import decoder, encoder, field
from tests.support.small_disk import small_disk


def undecodable(value: bytes) -> Dict[str, Any]:
    """A decoder for which nothing is an order, so that bytes are kept as they are."""
    raise ValueError(value)


@pytest.fixture
def undelivered(tmp_path: Path) -> Undelivered:
    """A file of undelivered orders that is not created yet."""
    name = str(tmp_path / "undelivered")
    return Undelivered(undecodable, lambda order: b"", lambda order: b"", json.loads, name)


def test_a_full_disk_leaves_no_half_line(undelivered: Undelivered, tmp_path: Path) -> None:
    """Given to --input, it would be a bad line, and hide that its order is lost."""
    with small_disk(1_000):
        kept = [undelivered.keep(b"key", b"x" * 300) for _ in range(10)]
    kept.append(undelivered.keep(b"key", b"later"))
    undelivered.close()

    lines = (tmp_path / "undelivered.jsonl").read_text().splitlines()
    assert [json.loads(line)["key_b64"] for line in lines] == ["a2V5"] * undelivered.kept
    assert undelivered.kept == kept.count(True) == 3
    assert "undelivered.jsonl: File too large" in (undelivered.lost or "")


def test_a_disk_that_takes_nothing_leaves_no_file(undelivered: Undelivered, tmp_path: Path) -> None:
    """`next: producer.py --input` would find it empty."""
    with small_disk(10):
        assert not undelivered.keep(b"key", b"value")
    undelivered.close()

    assert os.listdir(tmp_path) == []


DAY = {"type": "int", "logicalType": "date"}
MOMENT = {"type": "long", "logicalType": "timestamp-millis"}


@pytest.mark.parametrize(
    ("fields", "order"),
    [
        ([field("a", [DAY, "string"])], {"a": "2026-01-21"}),
        ([field("a", ["bytes", "string"])], {"a": "seem"}),
        ([field("a", [MOMENT, "string"])], {"a": "2026-01-01T00:00:00Z"}),
        ([field("a", {"type": "array", "items": ["bytes", "string"]})], {"a": ["seem"]}),
        ([field("a", ["null", "string", "int"])], {"a": "5"}),
        ([field("key_b64", "string"), field("payload_b64", "string")], {"key_b64": "", "payload_b64": ""}),
    ],
)
def test_an_order_that_is_sent_again_is_the_same_record(tmp_path: Path, fields: Any, order: Any) -> None:
    """A text that a file would take for a date, for bytes or for a record is none when it comes back."""
    schema = load_schema(json.dumps({"type": "record", "name": "R", "fields": fields}))
    encode, read = encoder(schema).encode, JsonLine(fields_of(schema.parsed))
    name, value = str(tmp_path / "undelivered"), encode(order)
    undelivered = Undelivered(decoder(schema).decode, encode, lambda order: b"key", read, name)

    undelivered.keep(b"key", value)
    undelivered.close()

    again = read((tmp_path / "undelivered.jsonl").read_text())
    assert value == (again.value if isinstance(again, RawRecord) else encode(again))
