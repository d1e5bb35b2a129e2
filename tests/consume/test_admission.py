"""Admission when the client repeats records, skips some, or delivers them late or out of order."""

import random
from typing import Dict, List, Set, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.consume.admission import HOLES_KEPT, LOOK_EVERY_S, TRUSTED_AFTER, Admission, Sifted
from orderflow.model.records import Message
from tests.support.scripted_session import Stored


def batch(*offsets: int, partition: int = 0) -> List[Message]:
    """Records at these offsets."""
    return [Stored(partition, offset, b"key", b"value") for offset in offsets]


def offsets(records: object) -> List[int]:
    """The offsets of these records."""
    assert isinstance(records, (list, tuple))
    return [record.offset() for record in records]


def begun(offset: int = 0, partition: int = 0) -> Admission:
    """An admission of one partition."""
    admission = Admission()
    admission.begin(partition, offset)
    return admission


def test_an_unbroken_batch_is_handed_on_as_it_is() -> None:
    """The same list is returned: the usual case builds nothing."""
    records = batch(*range(10))

    assert records is begun().sift(records, 0.0).fresh


def test_two_partitions_may_alternate() -> None:
    """Runs of any length, each partition in its own order."""
    admission = begun()
    admission.begin(300, 7)
    records = batch(0) + batch(7, partition=300) + batch(1, 2) + batch(8, 9, partition=300)

    assert records is admission.sift(records, 0.0).fresh
    assert (3, 10) == (admission.expected(0), admission.expected(300))


def test_what_was_handed_over_once_is_never_handed_on_again() -> None:
    """A whole batch again, a part of it, or its end together with what follows."""
    admission = begun()
    admission.sift(batch(0, 1, 2, 3), 0.0)

    assert ([], [0, 1, 2, 3]) == _fresh_and_repeated(admission.sift(batch(0, 1, 2, 3), 0.0))
    assert ([4, 5], [3]) == _fresh_and_repeated(admission.sift(batch(3, 4, 5), 0.0))
    assert ([6], [6]) == _fresh_and_repeated(admission.sift(batch(6, 6), 0.0))


def _fresh_and_repeated(sifted: Sifted) -> Tuple[List[int], List[int]]:
    return offsets(sifted.fresh), offsets(sifted.repeated)


def test_records_of_a_partition_that_is_not_ours_are_left_alone() -> None:
    """The client may deliver them in the call that revokes the partition."""
    admission = begun()
    admission.begin(1, 0)
    admission.forget(1)

    assert [0, 1] == offsets(admission.sift(batch(0) + batch(5, partition=1) + batch(1), 0.0).fresh)


def test_a_batch_out_of_order_is_put_in_order() -> None:
    """Nothing of it has been called yet, so nothing is lost by that."""
    assert [0, 1, 2, 3] == offsets(begun().sift(batch(2, 0, 3, 1), 0.0).fresh)


def test_a_jump_forward_is_looked_into_and_believed_at_the_second_look() -> None:
    """Compaction removed offset 2: nothing beyond it is passed on until the client has been checked."""
    admission = begun()
    first = admission.sift(batch(0, 1, 3, 4), 0.0)
    assert ([0, 1], ((0, 2),)) == (offsets(first.fresh), tuple(first.back_to))

    admission.go_back(0, 2)
    assert [3, 4] == offsets(admission.sift(batch(3, 4), 0.0).fresh)


def test_what_was_skipped_comes_at_the_second_look() -> None:
    """The client had skipped offset 2, which the log holds."""
    admission = begun()
    admission.sift(batch(0, 1, 3, 4), 0.0)
    admission.go_back(0, 2)

    assert [2, 3, 4] == offsets(admission.sift(batch(2, 3, 4), 0.0).fresh)


def test_a_topic_full_of_holes_is_looked_into_now_and_then() -> None:
    """A marker after every record: three jumps are checked, then one every five seconds."""
    admission = begun()
    looks = [_looks(admission, offset, now_s=0.0) for offset in range(0, 40, 2)]
    assert [True] * TRUSTED_AFTER + [False] * 16 == looks[1:]

    assert _looks(admission, 40, now_s=LOOK_EVERY_S)
    assert not _looks(admission, 42, now_s=LOOK_EVERY_S)


def test_a_jump_after_a_resume_is_always_looked_into() -> None:
    """That is when clients have been seen to start at the wrong offset."""
    admission = begun()
    for offset in range(0, 40, 2):
        _looks(admission, offset, now_s=0.0)
    admission.go_back(0, admission.expected(0))

    assert _looks(admission, 40, now_s=0.0)


def _looks(admission: Admission, offset: int, now_s: float) -> bool:
    """Whether the record is passed on only after a check."""
    back_to = admission.sift(batch(offset), now_s).back_to
    for number, place in back_to:
        admission.go_back(number, place)
        assert [offset] == offsets(admission.sift(batch(offset), now_s).fresh)
    return bool(back_to)


def test_a_record_that_comes_late_is_handed_on_once() -> None:
    """Its offset was taken for a gap."""
    admission = begun()
    for offset in (0, 2):
        _looks(admission, offset, now_s=0.0)

    assert [1] == offsets(admission.sift(batch(1), 0.0).late)
    assert [1] == offsets(admission.sift(batch(1), 0.0).repeated)


def test_only_the_last_holes_are_remembered() -> None:
    """Memory stays bounded on a topic where every second offset is a marker."""
    admission = begun()
    for offset in range(0, 4 * HOLES_KEPT, 2):
        _looks(admission, offset, now_s=0.0)

    assert [1] == offsets(admission.sift(batch(1), 0.0).repeated)
    assert [4 * HOLES_KEPT - 5] == offsets(admission.sift(batch(4 * HOLES_KEPT - 5), 0.0).late)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_a_position_that_lags_behind_changes_nothing(position: int) -> None:
    """After a repetition the client's position is before records it delivered long ago."""
    admission = begun()
    admission.sift(batch(0, 1), 0.0)

    assert 2 == admission.reached(0, position, 0.0)


def test_a_position_past_what_came_is_looked_into_as_well() -> None:
    """A marker at the end of the log, or records that the client has skipped."""
    admission = begun()
    admission.sift(batch(0, 1), 0.0)
    assert admission.reached(0, 3, 0.0) is None

    admission.go_back(0, admission.expected(0))
    assert 3 == admission.reached(0, 3, 0.0)


class Client:
    """Delivers records from a log with gaps: repeats, skips and reorders, but obeys seeks."""

    def __init__(self, seed: int, partitions: int) -> None:
        self.chance = random.Random(seed)
        numbers = range(partitions)
        self.logs = {n: [offset for offset in range(60) if self.chance.random() < 0.9] for n in numbers}
        self.places = dict.fromkeys(numbers, 0)
        self.sent_back: Set[int] = set()

    def poll(self) -> List[Message]:
        """A few records of each partition from around its position."""
        records = [record for number in self.logs for record in self._of(number)]
        self.sent_back -= {record.partition() for record in records}
        if self.chance.random() < 0.2:
            self.chance.shuffle(records)
        return records

    def _of(self, number: int) -> List[Message]:
        astray = 0 if number in self.sent_back else self.chance.choice([0, 0, 0, -3, -20, 5])
        start = max(0, self.places[number] + astray)
        until = start + self.chance.randrange(12)
        self.places[number] = max(self.places[number], until)
        return batch(*(offset for offset in self.logs[number] if start <= offset < until), partition=number)

    def seek(self, number: int, offset: int) -> None:
        """Begin there at the next poll."""
        self.places[number] = offset
        self.sent_back.add(number)

    def is_lost(self, number: int) -> bool:
        """Whether it has passed the end, or forgets its position."""
        return self.places[number] >= 60 or self.chance.random() < 0.1


@given(st.integers(0, 2**32), st.integers(1, 3))
def test_every_record_is_handed_on_exactly_once(seed: int, partitions: int) -> None:
    """Whatever a client repeats, skips and reorders."""
    client, admission = Client(seed, partitions), Admission()
    handed_on: Dict[int, List[int]] = {number: [] for number in client.logs}
    for number in client.logs:
        admission.begin(number, 0)
    for look in range(2_000):
        sifted = admission.sift(client.poll(), look * LOOK_EVERY_S)
        for record in [*sifted.fresh, *sifted.late]:
            handed_on[record.partition()].append(record.offset())
        lost = [(number, admission.expected(number)) for number in client.logs if client.is_lost(number)]
        for number, offset in [*sifted.back_to, *lost]:
            admission.go_back(number, offset)
            client.seek(number, offset)
        if {number: len(log) for number, log in client.logs.items()} == _counts(handed_on):
            break

    assert client.logs == {number: sorted(offsets) for number, offsets in handed_on.items()}


def _counts(handed_on: Dict[int, List[int]]) -> Dict[int, int]:
    return {number: len(offsets) for number, offsets in handed_on.items()}
