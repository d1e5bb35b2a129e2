"""The states of dead letters, as entries of the audit topic tell them."""

import json
import tracemalloc
from typing import Any, Callable, Dict, List, Optional

import pytest

from orderflow.dlq import audit, job_marks
from orderflow.dlq.audit import CHUNK, AuditEntry, Job, Marks, States
from orderflow.dlq.audit_topic import Topics, read_jobs, taken_over_by
from orderflow.exits import TopicMissing
from tests.conftest import Kafka


def entry(action: str, offset: int = 7, job: str = "J-1", at_ms: int = 1000) -> AuditEntry:
    return AuditEntry(0, offset, action, job, "ann@desk", at_ms, "fixed", "orders")


def states_of(entries: List[AuditEntry], job: Optional[str] = None) -> States:
    states = States(job)
    for each in entries:
        states.add(each)
    return states


@pytest.mark.parametrize(
    ("actions", "state"),
    [
        ([], "new"),
        (["replayed"], "replayed"),
        (["discarded"], "discarded"),
        (["discarded", "restored"], "new"),
        (["discarded", "restored", "replayed"], "replayed"),
    ],
)
def test_the_last_entry_decides(actions: List[str], state: str) -> None:
    """A dead letter is what was last done to it."""
    assert state == states_of([entry(action) for action in actions]).of(0, 7)


def test_a_replayed_one_that_came_back_has_failed_again() -> None:
    """Only what was replayed can come back; a header that names anything else changes nothing."""
    states = states_of([entry("replayed", 7), entry("discarded", 8)])

    for offset in (7, 8, 9):
        states.came_back(0, offset)

    assert ["failed-again", "discarded", "new"] == [states.of(0, offset) for offset in (7, 8, 9)]


def test_a_resumed_job_sees_what_was_there_at_its_start() -> None:
    """What the job did itself is told apart, so that it chooses as before and skips what is done."""
    states = states_of([entry("replayed", 7, "J-1"), entry("replayed", 8, "J-2")], job="J-2")

    assert [states.of(0, 7), states.of(0, 8)] == ["replayed", "new"]
    assert [states.done.get(0, 7), states.done.get(0, 8)] == [0, 1]
    assert states.done.count == 1


def test_no_other_job_takes_back_what_a_job_has_done() -> None:
    """The entry of a dead letter is replaced by the next job's, which is the state; the job still did it."""
    states = states_of([entry("replayed", 7, "J-1"), entry("discarded", 7, "J-2")], job="J-1")

    assert (states.of(0, 7), states.done.get(0, 7)) == ("discarded", 1)


def test_marks_of_what_was_sent_read_as_they_were_written() -> None:
    """They hold what the job had sent of the same neighbours before; partitions and far offsets are apart."""
    before = Marks()
    before.set(0, 255, 1)
    before.set(0, 256, 1)

    written = job_marks.records("J:1", before, [(0, 0), (0, 7), (1, 7), (0, 10**15)], "T-1")

    read = [(key, job_marks.read(key, value)) for key, value in written]
    assert all(job_marks.is_of("J:1", key) and not job_marks.is_of("J", key) for key, _ in read)
    assert {mark.dlq_id for _, mark in read if mark} == {"T-1"}
    places = sorted(place for _, mark in read if mark for place in mark.places())
    assert places == [(0, 0), (0, 7), (0, 255), (0, 10**15), (1, 7)]


def test_marks_are_no_entry_and_no_job_to_a_version_that_does_not_know_them() -> None:
    """Else it would say that it left them out."""
    ((key, value),) = job_marks.records("J-1", Marks(), [(0, 7)], None)

    assert audit.read_entry(key, value) is None
    assert not audit.is_marked_as_ours(key)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"[" * 50_000,
        b"[]",
        b"{}",
        b'{"bits":"1"}',
        b'{"bits":1,"dlq_id":null}',
        b'{"bits":"-1","dlq_id":null}',
        b'{"bits":"","dlq_id":null}',
        b'{"bits":"1","dlq_id":7}',
        b'{"bits":"' + b"f" * 1025 + b'","dlq_id":null}',
    ],
)
def test_what_are_no_marks_is_passed_over(value: Optional[bytes]) -> None:
    """Anyone who may write to the topic can put anything there; it must not stop an operator."""
    assert job_marks.read(b"sent:J-1:0:0", value) is None


def test_the_first_replay_bounds_the_search_for_returns() -> None:
    """Discards cannot come back, so they do not make anyone look; times do not count, as clocks differ."""
    assert states_of([entry("discarded")]).replay_jobs == set()
    assert states_of([entry("replayed"), entry("replayed", job="J-2")]).replay_jobs == {"J-1", "J-2"}


@pytest.mark.parametrize(
    ("request_", "ends"),
    [
        ({"ends": {"dlq": {"0": 7, "1": 0}}}, {0: 7, 1: 0}),
        ({"ends": {"dlq": {"0": 7, "x": 1, "1": "9", "2": -1}}}, {0: 7}),
        ({"ends": {"other": {"0": 7}}}, None),
        ({"ends": [7]}, None),
        ({"ends": {"dlq": 7}}, None),
        ({}, None),
    ],
)
def test_where_a_topic_ended_when_a_job_began(request_: Any, ends: Optional[Dict[int, int]]) -> None:
    """The job's record says so, unless somebody wrote another thing into it."""
    job = Job("J-1", "replayed", "ann@desk", 1, 2, "running", 10, 3, request=request_)

    assert ends == audit.ends_at_start(job, "dlq")


def test_an_entry_reads_as_it_was_written() -> None:
    """Key and value of a record give the entry back."""
    written = entry("replayed", 12345)._replace(dlq_id="T-1")
    job = Job("J-1", "replayed", "ann@desk", 1, 2, "running", 10, 3, reason="fixed")
    key = audit.entry_key(0, 12345)
    value = audit.entry_value(job, 1000, "orders", "T-1")

    assert written == audit.read_entry(key, value)


def test_a_job_reads_as_it_was_written() -> None:
    """Key and value of a record give the job back."""
    job = Job("J-1", "replayed", "ann@desk", 1, 2, "running", 10, 3, request={"wanted": {}}, target="orders")

    assert job == audit.read_job(audit.job_key("J-1"), audit.job_value(job))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, b"{}"),
        (b"0:7", None),
        (b"0:7", b"no json"),
        (b"0:7", b"[]"),
        (b"0:7", b'{"action":"exploded","job":"J","by":"b","at":1}'),
        (b"0:7", b'{"action":"replayed","job":"J","by":"b","at":"soon"}'),
        (b"0:7", b'{"action":"replayed"}'),
        (b"0:-7", b'{"action":"replayed","job":"J","by":"b","at":1}'),
        (b"job:J", b'{"action":"job"}'),
        (b"job:J", b'{"action":"job","id":5,"unknown":1}'),
    ],
)
def test_what_is_no_entry_is_passed_over(key: Optional[bytes], value: Optional[bytes]) -> None:
    """Anyone who may write to the topic can put anything there; it must not stop an operator."""
    assert audit.read_entry(key, value) is None
    assert audit.read_job(key, value) is None


def test_marks_are_apart_and_counted() -> None:
    """Neighbours, partitions and far offsets do not share a mark."""
    marks = Marks()
    for partition, offset in ((0, 0), (0, CHUNK - 1), (0, CHUNK), (1, 0), (0, 10**15)):
        marks.set(partition, offset, 2)
    marks.set(1, 0, 0)

    assert [2, 0, 2, 2, 0, 2] == [
        marks.get(*place) for place in ((0, 0), (0, 1), (0, CHUNK - 1), (0, CHUNK), (1, 0), (0, 10**15))
    ]
    assert marks.count == 4


@pytest.mark.broker
def test_to_a_job_at_work_a_missing_audit_topic_is_none_without_jobs(
    kafka: Kafka, topic: Callable[..., str]
) -> None:
    """It was there when the job began: a broker that knows none has not all of its topics back yet."""
    topics = Topics({"bootstrap.servers": kafka.bootstrap_servers}, "g", topic("dlq"), topic("audit"))
    job = Job("J-1", "replayed", "ann@desk", 1, 2, "running", 10, 3)

    assert [] == read_jobs(topics)
    with pytest.raises(TopicMissing):
        taken_over_by(topics, job)


NOT_OURS = {
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep in an entry": b'{"action":"replayed","job":"J","by":"b","at":1,"reason":' + b"[" * 50_000,
    "infinite": b'{"action":"replayed","job":"J","by":"b","at":Infinity}',
    "not a number": b'{"action":"replayed","job":"J","by":"b","at":NaN}',
    "huge": b'{"action":"replayed","job":"J","by":"b","at":1e300}',
    "many digits": b'{"action":"replayed","job":"J","by":"b","at":' + b"9" * 4000 + b"}",
    "after the last time": b'{"action":"replayed","job":"J","by":"b","at":253402300800000}',
    "negative": b'{"action":"replayed","job":"J","by":"b","at":-1}',
    "text for a number": b'{"action":"replayed","job":"J","by":"b","at":"1"}',
    "a list for a text": b'{"action":"replayed","job":["J"],"by":"b","at":1}',
    "an object for a reason": b'{"action":"replayed","job":"J","by":"b","at":1,"reason":{"a":1}}',
    "a list for an action": b'{"action":["replayed"],"job":"J","by":"b","at":1}',
    "a number for a target": b'{"action":"replayed","job":"J","by":"b","at":1,"target":7}',
}


@pytest.mark.parametrize("value", NOT_OURS.values(), ids=NOT_OURS)
def test_an_entry_with_a_part_of_another_kind_is_left_out(value: bytes) -> None:
    """A part that is of the wrong type, or beyond its range, makes it none of ours; nothing is raised."""
    assert audit.read_entry(b"0:7", value) is None


@pytest.mark.parametrize(
    "part",
    [
        {"total": "10"},
        {"total": 10**400},
        {"done": -1},
        {"done": 1.5},
        {"done": True},
        {"at_ms": float("inf")},
        {"changed_ms": "now"},
        {"by": None},
        {"status": 5},
        {"canary_passed": "yes"},
        {"request": []},
        {"reason": ["why"]},
        {"target": 7},
    ],
    ids=str,
)
def test_a_job_with_a_part_of_another_kind_is_left_out(part: Dict[str, Any]) -> None:
    """What is shown, counted and gone on with is of the kind that it is taken for."""
    job = Job("J-1", "replayed", "ann@desk", 1, 2, "running", 10, 3)
    value = json.dumps({**job._asdict(), **part}).encode()

    assert audit.read_job(b"job:J-1", value) is None


def test_marks_that_lie_far_apart_take_little_memory() -> None:
    """Entries for 20,000 places all over a topic are held in 20 MB."""
    tracemalloc.start()
    states = States()
    for place in range(20_000):
        states.add(entry("replayed", place * 10**9))
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()

    assert used < 20_000_000
    assert states.of(0, 19_999 * 10**9) == "replayed"


def test_an_entry_of_a_topic_that_is_gone_does_not_apply() -> None:
    """A topic that was deleted and created again begins at offset 0: its dead letters are others."""
    states = States(None, "T-2")
    states.add(entry("discarded", 7)._replace(dlq_id="T-1"))
    states.add(entry("discarded", 8)._replace(dlq_id="T-2"))
    states.add(entry("discarded", 9))

    assert [states.of(0, offset) for offset in (7, 8, 9)] == ["new", "discarded", "discarded"]
