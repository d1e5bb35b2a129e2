"""Which orders may have killed a process, and how many to call at once to find out."""

from typing import List, Optional

import pytest

from orderflow.cli.values import UNLIMITED
from orderflow.consume.caution import COMPANIES, COMPANY, Suspicion, choose, is_guilty, judge
from orderflow.consume.head import ALONE, IN_COMPANY, Head
from orderflow.consume.ledger import Ledger
from orderflow.model.commit_metadata import Commit, Entry, read_metadata
from tests.support.memory import text_of


def commit(entries: List[Entry], clean: bool = False, alone: Optional[int] = None) -> Commit:
    """A commit that lists these and says how its owner ended."""
    return Commit(1_000, entries, clean, False, alone, 0)


def called(count: int) -> List[Entry]:
    """Announced, and being called when the commit was written."""
    return [Entry(offset, 0, 0, announced=True) for offset in range(count)]


def ledger_with(*hows: int, died_alone: Optional[int] = None) -> Ledger:
    """A ledger whose heads, from offset 0 on, wait and are suspect in these ways."""
    ledger = Ledger(len(hows))
    for offset, how in enumerate(hows):
        head = ledger.admit("record", offset, b"%d" % offset)
        ledger.wait(head, 0.0)
        if how:
            ledger.suspect(head, how, died_alone=offset == died_alone)
    return ledger


# --- what a commit tells of a death


def test_after_a_proper_stop_nobody_is_suspect() -> None:
    """An order that was announced has returned by then."""
    assert judge(commit(called(3), clean=True)) == {}


@pytest.mark.parametrize(("count", "how"), [(1, ALONE), (COMPANY, ALONE), (COMPANY + 1, IN_COMPANY)])
def test_few_that_were_being_called_are_called_alone_and_many_in_company(count: int, how: int) -> None:
    """No more than a company holds were being called: it is one of these few."""
    assert judge(commit(called(count))) == {offset: Suspicion(how) for offset in range(count)}


def test_suspects_that_were_not_being_called_stay_suspects() -> None:
    """They are listed with a delay. Those that were only waiting are not suspect at all."""
    entries = [Entry(0, 0, 0, announced=True), Entry(1, 0, 1, announced=True), Entry(2, 1, 5)]

    assert judge(commit(entries)) == {0: Suspicion(ALONE), 1: Suspicion(IN_COMPANY)}


def test_who_was_called_alone_died_alone() -> None:
    """No matter how many others were listed."""
    assert judge(commit(called(COMPANY + 1), alone=4))[4] == Suspicion(ALONE, died_alone=True)


def test_a_ledger_writes_its_suspicions_so_that_the_next_owner_has_the_same() -> None:
    """Reading it back from the metadata text changes nothing."""
    ledger = ledger_with(ALONE, IN_COMPANY, 0, ALONE, IN_COMPANY, died_alone=3)

    found = read_metadata(text_of(ledger, clean=False, alone=3), 0)

    suspicions = {0: Suspicion(ALONE), 1: Suspicion(IN_COMPANY), 3: Suspicion(ALONE, True)}
    assert found is not None
    assert judge(found) == {**suspicions, 4: Suspicion(IN_COMPANY)}


# --- whom to call next


def test_who_died_alone_comes_first_and_nobody_else_of_its_partition_alone() -> None:
    """The mark has room for one: a second would overwrite it."""
    ledgers = {0: ledger_with(ALONE, ALONE), 1: ledger_with(ALONE, ALONE, died_alone=1)}

    chosen = choose(ledgers, 0.0, max_retries=3)

    assert chosen is not None
    assert ([1], [1], True) == (chosen.partitions, [head.offset for head in chosen.heads], chosen.alone)
    assert choose({1: ledgers[1]}, 0.0, max_retries=3) == chosen
    chosen.heads[0].take_off()
    assert choose({1: ledgers[1]}, 0.0, max_retries=3) is None


def test_a_company_is_made_when_nobody_has_to_be_called_alone() -> None:
    """A few of each partition, and not too many together."""
    ledgers = {number: ledger_with(*[IN_COMPANY] * 20) for number in range(10)}

    chosen = choose(ledgers, 0.0, max_retries=3)

    assert chosen is not None and not chosen.alone
    assert len(chosen.heads) == COMPANIES
    assert {chosen.partitions.count(number) for number in set(chosen.partitions)} == {COMPANY}


@pytest.mark.parametrize(("max_retries", "alone"), [(0, True), (1, True), (2, False)])
def test_a_budget_without_room_for_a_death_in_company_has_suspects_called_alone(
    max_retries: int, alone: bool
) -> None:
    """Or a killer would get more calls than its budget plus one."""
    chosen = choose({0: ledger_with(IN_COMPANY, IN_COMPANY)}, 0.0, max_retries)

    assert chosen is not None and chosen.alone == alone


def test_nobody_is_called_who_is_not_suspect_or_not_due() -> None:
    """An order whose schema cannot be fetched waits as a suspect and holds up nobody."""
    ledger = ledger_with(0, ALONE)
    ledger.wait(ledger.heads[1], 5.0)

    assert choose({0: ledger}, 1.0, max_retries=3) is None


# --- who is guilty


@pytest.mark.parametrize(
    ("max_retries", "deaths"), [(0, 1), (1, 1), (2, 1), (3, 2), (10, 9), (10_000, 30), (UNLIMITED, 30)]
)
def test_an_order_is_guilty_when_it_died_alone_as_often_as_its_budget_allows(
    max_retries: int, deaths: int
) -> None:
    """Three more of its calls ended in deaths that could not be attributed; one of them goes uncounted."""
    head = Head("record", 0, None)
    head.died_alone = True

    head.attempts = deaths
    assert is_guilty(head, max_retries)
    head.attempts = deaths - 1
    assert max_retries == 0 or not is_guilty(head, max_retries)
    head.died_alone, head.attempts = False, 30
    assert not is_guilty(head, max_retries)
