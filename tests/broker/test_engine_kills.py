"""kill -9 at every gap of the engine's work: one death after the other, and the account closes.

The long form, tests/chaos/test_engine_kills.py, takes all gaps, each on topics of its own.
"""

import json
from typing import Callable, Dict, List, Sequence

import pytest

from tests.support.dying_consumer import GAPS
from tests.support.engine_tools import INSTANCE, MORTAL, Shop, rows

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]

GUARANTEES = ("exactly-once", "at-least-once")
ELSEWHERE: Dict[str, List[str]] = {
    "exactly-once": ["deliver", "abort_transaction", "start"],
    "at-least-once": [
        "init_transactions",
        "begin_transaction",
        "send_offsets_to_transaction",
        "commit_transaction",
        "abort_transaction",
        "start",
    ],
}
"""Places that a run without faults does not pass: each guarantee has its own; no page is read."""
GRAVEST: Dict[str, List[str]] = {
    "exactly-once": [
        "after handler",
        "after produce",
        "after send_offsets_to_transaction",
        "after commit_transaction",
        "after _commit_open",
        "before _revoked",
    ],
    "at-least-once": ["after deliver", "before commit", "before finish_calls"],
}


def gaps(guarantee: str) -> List[str]:
    """The gaps that every run of this guarantee passes."""
    return [gap for gap in GAPS if gap.split(" ", 1)[1] not in ELSEWHERE[guarantee]]


@pytest.mark.parametrize("guarantee", GUARANTEES)
def test_a_death_at_every_grave_gap_loses_nothing(strict_shop: NewShop, guarantee: str) -> None:
    """One life each on one topic: no order is lost, and in exactly-once mode none has two fates.

    With exactly-once, whatever waits is listed on a page of the ledger topic.
    """
    paged = {"PAGED": "1"} if guarantee == "exactly-once" else {}
    shop = strict_shop(GUARANTEE=guarantee, RETRY_BACKOFF="0.1", MAX_RETRIES="30", **paged)
    shop.create(partitions=2)
    for gap in GRAVEST[guarantee]:
        shop.put([*rows(20, prefix=gap.replace(" ", "-")), (f"POISON-{gap}", "C")])
        dying = shop.die_at(gap, 1, "poison_asks_to_wait", "--until-drained", *MORTAL, *INSTANCE)
        assert dying.wait(40).code == -9, f"never passed {gap}: {dying.describe()}"
    shop.drain("poison_asks_to_wait", *MORTAL, *INSTANCE)

    taken = shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert taken.processed == taken.published


def test_the_gravest_gaps_are_gaps() -> None:
    """A gap that was renamed must not go untested."""
    for guarantee in GUARANTEES:
        assert set(GRAVEST[guarantee]) <= set(gaps(guarantee))


@pytest.mark.clock
def test_a_death_at_full_speed_repeats_calls_of_a_moment(strict_shop: NewShop) -> None:
    """However fast the handler is: what is not committed was called within 225 ms (here with a margin)."""
    shop = strict_shop(LIFE="580000").create(partitions=4)
    shop.put(rows(600_000))
    assert shop.consume("dies_at_full_speed").wait(60).code == -9

    calls_at_s: List[float] = json.loads(shop.journal_path.read_text("utf-8"))
    committed = sum(told.offset for told in shop.told().values())
    assert calls_at_s[-1] - calls_at_s[min(committed, len(calls_at_s) - 1)] < 0.5


@pytest.mark.parametrize("name", [INSTANCE, ()], ids=["of the same name", "any other"])
def test_a_transaction_that_a_death_left_open_holds_up_no_successor(
    strict_shop: NewShop, name: Sequence[str]
) -> None:
    """It hides what is committed. Whoever takes the partitions over ends it, and not after a minute."""
    shop = strict_shop().create()
    shop.put(rows(20))
    lasting = (*MORTAL, "-X", "transaction.timeout.ms=60000")
    dying = shop.die_at("before commit_transaction", 1, "works", *name, *lasting)
    assert dying.wait(40).code == -9, dying.describe()

    drained = shop.consume("works", "--until-drained", *name, *lasting).wait(25)

    assert drained.code == 0, drained.err
    assert shop.assert_account_closes().processed == 20
