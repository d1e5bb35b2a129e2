"""Schemas and orders that the tests of codec, schemas and evolution share."""

import json
from pathlib import Path
from typing import Any, Dict, List, Sequence

from orderflow.avro.codec import (
    OrderDecoder,
    OrderEncoder,
    Schema,
    SchemaRef,
    load_schema,
    single_object_prefix,
)
from orderflow.errors import UnknownSchema

ROOT = Path(__file__).resolve().parent.parent.parent
SHIPPED = load_schema((ROOT / "order_schema.avsc").read_text(encoding="utf-8"))

ORDER: Dict[str, Any] = {
    "order_id": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "customer_id": "C-10042",
    "product_id": "P-1234",
    "quantity": 3,
    "price": 19.99,
    "timestamp": 1_732_492_800_123,
}

Fields = List[Dict[str, Any]]


def shipped_fields(**changed: Any) -> Fields:
    """The fields of the shipped schema, some of them changed: `quantity={"type": "long"}`."""
    return [{**field, **changed.get(field["name"], {})} for field in json.loads(SHIPPED.text)["fields"]]


def order_schema(*added: Dict[str, Any], fields: Fields = None, name: str = "com.orders.Order") -> Schema:  # type: ignore[assignment]
    """An order schema: the shipped fields or the given ones, and some more."""
    whole = [*(shipped_fields() if fields is None else fields), *added]
    return load_schema(json.dumps({"type": "record", "name": name, "fields": whole}))


def field(name: str, kind: Any, **more: Any) -> Dict[str, Any]:
    """One field of a schema."""
    return {"name": name, "type": kind, **more}


def decoder(reader: Schema = SHIPPED, writers: Sequence[Schema] = (), limit: int = 1 << 20) -> OrderDecoder:
    """A decoder that knows the reader and some writers, by fingerprint and by id (their place, from 1)."""
    known = [reader, *writers]

    def find(ref: SchemaRef) -> Schema:
        for number, schema in enumerate(known, 1):
            if ref.schema_id == number or ref.fingerprint == schema.fingerprint:
                return schema
        raise UnknownSchema(f"schema {ref} is unknown")

    return OrderDecoder(reader, find, limit)


def encoder(schema: Schema = SHIPPED) -> OrderEncoder:
    """An encoder in single-object encoding."""
    return OrderEncoder(schema, single_object_prefix(schema))


def encode(order: Dict[str, Any], schema: Schema = SHIPPED) -> bytes:
    """The order's bytes in single-object encoding."""
    return encoder(schema).encode(order)
