"""Text of unknown origin, as it is shown and as it is typed."""

import sys
import unicodedata
from typing import Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.model.text import MOST_MARKS, escape, keys_shown_as, quoted, shown_bytes

ANY = st.text(st.characters())


@given(ANY)
def test_what_is_shown_is_printable_and_to_show_it_again_changes_nothing(text: str) -> None:
    shown = escape(text)

    assert shown.isprintable()
    assert escape(shown) == shown


@given(ANY, ANY)
def test_a_text_that_is_shown_as_part_of_another_is_shown_once(one: str, other: str) -> None:
    """What puts lines together escapes a part, and what prints them the whole."""
    assert escape(escape(one) + " " + escape(other)).isprintable()


def test_every_character_that_draws_nothing_or_moves_others_is_shown_as_its_code() -> None:
    """By Unicode's own list of what may be ignored, and its categories."""
    ignorable = [
        *(0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFEFF, 0xFFA0, 0x2800, 0x1D159),
        *range(0x180B, 0x1810),
        *range(0x200B, 0x2010),
        *range(0x2028, 0x202F),
        *range(0x2060, 0x2070),
        *range(0xFE00, 0xFE10),
        *range(0xFFF0, 0xFFFC),
        *range(0x1BCA0, 0x1BCA4),
        *range(0x1D173, 0x1D17B),
        *range(0xE0000, 0xE1000),
    ]

    assert [hex(point) for point in ignorable if escape("a" + chr(point))[1:] == chr(point)] == []


def test_marks_are_kept_where_they_belong_and_never_pile_up() -> None:
    """On a character, and as many as people use; in every block of Unicode."""
    marks = [chr(p) for p in range(sys.maxunicode + 1) if unicodedata.category(chr(p)) in ("Mn", "Me")]

    assert [mark for mark in marks if mark in escape(" " + mark)] == []
    assert [mark for mark in marks if escape("a" + mark * 9).count(mark) > MOST_MARKS] == []
    assert escape("e\u0301") == "e\u0301"


@given(st.none() | st.binary(max_size=20) | ANY.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_every_key_can_be_typed_as_it_is_shown(key: Optional[bytes]) -> None:
    """`list` shows it, `--key` takes it: text, bytes, characters that are no text, and none at all."""
    assert key in keys_shown_as(shown_bytes(key))


@pytest.mark.parametrize("text", ["O-1", "0x", "0xZZ", "\\u12", "\\ud800", "\\U99999999", "\udcff"])
def test_whatever_is_typed_for_a_key_is_a_key(text: str) -> None:
    """None of it raises; bytes that are no UTF-8 are typed as themselves."""
    assert len(keys_shown_as(text)) >= 1
    assert b"\xff" in keys_shown_as("\udcff")


def test_a_long_text_is_not_repeated_whole() -> None:
    assert quoted("abc") == "'abc'"
    assert len(quoted("9" * 5_000)) < 120
