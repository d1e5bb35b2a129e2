"""What a page says is read back as it was written; whatever else stands in its place is no page."""

from typing import Dict, List

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.model.commit_metadata import MAX_OFFSET, Commit, Entry, PageName
from orderflow.model.ledger_page import (
    ANNOUNCED,
    FOLLOWED,
    IN_COMPANY,
    MOST_ATTEMPTS,
    RECORD_BYTES,
    Heading,
    Page,
    completed,
    entry_bytes,
    key_hash,
    most_heads,
    page_key,
    read_page,
    write_page,
)

KEY = page_key("group", "orders", 3)
NOW_S = 1_764_000_000
NAME = PageName("orders-waiting", 0, 7)


def page_of(entries: List[Entry], end: int = 1_000, number: int = 7, base: int = 0) -> bytes:
    """The value of a page with these heads, written at NOW_S."""
    packed = [
        entry_bytes(
            entry.offset,
            NOW_S + entry.delay_s,
            entry.attempts,
            (FOLLOWED if entry.has_followers else 0) | (ANNOUNCED if entry.announced else 0),
        )
        for entry in entries
    ]
    hashes = [key_hash(b"%d" % entry.offset) for entry in entries if entry.has_followers]
    return write_page(KEY, Heading(number, base, end, NOW_S), packed, hashes)


ENTRIES = st.builds(
    Entry,
    st.integers(0, 900),
    st.integers(0, MOST_ATTEMPTS),
    st.integers(0, 10_000_000),
    st.booleans(),
    st.booleans(),
)
GOOD = page_of([Entry(2, 1, 5, True), Entry(7, 40, 3_000_000), Entry(9, 0, 0, False, True)])


@given(st.lists(ENTRIES, unique_by=lambda entry: entry.offset))
def test_a_page_is_read_back_as_it_was_written(entries: List[Entry]) -> None:
    """Any attempts, any delay, with and without followers."""
    entries.sort()

    page = read_page(KEY, page_of(entries))

    hashes: Dict[int, bytes] = {e.offset: key_hash(b"%d" % e.offset) for e in entries if e.has_followers}
    assert page == Page(7, 0, 1_000, NOW_S, entries, hashes)


def test_what_a_suspect_still_waits_for_is_told_apart_from_what_is_being_called() -> None:
    """As in the metadata: announced with a delay means that it is not being called now."""
    entry = entry_bytes(5, 0, 1, ANNOUNCED | IN_COMPANY)

    page = read_page(KEY, write_page(KEY, Heading(1, 0, 9, NOW_S), [entry], []))

    assert page is not None
    assert page.entries == [Entry(5, 1, 1, announced=True)]


@pytest.mark.parametrize("place", range(len(GOOD)))
def test_one_damaged_byte_anywhere_makes_it_no_page(place: int) -> None:
    """The check covers all of it."""
    damaged = bytearray(GOOD)
    damaged[place] ^= 0x10

    assert read_page(KEY, bytes(damaged)) is None


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_a_page_that_is_cut_off_is_no_page(length: int) -> None:
    """Wherever it ends."""
    assert read_page(KEY, GOOD[:length]) is None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_an_error(value: bytes) -> None:
    """Whoever may write into the topic may write anything."""
    assert read_page(KEY, value) is None


def test_a_page_under_another_key_is_no_page() -> None:
    """One group's or partition's list must not be taken for another's."""
    assert read_page(page_key("group", "orders", 4), GOOD) is None
    assert read_page(page_key("grou", "porders", 3), GOOD) is None
    assert read_page(KEY, None) is None


@pytest.mark.parametrize(
    ("entries", "end", "base"),
    [
        ([Entry(5, 0, 0), Entry(5, 0, 0)], 9, 0),
        ([Entry(5, 0, 0), Entry(4, 0, 0)], 9, 0),
        ([Entry(5, 0, 0)], 5, 0),
        ([Entry(5, 0, 0)], 9, 6),
        ([], MAX_OFFSET + 1, 0),
    ],
)
def test_offsets_that_cannot_be_make_it_no_page(entries: List[Entry], end: int, base: int) -> None:
    """A forged list that goes back, or past its own ends, could skip orders."""
    assert read_page(KEY, page_of(entries, end, base=base)) is None


def test_hashes_that_do_not_match_the_followers_make_it_no_page() -> None:
    """Else followers would be taken for finished, or others' orders for followers."""
    followed = entry_bytes(5, 0, 0, FOLLOWED)

    assert read_page(KEY, write_page(KEY, Heading(1, 0, 9, NOW_S), [followed], [])) is None


# --- which page belongs to a commit

COMMIT = Commit(50, [], True, True, None, NOW_S - 9, 800, NAME)


def told(number: int = 7, base: int = 10, end: int = 50) -> Page:
    """A page with two heads at its base and after."""
    return Page(number, base, end, NOW_S, [Entry(base, 1, 2), Entry(base + 3, 2, 4)], {})


def test_the_page_that_is_named_completes_the_commit() -> None:
    """Marks are the commit's, which may have been written again since; the heads are the page's."""
    commit = COMMIT._replace(written_at_s=NOW_S)

    assert completed(commit, 10, told()) == commit._replace(entries=told().entries)


@pytest.mark.parametrize(("later_s", "delay_s"), [(-1, 4), (-9_999, 4), (3, 1), (4, 0), (9_999, 0)])
def test_what_waits_is_due_when_it_was_however_often_the_marks_were_written(
    later_s: int, delay_s: int
) -> None:
    """Each start and stop writes them again, and names the same page. What was announced stays so.

    Marks of an earlier time than their page's tell of a clock that was set back: nothing waits longer for it.
    """
    announced = Entry(13, 2, 1, announced=True)
    page = told()._replace(entries=[Entry(10, 1, 4), announced])
    commit = COMMIT._replace(written_at_s=NOW_S + later_s)

    assert completed(commit, 10, page) == commit._replace(entries=[Entry(10, 1, delay_s), announced])


def test_heads_before_the_committed_offset_are_done() -> None:
    """They were lost from the log, and the offset went on."""
    commit = COMMIT._replace(written_at_s=NOW_S)

    assert completed(commit, 13, told()) == commit._replace(entries=[Entry(13, 2, 4)])


def test_a_later_page_will_do_and_tells_where_it_stands() -> None:
    """With at-least-once it precedes the offset: what it says is true, but no call is vouched for."""
    later = told(9, 20, 60)

    found = completed(COMMIT, 10, later)

    expected = COMMIT._replace(next=60, entries=later.entries, clean=False, written_at_s=NOW_S)
    assert found == expected._replace(page=NAME._replace(number=9))


@pytest.mark.parametrize(
    "page", [told(6), told(7, end=51), told(9, base=9), told(9, base=10, end=49), told(6, 20, 60)]
)
def test_any_other_page_is_refused(page: Page) -> None:
    """Earlier ones, and those that know less than the commit."""
    assert completed(COMMIT, 10, page) is None


def test_a_record_of_a_megabyte_lists_tens_of_thousands() -> None:
    """However many of them have followers."""
    entries = [Entry(offset, 3, 60, True) for offset in range(most_heads(1_000_000))]

    assert len(entries) > 40_000
    assert len(page_of(entries, 100_000)) <= 1_000_000 - RECORD_BYTES + 100
