"""Restoring from the last owner's commit: nothing is skipped, and everything lost is reported."""

from typing import Any, Dict, FrozenSet, List, Optional, Sequence, Tuple

import pytest
from confluent_kafka import KafkaError, KafkaException

from orderflow.consume.caution import COMPANY, INLINE
from orderflow.consume.head import ALONE, IN_COMPANY, Head
from orderflow.consume.restoring import BEYOND_END_LIMIT, CAREFUL_CALLS
from orderflow.consume.retry import Policy
from orderflow.consume.settlement import Outcome, SessionLost, Settlement
from orderflow.model.commit_metadata import REACHES, Commit, Entry, read_metadata
from tests.support.memory import TIME_OF_DAY_S, Log, MemoryPages, Restored, restore, write_metadata
from tests.support.scripted_session import Answer, Life, ScriptedSession, Topic


def log_of(*keys: Optional[bytes]) -> Log:
    """A log with a record of each key, from offset 0 on."""
    log = Log()
    for offset, key in enumerate(keys):
        log.append(offset, key)
    return log


def committed(
    entries: List[Entry],
    mark: int,
    clean: bool = True,
    braked: bool = False,
    alone: Optional[int] = None,
    reach: Optional[int] = None,
) -> str:
    """The metadata that goes with the first entry's offset."""
    base = entries[0].offset if entries else mark
    return write_metadata(Commit(mark, entries, clean, braked, alone, int(TIME_OF_DAY_S), reach), base)


def heads(restored: Restored) -> List[Head]:
    """The restored heads, lowest first."""
    return [head for _, head in sorted(restored.partition.ledger.heads.items())]


# --- where it goes on


def test_a_group_without_a_commit_begins_at_the_beginning() -> None:
    """Of what the log still holds."""
    log = log_of(b"a", b"b")
    log.low = 1

    restored = restore(log, None, "")

    assert (1, 1) == (restored.session.position, restored.partition.ledger.next)
    assert ["partition_ready"] == restored.names()


def test_only_what_was_there_when_the_group_began_may_begin_at_its_end() -> None:
    """With `auto.offset.reset=latest`; a partition that came later is read from its beginning."""
    log = log_of(b"a", b"b")
    there, later = (restore(log, None, "", from_end=frozenset([begun])) for begun in (0, 1))

    assert (2, 0) == (there.session.position, later.session.position)


def test_it_goes_on_at_the_mark_and_not_at_the_committed_offset() -> None:
    """What is between and is not listed is finished."""
    restored = restore(log_of(b"a", b"b", b"c"), 0, committed([Entry(0, 1, 0)], 3))

    assert 3 == restored.session.position
    assert [0] == [head.offset for head in heads(restored)]


def test_the_mark_open_is_committed_before_anything_flows() -> None:
    """With all that waits still listed: a crash from here on is one that the next owner knows of."""
    restored = restore(log_of(b"a", b"b"), 0, committed([Entry(0, 2, 7)], 2))

    ((offset, metadata),) = restored.session.commits
    found = read_metadata(metadata, offset)
    assert found is not None
    assert (0, 2, [Entry(0, 2, 7)], False) == (offset, found.next, found.entries, found.clean)


@pytest.mark.parametrize("metadata", ["x", "of2;c;3;;0;AAA;00000000", committed([Entry(7, 0, 0)], 9)])
def test_foreign_metadata_skips_nothing(metadata: str) -> None:
    """It begins at the committed offset itself, and says that what waited is not known."""
    restored = restore(log_of(b"a", b"b", b"c"), 1, metadata)

    assert (1, []) == (restored.session.position, heads(restored))
    assert ["metadata_foreign", "partition_ready"] == restored.names()


def test_a_commit_beyond_the_end_of_the_log_skips_nothing() -> None:
    """A recreated topic: the operator has to decide where to continue."""
    with pytest.raises(SessionLost, match=r"offset 9 is committed, but the log ends at 2.*reset the group"):
        restore(log_of(b"a", b"b"), 9, "", looks=BEYOND_END_LIMIT)


def test_a_log_that_catches_up_is_believed() -> None:
    """A new leader may know less of the log for a moment."""
    assert restore(log_of(b"a", b"b"), 2, "").partition.ledger.next == 2


# --- what comes back


def test_attempts_and_delays_come_back() -> None:
    """The attempt count continues, and the time that has passed is subtracted from the delay."""
    entries = [Entry(0, 2, 20, False), Entry(1, 0, 3, False), Entry(2, 1, 0, False)]

    restored = restore(log_of(b"a", b"b", None), 0, committed(entries, 3), now_s=100.0, later_s=8.0)

    assert [(2, 112.0), (0, 100.0), (1, 100.0)] == [(head.attempts, head.due_s) for head in heads(restored)]


def test_a_clock_that_went_back_makes_no_delay_longer() -> None:
    """The time of day of another machine may be wrong; a delay is at most what was committed."""
    restored = restore(log_of(b"a"), 0, committed([Entry(0, 1, 20)], 1), now_s=100.0, later_s=-5000.0)

    assert [120.0] == [head.due_s for head in heads(restored)]


def test_followers_come_back_and_finished_orders_do_not() -> None:
    """Of a waiting key, all behind its head; of any other key, nothing that is not listed."""
    log = log_of(b"a", b"b", b"a", None, b"c", b"a", b"b")

    restored = restore(log, 0, committed([Entry(0, 1, 0, True), Entry(4, 1, 0, False)], 7))

    ledger = restored.partition.ledger
    assert [0, 4] == sorted(ledger.heads)
    assert [2, 5] == [follower.offset for follower in ledger.heads[0].followers]
    assert {b"a": 1, b"c": 1} == ledger.busy
    assert 4 == ledger.unfinished


def test_lone_heads_before_a_busy_key_come_back_too() -> None:
    """They are sought, the rest is read through."""
    log = log_of(b"x", b"b", b"y", b"a", b"b", b"a")

    restored = restore(log, 0, committed([Entry(0, 1, 0), Entry(2, 1, 0), Entry(3, 1, 0, True)], 6))

    assert [(0, 0), (2, 0), (3, 1)] == [(head.offset, len(head.followers)) for head in heads(restored)]


# --- what the log lost


def test_a_waiting_order_that_retention_deleted_is_reported() -> None:
    """At ERROR, by offset; the rest continues, and it is no longer committed as waiting."""
    log = log_of(b"a", b"b", b"c")
    del log.records[0]
    log.low = 1

    restored = restore(log, 0, committed([Entry(0, 1, 0), Entry(1, 1, 0)], 3))

    assert [1] == [head.offset for head in heads(restored)]
    assert ("waiting_order_lost", {"partition": 0, "offset": 0, "more": False}) in restored.events
    assert 1 == restored.session.commits[0][0]


def test_orders_behind_a_lost_one_are_not_lost_with_it() -> None:
    """Without its key they cannot be told from finished orders, so all from there on is called again."""
    log = log_of(b"z", b"a", b"a", b"b")
    del log.records[1]

    restored = restore(log, 0, committed([Entry(0, 1, 0), Entry(1, 1, 0, True)], 4), looks=2)

    assert ("waiting_order_lost", {"partition": 0, "offset": 1, "more": True}) in restored.events
    assert [0] == [head.offset for head in heads(restored)]
    assert (1, 1) == (restored.session.position, restored.partition.ledger.next)
    assert {b"z": 1} == restored.partition.ledger.busy


def test_what_retention_took_before_them_is_told_once() -> None:
    """As orders that were waiting, not as orders that nobody has seen."""
    log = log_of(b"a", b"a", b"b")
    del log.records[0]
    log.low = 1

    restored = restore(log, 0, committed([Entry(0, 1, 0, True)], 3), looks=2)

    assert ["waiting_order_lost", "partition_ready"] == restored.names()
    assert 1 == restored.session.position


def test_orders_that_retention_deleted_unseen_are_reported() -> None:
    """The log starts after the mark: that many orders were never admitted."""
    log = log_of(*[b"a"] * 10)
    log.low = 8

    restored = restore(log, 3, committed([], 3))

    assert ("lost_by_retention", {"partition": 0, "offset": 3, "until": 8}) in restored.events
    assert 8 == restored.session.position


# --- how the last owner ended


def test_after_a_proper_stop_nothing_is_done_with_care() -> None:
    """Also where an order was announced: a call that returned is no suspect."""
    restored = restore(log_of(b"a", b"b"), 0, committed([Entry(0, 1, 0, announced=True)], 2, clean=True))

    (head,) = heads(restored)
    assert (0, 0, 0, False) == (restored.partition.careful_left, head.careful, head.suspect, head.died_alone)


@pytest.mark.parametrize(
    ("reach", "calls"), [(None, CAREFUL_CALLS), (400, 400), (REACHES[-1], CAREFUL_CALLS)]
)
def test_after_a_crash_what_waits_and_what_is_next_is_handled_with_care(
    reach: Optional[int], calls: int
) -> None:
    """Anything being called when the process died is among them, as far as its commit shows."""
    restored = restore(log_of(b"a", b"b"), 0, committed([Entry(0, 1, 9)], 2, clean=False, reach=reach))

    (head,) = heads(restored)
    assert (calls, INLINE.followers, 0) == (restored.partition.careful_left, head.careful, head.suspect)
    assert 9.0 == head.due_s


def test_after_a_second_crash_those_announced_are_called_alone_and_at_once() -> None:
    """One of them killed the process; the one that was called alone did."""
    entries = [Entry(0, 1, 0, announced=True), Entry(1, 1, 0, announced=True), Entry(2, 1, 9)]

    restored = restore(log_of(b"a", b"b", b"c"), 0, committed(entries, 3, clean=False, alone=1))

    expected = [(ALONE, False, 0.0), (ALONE, True, 0.0), (0, False, 9.0)]
    assert expected == [(head.suspect, head.died_alone, head.due_s) for head in heads(restored)]


def test_a_new_owner_commits_every_suspicion_that_it_takes_over() -> None:
    """Another order may end it before it gets to these, and then its next owner must know of them."""
    entries = [Entry(number, 0, 0, announced=True) for number in range(COMPANY + 1)]
    few = [Entry(0, 2, 0, announced=True), Entry(1, 0, 0, announced=True)]
    log = log_of(*[b"%d" % number for number in range(COMPANY + 1)])

    for listed, alone in ((entries, None), (few, 0)):
        restored = restore(log, 0, committed(listed, COMPANY + 1, clean=False, alone=alone))
        again = restore(log, *restored.session.commits[0])

        kept = [(head.suspect, head.died_alone, head.attempts) for head in heads(restored)]
        assert kept == [(head.suspect, head.died_alone, head.attempts) for head in heads(again)]
        assert {IN_COMPANY if alone is None else ALONE} == {head.suspect for head in heads(restored)}


def test_the_next_owner_is_careful_as_far_as_this_one_still_had_to_be() -> None:
    """It may die at once, and has announced nothing of what the last one may have called."""
    restored = restore(log_of(b"a"), 1, committed([], 1, clean=False, reach=6_400))

    found = read_metadata(restored.session.commits[0][1], 1)
    assert found is not None
    assert (found.reach or CAREFUL_CALLS) >= 6_400


@pytest.mark.parametrize("braked", [True, False])
def test_an_outage_goes_on_over_a_restart(braked: bool) -> None:
    """A restart in its middle must not begin by giving up what waits."""
    restored = restore(log_of(b"a"), 0, committed([Entry(0, 4, 0)], 1, braked=braked))

    assert braked == restored.brake.holds(0)
    found = read_metadata(restored.session.commits[0][1], 0)
    assert found is not None
    assert braked == found.braked


def test_what_was_read_back_of_a_partition_that_is_taken_away_takes_no_memory() -> None:
    """It was not ready yet, and counts for its next owner: a limit would be reached for ever otherwise."""
    topic, policy = Topic(), Policy(max_retries=9, backoff_s=1e6, backoff_max_s=1e6)
    for number in range(5):
        topic.put(0, b"key", b"0:%d" % number)
    life = Life(topic, _fail, policy=policy)
    life.until(lambda: life.engine.waiting == 5 and life.engine.settling.is_idle)
    second = Life(topic, _fail, policy=policy)
    second.session.answers.extend([Answer(Settlement(Outcome.NOT_COMMITTED, "not now"))] * 10)
    second.until(lambda: "restore_delayed" in second.names())
    assert second.engine.assignment.busy

    second.session.revoke(0)
    second.step()
    assert {} == second.engine.assignment.busy
    second.session.answers.clear()
    second.session.assign(0)
    second.until(lambda: "partition_ready" in second.names())

    held = second.engine.assignment.ready[0].ledger.held
    assert held.of.used == held.bytes > 0


def _fail(order: Dict[str, Any]) -> None:
    raise ValueError("never")


class Unlucky(ScriptedSession):
    """One in which Kafka does not tell of, or the client not fetch, the second partition for a while."""

    call, error = "", KafkaError._UNKNOWN_PARTITION
    until_s = 0.0

    def bounds(self, partition: int, timeout_s: float) -> Tuple[int, int]:
        """The first offset of the log and the one after its last."""
        self._answer("bounds", partition)
        return super().bounds(partition, timeout_s)

    def resume_at(self, partition: int, offset: int) -> None:
        """Fetch it again."""
        self._answer("resume_at", partition)
        super().resume_at(partition, offset)

    def _answer(self, call: str, partition: int) -> None:
        if (call, partition) == (self.call, 1) and self._log.clock() < self.until_s:
            raise KafkaException(KafkaError(self.error))


@pytest.mark.parametrize("paged", [False, True])
@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        ("bounds", KafkaError._UNKNOWN_PARTITION, "no broker leads it; is one away?"),
        ("resume_at", KafkaError._STATE, "Local: Erroneous state"),
    ],
)
def test_a_partition_in_trouble_puts_off_no_other(call: str, error: int, told: str, paged: bool) -> None:
    """Each is restored by itself: with and without a page that lists what waits."""
    topic, policy = Topic(partitions=3), Policy(max_retries=99, backoff_s=1.0, backoff_max_s=1.0)
    for number in range(3):
        topic.fill(200, number)
    first = Life(topic, _fail, policy=policy, pages=paged, metadata_limit=100 if paged else 4096)
    first.until(lambda: first.engine.waiting >= 300 and first.engine.settling.is_idle)
    first.stop()
    until_s, done = topic.clock() + 20.0, []
    second = Life(
        topic,
        lambda order: done.append((order["value"], topic.clock())),
        policy=policy,
        pages=paged,
        connect=type("Later", (Unlucky,), {"call": call, "error": error, "until_s": until_s}),
    )
    second.drain()

    assert delays(second) == [f"partition 1: {told}"]
    assert {b"0:", b"2:"} == {value[:2] for value, at_s in done if at_s < until_s}
    assert 400 == sum(at_s < until_s for _, at_s in done)
    assert 600 == len({value for value, _ in done}) == len(done)


def test_pages_that_cannot_be_read_put_off_no_partition_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger topic may be out of reach while the orders are not."""
    topic, policy = Topic(partitions=3), Policy(max_retries=99, backoff_s=1.0, backoff_max_s=1.0)
    topic.fill(200, 1)
    first = Life(topic, _fail, policy=policy, pages=True, metadata_limit=100)
    first.until(lambda: first.engine.waiting >= 150 and first.engine.settling.is_idle)
    first.stop()
    until_s, done = topic.clock() + 2.0, []
    read = MemoryPages.poll

    def poll(pages: MemoryPages, timeout_s: float) -> Any:
        if topic.clock() < until_s:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return read(pages, timeout_s)

    monkeypatch.setattr(MemoryPages, "poll", poll)
    for number in (0, 2):
        topic.fill(200, number)
    second = Life(
        topic, lambda order: done.append((order["value"], topic.clock())), pages=True, metadata_limit=100
    )
    second.drain(20_000)

    assert 400 == sum(at_s < until_s for _, at_s in done)
    assert 600 == len({value for value, _ in done}) == len(done)


class Hidden(ScriptedSession):
    """One of a group whose committed offsets an open transaction hides, which the client calls a time-out."""

    hidden, until_s = frozenset([0]), 0.0

    def committed(self, partitions: Sequence[int], timeout_s: float) -> Dict[int, Tuple[Optional[int], str]]:
        """What the group has committed."""
        if self.hidden & set(partitions) and self._log.clock() < self.until_s:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return super().committed(partitions, timeout_s)

    def end_left_open(self, partitions: Sequence[int]) -> FrozenSet[int]:
        """Those that a transaction hides."""
        return self.hidden


def test_a_transaction_that_hides_what_is_committed_is_told_as_such() -> None:
    """Now and then, and not at each try: it may take a person to end it."""
    topic = Topic()
    topic.fill(10, 0)
    until_s = topic.clock() + 70.0
    life = Life(topic, lambda order: None, connect=type("Later", (Hidden,), {"until_s": until_s}))
    while topic.clock() < until_s:
        topic.clock.pass_by(0.5)
        life.step()
    life.drain()

    told = delays(life)
    assert 2 <= len(told) <= 4, told
    assert {"kafka-transactions.sh find-hanging" in each for each in told} == {True}
    assert "failing" in life.names()


def test_a_transaction_hides_only_what_is_committed_in_it() -> None:
    """The client tells of all partitions or of none; those that are not hidden go on."""
    topic, done = Topic(partitions=3), []
    for number in range(3):
        topic.fill(100, number)
    until_s = topic.clock() + 30.0
    life = Life(
        topic,
        lambda order: done.append((order["value"], topic.clock())),
        connect=type("Later", (Hidden,), {"hidden": frozenset([1]), "until_s": until_s}),
    )
    while topic.clock() < until_s:
        topic.clock.pass_by(0.5)
        life.step()
    life.drain()

    assert {b"0:", b"2:"} == {value[:2] for value, at_s in done if at_s < until_s}
    assert 300 == len({value for value, _ in done}) == len(done)


def delays(life: Life) -> List[str]:
    """What it has told of restoring that has to wait."""
    return [fields["detail"] for name, fields in life.events if name == "restore_delayed"]
