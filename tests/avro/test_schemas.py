"""Which schemas are taken, from where, and which are refused before they can do harm."""

import contextlib
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import pytest

from orderflow.avro.codec import SchemaRef, confluent_prefix, read, single_object_prefix
from orderflow.avro.schema import SchemaRefused, load_schema
from orderflow.avro.schema_store import SchemaStore
from orderflow.errors import Undecodable, UnknownSchema
from orderflow.produce.made_up import made_up_orders
from tests.support.schemas_for_tests import ORDER, ROOT, SHIPPED, encode, field, order_schema


def record(*fields: Any, name: str = "R") -> str:
    return json.dumps({"type": "record", "name": name, "fields": list(fields)})


def decimal(**more: Any) -> Any:
    return {"type": "bytes", "logicalType": "decimal", "precision": 4, **more}


def array_of(items: Any) -> Any:
    return {"type": "array", "items": items}


def nested(levels: int) -> Any:
    kind: Any = "int"
    for _ in range(levels):
        kind = array_of(kind)
    return kind


def doubling(levels: int) -> str:
    """Each record holds the one below twice: 2**levels values that take no bytes."""
    kind: Any = {"type": "record", "name": "L0", "fields": []}
    for level in range(1, levels):
        fields = [field("a", kind), field("b", f"L{level - 1}")]
        kind = {"type": "record", "name": f"L{level}", "fields": fields}
    return json.dumps(kind)


MANY_NULLS = {"type": "record", "name": "N", "fields": [field(f"n{i}", "null") for i in range(50)]}
TREE = {"type": "record", "name": "Tree", "fields": [field("below", array_of("Tree"))]}
LINE = {"type": "record", "name": "Line", "fields": [field("sku", "string"), field("note", "null")]}
EMPTY = {"type": "record", "name": "E", "fields": []}
NO_BYTES = {"type": "fixed", "name": "F", "size": 0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('"string"', "not a record"),
        ('["null", "string"]', "not a record"),
        ('{"type": "record"}', "not valid Avro"),
        (record(field("a", "Nowhere")), "not valid Avro: .*Nowhere"),
        (record(field("a", "int"), field("a", "int")), "one name twice"),
        (record(field("a b", "int")), "not a name"),
        (record(field("a", [])), "no branches"),
        (record(field("a", {"type": "enum", "name": "E", "symbols": ["A", "B-C"]})), "not valid Avro"),
        (record(field("a", "int", __fastavro_parsed_schema=True)), "reserved"),
        (record(field("next", ["null", "R"])), "type R contains itself"),
        (record(field("a", array_of(TREE))), "type Tree contains itself"),
        (record(field("a", array_of("null"))), "items of an array .null."),
        (record(field("a", array_of(EMPTY))), "items of an array .record E."),
        (record(field("a", array_of(NO_BYTES))), "items of an array .fixed F."),
        (record(field("a", array_of(MANY_NULLS))), "items of an array .record N."),
        (record(field("a", {"type": "map", "values": MANY_NULLS})), "items of a map .record N."),
        (record(field("a", nested(70))), "levels deep"),
        (record(field("a", nested(300))), "levels deep"),
        (doubling(40), "cost no bytes"),
        (record(field("a", {"type": "bytes", "logicalType": "decimal", "precision": 100_000})), "digits"),
        (record(field("a", "int"), name="x" * 1_000_001), "characters"),
    ],
)
def test_a_schema_that_could_do_harm_is_refused(text: str, says: str) -> None:
    """When it is loaded, with the part that is at fault; a few bytes of data could crash or fill us."""
    with pytest.raises(SchemaRefused, match=says):
        load_schema(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (record({"name": 5, "type": "int"}), "5 is not a name"),
        (record(field("a", {"type": "enum", "name": "E", "symbols": []})), "enum E has no symbols"),
        (record(field("a", {"type": "enum", "name": "E", "symbols": {"A": 1}})), "enum E has no symbols"),
        (record(field("a", {"type": "fixed", "name": "F", "size": -1})), "fixed F: size -1"),
        (record(field("a", {"type": "fixed", "name": "F", "size": 1 << 40})), "fixed F: size 1099511627776"),
        (record(field("a", {"type": "fixed", "name": "F", "size": "16"})), "fixed F: size '16'"),
        (record(field("a", ["null", ["int", "string"]])), "directly within a union"),
        (record(field("a", {"type": "error", "name": "X", "fields": []})), "type X is of kind error"),
        (record(field("a", ["int", {"type": "int", "logicalType": "date"}])), "two branches of type int"),
        (record(field("a", {"type": "bytes", "logicalType": "decimal"})), "no precision"),
        (record(field("a", {"type": "bytes", "logicalType": "decimal", "precision": 0})), "no precision"),
        (record(field("a", decimal(scale=[]))), "scale \\[\\]"),
    ],
)
def test_a_schema_that_the_specification_does_not_allow_is_refused(text: str, says: str) -> None:
    """Also where fastavro parses it, and fails only with the first order."""
    with pytest.raises(SchemaRefused, match=says):
        load_schema(text)


@pytest.mark.parametrize(
    "kind",
    [
        {"type": "string", "logicalType": "date"},
        {"type": "long", "logicalType": "date"},
        {"type": "int", "logicalType": "timestamp-millis"},
        {"type": "double", "logicalType": "decimal", "precision": 4},
        {"type": "string", "logicalType": 5},
        {"type": "string", "logicalType": None},
        {"type": "fixed", "name": "F", "size": 4, "logicalType": "uuid"},
        {"type": "array", "items": "int", "logicalType": "date"},
    ],
)
def test_a_logical_type_that_its_type_cannot_have_is_ignored(kind: Any) -> None:
    """As the specification has it: the value is what its type says, for whoever makes, reads or writes it."""
    schema = load_schema(record(field("a", kind)))
    made = next(made_up_orders(schema, random.Random(1)))

    assert "logicalType" not in schema.parsed["fields"][0]["type"]
    assert made == read(encode(made, schema), 10, schema.parsed)


def test_a_logical_type_that_nobody_knows_is_kept() -> None:
    """It says what a number is, so that another one is not read in its place."""
    schema = load_schema(record(field("a", {"type": "long", "logicalType": "money"})))

    assert "money" == schema.parsed["fields"][0]["type"]["logicalType"]


@pytest.mark.parametrize(
    "kind",
    [
        array_of("boolean"),
        array_of(["null", "string"]),
        array_of(LINE),
        {"type": "map", "values": "null"},
        {"type": "fixed", "name": "F", "size": 16},
        nested(20),
    ],
)
def test_an_ordinary_schema_is_accepted(kind: Any) -> None:
    """Nothing that is in use is refused with the dangerous ones."""
    load_schema(record(field("a", kind)))


def test_a_type_used_twice_is_not_recursive() -> None:
    """Billing and shipping address are of one type."""
    address = {"type": "record", "name": "Address", "fields": [field("city", "string")]}
    load_schema(record(field("billing", address), field("shipping", "Address")))


def test_no_registry_no_cost() -> None:
    """Without a registry its client is not even imported."""
    script = "import sys; from orderflow.avro.schema_store import SchemaStore; SchemaStore(); "
    script += "print('confluent_kafka' in sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=str(ROOT), stdout=subprocess.PIPE, text=True, check=True)

    assert "False\n" == done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "schemas").mkdir()
    (tmp_path / "order_schema.avsc").write_text(SHIPPED.text, encoding="utf-8")
    return tmp_path


def store(folder: Path) -> SchemaStore:
    return SchemaStore(folder / "order_schema.avsc", folder / "schemas")


def test_writers_are_found_by_fingerprint_among_the_files(folder: Path) -> None:
    """The reader's schema and every version that is kept, whatever the files are called."""
    older = order_schema(field("note", "string"))
    (folder / "schemas" / "2024.avsc").write_text(older.text, encoding="utf-8")

    found = store(folder)

    assert SHIPPED == found.find_writer(SchemaRef(SHIPPED.fingerprint, None)) == found.reader
    assert older == found.find_writer(SchemaRef(older.fingerprint, None))


@pytest.mark.parametrize("ref", [SchemaRef(b"\x01" * 8, None), SchemaRef(None, 7)])
def test_a_schema_that_only_a_restart_can_add_is_not_retried(folder: Path, ref: SchemaRef) -> None:
    """There is no registry in which it could appear: the reason is `unknown_schema`, and it is permanent."""
    with pytest.raises(Undecodable) as caught:
        store(folder).find_writer(ref)

    assert "decode.unknown_schema" == caught.value.reason
    assert not isinstance(caught.value, UnknownSchema)


class Seconds:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Seconds since the test began."""
        return self.now_s


def holding(folder: Path, clock: Seconds) -> SchemaStore:
    return SchemaStore(folder / "order_schema.avsc", folder / "schemas", hold_s=300, clock=clock)


def test_a_newer_schema_is_waited_for_and_found_once_its_file_is_there(folder: Path) -> None:
    """In a rolling deployment an older consumer meets it first; the folder is read again, not the reader."""
    newer, clock = order_schema(field("note", "string", default="")), Seconds()
    held, ref = holding(folder, clock), SchemaRef(newer.fingerprint, None)
    with pytest.raises(UnknownSchema) as caught:
        held.find_writer(ref)

    (folder / "schemas" / "newer.avsc").write_text(newer.text, encoding="utf-8")
    clock.now_s = 300.0

    assert ("decode.unknown_schema", 300) == (caught.value.reason, caught.value.after_s)
    assert newer == held.find_writer(ref)
    assert SHIPPED == held.reader


def test_the_folder_is_not_read_again_for_every_order(folder: Path) -> None:
    """A flood of orders with a made-up fingerprint costs no look at the disk each."""
    newer, clock = order_schema(field("note", "string", default="")), Seconds()
    held, ref = holding(folder, clock), SchemaRef(newer.fingerprint, None)
    for now_s, found in ((0.0, False), (0.5, False), (1.5, True)):
        clock.now_s = now_s
        (folder / "schemas" / "newer.avsc").write_text(newer.text if now_s else "{", encoding="utf-8")
        with contextlib.nullcontext() if found else pytest.raises(UnknownSchema):
            held.find_writer(ref)


def test_a_file_that_cannot_be_used_adds_nothing_while_running(folder: Path) -> None:
    """Half-copied, say: the next look may find it whole."""
    held = holding(folder, Seconds())
    (folder / "schemas" / "broken.avsc").write_text("{", encoding="utf-8")

    with pytest.raises(UnknownSchema, match="neither the reader's nor in schemas/"):
        held.find_writer(SchemaRef(b"\x01" * 8, None))
    assert SHIPPED == held.find_writer(SchemaRef(SHIPPED.fingerprint, None))


@pytest.mark.parametrize("text", ["{", record(field("next", ["null", "R"])), None])
def test_a_file_that_cannot_be_used_is_named(folder: Path, text: Any) -> None:
    """At start, not at the first order."""
    path = folder / "schemas" / "broken.avsc"
    if text is None:
        path.write_bytes(b"\xff\xfe")
    else:
        path.write_text(text, encoding="utf-8")

    with pytest.raises(SchemaRefused, match=r"broken\.avsc"):
        store(folder)


@pytest.mark.parametrize("plain", [None, "a.avsc", "z.avsc"])
def test_two_files_that_bytes_cannot_tell_apart_are_refused(folder: Path, plain: Optional[str]) -> None:
    """Logical types do not count in a fingerprint, but they change the value. One without any hides none."""
    if plain is not None:
        (folder / "schemas" / plain).write_text(order_schema(field("total", "bytes")).text, encoding="utf-8")
    for scale in (2, 3):
        decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": scale}
        path = folder / "schemas" / f"scale-{scale}.avsc"
        path.write_text(order_schema(field("total", decimal)).text, encoding="utf-8")

    with pytest.raises(SchemaRefused, match=r"scale-2.avsc and scale-3.avsc have the same fingerprint"):
        store(folder)


def test_without_a_registry_the_producer_writes_single_objects(folder: Path) -> None:
    """The framing that needs no server."""
    value = store(folder).producer_encoder("orders").encode(ORDER)

    assert encode(ORDER) == value
    assert value.startswith(single_object_prefix(SHIPPED))
    assert not value.startswith(confluent_prefix(1)[:1])
