"""What every verb of dlq_handler.py works with, and the verbs `list` and `show`.

Owns: `Desk`, `Topic` (dead letters as they are read), progress; what `list` and `show` read and print.
Does not know: how flags are parsed (dlq_handler.py), how things look (render, portrait), settings.
Used by: dlq_handler.py and all its verbs.
"""

import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, TextIO

from orderflow import portrait, render, topics
from orderflow.audit import AuditEntry, States
from orderflow.audit_topic import Topics, read_entries, read_states
from orderflow.cli import (
    CommandError,
    StatusLine,
    StopSignals,
    count,
    duration,
)
from orderflow.codec import OrderDecoder, OrderEncoder
from orderflow.letters import Letter, StateOf, nothing_done
from orderflow.portrait import Shown
from orderflow.reader import Reader, Span, consumer_config
from orderflow.records import Record, place_in
from orderflow.selection import Selection

LONGEST_STORY = 100
QUICK_S = 0.3
"""Work that is done by then needs no progress shown; a person who waits sees some within a second."""


class Desk(NamedTuple):
    """What every verb works with; no verb knows where it comes from."""

    client: Dict[str, Any]
    """Properties of a Kafka client: address, security, whatever was passed through."""
    dlq_topic: str
    audit_topic: str
    orders_topic: str
    consumer_group: str
    decoder: OrderDecoder
    encoder: Callable[[], OrderEncoder]
    """Today's schema, asked for only where an order is repaired."""
    out: TextIO
    err: TextIO
    signals: StopSignals
    json: bool
    width: Optional[int]
    """Columns of the terminal that `out` is; None where it is none."""
    colour: bool

    def say(self, line: str) -> None:
        """One line of data."""
        self.out.write(line + "\n")

    def note(self, line: str) -> None:
        """One line that is no data."""
        self.err.write(line + "\n")
        self.err.flush()


def now_ms() -> int:
    """Epoch milliseconds of this machine's clock."""
    return int(time.time() * 1000)


class Topic:
    """The dead letter topic, open for reading. Use as a context manager."""

    def __init__(self, desk: Desk, state_of: Optional[StateOf] = None, **extra: Any) -> None:
        """`state_of` None: as the audit topic tells it now."""
        self._desk = desk
        topics.require_kafka(desk.client)
        created = topics.ensure_topics(desk.client, [topics.dead_letters(desk.dlq_topic)])
        if created:
            desk.note(f"topic {desk.dlq_topic} did not exist; it was created, and is empty")
        self._state_of = state_of or _state_of(desk)
        self.reader = Reader(consumer_config({**desk.client, **extra}, desk.consumer_group), desk.dlq_topic)

    def __enter__(self) -> "Topic":
        return self

    def __exit__(self, *_: object) -> None:
        self.reader.__exit__()

    def letter(self, record: Record) -> Letter:
        """The record as a dead letter."""
        return Letter(record, self._desk.decoder.decode, self._state_of)

    def batches(
        self,
        selection: Selection,
        progress: Optional["Progress"] = None,
        spans: Optional[Sequence[Span]] = None,
    ) -> Iterator[List[Letter]]:
        """The dead letters that are there now and that the selection takes, in batches as they are read.

        `spans` are read where they are given, instead of the selection's range.
        """
        spans = self.reader.spans(selection.range) if spans is None else spans
        left = Limit(selection)
        decode, state_of = self._desk.decoder.decode, self._state_of
        if progress:
            progress.expect(sum(max(0, span.end - span.begin) for span in spans))
        for records in self.reader.read(spans, lambda: self._desk.signals.requested or left.reached):
            yield left.take([Letter(record, decode, state_of) for record in records])
            if progress:
                progress.add(len(records))

    def at(self, partition: int, offset: int) -> Letter:
        """The dead letter at this place. Raises CommandError, with what the topic holds, if there is none."""
        record = None
        if partition in self.reader.partitions():
            record = self.reader.fetch(partition, offset)
        if record is None:
            raise CommandError(f"no dead letter at {partition}:{offset}: {self._held()}")
        return self.letter(record)

    def _held(self) -> str:
        bounds = {partition: self.reader.bounds(partition) for partition in self.reader.partitions()}
        held = [f"{p}:{b.low} to {p}:{b.high - 1}" for p, b in bounds.items() if b.low < b.high]
        return f"{self._desk.dlq_topic} holds {', '.join(held) if held else 'none'}; older ones expire"


def audit_topics(desk: Desk) -> Topics:
    """Where the states of dead letters are told."""
    return Topics(desk.client, desk.consumer_group, desk.dlq_topic, desk.audit_topic)


def states_now(desk: Desk, job: Optional[str] = None) -> States:
    """What became of each dead letter, see `read_states`; how far it has got shows on the error stream."""
    progress = Progress(desk.err, "audit entries read")
    try:
        return read_states(audit_topics(desk), job, progress)
    finally:
        progress.clear()


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


class Progress:
    """Count, rate and time left of reading, on the error stream."""

    def __init__(self, err: TextIO, what: str = "read") -> None:
        self._line = StatusLine(err)
        self._what = what
        self._began_s = time.monotonic()
        self._expected = 0
        self._read = 0

    def expect(self, records: int) -> None:
        """How many records there are to read."""
        self._expected = records

    def add(self, records: int) -> None:
        """Count records that were read, and show it when it is time."""
        self._read += records
        took_s = time.monotonic() - self._began_s
        if took_s > QUICK_S and self._line.due():
            rate = self._read / took_s
            left_s = max(0, self._expected - self._read) / max(1.0, rate)
            of = f"of {count(self._expected)}"
            done = f"{count(self._read)} {of} {self._what}"
            self._line.show(f"{done}, {count(int(rate))}/s, {duration(left_s)} left")

    def clear(self) -> None:
        """Take the line away."""
        self._line.clear()


# --- list ---


def list_letters(desk: Desk, selection: Selection) -> int:
    """One line, or one object, for each dead letter that is there."""
    show = printer(desk)
    with Topic(desk) as topic:
        for letters in topic.batches(selection):
            show(letters)
    return desk.signals.exit_code


def printer(desk: Desk, heading: bool = True) -> Callable[[Sequence[Letter]], None]:
    """What prints dead letters: a write a batch, so that a pipe sees whole lines, and soon."""
    lines = render.LetterLines(desk.width)
    line_of = (lambda letter: render.to_json(render.envelope(letter))) if desk.json else lines.line
    if heading and desk.width is not None and not desk.json:
        desk.say(render.fit(lines.HEADING, desk.width))

    def show(letters: Sequence[Letter]) -> None:
        if letters:
            desk.out.write("\n".join(map(line_of, letters)) + "\n")
            desk.out.flush()

    return show


# --- show ---


class Show(NamedTuple):
    """What `show` is asked for."""

    positions: Sequence[Any]
    """Places as (partition, offset)."""
    selection: Selection
    stack: bool = False
    history: bool = False
    raw: bool = False


def show(desk: Desk, what: Show) -> int:
    """Dead letters in full: those at the given places, else those that are selected."""
    if what.raw and desk.out.isatty():
        raise CommandError("--raw writes the bytes as they are, so not to a terminal: redirect the output")
    with Topic(desk) as topic:
        for place, letter in enumerate(_asked_for(topic, what)):
            if place and not desk.json and not what.raw:
                desk.say("")
            _show_one(desk, topic, letter, what)
    return desk.signals.exit_code


def _asked_for(topic: Topic, what: Show) -> Iterator[Letter]:
    for partition, offset in what.positions:
        yield topic.at(partition, offset)
    if not what.positions:
        chosen = [letter for letters in topic.batches(what.selection) for letter in letters]
        yield from chosen
        if not chosen:
            raise CommandError("no dead letter is selected")


def _show_one(desk: Desk, topic: Topic, letter: Letter, what: Show) -> None:
    if what.raw:
        desk.out.flush()
        desk.out.buffer.write(letter.record.value or b"")
        return
    if desk.json:
        for each in _story(topic, letter) if what.history else [letter]:
            desk.say(render.to_json(render.envelope(each)))
        return
    for line in portrait.show_lines(_look_closer(desk, letter), now_ms(), what.stack):
        desk.say(line)
    if what.history:
        story = _story(topic, letter)
        for line in portrait.history_lines(story, _entries_of(desk, story)):
            desk.say(line)


def _entries_of(desk: Desk, letters: List[Letter]) -> Dict[str, AuditEntry]:
    """What was last done to each of them, by `partition:offset`; nothing where nobody may read it."""
    wanted = {letter.position for letter in letters}
    try:
        entries = read_entries(audit_topics(desk))
        return {entry.position: entry for entry in entries if entry.position in wanted}
    except CommandError:  # the states could not be read either, which was said
        return {}


def _look_closer(desk: Desk, letter: Letter) -> Shown:
    """Decode the value; where the dead letter does not carry the source's, try to fetch it there."""
    looked = letter.told.value_is_original is False and letter.told.topic is not None
    fetched = fetch_source(desk, letter) if looked else None
    value = fetched.value if fetched else letter.record.value
    return Shown(letter, desk.decoder.inspect(value), fetched, looked)


def fetch_source(desk: Desk, letter: Letter) -> Optional[Record]:
    """The record that died, from its own topic; None where that does not hold it any more."""
    told = letter.told
    if told.topic is None or told.partition is None or told.offset is None:
        return None
    with Reader(consumer_config(desk.client, desk.consumer_group), told.topic) as reader:
        try:
            return (
                reader.fetch(told.partition, told.offset) if told.partition in reader.partitions() else None
            )
        except CommandError as error:
            desk.note(f"the source of {letter.position} cannot be read: {error}")
            return None


def _story(topic: Topic, letter: Letter) -> List[Letter]:
    """The dead letters that this order was before, as far as they are still there, and this one."""
    story = [letter]
    while len(story) < LONGEST_STORY:
        before = place_in(topic.reader.topic, story[0].told.replay_from)
        record = topic.reader.fetch(*before) if before and before[0] in topic.reader.partitions() else None
        if record is None:
            break
        story.insert(0, topic.letter(record))
    return story
