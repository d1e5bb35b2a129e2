"""A list of waiting orders that was written for another topic of the same name: nothing is lost by it."""

from typing import Any, Dict, List, Optional

import pytest

from orderflow.consume.restoring import BEYOND_END_LIMIT
from orderflow.consume.settlement import SessionLost
from orderflow.model.commit_metadata import Commit, Entry, read_metadata
from tests.support.memory import TIME_OF_DAY_S, Log, Restored, restore, write_metadata
from tests.support.scripted_session import BEGAN_S, LEDGER, RESULTS, Life, Topic

OURS, OTHERS = "hbXq0+3TQ/2m5k9aJv7cUw", "Zp4n8s1yT0aRk6LxWq2bEg"
HOUR_S = 3_600


def log_of(orders: int, published_s: float = TIME_OF_DAY_S - HOUR_S) -> Log:
    """A log with that many records, published an hour before the list was written, or when it is said."""
    log = Log()
    for offset in range(orders):
        log.append(offset, b"%d" % offset).published_ms = int(published_s * 1000)
    return log


def listed(offset: int, end: int, topic_id: Optional[str]) -> str:
    """Metadata that lists one waiting order, at its own offset; the others up to the end are done."""
    commit = Commit(end, [Entry(offset, 1, 0)], True, False, None, int(TIME_OF_DAY_S), topic_id=topic_id)
    return write_metadata(commit, offset)


def told_of(restored: Restored) -> List[Dict[str, Any]]:
    """What was said of another topic's list."""
    return [fields for name, fields in restored.events if name == "list_of_another_topic"]


# --- restoring one partition


def test_our_own_list_is_believed() -> None:
    """Written for this topic, or by a version or on a broker that knows no topic ids."""
    for topic_id in (OURS, None):
        restored = restore(log_of(9), 2, listed(2, 9, topic_id), topic_id=OURS)

        assert restored.partition.ledger.next == 9 and list(restored.partition.ledger.heads) == [2]
        assert not told_of(restored)


def test_a_list_copied_from_another_cluster_skips_nothing() -> None:
    """All from the committed offset on is called again; it is said, with how many that may be."""
    restored = restore(log_of(9), 2, listed(2, 9, OTHERS), topic_id=OURS)

    assert restored.partition.ledger.next == 2 and not restored.partition.ledger.heads
    assert told_of(restored) == [{"partition": 0, "committed": 2, "offset": 2, "until": 9}]
    assert restored.names() == ["list_of_another_topic", "partition_ready"]


def test_an_offset_of_a_topic_that_was_deleted_skips_nothing() -> None:
    """All orders of the new topic were published after the list was written: none of them can be done."""
    restored = restore(log_of(9, TIME_OF_DAY_S + 5), 4, listed(4, 6, OTHERS), topic_id=OURS)

    assert restored.partition.ledger.next == 0
    assert told_of(restored) == [{"partition": 0, "committed": 4, "offset": 0, "until": 9}]


@pytest.mark.parametrize(("published_s", "begins"), [(-50.0, 0), (-70.0, 4)])
def test_clocks_may_differ_by_a_minute(published_s: float, begins: int) -> None:
    """A consumer commits on for some seconds before it notices that its topic is another one."""
    log = log_of(9, TIME_OF_DAY_S + published_s)

    assert restore(log, 4, listed(4, 6, OTHERS), topic_id=OURS).partition.ledger.next == begins


def test_what_was_published_since_begins_in_the_midst() -> None:
    """Orders before it are taken for done, as the committed offset says."""
    log = log_of(9)
    log.records[3].published_ms = int((TIME_OF_DAY_S + 1) * 1000)

    assert restore(log, 5, listed(5, 9, OTHERS), topic_id=OURS).partition.ledger.next == 3


def test_what_retention_took_is_not_sought() -> None:
    """It begins where the log does."""
    log = log_of(9, TIME_OF_DAY_S + 5)
    log.low = 2

    restored = restore(log, 4, listed(4, 6, OTHERS), topic_id=OURS)

    assert restored.partition.ledger.next == 2 and "lost_by_retention" not in restored.names()


def test_an_offset_beyond_the_end_of_the_new_topic_still_ends_the_consumer() -> None:
    """As before: the operator resets the group."""
    with pytest.raises(SessionLost, match=r"offset 20 is committed, but the log ends at 9"):
        restore(log_of(9), 20, listed(20, 30, OTHERS), topic_id=OURS, looks=BEYOND_END_LIMIT)


def test_the_next_commit_is_bound_to_this_topic() -> None:
    """So the next owner believes it, and a third topic does not."""
    restored = restore(log_of(9), 2, listed(2, 9, None), topic_id=OURS)

    ((offset, metadata),) = restored.session.commits
    assert read_metadata(metadata, offset, OURS) is not None
    assert read_metadata(metadata, offset, OTHERS) is None


# --- the whole engine


def fails_at_first(order: Dict[str, Any]) -> Optional[str]:
    """Half of the orders wait."""
    if int(order["value"].split(b":")[1]) % 2:
        raise ConnectionError("away")
    return "done"


@pytest.mark.parametrize("pages", [False, True])
@pytest.mark.parametrize("exactly_once", [True, False])
def test_a_topic_created_again_loses_no_order_to_the_list_of_the_old_one(
    pages: bool, exactly_once: bool
) -> None:
    """With the list in the metadata, and on a page that is still there."""
    old = Topic()
    old.fill(20)
    first = Life(old, fails_at_first, exactly_once=exactly_once, pages=pages, topic_id=OTHERS)
    first.until(lambda: first.engine.waiting == 10 and first.engine.settling.is_idle)
    first.stop()
    assert old.committed[0][0] == 1 and old.committed[0][1].startswith("of2@" if pages else "of1@")

    new = Topic()
    new.committed, new.sent = dict(old.committed), [one for one in old.sent if one.topic == LEDGER]
    for number in range(30):
        new.append(0, b"%d" % number, b"B:%d" % number)
    new.records[0] = {
        offset: record._replace(published_ms=int((BEGAN_S + HOUR_S) * 1000))
        for offset, record in new.records[0].items()
    }
    second = Life(
        new,
        lambda order: order["value"].decode(),
        exactly_once=exactly_once,
        publishes=True,
        pages=pages,
        topic_id=OURS,
    )
    second.drain()

    assert [record.value for record in new.of(RESULTS)] == [b"B:%d" % number for number in range(30)]
    assert second.names().count("list_of_another_topic") == 1


def test_a_page_of_another_cluster_beside_ours_is_not_taken_for_it() -> None:
    """Compaction keeps the last page of a key: a mirror's took the place of the one that is named."""
    topic = Topic()
    topic.fill(20)
    life = Life(topic, fails_at_first, pages=True, topic_id=OURS)
    life.until(lambda: life.engine.waiting == 10 and life.engine.settling.is_idle)
    life.stop()
    mirror = Topic()
    mirror.clock.pass_by(HOUR_S)
    mirror.fill(40)
    theirs = Life(mirror, fails_at_first, pages=True, topic_id=OTHERS)
    theirs.until(lambda: theirs.engine.waiting == 20 and theirs.engine.settling.is_idle)
    theirs.stop()
    topic.sent = [one for one in topic.sent if one.topic != LEDGER] + mirror.of(LEDGER)[-1:]
    topic.fill(20)
    done: List[bytes] = []

    second = Life(topic, lambda order: done.append(order["value"]), pages=True, topic_id=OURS).drain()

    assert set(done) >= {b"0:%d" % number for number in range(1, 40)}
    assert "page_lost" in second.names()
