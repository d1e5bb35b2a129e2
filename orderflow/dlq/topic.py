"""The dead letter topic, open for reading: its dead letters in batches, each with its state."""

import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from orderflow.dlq.audit import States
from orderflow.dlq.audit_topic import History, Topics, read_history, read_states
from orderflow.dlq.desk import Desk, Progress, now_ms
from orderflow.dlq.letter import Letter, StateOf, nothing_done
from orderflow.dlq.selection import Selection
from orderflow.exits import CommandError, Refused
from orderflow.kafka import topics
from orderflow.kafka.open_transactions import OpenTransactions
from orderflow.kafka.places import spans_of
from orderflow.kafka.reader import Span, consumer_config
from orderflow.kafka.topic_identity import Identity, names_of
from orderflow.model.open_transactions import Hidden
from orderflow.model.records import Place, Record
from orderflow.model.text import listed, plural

MOST_NAMED = 3
LOOK_EVERY_S = 30.0
"""Between two looks for what a transaction hides."""


class Topic:
    """The dead letter topic, open for reading. Use as a context manager."""

    def __init__(self, desk: Desk, state_of: Optional[StateOf] = None, **extra: Any) -> None:
        """`state_of` None: as the audit topic tells it now."""
        self._desk = desk
        desk.require_kafka()
        topics.require_topic(desk.client, desk.dlq_topic, "consumer.py creates it when it starts")
        if state_of is None:
            warn_of_policies(desk)
        self._state_of = state_of or _state_of(desk)
        self.reader = desk.reader(desk.dlq_topic, **extra)
        config = consumer_config(desk.client, desk.consumer_group)
        self._transactions = OpenTransactions(desk.client, config, desk.dlq_topic)
        self._look_at_s = 0.0
        self._told: Set[Tuple[int, int]] = set()
        """Where the transactions begin that were told."""
        self.hidden: List[Hidden] = []
        """What no reader gets, since a transaction was left open, as of the last look."""
        self.look_for_hidden()

    def __enter__(self) -> "Topic":
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.__exit__()

    def letter(self, record: Record) -> Letter:
        """The record as a dead letter."""
        return Letter(record, self._desk.decoder.decode, self._state_of)

    def look_for_hidden(self) -> None:
        """Look, now and then, whether a transaction hides dead letters, and say so of each once."""
        if time.monotonic() < self._look_at_s:
            return
        self.hidden = self._transactions.hidden()
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        for one in self.hidden:
            if (one.partition, one.begin) not in self._told:
                self._told.add((one.partition, one.begin))
                self._desk.note(f"left out {one.told(self._desk.dlq_topic, now_ms())}")

    @property
    def left_out(self) -> Optional[str]:
        """What is hidden as of the last look, in few words; None where nothing is."""
        if not self.hidden:
            return None
        places = [f"{one.partition}:{one.begin}" for one in self.hidden]
        return f"an open transaction hides what there is from {listed(places, MOST_NAMED)} on"

    def batches(
        self,
        selection: Selection,
        progress: Optional["Progress"] = None,
        spans: Optional[Sequence[Span]] = None,
    ) -> Iterator[List[Letter]]:
        """The dead letters that are there now and that the selection takes, in batches as they are read.

        `spans` are read where they are given, instead of the selection's range.
        """
        spans = self.spans_now(selection) if spans is None else spans
        left = Limit(selection)
        decode, state_of = self._desk.decoder.decode, self._state_of
        if progress:
            progress.expect(sum(max(0, span.end - span.begin) for span in spans))
        for records in self.reader.read(spans, lambda: self._desk.signals.requested or left.reached):
            yield left.take([Letter(record, decode, state_of) for record in records])
            if progress:
                progress.add(len(records))

    def spans_now(self, selection: Selection) -> List[Span]:
        """Where the dead letters stand that the selection may take, as of now."""
        return spans_of(self.reader, selection.range)

    def read_all(self, selection: Selection) -> Iterator[List[Letter]]:
        """The same with progress shown; that it was stopped half-way is said."""
        progress = Progress(self._desk.err)
        yield from self.batches(selection, progress)
        progress.clear()
        if self._desk.signals.requested:
            self._desk.note("stopped before the end: this is a part only")

    def follow(
        self,
        spans: Sequence[Span],
        stop: Callable[[], bool],
        all_partitions: bool,
        at_end: Callable[[int, int], None] = lambda partition, offset: None,
        heard: Callable[[float], None] = lambda silent_s: None,
    ) -> Iterator[List[Record]]:
        """As the reader's. Raises CommandError some seconds after the topic was deleted and created again.

        The client goes on in the next topic at the offsets of the old one, and passes over what lies before.
        """
        identity = Identity(self._desk.client, self._desk.dlq_topic)
        identity.learn()
        for records in self.reader.follow(spans, stop, all_partitions, at_end, heard):
            if identity.has_changed():
                raise CommandError(f"{self._desk.dlq_topic} was deleted and created again: start anew")
            yield records
            self.look_for_hidden()

    def settings(self) -> Dict[str, int]:
        """The topic's settings that are whole numbers; none where we may not read them."""
        return topics.numbers_set(self._desk.client, self._desk.dlq_topic)

    def at(self, partition: int, offset: int) -> Letter:
        """The dead letter at this place. Raises CommandError, with what the topic holds, if there is none."""
        return self.letter(self._fetched(partition, [offset])[offset])

    def require(self, places: Sequence[Place]) -> None:
        """Raise CommandError as `at` does, unless there is a dead letter at each of these places."""
        for partition in sorted({partition for partition, _ in places}):
            self._fetched(partition, sorted(offset for number, offset in places if number == partition))

    def _fetched(self, partition: int, offsets: Sequence[int]) -> Dict[int, Record]:
        exists = partition in self.reader.partitions()
        found = self.reader.fetch_all(partition, offsets) if exists else {}
        for offset in offsets:
            if offset not in found:
                raise CommandError(f"no dead letter at {partition}:{offset}: {self._held()}")
        return found

    def _held(self) -> str:
        bounds = {partition: self.reader.bounds(partition) for partition in self.reader.partitions()}
        held = [f"{p}:{b.low} to {p}:{b.high - 1}" for p, b in bounds.items() if b.low < b.high]
        return f"{self._desk.dlq_topic} holds {', '.join(held) if held else 'none'}; older ones expire"


def audit_topics(desk: Desk) -> Topics:
    """Where the states of dead letters are told."""
    return Topics(desk.client, desk.consumer_group, desk.dlq_topic, desk.audit_topic, desk.note)


def states_now(desk: Desk, job: Optional[str] = None) -> States:
    """What became of each dead letter, see `read_states`; how far it has got shows on the error stream."""
    progress = Progress(desk.err, "audit entries read")
    try:
        states = read_states(audit_topics(desk), job, progress)
    finally:
        progress.clear()
    if job is None:
        _tell_what_was_left_out(desk, states)
    return states


def states_to_act_on(desk: Desk, job: Optional[str] = None) -> States:
    """The same for who writes entries of his own. Raises Refused where another topic's would be lost by it.

    Entries are known by partition and offset, and of each only the newest is kept: of two dead letter topics
    with one audit topic, each makes Kafka forget what was done in the other.
    """
    states = states_now(desk, job)
    others = names_of(desk.client, states.others) if states.others else []
    if others:
        raise Refused(
            f"nothing was changed: {desk.audit_topic} (DLQ_AUDIT_TOPIC) records what was done in "
            f"{listed(others, MOST_NAMED)} too. Each dead letter topic needs one of its own: with this one "
            "Kafka would forget what was done, and dead letters could be sent twice"
        )
    return states


def refuse_successor(desk: Desk, then: Optional[str], now: States) -> None:
    """Raise Refused where the dead letter topic is another than the one with the id `then`.

    In one that was created again, the same positions are other dead letters. Brokers before 2.8 give no ids.
    """
    if then is not None and now.dlq_id is not None and then != now.dlq_id:
        raise Refused(
            f"nothing more was done: topic {desk.dlq_topic} was deleted and created again since then"
        )


def history_now(desk: Desk) -> History:
    """The same states, with the jobs and what they sent, from one reading."""
    progress = Progress(desk.err, "audit entries read")
    try:
        history = read_history(audit_topics(desk), progress)
    finally:
        progress.clear()
    _tell_what_was_left_out(desk, history.states)
    return history


def _tell_what_was_left_out(desk: Desk, states: States) -> None:
    if states.left_out:
        unread = plural(states.left_out, "entry", "entries")
        desk.note(f"left out {unread} of {desk.audit_topic} that cannot be read")


def warn_of_policies(desk: Desk) -> None:
    """Say at once where a topic's settings undo what is promised; nothing where we may not read them."""
    policy = topics.settings_of(desk.client, desk.audit_topic).get("cleanup.policy")
    if policy is not None and policy.split(",") != ["compact"]:
        desk.note(
            f"{desk.audit_topic} has cleanup.policy={policy}: what was done to a dead letter is forgotten "
            "when its entry is deleted, and it can be sent twice; set cleanup.policy=compact"
        )
    policy = topics.settings_of(desk.client, desk.dlq_topic).get("cleanup.policy")
    if policy is not None and "compact" in policy.split(","):
        desk.note(
            f"{desk.dlq_topic} has cleanup.policy={policy}: of the dead letters with one key only the newest "
            "is kept; set cleanup.policy=delete"
        )


def _state_of(desk: Desk) -> StateOf:
    """The states now. Looking must not fail because nobody may read the audit topic, but it is said."""
    try:
        return states_now(desk).of
    except CommandError as error:
        desk.note(f"all are shown as new: {error}")
        return nothing_done


class Limit:
    """Filters, and counts what passes up to the most that is asked for."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._left = selection.limit

    @property
    def reached(self) -> bool:
        """Whether as many were taken as were asked for."""
        return self._left == 0

    def take(self, letters: List[Letter]) -> List[Letter]:
        """Those that the selection takes, up to the limit."""
        chosen = (
            [one for one in letters if self._selection.takes(one)] if self._selection.filters else letters
        )
        if self._left is None:
            return chosen
        chosen = chosen[: self._left]
        self._left -= len(chosen)
        return chosen
