"""A schema that refers to others, made whole."""

import json
from typing import Any

import pytest

from orderflow.avro.references import whole
from orderflow.avro.schema import SchemaRefused, load_schema
from tests.support.schemas_for_tests import field

CITY = field("city", "string")
ADDRESS = {"type": "record", "name": "Address", "namespace": "com.shared", "fields": [CITY]}


def order(*fields: Any) -> str:
    return json.dumps({"type": "record", "name": "Order", "namespace": "com.orders", "fields": fields})


def test_a_referenced_type_is_inlined_where_it_is_first_named() -> None:
    """Once; the second use is by name, in arrays, maps and unions too."""
    others = {"type": "array", "items": "com.shared.Address"}
    text = order(field("to", "com.shared.Address"), field("others", others))

    made = json.loads(whole(text, [json.dumps(ADDRESS)]))

    assert "com.shared.Address" == made["fields"][0]["type"]["name"]
    assert {"type": "array", "items": "com.shared.Address"} == made["fields"][1]["type"]
    load_schema(json.dumps(made))


def test_a_name_without_a_dot_is_of_its_namespace() -> None:
    """As the specification says."""
    shared = {**ADDRESS, "namespace": "com.orders"}

    load_schema(whole(order(field("to", "Address")), [json.dumps(shared)]))


def test_types_of_its_own_stay_as_they_are() -> None:
    """What is not referenced, primitive or nested, means the same afterwards."""
    own = {"type": "enum", "name": "Status", "symbols": ["A"]}
    text = order(field("s", own), field("t", "Status"), field("u", ["null", {"type": "long"}]))

    assert load_schema(text).fingerprint == load_schema(whole(text, [json.dumps(ADDRESS)])).fingerprint


@pytest.mark.parametrize("referenced", ["{", "[]", '{"type": "record"}', "7"])
def test_a_reference_that_is_no_schema_is_refused(referenced: str) -> None:
    """By name of what is wrong."""
    with pytest.raises(SchemaRefused, match="do not fit together"):
        whole(order(field("to", "com.shared.Address")), [referenced])


def test_types_that_contain_each_other_are_refused_as_recursive() -> None:
    """A references B, B references A."""
    a = {"type": "record", "name": "x.A", "fields": [field("b", "x.B")]}
    b = {"type": "record", "name": "x.B", "fields": [field("a", ["null", "x.A"])]}

    with pytest.raises(SchemaRefused, match="contains itself"):
        load_schema(whole(json.dumps(a), [json.dumps(b), json.dumps(a)]))
