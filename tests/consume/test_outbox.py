"""What a settlement sends: everything, each dead letter as complete as its topic allows."""

from typing import List, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.consume.outbox import DEFAULT_MAX_BYTES, Dead, Outbox
from orderflow.errors import Failure
from orderflow.model.dead_letter import STACK, Circumstances, Shrink, dead_letter, size_of
from orderflow.model.records import Outgoing, Record

FAILURE = Failure("process.retries_exhausted", "process", "ValueError", "m" * 2000, True, None, "s" * 4000)
ABOUT = Circumstances("group", "client", 4, 1, 2, None, 1)


def dead(value_bytes: int = 100, failure: Failure = FAILURE, offset: int = 0) -> Dead:
    """A dead letter to be sent, of an order of that size."""
    record = Record("orders", 0, offset, 1, "CreateTime", b"k", b"v" * value_bytes, [])
    return Dead(record, failure, ABOUT)


def sizes(one: Dead) -> List[int]:
    """What it takes at each step of shrinking."""
    return [size_of(dead_letter(one.record, one.failure, one.about, "dlq", shrink)) for shrink in Shrink]


def step_of(outgoing: Outgoing) -> Shrink:
    """How much was given up of a dead letter with a stack and a long message."""
    headers = dict(outgoing.headers)
    if outgoing.value is None:
        return Shrink.POINTER
    if STACK not in headers:
        return Shrink.MESSAGE
    return Shrink.NOTHING if headers[STACK] == b"s" * 4000 else Shrink.STACK


def outbox(*letters: Dead, max_bytes: int = DEFAULT_MAX_BYTES) -> Outbox:
    """An outbox that holds these."""
    box = Outbox("dlq", max_bytes)
    box.dead.extend(letters)
    return box


def test_results_and_dead_letters_are_sent_together() -> None:
    """Results first, as they are; nothing of either is left out."""
    box = outbox(dead(offset=1), dead(offset=2))
    result = Outgoing("processed", b"k", b"done", [])
    box.results.append(result)

    sent = box.records()

    assert result == sent[0]
    assert [b"1", b"2"] == [dict(letter.headers)["__dlq.errors.offset"] for letter in sent[1:]]


def test_dead_letters_go_to_a_partition_that_there_is_when_they_are_sent() -> None:
    """Their topic may be created again with fewer partitions while they wait to be sent, or get more."""
    partitions = [3]
    box = Outbox("dlq", partitions=lambda: partitions[0])
    one = dead()
    box.dead.append(one._replace(record=one.record._replace(partition=5)))
    taken = box.take()

    found = []
    for partitions[0] in (3, 1, 4):
        found += [letter.partition for letter in taken.records()]

    assert [2, 0, 1] == found


def test_an_outbox_with_nothing_in_it_is_false() -> None:
    """Then a plain commit does; anything at all needs more."""
    box = Outbox("dlq")
    assert not box
    assert outbox(dead())

    box.results.append(Outgoing("processed", None, b"", []))
    assert bool(box)


def test_clearing_forgets_all_of_it() -> None:
    """Settled, or void because the engine restarts from the committed offsets."""
    box = outbox(dead())
    box.results.append(Outgoing("processed", None, b"", []))
    box.done = 1
    box.confirm(frozenset([1]))
    box.clear()

    assert ([], [], [], 0) == (box.results, box.dead, box.sent, box.done)


def test_what_is_taken_belongs_to_one_settlement() -> None:
    """What comes meanwhile belongs to the next; put back, it is settled first and in its order."""
    box = outbox(dead(offset=1), max_bytes=5000)
    box.done = 3
    taken = box.take()
    assert (False, True, 5000) == (bool(box), bool(taken), taken.max_bytes)

    box.dead.append(dead(offset=2))
    box.done += 1
    box.put_back(taken)

    assert ([1, 2], 4) == ([letter.record.offset for letter in box.dead], box.done)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.sets(st.integers(0, 7)))
def test_what_is_confirmed_is_not_sent_again(results: int, letters: int, places: "set[int]") -> None:
    """The rest is, in its order; of dead letters, both are remembered."""
    box = outbox(*(dead(offset=number) for number in range(letters)))
    box.results.extend(Outgoing("processed", None, b"%d" % number, []) for number in range(results))
    before = box.records()

    box.confirm(frozenset(places))

    assert [record for place, record in enumerate(before) if place not in places] == box.records()
    offsets = [letter.record.offset for letter in box.sent + box.dead]
    assert list(range(letters)) == sorted(offsets)
    assert {place - results for place in places if results <= place < results + letters} == {
        letter.record.offset for letter in box.sent
    }


# --- fitting


@pytest.mark.parametrize("step", list(Shrink))
def test_as_little_is_given_up_as_fits(step: Shrink) -> None:
    """Stack, then message, then value: at the size of each step that step is sent, a byte below the next."""
    letter = dead()
    limit = sizes(letter)[step]

    (at,) = outbox(letter, max_bytes=limit).records()
    (below,) = outbox(letter, max_bytes=limit - 1).records()

    assert step == step_of(at)
    assert min(step + 1, Shrink.POINTER) == step_of(below)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50_000), min_size=1, max_size=4), st.integers(1, 60_000))
def test_only_what_is_too_large_is_shrunk(value_bytes: List[int], max_bytes: int) -> None:
    """Each dead letter for itself: a small one beside a large one stays whole."""
    letters = [dead(size) for size in value_bytes]

    for letter, sent in zip(letters, outbox(*letters, max_bytes=max_bytes).records()):
        fitting = [step for step, size in zip(Shrink, sizes(letter)) if size <= max_bytes]
        assert (fitting or [Shrink.POINTER])[0] == step_of(sent)


# --- learning what fits


def shrunk_until(box: Outbox, topic_takes: int, limit: Optional[int] = None) -> bool:
    """Play the broker: refuse until all fits, or until it cannot get smaller. Whether it fits."""
    for _ in range(100):
        if all(size_of(record) <= topic_takes for record in box.records()):
            return True
        if not box.shrink(limit):
            return False
    raise AssertionError("it never ends")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 2_000_000), min_size=1, max_size=3), st.integers(2000, 3_000_000))
def test_every_dead_letter_is_made_to_fit_in_the_end(value_bytes: List[int], topic_takes: int) -> None:
    """Learned from refusals alone, in few steps: a pointer of under 2,000 bytes fits any sane topic."""
    assert shrunk_until(outbox(*map(dead, value_bytes)), topic_takes)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2_000_000), min_size=1, max_size=3), st.integers(2000, 3_000_000))
def test_a_known_limit_is_used_at_once(value_bytes: List[int], topic_takes: int) -> None:
    """Where the topic's settings may be read, one refusal is enough."""
    box = outbox(*map(dead, value_bytes), max_bytes=5_000_000)

    assert topic_takes == 5_000_000 or box.shrink(topic_takes)
    assert all(size_of(record) <= topic_takes for record in box.records())


def test_shrinking_goes_on_below_a_limit_that_is_not_enough() -> None:
    """What a topic says it takes includes a batch's frame, whose size is an estimate."""
    letter = dead(10_000)
    limit = sizes(letter)[Shrink.MESSAGE]

    assert shrunk_until(outbox(letter, max_bytes=limit), topic_takes=limit - 1, limit=limit)


def test_it_says_so_when_it_cannot_get_smaller() -> None:
    """A topic that does not even accept the pointer: somebody has to fix it."""
    assert not shrunk_until(outbox(dead()), topic_takes=100)


def test_a_result_that_is_too_large_cannot_be_shrunk() -> None:
    """It is the handler's; there is nothing to leave out."""
    box = Outbox("dlq")
    box.results.append(Outgoing("processed", None, b"x" * 2_000_000, []))

    assert not box.shrink(None)
