"""The ledger against a naive model: every step, every restart, and every text it may commit."""

import zlib
from collections import deque
from typing import Deque, Dict, List, Optional, Set, Tuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orderflow.consume.head import Head
from orderflow.consume.ledger import Ledger
from orderflow.consume.partition import Partition
from orderflow.consume.restoring import Limits
from orderflow.consume.waiting_bytes import WaitingBytes, size_of
from orderflow.dlq.output.times import until
from orderflow.model.commit_metadata import (
    DELAYS_S,
    HEADER_LIMIT,
    METADATA_LIMIT,
    REACHES,
    Commit,
    Entry,
    capacity,
    read_metadata,
)
from tests.support.memory import Log, restore, text_of, write_metadata

KEYS = [None, b"", b"a", b"b", b"c"]
HOLES = [0, 0, 0, 1, 15, 600, 40_000]
MAX_OFFSET = 2**63 - 1


class Model:
    """The ledger's knowledge in naive form: every offset by itself."""

    def __init__(self, next_offset: int) -> None:
        self.next = next_offset
        self.seen: List[int] = []
        self.finished: Set[int] = set()
        self.finished_by_key: Dict[Optional[bytes], List[int]] = {}
        self.queues: Dict[bytes, Deque[int]] = {}
        """Of each key with anything unfinished: its offsets, the head first."""
        self.keyless: Set[int] = set()
        self.due_s: Dict[int, Optional[float]] = {}
        """Of each head: when it is due, or None in flight."""
        self.attempts: Dict[int, int] = {}

    def heads(self) -> Set[int]:
        """What a commit must list."""
        return self.keyless | {queue[0] for queue in self.queues.values()}

    def unfinished(self) -> Set[int]:
        """Every offset that is neither processed nor dead-lettered."""
        return self.keyless | {offset for queue in self.queues.values() for offset in queue}

    def admit(self, offset: int, key: Optional[bytes]) -> None:
        """A head in flight."""
        self.due_s[offset], self.attempts[offset] = None, 0
        if key is None:
            self.keyless.add(offset)
        else:
            self.queues[key] = deque([offset])

    def finish(self, offset: int, key: Optional[bytes]) -> Optional[int]:
        """Its follower, if any. No offset is finished twice, and those of a key in their order."""
        assert offset not in self.finished
        of_key = self.finished_by_key.setdefault(key, [])
        assert key is None or not of_key or of_key[-1] < offset
        self.finished.add(offset)
        of_key.append(offset)
        self.due_s.pop(offset, None)
        self.attempts.pop(offset, None)
        if key is None:
            self.keyless.discard(offset)
            return None
        return self._follower(key)

    def _follower(self, key: bytes) -> Optional[int]:
        queue = self.queues.get(key, deque())
        if queue:
            queue.popleft()
        if not queue:
            self.queues.pop(key, None)
            return None
        self.due_s[queue[0]], self.attempts[queue[0]] = None, 0
        return queue[0]

    def next_due_s(self) -> Optional[float]:
        """When the first waiting head is due."""
        return min((due_s for due_s in self.due_s.values() if due_s is not None), default=None)


def offsets_of(head: Head) -> Deque[int]:
    """The head and its followers."""
    return deque([head.offset, *(follower.offset for follower in head.followers)])


class LedgerMachine(RuleBasedStateMachine):
    """One partition's life: records arrive, wait, are called and finish; its owner restarts at any time."""

    @initialize(
        start=st.sampled_from([0, 7, 2**31, 2**62]),
        limit=st.sampled_from([150, 190, 350, 4000]),
        max_queued=st.sampled_from([1, 5, 100]),
    )
    def begin(self, start: int, limit: int, max_queued: int) -> None:
        """An empty partition, with small limits too, so that they are reached."""
        self.limits = Limits(max_queued, 1_000_000)
        self.limit = limit
        self.ledger = Ledger(start, max_queued, WaitingBytes(1_000_000), limit)
        self.model = Model(start)
        self.log = Log()
        self.log.high = start
        self.now_s = 0.0

    # --- rules

    @precondition(lambda self: self.ledger.limit_reached is None)
    @rule(key=st.sampled_from(KEYS), hole=st.sampled_from(HOLES), at_once=st.booleans())
    def arrive(self, key: Optional[bytes], hole: int, at_once: bool) -> None:
        """A record comes: behind the head of its key, or called, and perhaps done at its first call."""
        self.ledger.plan_intake(hole + 1)
        if self.ledger.limit_reached:
            return
        offset = self.ledger.next + hole
        record = self.log.append(offset, key)
        self.model.seen.append(offset)
        if key is not None and key in self.ledger.by_key:
            self.ledger.queue(key, record, offset, size_of(record))
            self.model.queues[key].append(offset)
        elif at_once:
            self.model.finish(offset, key)
        else:
            self.ledger.admit(record, offset, key, size=size_of(record))
            self.model.admit(offset, key)
        self.ledger.next = self.model.next = offset + 1

    def in_flight(self) -> List[Head]:
        """The heads that are being called."""
        heads = sorted(self.ledger.heads.items())
        return [head for offset, head in heads if self.model.due_s[offset] is None]

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data(), delay_s=st.one_of(st.integers(0, 40), st.floats(0, 1e9)))
    def fail(self, data: st.DataObject, delay_s: float) -> None:
        """A call failed and will be made again."""
        head = data.draw(st.sampled_from(self.in_flight()))
        head.attempts += 1
        self.model.attempts[head.offset] += 1
        self.ledger.wait(head, self.now_s + delay_s)
        self.model.due_s[head.offset] = self.now_s + delay_s

    @precondition(lambda self: self.in_flight())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        """A call succeeded, or its order is dead-lettered."""
        head = data.draw(st.sampled_from(self.in_flight()))

        following = self.ledger.finish(head)

        expected = self.model.finish(head.offset, head.key)
        assert expected == (None if following is None else following.offset)
        assert following is None or following.record is self.log.records[following.offset]

    @rule(later_s=st.one_of(st.integers(0, 30), st.floats(0, 1e6)))
    def take_due(self, later_s: float) -> None:
        """Time goes by, and whatever is due is taken, longest due first."""
        self.now_s += later_s
        due_s = self.model.next_due_s()

        head = self.ledger.take_due(self.now_s)

        if due_s is None or due_s > self.now_s:
            assert head is None
            return
        assert head is not None
        assert due_s == self.model.due_s[head.offset] and head.due_s is None
        self.model.due_s[head.offset] = None

    @rule(in_s=st.integers(0, 30))
    def bring_forward(self, in_s: int) -> None:
        """An outage has ended."""
        due_s = self.now_s + in_s
        for head in self.ledger.waiting():
            self.ledger.bring_forward(head, due_s)
        self.model.due_s = {
            offset: None if was_s is None else min(was_s, due_s) for offset, was_s in self.model.due_s.items()
        }

    @rule(clean=st.booleans(), later_s=st.sampled_from([0, 0, 3, 1000]))
    def restart(self, clean: bool, later_s: int) -> None:
        """The owner is gone; the next one has the committed offset, its metadata and the log."""
        text = text_of(self.ledger, clean, now_s=self.now_s)
        delays = {offset: self._left_s(due_s) for offset, due_s in self.model.due_s.items()}

        found = restore(self.log, self.ledger.commit_point, text, self.now_s, later_s, self.limits)

        assert ["partition_ready"] == found.names()
        assert self.ledger.next == found.session.position
        assert self.ledger.commit_point == found.session.commits[0][0]
        self._is_the_same(found.partition)
        self._is_due_as_before(found.partition.ledger, delays, later_s)
        self._go_on_with(found.partition.ledger)

    def _left_s(self, due_s: Optional[float]) -> float:
        return 0.0 if due_s is None else max(0.0, due_s - self.now_s)

    def _is_the_same(self, partition: Partition) -> None:
        restored = partition.ledger
        assert self.ledger.next == restored.next
        assert set(self.ledger.heads) == set(restored.heads)
        assert (self.ledger.queued, self.ledger.held.bytes) == (restored.queued, restored.held.bytes)
        for offset, head in self.ledger.heads.items():
            back = restored.heads[offset]
            assert (head.key, head.record, head.followers) == (back.key, back.record, back.followers)
            assert min(head.attempts, 31) == back.attempts

    def _is_due_as_before(self, restored: Ledger, delays: Dict[int, float], later_s: int) -> None:
        for offset, head in restored.heads.items():
            longest_s = min(delays[offset], DELAYS_S[-1])
            assert head.due_s is not None
            waits_s = head.due_s - self.now_s
            assert max(0.0, longest_s - 0.51 - later_s) <= waits_s <= max(0.0, longest_s * 1.4 + 1 - later_s)

    def _go_on_with(self, restored: Ledger) -> None:
        restored.limit_metadata(self.limit)
        self.ledger = restored
        for offset, head in restored.heads.items():
            self.model.due_s[offset] = head.due_s
            self.model.attempts[offset] = head.attempts

    # --- invariants

    @invariant()
    def books_agree(self) -> None:
        """Head by head and queue by queue, what is unfinished is what the model says, and nothing else."""
        model, ledger = self.model, self.ledger
        assert set(ledger.heads) == model.heads()
        assert model.queues == {key: offsets_of(head) for key, head in ledger.by_key.items()}
        assert dict.fromkeys(model.queues, 1) == ledger.busy
        assert len(model.unfinished()) == ledger.unfinished
        assert set(model.seen) == model.finished | model.unfinished()
        assert not model.finished & model.unfinished()
        assert model.next_due_s() == ledger.next_due_s()
        assert model.attempts == {offset: head.attempts for offset, head in ledger.heads.items()}

    @invariant()
    def commit_loses_nothing(self) -> None:
        """Below the commit point all is finished."""
        assert self.ledger.commit_point == min(self.model.unfinished(), default=self.model.next)

    @invariant()
    def metadata_fits(self) -> None:
        """Whatever happened since the records were let in."""
        text = text_of(self.ledger, True, self.ledger.commit_point, self.now_s, braked=True)
        assert len(text) <= self.limit

    @invariant()
    def room_is_less_than_full(self) -> None:
        """It never says both that it is full and that there is room."""
        assert not (self.ledger.limit_reached and self.ledger.has_room)


LedgerMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=50, deadline=None)
test_ledger_agrees_with_the_model_through_restarts = LedgerMachine.TestCase


# --- the longest text that there can be

STEPS = [1, *(16 * 32**power for power in range(13))]
"""The smallest gaps that take 1, 2, 3, ... digits. Each further digit costs more than the one before."""


def worst_gaps(heads: int, span: int) -> List[int]:
    """The gaps between that many heads within `span` offsets that take the most digits possible.

    The cheapest digits are bought first, which is best because each next one of a gap costs more.
    """
    gaps, left = [1] * (heads - 1), span - heads
    bought = len(gaps)
    for step, longer in zip(STEPS, STEPS[1:]):
        bought = min(bought, left // (longer - step))
        left -= bought * (longer - step)
        gaps[:bought] = [longer] * bought
    return gaps


def worst_length(heads: int, span: int) -> int:
    """The most characters that many entries take: a gap's digits, one for attempts, one for the delay."""
    left, bought = span - heads, heads - 1
    length = 3 * heads
    for step, longer in zip(STEPS, STEPS[1:]):
        bought = min(bought, left // (longer - step))
        left -= bought * (longer - step)
        length += bought
    return length


def longest_commit(gaps: List[int], span: int) -> Commit:
    """Heads at these gaps, with everything else as long as it can be, at the end of the offsets there are."""
    offsets = [MAX_OFFSET - span]
    for gap in gaps:
        offsets.append(offsets[-1] + gap)
    entries = [Entry(offset, 31, 80, True, True) for offset in offsets]
    return Commit(MAX_OFFSET, entries, False, True, offsets[-1], 9_999_999_999, REACHES[-1])


LIMITS = [150, 178, 306, 1000, 2999, METADATA_LIMIT]


@pytest.mark.parametrize("limit", LIMITS)
def test_whatever_heads_are_let_in_fit(limit: int) -> None:
    """Of every span there is and any number of heads up to its capacity, the longest text fits."""
    for bits in range(1, 64):
        span = 2**bits - 1  # the largest of those with one capacity; in a shorter one no text is longer
        most = min(capacity(span, limit), span)

        assert capacity(2 ** (bits - 1), limit) == capacity(span, limit)
        assert HEADER_LIMIT + max(worst_length(heads, span) for heads in range(1, most + 1)) <= limit


@pytest.mark.parametrize("bits", range(0, 63, 6))
def test_the_longest_text_is_as_long_as_computed(bits: int) -> None:
    """The computation above is no estimate: such a commit exists, and it is written so long."""
    span = 2**bits
    most = min(capacity(span), span)
    commit = longest_commit(worst_gaps(most, span), span)

    text = write_metadata(commit, commit.entries[0].offset)

    header_and_check = len(text) - len(text.split(";")[5])
    assert worst_length(most, span) == len(text.split(";")[5])
    assert header_and_check <= HEADER_LIMIT
    assert len(text) <= METADATA_LIMIT
    assert commit == read_metadata(text, commit.entries[0].offset)


GAPS = st.integers(0, 50).flatmap(lambda bits: st.integers(2**bits, 2 ** (bits + 1)))
CROWDS = st.lists(st.tuples(GAPS, st.integers(1, 400)), min_size=1, max_size=8)
"""Gaps between heads in runs: so large, so many times."""


@settings(max_examples=60, deadline=None)
@given(CROWDS, st.sampled_from(LIMITS))
def test_no_crowd_of_heads_beats_the_computation(crowd: List[Tuple[int, int]], limit: int) -> None:
    """Searched at random too, in case the reasoning is wrong: nothing within the capacity is too long."""
    gaps = [gap for gap, times in crowd for _ in range(times)]
    while len(gaps) >= capacity(sum(gaps) + 1, limit):
        gaps = gaps[:-1]
    span = sum(gaps) + 1
    commit = longest_commit(gaps, span)

    text = write_metadata(commit, commit.entries[0].offset)

    assert len(text.split(";")[5]) <= worst_length(len(gaps) + 1, span)
    assert len(text) <= limit


# --- reading it back


@st.composite
def commits(draw: st.DrawFn) -> Tuple[Commit, int]:
    """Any commit that a ledger could make, and its offset."""
    base = draw(st.integers(0, 2**62))
    gaps = draw(st.lists(st.one_of(st.integers(1, 40), st.integers(1, 2**40)), max_size=6))
    offsets = [base + sum(gaps[:count]) for count in range(len(gaps))]
    entry = st.builds(
        Entry, st.just(0), st.integers(0, 31), st.sampled_from(DELAYS_S), st.booleans(), st.booleans()
    )
    entries = [draw(entry)._replace(offset=offset) for offset in offsets]
    alone = draw(st.sampled_from([None, *offsets]))
    mark = base + sum(gaps)
    clean, braked, written_at_s = draw(st.tuples(st.booleans(), st.booleans(), st.integers(0, 2**33)))
    reach = draw(st.sampled_from([None, *REACHES]))
    return Commit(mark, entries, clean, braked, alone, written_at_s, reach), base


@settings(max_examples=150, deadline=None)
@given(commits())
def test_what_is_written_is_read(committed: Tuple[Commit, int]) -> None:
    """Every field of every commit comes back; delays that have a code of their own, exactly."""
    commit, base = committed

    assert commit == read_metadata(write_metadata(commit, base), base)


@settings(max_examples=100, deadline=None)
@given(commits(), st.integers(0, 10**9))
def test_any_delay_comes_back_a_third_longer_at_most(committed: Tuple[Commit, int], delay_s: int) -> None:
    """And never shorter, but for those beyond the longest that can be named."""
    commit, base = committed
    assume(commit.entries)
    commit.entries[0] = commit.entries[0]._replace(delay_s=delay_s)

    found = read_metadata(write_metadata(commit, base), base)

    assert found is not None
    wanted_s = min(delay_s, DELAYS_S[-1])
    assert wanted_s <= found.entries[0].delay_s <= max(wanted_s, wanted_s * 1.4)


def damaged(text: str, data: st.DataObject) -> str:
    """The text after something has gone wrong with it: bits, length, or a piece of another one."""
    at = data.draw(st.integers(0, len(text) - 1))
    kind = data.draw(st.sampled_from(["bit", "cut", "drop", "double", "swap", "insert"]))
    if kind == "bit":
        return text[:at] + chr(ord(text[at]) ^ (1 << data.draw(st.integers(0, 6)))) + text[at + 1 :]
    if kind == "cut":
        return text[:at]
    end = data.draw(st.integers(at + 1, len(text)))
    pieces = {
        "drop": text[:at] + text[end:],
        "double": text[:end] + text[at:],
        "swap": text[end:] + text[at:end] + text[:at],
        "insert": text[:at] + data.draw(st.text(max_size=5)) + text[at:],
    }
    return pieces[kind]


@settings(max_examples=150)
@given(commits(), st.data())
def test_damaged_metadata_makes_no_record_skip(committed: Tuple[Commit, int], data: st.DataObject) -> None:
    """It counts as none: whatever it might list too little, or skip too much, is not believed."""
    commit, base = committed
    text = write_metadata(commit, base)

    harmed = damaged(text, data)

    assert read_metadata(harmed, base) == (commit if harmed == text else None)


@settings(max_examples=100, deadline=None)
@given(commits(), st.integers(-(2**40), 2**40).filter(bool))
def test_metadata_at_another_offset_makes_no_record_skip(committed: Tuple[Commit, int], moved: int) -> None:
    """Mirrors and resets keep the text and change the offset."""
    commit, base = committed

    assert read_metadata(write_metadata(commit, base), base + moved) is None


NEARLY_OURS = st.from_regex(r"\Aof1;[ocb]{0,3}[0-9]?;-?[0-9]{0,4};[0-9]{0,3};[0-9]{0,12};[A-Za-z0-9_-]*\Z")
ABSURD = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from(["9" * 400, "9" * 5_000, "0" * 400, "-0", "1e3", " 1", "1_0", "\u0663", "nan", ""]),
)
"""What may stand where a number should."""
BASES = st.one_of(st.integers(0, 2**62), st.integers(MAX_OFFSET - 100, MAX_OFFSET))


def assert_sound(found: Optional[Commit], base: int) -> None:
    """Foreign, or what the rest of the program can work with: it begins at its offset, rises, and exists."""
    if found is None:
        return
    offsets = [entry.offset for entry in found.entries]
    assert offsets == sorted(set(offsets))
    assert [base] == offsets[:1] or (not offsets and found.next == base)
    assert all(offset < found.next for offset in offsets)
    assert 0 <= base <= found.next <= MAX_OFFSET
    assert found.alone is None or base <= found.alone < found.next
    assert 0 <= found.written_at_s < 10**10
    assert all(0 <= entry.attempts <= 31 and 0 <= entry.delay_s <= DELAYS_S[-1] for entry in found.entries)
    assert found.reach is None or found.reach in REACHES
    assert until((found.written_at_s + max(DELAYS_S)) * 1000, 0)


@settings(max_examples=150, deadline=None)
@given(st.one_of(st.text(), NEARLY_OURS), BASES, st.booleans())
def test_any_text_is_read_without_an_error(text: str, base: int, seal: bool) -> None:
    """Even with a right check, what is read is sound."""
    found = read_metadata(sealed(text, base) if seal else text, base)

    assert seal or found is None
    assert_sound(found, base)


@settings(max_examples=100)
@given(commits(), st.data())
def test_a_forged_text_is_foreign_or_sound(committed: Tuple[Commit, int], data: st.DataObject) -> None:
    """Whoever may commit may change any field of a text of ours, and make the check fit again."""
    commit, base = committed
    fields = write_metadata(commit, base).split(";")[:-1]
    for place in data.draw(st.sets(st.integers(0, len(fields) - 1), max_size=2)):
        fields[place] = data.draw(st.one_of(ABSURD, st.just(fields[place] * 2)))
    body = ";".join(fields)
    if data.draw(st.booleans()):
        body = damaged(body, data)

    assert_sound(read_metadata(sealed(body, base), base), base)


def sealed(body: str, base: int) -> str:
    """The body with the check that a writer of it would have added."""
    return f"{body};{zlib.crc32(f'{base};{body}'.encode('utf-8', 'replace')):08x}"
