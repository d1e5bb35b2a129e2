"""Records to publish: of a file or made up, with broken ones mixed in."""

import json
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional

import pytest

import config
from orderflow.avro.codec import OrderDecoder, OrderEncoder, load_schema, single_object_prefix
from orderflow.avro.order_fields import fields_of
from orderflow.produce.order_file import BadLine, OrderFile
from orderflow.produce.record_key import key_reader
from orderflow.produce.record_source import RecordSource, Wire

SCHEMA = load_schema(config.ORDER_SCHEMA.read_text(encoding="utf-8"))


def wire(key: str = "order_id", schema: Any = SCHEMA) -> Wire:
    encoder = OrderEncoder(schema, single_object_prefix(schema))
    return Wire(encoder, OrderDecoder(schema, lambda ref: schema, 1_000_000), key_reader(schema, key))


def records(source: RecordSource, number: Optional[int] = None) -> List[Any]:
    found = []
    for item in source:
        if item is not None:
            found.append(item)
        if number is not None and len(found) >= number:
            break
    return found


@pytest.fixture
def order_file(tmp_path: Path) -> Iterator[Callable[..., OrderFile]]:
    streams = []

    def write(*lines: str, count: int = 0) -> OrderFile:
        path = tmp_path / "orders.csv"
        rows = [f"O-{number},C-{number % 7},CD,1,9.5,1" for number in range(count)]
        header = "order_id,customer_id,product_id,quantity,price,timestamp"
        path.write_text("\n".join([header, *rows, *lines, ""]), encoding="utf-8")
        streams.append(path.open("rb"))
        return OrderFile(streams[-1], "orders.csv", fields_of(SCHEMA.parsed))

    yield write
    for stream in streams:
        stream.close()


def test_an_order_becomes_its_key_and_its_bytes(order_file: Callable[..., OrderFile]) -> None:
    ((key, value),) = records(RecordSource(wire("customer_id"), order_file(count=1), 0.0, None))

    assert key == b"C-0"
    assert wire().decode(value)["order_id"] == "O-0"


def test_a_key_that_is_a_number_is_its_text(order_file: Callable[..., OrderFile]) -> None:
    ((key, _),) = records(RecordSource(wire("timestamp"), order_file(count=1), 0.0, None))

    assert key == b"1"


def test_broken_records_stand_beside_all_orders_of_the_file(order_file: Callable[..., OrderFile]) -> None:
    """A share of 20 % means a fifth of all records, and no order of the file is missing for it."""
    source = RecordSource(wire(), order_file(count=2000), 0.2, 1)
    keys = [key for key, _ in records(source)]

    assert [key for key in keys if key and b"-bad-" not in key] == [f"O-{n}".encode() for n in range(2000)]
    assert len(keys) == 2000 + source.spoiled
    assert 0.17 < source.spoiled / len(keys) < 0.23


def test_everything_made_up_can_be_broken() -> None:
    source = RecordSource(wire(), None, 1.0, 1)

    assert len(records(source, 60)) == 60
    assert source.spoiled == 60


def test_the_same_seed_makes_the_same_records_byte_for_byte() -> None:
    one, other = (records(RecordSource(wire(), None, 0.3, 5), 200) for _ in range(2))

    assert one == other
    assert one != records(RecordSource(wire(), None, 0.3, 6), 200)


def test_the_line_to_go_on_from_is_the_first_whose_order_was_not_handed_over(
    order_file: Callable[..., OrderFile],
) -> None:
    """A broken record precedes the order of its line, and does not count as that order."""
    source = RecordSource(wire(), order_file(count=50), 0.5, 1)
    line = 2
    for key, _ in filter(None, source):
        assert isinstance(key, bytes)
        own = b"-bad-" not in key and key != b""
        assert source.resume_from(handed_over=False) == f"orders.csv:{line}"
        line += own
        assert source.resume_from(handed_over=True) == f"orders.csv:{line}"


def test_bad_lines_keep_their_place_among_the_records(order_file: Callable[..., OrderFile]) -> None:
    found = records(RecordSource(wire(), order_file("x", "O-9,C,P,1,1,1", count=1), 0.0, None))

    assert [isinstance(item, BadLine) for item in found] == [False, True, False]


def test_an_order_that_only_the_encoder_can_judge_is_a_bad_line(tmp_path: Path) -> None:
    text = json.dumps(
        {
            "type": "record",
            "name": "Order",
            "fields": [
                {"name": "order_id", "type": "string"},
                {"name": "size", "type": {"type": "enum", "name": "Size", "symbols": ["S", "L"]}},
            ],
        }
    )
    schema = load_schema(text)
    path = tmp_path / "orders.jsonl"
    path.write_text('{"order_id": "a", "size": "XL"}\n{"order_id": "b", "size": "L"}\n', encoding="utf-8")
    with path.open("rb") as stream:
        file = OrderFile(stream, "orders.jsonl", fields_of(schema.parsed))
        bad, good = records(RecordSource(wire(schema=schema), file, 0.0, None))

    assert bad.where == "orders.jsonl:1"
    assert good[0] == b"b"
