"""A list of waiting orders holds for the topic that it was written for, not for another of the same name."""

import string
from typing import List, Optional

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orderflow.model.commit_metadata import (
    LONGEST_TEXT,
    METADATA_LIMIT,
    OWNER,
    Commit,
    Entry,
    PageName,
    Stand,
    entry_text,
    first_form,
    of_another_topic,
    read_metadata,
    sealed,
    second_form,
    spelled,
)
from orderflow.model.ledger_page import Heading, entry_bytes, page_key, read_page, write_page

IDS = st.text(string.ascii_letters + string.digits + "+/", min_size=22, max_size=22)
"""Topic ids as the client spells them."""
TOLD = st.characters(codec="ascii")
STANDS = st.builds(
    lambda base, span, clean, braked, reach, at_s: Stand(base, base + span, clean, braked, None, reach, at_s),
    st.integers(0, 2**40),
    st.integers(1, 2**20),
    st.booleans(),
    st.booleans(),
    st.sampled_from([None, 100, 25_600]),
    st.integers(0, 2**33),
)
PAGE = PageName("orders-waiting", 3, 1_764_000_000_123)
KEY = page_key("group", "orders", 3)
OURS, OTHERS = "hbXq0+3TQ/2m5k9aJv7cUw", "Zp4n8s1yT0aRk6LxWq2bEg"


def written(stand: Stand, paged: bool) -> str:
    """The metadata in one of its forms; the first lists one head, at the committed offset."""
    return second_form(stand, PAGE) if paged else first_form(stand, entry_text(0, 2, False, 7))


def unbound(stand: Stand, paged: bool) -> str:
    """The same as versions wrote it that knew of no topic ids."""
    flags = ("c" if stand.clean else "o") + ("b" if stand.braked else "")
    flags += {None: "", 100: "0", 25_600: "8"}[stand.reach]
    told = f"{flags};{stand.next - stand.base};;{stand.written_at_s}"
    if paged:
        return sealed(f"of2;{told};{PAGE.number};{PAGE.partition};{PAGE.topic}", stand.base)
    return sealed(f"of1;{told};{entry_text(0, 2, False, 7)}", stand.base)


@given(STANDS, st.booleans(), st.one_of(st.none(), IDS), st.from_regex(rf"\A{OWNER}\Z", alphabet=TOLD))
def test_a_commit_names_its_owner(stand: Stand, paged: bool, topic_id: Optional[str], owner: str) -> None:
    """With a topic's id or without. Earlier versions named none, and are read as before."""
    text = written(stand._replace(topic_id=topic_id, owner=owner), paged)
    found, old = read_metadata(text, stand.base), read_metadata(unbound(stand, paged), stand.base)

    assert found is not None and old is not None
    assert (owner, None) == (found.owner, old.owner)
    assert found._replace(topic_id=None, owner=None) == old


@given(STANDS, st.booleans(), IDS, IDS)
def test_a_list_holds_for_its_own_topic_alone(stand: Stand, paged: bool, ours: str, others: str) -> None:
    """Read for another topic it is none, and it can be said why."""
    assume(ours != others)
    text = written(stand._replace(topic_id=ours), paged)

    found = read_metadata(text, stand.base, ours)

    assert found is not None and found.next == stand.next and found.topic_id == spelled(ours)
    assert found.entries == ([] if paged else [Entry(stand.base, 2, 7)])
    assert of_another_topic(text, stand.base, ours) is None
    assert read_metadata(text, stand.base, others) is None
    assert of_another_topic(text, stand.base, others) == found


@given(STANDS, st.booleans(), st.none() | IDS)
def test_a_list_that_names_no_topic_holds_for_any(stand: Stand, paged: bool, topic_id: Optional[str]) -> None:
    """Earlier versions wrote none, and orders wait in their lists; nor do brokers before 2.8 give ids."""
    text = unbound(stand, paged)

    assert text == written(stand, paged), "without an id, the text is what it always was"
    assert read_metadata(text, stand.base, topic_id) is not None
    assert of_another_topic(text, stand.base, topic_id) is None


@given(STANDS, st.booleans(), IDS)
def test_who_does_not_know_the_topics_id_believes_the_list(stand: Stand, paged: bool, ours: str) -> None:
    """As before: nothing can be held against it."""
    assert read_metadata(written(stand._replace(topic_id=ours), paged), stand.base) is not None


def test_both_spellings_of_an_id_are_one_topic() -> None:
    """The client and Kafka's tools use different signs for the same id."""
    text = written(Stand(5, 9, True, False, None, None, 0, OURS), paged=False)

    assert text.startswith("of1@hbXq0-3TQ_2m5k9aJv7cUw;")
    assert read_metadata(text, 5, OURS.replace("+", "-").replace("/", "_")) is not None


@pytest.mark.parametrize("topic_id", ["", "has space", "semi;colon", "x" * 23, "\u0663", "id\n"])
def test_an_id_of_an_unknown_form_is_not_written(topic_id: str) -> None:
    """A text that we could not read again would be worse than one that names no topic."""
    text = written(Stand(5, 9, True, False, None, None, 0, topic_id), paged=False)

    assert text.startswith("of1;")
    assert read_metadata(text, 5, topic_id) is not None


@pytest.mark.parametrize("text", ["", "x", "of3@abc;c;0;;0;;00000000", "of1@;c;1;;0;;00000000"])
def test_what_is_not_ours_is_of_no_other_topic_either(text: str) -> None:
    """That it was written for another topic is only said of what is whole."""
    assert of_another_topic(text, 1, OURS) is None


def test_a_list_moved_to_another_offset_is_of_no_other_topic() -> None:
    """Where the check fails, nothing in the text is believed, the topic's id included."""
    text = written(Stand(5, 9, True, False, None, None, 0, OTHERS), paged=False)

    assert of_another_topic(text, 6, OURS) is None
    assert of_another_topic(text.replace(";4;", ";5;"), 5, OURS) is None


def test_a_full_list_of_an_earlier_version_can_be_written_again() -> None:
    """It grows by the topic's id, past what is written otherwise, and is read all the same."""
    entries = entry_text(0, 1, False, 5) + entry_text(2, 1, False, 5) * 1_321
    old = sealed(f"of1;o;1322;;1764000000;{entries}", 0)
    stand = Stand(0, 1_322, False, False, None, None, 1_764_000_000, OURS)
    grown = first_form(stand, entries)

    assert METADATA_LIMIT - 3 <= len(old) <= METADATA_LIMIT < len(grown) <= LONGEST_TEXT <= 4_096
    assert read_metadata(grown, 0, OURS) is not None


# --- pages


def page(topic_id: Optional[str]) -> bytes:
    """A page with one head."""
    return write_page(KEY, Heading(7, 2, 9, 0), [entry_bytes(2, 5, 1, 0)], [], topic_id)


def test_a_page_is_of_its_own_topic_alone() -> None:
    """A mirror may put the page of another cluster beside ours, under the same key."""
    value = page(OURS)
    heads: List[Entry] = [Entry(2, 1, 5)]

    found = read_page(KEY, value, OURS)

    assert found is not None and found.entries == heads
    assert read_page(KEY, value, OTHERS) is None
    assert read_page(KEY, value, None) is None


@pytest.mark.parametrize("topic_id", [None, OURS])
def test_a_page_that_names_no_topic_is_of_any(topic_id: Optional[str]) -> None:
    """Earlier versions wrote such pages, byte for byte, and orders wait on them."""
    assert read_page(KEY, page(None), topic_id) is not None


def test_a_commit_without_entries_says_whose_it_is() -> None:
    """Also where nothing waits: `next` alone would skip orders of another topic."""
    text = first_form(Stand(9, 9, True, False, None, None, 0, OTHERS), "")

    assert read_metadata(text, 9, OURS) is None
    assert of_another_topic(text, 9, OURS) == Commit(9, [], True, False, None, 0, topic_id=spelled(OTHERS))
