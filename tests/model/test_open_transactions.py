"""Transactions that were left open, told from those that are at work."""

from typing import Optional

from orderflow.model.open_transactions import Ends, Hidden, hidden_by, may_be_left, may_be_open
from orderflow.model.records import BY_ITS_BROKER, Record

NOW_MS = 1_795_564_800_000
OPEN = Ends(0, 20, 15)
DONE = Ends(0, 20, 20)


def first(at_ms: Optional[int], kind: Optional[str] = BY_ITS_BROKER) -> Record:
    return Record("orders-dlq", 0, 15, at_ms, kind, None, b"", [])


def test_only_what_a_reader_does_not_get_is_looked_at() -> None:
    assert may_be_open({0: OPEN, 1: DONE}) == {0: OPEN}


def test_one_that_goes_on_meanwhile_was_at_work() -> None:
    """A busy consumer has one open at both looks, but not the same."""
    after = {0: Ends(0, 40, 35), 1: DONE}

    assert hidden_by({0: first(0), 1: first(0)}, after) == []


def test_one_that_began_meanwhile_is_not_left_open() -> None:
    assert hidden_by({}, {0: OPEN}) == []


def test_one_that_stands_still_hides_all_behind_it() -> None:
    assert hidden_by({0: first(NOW_MS)}, {0: Ends(0, 40, 15)}) == [Hidden(0, 15, 40, NOW_MS)]


def test_a_time_that_its_writer_gave_does_not_tell_since_when() -> None:
    """An import writes the times of old dead letters."""
    imported = {0: first(NOW_MS, "CreateTime")}

    assert hidden_by(imported, {0: OPEN}) == [Hidden(0, 15, 20, None)]


def test_a_settlement_may_take_some_seconds() -> None:
    ages = (first(NOW_MS - 4_999), first(NOW_MS - 5_000), first(None, None))

    assert [may_be_left(one, NOW_MS) for one in ages] == [False, True, True]


def test_it_lasts_once_none_of_our_scripts_would_explain_it() -> None:
    """An import is one transaction, and takes up to a minute."""
    hidden = Hidden(0, 15, 20, NOW_MS - 90_001)

    assert hidden.is_lasting(NOW_MS) and not hidden.is_lasting(NOW_MS - 1)
    assert not hidden._replace(since_ms=None).is_lasting(NOW_MS)


def test_it_says_what_is_hidden_since_when_and_how_that_ends() -> None:
    hidden = Hidden(3, 15, 20, NOW_MS - 9_000)
    how_it_ends = (
        "Kafka ends it after its transaction.timeout.ms; where that takes minutes, a person has to "
        "(kafka-transactions.sh; see the runbook)"
    )

    assert hidden.told("orders-dlq", NOW_MS) == (
        "what orders-dlq holds from 3:15 on, about 5 records: a transaction has been open there for 9s, and "
        f"hides it; {how_it_ends}"
    )
    assert "has been open there, and hides" in hidden._replace(since_ms=None).told("orders-dlq", NOW_MS)
