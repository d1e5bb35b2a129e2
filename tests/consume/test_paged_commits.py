"""Pages that cannot be asked for: a topic that is deleted is told from a Kafka that does not answer."""

from typing import Any, List, Tuple, cast

import pytest
from confluent_kafka import KafkaError, KafkaException

from orderflow.consume.paged_commits import MOST_LOOKS, PagedCommits
from orderflow.consume.world import World
from orderflow.kafka.ledger_pages import LedgerPages, Wanted
from orderflow.model.commit_metadata import Commit, PageName
from tests.support.memory import MemoryPages

COMMIT = Commit(9, [], True, False, None, 0, page=PageName("orders-waiting", 0, 1))
AWAY, UNKNOWN = KafkaError._TIMED_OUT, KafkaError.UNKNOWN_TOPIC_OR_PART


class Refusing(MemoryPages):
    """Whose every search fails with the next of these codes."""

    def __init__(self, codes: List[int]) -> None:
        super().__init__()
        self._codes = iter(codes)

    def start(self, number: int, wanted: Wanted) -> None:
        """Refuse it."""
        raise KafkaException(KafkaError(next(self._codes)))


def begun(codes: List[int]) -> Tuple[PagedCommits, List[str]]:
    """The paged commits of a Kafka that answers so, and the events that they report."""
    told: List[str] = []

    def report(name: str, **_: Any) -> None:
        told.append(name)

    world = World(lambda: 0.0, lambda: 0.0, lambda: 0.0, report)
    return PagedCommits(cast(LedgerPages, Refusing(codes)), "group", "orders", world), told


def look(paged: PagedCommits, times: int) -> None:
    """Ask for the page so often, each time in vain."""
    for _ in range(times):
        with pytest.raises(KafkaException):
            paged.start(0, 4, COMMIT)


def test_a_page_is_lost_once_its_topic_was_not_there_ten_times() -> None:
    """Then all from the committed offset on counts as unfinished."""
    paged, told = begun([UNKNOWN] * MOST_LOOKS)
    look(paged, MOST_LOOKS - 1)
    paged.start(0, 4, COMMIT)

    (complete,) = paged.poll(0.0)

    assert (complete.number, complete.commit.next, told) == (0, 4, ["page_lost"])


def test_looks_that_kafka_did_not_answer_do_not_count() -> None:
    """However long it was away: a broker that has just come back may not know the topic yet."""
    paged, told = begun([AWAY] * 50 + [UNKNOWN] * MOST_LOOKS)
    look(paged, 50 + MOST_LOOKS - 1)
    paged.start(0, 4, COMMIT)

    assert paged.numbers() == {0} and not told


def test_looks_of_an_earlier_assignment_do_not_count() -> None:
    """A partition that comes back is looked for anew."""
    paged, told = begun([UNKNOWN] * 20)
    look(paged, MOST_LOOKS - 1)
    paged.cancel({0})
    look(paged, MOST_LOOKS - 1)

    assert not paged and not told
