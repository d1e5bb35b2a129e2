"""Records that Kafka refuses: how they are found, named, and kept in the job's record."""

import itertools
import json
from typing import Any, Dict, List, Optional, Sequence, Set

import pytest

from orderflow.dlq import audit
from orderflow.dlq.audit import Job
from orderflow.dlq.replay import judge
from orderflow.dlq.replay.refused import MOST_IN_A_ROW, MOST_NAMED, Parcel, Refusal, Refusals, send_again
from orderflow.dlq.replay.text import end_line, job_lines, not_sent_line
from orderflow.exits import CommandError
from orderflow.kafka.transactions import OutOfStep, RecordsRefused
from orderflow.model.records import Outgoing
from tests.dlq.test_replay import World, judged, letter
from tests.dlq.test_requests import kept
from tests.support.dlq_tools import ours

JOB = Job("J-1", "replayed", "ann@desk", 1, 2, "running", 10, 3)


def parcels(number: int) -> List[Parcel]:
    return [Parcel((0, n), Outgoing("orders", b"K-%d" % n, b"", [])) for n in range(number)]


def sent_without(bad: Set[int], number: int, blames_batch: bool) -> Dict[str, Any]:
    """Send as a replay does; Kafka blames only who is to blame, or all."""
    sent: List[int] = []
    refused: List[int] = []
    tries: List[int] = []
    is_out_of_step = False

    def send(part: Sequence[Parcel]) -> Optional[Refusal]:
        """As Kafka's client does, which fails once more after a refusal."""
        nonlocal is_out_of_step
        places = [parcel.place[1] for parcel in part]
        blamed = [n for n in places if n in bad or blames_batch]
        tries.append(len(part))
        if bad & set(places):
            is_out_of_step = True
            return RecordsRefused({(0, n): "too large" for n in blamed})
        if is_out_of_step:
            is_out_of_step = False
            return OutOfStep("skipped sequence numbers")
        sent.extend(places)
        return None

    first = send(parcels(number))
    if first is not None:
        send_again(parcels(number), first, send, lambda one, why: refused.append(one.place[1]), lambda: False)
    return {"sent": sent, "refused": refused, "tries": len(tries)}


@pytest.mark.parametrize("blames_batch", [False, True])
@pytest.mark.parametrize("number", [1, 2, 7])
def test_all_but_those_to_blame_are_sent_in_their_order(number: int, blames_batch: bool) -> None:
    """Whichever records Kafka refuses, and whether it tells which or blames all."""
    for bad in itertools.chain.from_iterable(itertools.combinations(range(number), n) for n in range(number)):
        outcome = sent_without(set(bad), number, blames_batch)

        assert outcome["sent"] == [n for n in range(number) if n not in bad]
        assert outcome["refused"] == list(bad)


def test_one_of_many_is_found_soon() -> None:
    """A few tries where Kafka names it, some dozens by halves."""
    assert sent_without({700}, 1_000, blames_batch=False)["tries"] == 6
    assert sent_without({700}, 1_000, blames_batch=True)["tries"] <= 40


def test_whoever_wants_to_stop_does_not_wait_for_the_rest() -> None:
    """What was not sent again by then is left to a later job."""
    tried: List[int] = []

    def send(part: Sequence[Parcel]) -> Optional[Refusal]:
        tried.append(len(part))
        return None

    refusal = RecordsRefused({(0, 1): "too large"})
    send_again(parcels(3), refusal, send, lambda one, why: None, lambda: bool(tried))

    assert tried == [1]


def test_what_is_refused_is_named() -> None:
    """Position, target, key and Kafka's reason, safe for a terminal; later ones stand in the job."""
    told: List[str] = []
    refusals = Refusals(told.append)
    for parcel in parcels(MOST_NAMED + 5):
        refusals.add(parcel, "Broker: \x1b too large")

    assert told[0] == "0:0 is not sent: Kafka refuses it for orders, key K-0: Broker: \\u001b too large"
    assert len(told) == MOST_NAMED + 1
    assert len(refusals.untold) == MOST_NAMED + 5
    refusals.are_told(0)
    assert refusals.untold == {}


def test_where_everything_is_refused_it_is_not_the_records() -> None:
    """A hundred in a row end the replay; one that is taken starts the count anew."""
    refusals = Refusals(lambda line: None)
    first, *_, last = parcels(MOST_IN_A_ROW)
    for _ in range(MOST_IN_A_ROW - 1):
        refusals.add(first, "Invalid timestamp")
    with pytest.raises(CommandError, match="refused 100 records one after the other: Invalid timestamp"):
        refusals.add(last, "Invalid timestamp")
    refusals = Refusals(lambda line: None)
    for parcel in parcels(3 * MOST_IN_A_ROW):
        refusals.add(parcel, "Invalid timestamp")
        refusals.are_told(sent=1)


def test_a_job_record_keeps_them() -> None:
    """By reason, and a thousand at most; they are read back, and gone past."""
    job = audit.with_refused(JOB, {"0:7": "too large", "0:9": "invalid"})
    job = audit.with_refused(job, {"1:8": "too large"})

    assert job.refused == {"too large": ["0:7", "1:8"], "invalid": ["0:9"]}
    assert JOB.refused == {}
    assert job == audit.read_job(audit.job_key("J-1"), audit.job_value(job))
    assert audit.refused_places(job) == {(0, 7), (0, 9), (1, 8)}
    many = audit.with_refused(JOB, {f"0:{n}": "too large" for n in range(5_000)})
    assert audit.refused_count(many) == audit.MOST_REFUSED


def test_the_end_tells_the_rate_of_this_process_and_why_some_were_not_sent() -> None:
    """A job that another process began is no faster for it, and what somebody else sent meanwhile is said."""
    job = JOB._replace(total=300, done=250)

    assert end_line(job, 50, 2.0, 100).startswith("250 of 300 sent, 50 not, in 2.0s (50/s); job ")
    told = not_sent_line({"superseded": 2, "already replayed": 1_048})
    assert told == "not sent: 1,048 already replayed, 2 superseded"


def command(*words: str) -> str:
    return " ".join(words)


def test_a_job_shows_the_first_of_them() -> None:
    """With the reason, and how many more there are."""
    few = audit.with_refused(JOB, {"0:7": "too large", "0:9": "too large"})
    many = audit.with_refused(JOB, {f"0:{n}": "bad" for n in range(30)})

    assert list(job_lines(few, 0, command))[-2] == "refused     0:7, 0:9: too large"
    assert list(job_lines(many, 0, command))[-2].endswith("0:19 and 10 more: bad")


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (kept(plan_digest="5f"), "replay --resume J-1 --plan FILE"),
        (kept(), "replay --resume J-1 --to more"),
        ({}, "replay --resume J-1"),
    ],
    ids=["a plan", "another target", "of another version"],
)
def test_a_job_shows_how_to_go_on(request_: Dict[str, Any], words: str) -> None:
    """With what it is refused without: the plan's file, which nobody else knows, or the topic."""
    assert list(job_lines(JOB._replace(request=request_), 0, command))[-1] == f"next: {words}"


@pytest.mark.parametrize("refused", [[], {"why": "0:1"}, {"why": [1]}, {"why": None}, "0:1"], ids=str)
def test_a_record_with_other_refusals_is_no_job(refused: Any) -> None:
    """What stands in the audit topic is checked before it is used."""
    value = json.dumps({**JOB._asdict(), "refused": refused}).encode()

    assert audit.read_job(b"job:J-1", value) is None


def test_a_job_of_an_earlier_version_has_none() -> None:
    """Its record does not know of refusals."""
    told = {name: value for name, value in JOB._asdict().items() if name != "refused"}

    assert audit.read_job(b"job:J-1", json.dumps(told).encode()) == JOB
    assert audit.refused_places(JOB._replace(refused={"why": ["0:x", "\ud800", "9" * 99]})) == frozenset()


def test_what_a_compacted_target_would_refuse_is_told_before() -> None:
    """It takes no record without a key; where its settings can be read, the look ahead knows."""
    world, bare = World(), letter(ours(5)._replace(key=None))

    assert judged(bare, world).outgoing is not None
    world.is_compacted = True
    assert judged(bare, world).why == judge.NO_KEY
    assert judged(letter(ours(5)), world).outgoing is not None
