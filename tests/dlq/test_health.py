"""One verdict on consumers and dead letters: what needs a person, what cannot be told."""

from typing import Any, List, Optional

import pytest

from orderflow.dlq.health import Copies, DeadLetters, Facts, Group, Partition, Verdict, verdict
from orderflow.dlq.output.health_lines import health_lines, health_row
from orderflow.model.commit_metadata import Commit, Entry
from orderflow.model.open_transactions import Hidden

NOW_MS = 1_795_564_800_000
MINUTE_MS = 60_000
MOST_AGE_MS = 5 * MINUTE_MS
GROUP = Group("orders-group", "stable", 1, knows_commits=True)
NO_DEAD_LETTERS = DeadLetters(0, True, None, 0, None)


def commit(seen: int = 100, silent_ms: int = 0, **changes: Any) -> Commit:
    return Commit(seen, [], True, False, None, (NOW_MS - silent_ms) // 1000)._replace(**changes)


def partition(**changes: Any) -> Partition:
    return Partition(0, 0, 100, 100, 100, commit(), "host-1")._replace(**changes)


def judged(
    *partitions: Partition,
    group: Group = GROUP,
    dead: DeadLetters = NO_DEAD_LETTERS,
    unknown: str = "",
) -> Verdict:
    return verdict(facts(*partitions, group=group, dead=dead, unknown=unknown), MOST_AGE_MS)


def facts(
    *partitions: Partition,
    group: Group = GROUP,
    dead: DeadLetters = NO_DEAD_LETTERS,
    unknown: str = "",
) -> Facts:
    return Facts(NOW_MS, "orders", group, list(partitions), dead, (unknown,) if unknown else ())


def waiting(delay_s: int) -> List[Entry]:
    return [Entry(90, 1, delay_s)]


@pytest.mark.parametrize(
    "one",
    [
        partition(),
        partition(commit=None, committed=None, low=100),
        partition(commit=commit(60), oldest_unseen_ms=NOW_MS - MINUTE_MS),
        partition(commit=commit(silent_ms=99 * MINUTE_MS)),
        partition(commit=commit(entries=waiting(600), silent_ms=5 * MINUTE_MS)),
    ],
    ids=["done", "fresh", "busy", "idle", "a retry in ten minutes"],
)
def test_all_is_well(one: Partition) -> None:
    """Nothing to do, or being done, or nothing due yet."""
    assert (judged(one).word, judged(one).exit_code, judged(one).problems) == ("all well", 0, [])


@pytest.mark.parametrize(
    ("one", "problem"),
    [
        (partition(owner=None), "partition 0: no consumer owns it"),
        (
            partition(commit=commit(braked=True)),
            "partition 0: the outage brake holds it: what the handler calls does not work",
        ),
        (
            partition(commit=commit(60, silent_ms=9 * MINUTE_MS)),
            "partition 0: nothing was committed for 9m, with about 40 orders unseen",
        ),
        (
            partition(commit=commit(60, silent_ms=9 * MINUTE_MS, alone=59)),
            "partition 0: nothing was committed for 9m: the order at 59 may hang or kill its consumer",
        ),
        (
            partition(commit=commit(60, silent_ms=9 * MINUTE_MS), stable=60),
            "partition 0: nothing was committed for 9m: a transaction that is open from 60 on holds it back",
        ),
        (
            partition(commit=commit(entries=waiting(60), silent_ms=9 * MINUTE_MS)),
            "partition 0: nothing was committed for 9m, and 1 retry is overdue",
        ),
        (
            partition(commit=commit(60), oldest_unseen_ms=NOW_MS - 14 * MINUTE_MS),
            "partition 0: its oldest unseen order is 14m old",
        ),
        (
            partition(low=60, committed=40, commit=None),
            "partition 0: 20 offsets expired before the group was done with them",
        ),
        (
            partition(committed=400, commit=None),
            "partition 0: committed at 400, beyond its end: was the topic created again?",
        ),
    ],
)
def test_why_a_partition_has_stopped(one: Partition, problem: str) -> None:
    """As far as Kafka's side can tell: the commit, its age, and what its metadata says."""
    found = judged(one, partition(number=1))

    assert (found.problems, found.exit_code) == ([problem], 5)


def test_what_was_counted_one_by_one_is_no_estimate() -> None:
    """Orders that wait are listed; those not seen are counted by offsets, of which markers take some."""
    found = judged(partition(commit=commit(entries=waiting(600))), group=GROUP._replace(members=0))

    assert found.problems == ["no consumer of group orders-group runs, and 1 order is to be processed"]


def test_each_partition_with_trouble_is_named() -> None:
    """The trouble of one hides none of the others'."""
    one = partition(commit=commit(60, silent_ms=9 * MINUTE_MS))
    two = partition(number=1, commit=commit(60), oldest_unseen_ms=NOW_MS - 9 * MINUTE_MS)
    three = partition(number=2, owner=None)

    found = judged(one, two, three).problems

    assert [problem.partition(":")[0] for problem in found] == ["partition 0", "partition 1", "partition 2"]


def test_without_a_consumer_that_is_said_once() -> None:
    """Not a line for each partition without an owner; what a consumer does not put right is told too."""
    silent = partition(owner=None, commit=commit(60, silent_ms=9 * MINUTE_MS))
    braked = partition(number=1, owner=None, commit=commit(braked=True))
    found = judged(silent, braked, group=GROUP._replace(members=0))

    assert found.problems == [
        "no consumer of group orders-group runs, and about 40 orders are to be processed",
        "partition 1: the outage brake holds it: what the handler calls does not work",
    ]


@pytest.mark.parametrize(
    ("dead", "problem"),
    [
        (DeadLetters(1, True, NOW_MS, 0, None), "1 dead letter to decide about"),
        (
            DeadLetters(1_284, False, NOW_MS, 37, NOW_MS + 90 * MINUTE_MS),
            "1,284 or more dead letters to decide about, about 37 new in 10m, the first expires in 1h 30m",
        ),
        (DeadLetters(2, True, 0, None, NOW_MS), "2 dead letters to decide about, the first expires now"),
        (DeadLetters(2, True, 0, 0, NOW_MS * 2), "2 dead letters to decide about"),
    ],
)
def test_dead_letters_need_a_decision(dead: DeadLetters, problem: str) -> None:
    """How many, how fast they grow, and how long there is left."""
    assert judged(partition(), dead=dead).problems == [problem]


def test_what_cannot_be_told_is_not_well() -> None:
    """A missing right must not pass for good news; a problem is told all the same."""
    missing = "who consumes: not authorised; the right DESCRIBE on group g is missing"
    unknown = judged(partition(owner=None), group=GROUP._replace(members=None), unknown=missing)

    assert (unknown.word, unknown.exit_code, unknown.unknown) == ("cannot tell", 1, [missing])
    assert judged(partition(commit=commit(braked=True)), unknown=missing).exit_code == 5


def test_what_expired_undecided_is_told_and_is_no_alarm_for_ever() -> None:
    """Nobody can do anything about it any more, so it must not hide the next problem."""
    dead = NO_DEAD_LETTERS._replace(expired_unresolved=20)
    told = facts(partition(), dead=dead)
    found = verdict(told, MOST_AGE_MS)

    assert found.exit_code == 0
    assert any("up to 20 expired" in line for line in health_lines(told, found, MOST_AGE_MS, 80))


@pytest.mark.parametrize("width", [None, 80])
def test_hostile_names_are_safe_to_show(width: Optional[int]) -> None:
    """A client may call itself anything."""
    told = facts(partition(owner="\x1b[2J"), partition(number=1, owner=None))
    found = verdict(told, MOST_AGE_MS)
    lines = list(health_lines(told, found, MOST_AGE_MS, width))

    assert lines[0] == "NEEDS A PERSON"
    assert all(line.isprintable() and len(line) <= 80 for line in lines)
    assert health_row(told, found, MOST_AGE_MS)["exit_code"] == 5


def of_brokers(*copies: Copies) -> Verdict:
    """The verdict where all else is well."""
    return verdict(facts(partition())._replace(copies=copies), MOST_AGE_MS)


def copies(number: int, in_sync: int, leader: Optional[int] = 1, topic: str = "orders") -> Copies:
    return Copies(topic, number, leader, in_sync, 3, 2)


def test_a_partition_without_a_leader_needs_a_person() -> None:
    found = of_brokers(copies(0, 0, None), copies(2, 0, None), copies(0, 2, topic="orders-dlq"))

    assert found.exit_code == 5
    assert found.problems == [
        "topic orders: partitions 0, 2 without a leader, so nothing can be read or written there"
    ]


def test_so_does_one_that_takes_no_records() -> None:
    found = of_brokers(copies(1, 1))

    assert found.exit_code == 5
    assert found.problems == [
        "topic orders: partition 1 with fewer replicas in sync than min.insync.replicas asks for (1 of 3), "
        "so nothing can be written there"
    ]


def test_a_replica_that_is_missing_is_told_and_needs_nobody_yet() -> None:
    """A broker is being restarted: all of it works."""
    found = of_brokers(copies(0, 2), copies(1, 2), copies(0, 2, topic="orders-dlq"))

    assert (found.exit_code, found.problems) == (0, [])
    assert found.notes == [
        "topic orders: partitions 0, 1 under-replicated (2 of 3 replicas in sync)",
        "topic orders-dlq: partition 0 under-replicated (2 of 3 replicas in sync)",
    ]


def test_a_new_leader_that_does_not_know_the_end_yet_cannot_tell() -> None:
    """It is the same topic, by its id: nobody has created it again."""
    same = partition(high=98, stable=98, commit=commit(topic_id="pQN7jRtwTZa3dtQ9AFfR2w"))
    another = partition(high=98, stable=98)

    assert judged(same).problems == []
    assert judged(same).exit_code == 1 and "knows of 98 only" in judged(same).unknown[0]
    assert "was the topic created again?" in judged(another).problems[0]


def test_what_lacks_copies_is_shown_to_people_and_to_machines() -> None:
    known = facts(partition())._replace(copies=(copies(0, 2),))
    found = verdict(known, MOST_AGE_MS)
    row = health_row(known, found, MOST_AGE_MS)

    assert f"  {found.notes[0]}" in list(health_lines(known, found, MOST_AGE_MS, None))
    assert row["notes"] == found.notes
    assert row["copies"] == [
        {
            "topic": "orders",
            "partition": 0,
            "leader": 1,
            "in_sync": 2,
            "replicas": 3,
            "min_insync_replicas": 2,
        }
    ]


@pytest.mark.parametrize(
    ("since_ms", "exit_code"), [(NOW_MS - 9_000, 1), (None, 1), (NOW_MS - 2 * MINUTE_MS, 5)], ids=str
)
def test_hidden_dead_letters_are_no_good_news(since_ms: Optional[int], exit_code: int) -> None:
    """Nobody can tell whether there are any; that it lasts needs a person, as Kafka may not end it."""
    hidden = NO_DEAD_LETTERS._replace(is_complete=False, hidden=(Hidden(0, 15, 20, since_ms),))
    known = facts(partition(), dead=hidden)._replace(dead_letter_topic="orders-dlq")
    found = verdict(known, MOST_AGE_MS)
    (line,) = [*found.problems, *found.unknown]

    assert found.exit_code == exit_code
    assert "what orders-dlq holds from 0:15 on, about 5 records: a transaction has been open there" in line
    assert any(line in shown for shown in health_lines(known, found, MOST_AGE_MS, 80))
    assert health_row(known, found, MOST_AGE_MS)["dead_letters"]["hidden"] == [
        {"partition": 0, "begin": 15, "end": 20, "since_ts": since_ms}
    ]
