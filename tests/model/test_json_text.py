"""JSON of unknown origin: what it says, or an error that says what is wrong with it."""

import json
import time
from typing import Any, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.model.json_text import DEEPEST, read_json, require_shallow

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Surrogates are no characters.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab\\"[{é'), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans())
def test_a_json_value_is_read_as_it_was_written(value: Any, ascii_only: bool) -> None:
    assert read_json(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is no JSON: Expecting value at column 1"),
        ("{", "is no JSON: Expecting property name"),
        ("nonsense", "is no JSON"),
        ("NaN", "is no JSON: NaN"),
        ("[-Infinity]", "is no JSON: -Infinity"),
        ("1e999", "has a number that is too large: 1e999"),
        ("9" * 5_000, "has a number with more than 400 digits"),
        ('"\\ud800"', "is no valid Unicode: half a surrogate pair"),
        ('{"\\udfff\\ud800": 1}', "is no valid Unicode"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"a":' * 100_000, "is nested too deeply"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "is nested too deeply"),
        ('["\\""' + ",[" * 300 + "]" * 301, "is nested too deeply"),
    ],
    ids=lambda text: text[:12],
)
def test_what_cannot_be_read_is_named(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        read_json(text)


@pytest.mark.parametrize(
    "text", ['"never closed', '{"a": "\x01"}', '{"a', '"\\q"', "{,}", "[1 2]", "{} {}", '{"a" 1}', ""]
)
def test_the_fault_is_a_sentence(text: str) -> None:
    """Some of the library's messages end where a place would follow."""
    with pytest.raises(ValueError, match=r"^is no JSON: .*[^: ] at column \d+$") as refusal:
        read_json(text)
    assert "at at" not in str(refusal.value)


def test_brackets_in_a_text_and_beside_each_other_nest_nothing() -> None:
    """Only what is within something else counts."""
    beside: List[Any] = [[[]]] * 1000
    in_text = ['\\"[' * 1000, "{\\" * 1000, "\\"]

    assert read_json(json.dumps([beside, in_text])) == [beside, in_text]
    assert read_json("[" * DEEPEST + "]" * DEEPEST) is not None


@pytest.mark.parametrize("text", ['"' + '\\"' * 2_000_000, '"[' * 1_000_000, "9" * 4_000_000 + "[" * 201])
def test_no_text_takes_long(text: str) -> None:
    """An attempt of seconds for a megabyte would be a way to stop whoever reads it."""
    began_s = time.monotonic()
    for read in (require_shallow, read_json):
        try:
            read(text)
        except ValueError:
            continue

    assert time.monotonic() - began_s < 10
