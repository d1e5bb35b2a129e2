"""Single-object encoding is the same in Java: Apache Avro's BinaryMessageEncoder and Decoder, both ways.

Its bytes are kept in fixtures/avro (origin in the file beside them), so that this is tested without Java too.
Where a JDK is there, Java itself is asked. To recreate the fixture: ORDERFLOW_WRITE_FIXTURES=1.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Dict, List

import pytest

from orderflow.avro.codec import Schema, load_schema
from tests.support.schemas_for_tests import ORDER, SHIPPED, decoder, encode, field, order_schema
from tools import jvm

AVRO = "org.apache.avro:avro:1.12.1"
SOURCE = Path(__file__).parent.parent / "java" / "SingleObject.java"
GOLDEN = Path(__file__).parent.parent / "fixtures" / "avro" / "java_single_object.json"

RICH = order_schema(
    field("note", ["null", "string"], default=None, doc="not in the fingerprint"),
    field("status", {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}, aliases=["state"]),
    field(
        "lines",
        {
            "type": "array",
            "items": {
                "type": "record",
                "name": "Line",
                "fields": [field("sku", "string"), field("gift", "boolean")],
            },
        },
    ),
    field("extra", {"type": "map", "values": "long"}),
    field("weight", "float"),
)
RICH_EXTRA = {
    "note": None,
    "status": "PAID",
    "lines": [{"sku": "a", "gift": True}, {"sku": "", "gift": False}],
    "extra": {"x": -(2**62)},
    "weight": 0.25,
}

ORDERS: List[Dict[str, Any]] = [
    ORDER,
    {**ORDER, "order_id": "", "customer_id": "Zoë 漢字 😀", "product_id": "x" * 300},
    {**ORDER, "quantity": 2**31 - 1, "price": 5e-324, "timestamp": 2**63 - 1},
    {**ORDER, "quantity": -(2**31), "price": -1.7976931348623157e308, "timestamp": -(2**63)},
    {**ORDER, "quantity": 64, "price": 0.1, "timestamp": 0},
    {**ORDER, "quantity": -65, "price": -0.0, "timestamp": 2**55},
]


def java(schema: Schema, lines: List[str], tmp_path: Path) -> List[str]:
    """What Java answers to each line."""
    runtime = shutil.which("javac") and jvm.find_java(17)
    if not runtime:
        pytest.skip("no JDK here to compile with: the kept bytes are tested instead")
    try:
        jars = jvm.jars("avro-1.12.1", [AVRO])
    except jvm.MissingPiece as error:
        pytest.skip(str(error))
    path = tmp_path / "schema.avsc"
    path.write_text(schema.text, encoding="utf-8")
    done = subprocess.run(
        [runtime, "-cp", f"{jars}/*", str(SOURCE), str(path)],
        input="\n".join(lines).encode(),
        stdout=subprocess.PIPE,
        timeout=120,
        check=True,
    )
    return done.stdout.decode().splitlines()


def as_avro_json(order: Dict[str, Any]) -> str:
    return json.dumps(order)


def golden() -> List[Dict[str, Any]]:
    rows: List[Dict[str, Any]] = json.loads(GOLDEN.read_text(encoding="utf-8"))["rows"]
    return rows


def test_the_bytes_that_java_wrote_are_ours() -> None:
    """Read exactly, and written exactly so."""
    rows = golden()
    assert ORDERS == [row["order"] for row in rows]
    for row in rows:
        value = bytes.fromhex(row["hex"])
        assert row["order"] == decoder().decode(value)
        assert value == encode(row["order"])


def test_java_writes_what_we_write_and_reads_it(tmp_path: Path) -> None:
    """The shipped schema, with the edges of each type."""
    writing = [f"encode {as_avro_json(order)}" for order in ORDERS]
    reading = [f"decode {encode(order).hex()}" for order in ORDERS]
    answers = java(SHIPPED, [*writing, *reading], tmp_path)
    written, read = answers[: len(ORDERS)], answers[len(ORDERS) :]
    if os.environ.get("ORDERFLOW_WRITE_FIXTURES"):
        rows = [{"order": order, "hex": text} for order, text in zip(ORDERS, written)]
        origin = f"BinaryMessageEncoder of {AVRO}, by tests/java/SingleObject.java with order_schema.avsc"
        GOLDEN.write_text(json.dumps({"origin": origin, "rows": rows}, indent=1) + "\n", encoding="utf-8")

    assert [encode(order).hex() for order in ORDERS] == written
    assert ORDERS == [json.loads(line) for line in read]


def test_java_agrees_on_the_fingerprint_of_a_rich_schema(tmp_path: Path) -> None:
    """Names, docs, aliases, defaults and nesting: the canonical form is the same, so is the body."""
    order = {**ORDER, **RICH_EXTRA}

    written = java(RICH, [f"encode {as_avro_json(order)}"], tmp_path)

    assert [encode(order, RICH).hex()] == written
    assert order == decoder(load_schema(RICH.text)).decode(bytes.fromhex(written[0]))
