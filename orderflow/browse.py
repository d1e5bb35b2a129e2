"""The verbs of dlq_handler.py that only look: tail, list, show, groups, stats.

Owns: what each verb reads, and in which order it prints.
Does not know: how flags are parsed (dlq_handler.py), how things look (render.py), settings.
Used by: dlq_handler.py; `Desk` and `Topic` also by replaying.
"""

import shlex
import subprocess
import time
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, TextIO

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from orderflow import render, topics
from orderflow.audit_topic import Topics, read_states
from orderflow.cli import (
    OK,
    TRIPPED,
    CommandError,
    Outage,
    StatusLine,
    StopSignals,
    complain,
    count,
    duration,
    is_terminal,
)
from orderflow.codec import OrderDecoder, OrderEncoder
from orderflow.letters import NEW, Letter, StateOf, nothing_done
from orderflow.reader import Reader, Span, consumer_config
from orderflow.records import Record
from orderflow.render import Overview, Retention, Shown
from orderflow.selection import Position, Range, Selection
from orderflow.tally import HOUR_MS, Groups, Totals, Window, short_length

DAY_MS = 86_400_000
LAST_SHOWN = 10
"""Dead letters that `tail` shows before it follows."""
LONGEST_STORY = 100
QUICK_S = 1.0
"""Work that is done before a person looks up needs no progress shown."""


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
        left = _Limit(selection)
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


def _state_of(desk: Desk) -> StateOf:
    """The states now. Looking must not fail because nobody may read the audit topic, but it is said."""
    try:
        return read_states(audit_topics(desk)).of
    except CommandError as error:
        desk.note(f"all are shown as new: {error}")
        return nothing_done


class _Limit:
    """Filters, and counts what passes up to the most that is asked for."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._left = selection.limit

    @property
    def reached(self) -> bool:
        return self._left == 0

    def take(self, letters: List[Letter]) -> List[Letter]:
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

    def __init__(self, err: TextIO) -> None:
        self._line = StatusLine(err)
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
            self._line.show(f"{count(self._read)} {of} read, {count(int(rate))}/s, {duration(left_s)} left")

    def clear(self) -> None:
        """Take the line away."""
        self._line.clear()


# --- list and tail ---


def list_letters(desk: Desk, selection: Selection) -> int:
    """One line, or one object, for each dead letter that is there."""
    show = _printer(desk)
    with Topic(desk) as topic:
        for letters in topic.batches(selection):
            show(letters)
    return desk.signals.exit_code


def _printer(desk: Desk, heading: bool = True) -> Callable[[Sequence[Letter]], None]:
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


class Tail(NamedTuple):
    """How `tail` behaves."""

    selection: Selection
    exit_at_end: bool = False
    new_groups: bool = False
    """Only kinds of failure that were never seen before."""
    command: Optional[str] = None
    """Run for each dead letter that is shown after the start, which it gets as JSON on its input."""


def tail(desk: Desk, how: Tail) -> int:
    """The last few dead letters, then each new one, until stopped."""
    outage = Outage(desk.note, str(desk.client["bootstrap.servers"]))
    with Topic(desk, error_cb=lambda error: _on_error(outage, error)) as topic:
        if how.exit_at_end:
            return _list_last(desk, topic, how.selection)
        follow = _follow_new_groups if how.new_groups else _follow
        return follow(desk, topic, how, outage)


def _on_error(outage: Outage, error: KafkaError) -> None:
    if error.code() == KafkaError._ALL_BROKERS_DOWN:
        outage.lost("all brokers are down")


def _list_last(desk: Desk, topic: Topic, selection: Selection) -> int:
    show = _printer(desk)
    for letters in topic.batches(selection._replace(range=_from_the_last(selection.range))):
        show(letters)
    return desk.signals.exit_code


def _from_the_last(wanted: Range) -> Range:
    """Where tail begins: at the last few, unless told otherwise."""
    return (
        wanted._replace(begin=Position("back", LAST_SHOWN)) if wanted == Range(wanted.partitions) else wanted
    )


def _follow(desk: Desk, topic: Topic, how: Tail, outage: Outage) -> int:
    show = _printer(desk)
    spans = topic.reader.spans(_from_the_last(how.selection.range))
    begun = {span.partition: span.end for span in spans}
    limit = _Limit(how.selection)
    for records in topic.reader.follow(spans, lambda: desk.signals.requested or limit.reached):
        letters = limit.take([topic.letter(record) for record in records])
        show(letters)
        fresh = [one for one in letters if one.record.offset >= begun.get(one.record.partition, 0)]
        _run_for(desk, how.command, fresh)
        _watch(topic, outage, got_some=bool(records))
    return OK if limit.reached else desk.signals.exit_code


def _follow_new_groups(desk: Desk, topic: Topic, how: Tail, outage: Outage) -> int:
    """Learn every kind of failure that is there, then speak only of those that are not among them."""
    spans = topic.reader.spans(how.selection.range)
    known = _known_groups(desk, topic, how.selection)
    if desk.signals.requested:
        return desk.signals.exit_code
    desk.note(f"{render.plural(len(known), 'group')} known; waiting for one that is not")
    show = _printer(desk, heading=False)
    ends = [span._replace(begin=span.end) for span in spans]
    for records in topic.reader.follow(ends, lambda: desk.signals.requested):
        unseen = _first_of_each(
            [one for one in map(topic.letter, records) if how.selection.takes(one)], known
        )
        show(unseen)
        _ring(desk, len(unseen))
        _run_for(desk, how.command, unseen)
        if unseen and how.command is None:
            return TRIPPED
        _watch(topic, outage, got_some=bool(records))
    return desk.signals.exit_code


def _known_groups(desk: Desk, topic: Topic, selection: Selection) -> Dict[str, None]:
    progress = Progress(desk.err)
    known: Dict[str, None] = {}
    for letters in topic.batches(selection._replace(limit=None), progress):
        known.update(dict.fromkeys(one.fingerprint for one in letters))
    progress.clear()
    return known


def _first_of_each(letters: Sequence[Letter], known: Dict[str, None]) -> List[Letter]:
    unseen = []
    for one in letters:
        if one.fingerprint not in known:
            known[one.fingerprint] = None
            unseen.append(one)
    return unseen


def _ring(desk: Desk, times: int) -> None:
    if times and is_terminal(desk.err):
        desk.err.write("\a")
        desk.err.flush()


def _run_for(desk: Desk, command: Optional[str], letters: Sequence[Letter]) -> None:
    """Run the command for each; that it fails is told, and following goes on.

    It is split like a shell would, but no shell runs it, and nothing of a record becomes part of it.
    """
    for letter in letters if command else ():
        text = render.to_json(render.envelope(letter)) + "\n"
        try:
            done = subprocess.run(
                shlex.split(command or ""), input=text.encode(), stdout=desk.err, check=False
            )
            if done.returncode:
                complain(desk.err, f"--exec ended with {done.returncode} for {letter.position}")
        except OSError as error:
            complain(desk.err, f"--exec cannot be run: {error.strerror}")


def _watch(topic: Topic, outage: Outage, got_some: bool) -> None:
    """Notice that Kafka is back; while it is away, nothing else tells."""
    if not outage.holds:
        return
    if not got_some:
        try:
            topic.reader.partitions()
        except CommandError:
            return
    outage.back()


# --- groups and stats ---


def show_groups(desk: Desk, selection: Selection, all_states: bool) -> int:
    """Kinds of failure: how often, when, and an example of each. Only what is unresolved, unless asked."""
    groups, totals = Groups(_window(selection.range, 8, DAY_MS)), _Unresolved()
    with Topic(desk) as topic:
        partitions = len(topic.reader.partitions())
        for letters in _all(desk, topic, selection):
            for letter in letters:
                if totals.add(letter) or all_states:
                    groups.add(letter)
        retention = retention_of(desk)
    if desk.json:
        for group in groups.rows():
            desk.say(render.to_json(render.group_row(group, groups)))
        return desk.signals.exit_code
    about = Overview(desk.dlq_topic, partitions, totals.unresolved, totals.count, totals.oldest_ms, retention)
    _print_groups(desk, groups, about)
    return desk.signals.exit_code


def _print_groups(desk: Desk, groups: Groups, about: Overview) -> None:
    desk.say(render.fit(render.overview(about, now_ms()), desk.width))
    rows = groups.rows()
    if not rows:
        return
    for line in render.group_lines(groups, now_ms(), desk.width, desk.colour):
        desk.say(line)
    if desk.width is not None:
        digits = short_length(group.fingerprint for group in rows)
        desk.say(f"next: python dlq_handler.py replay -g {rows[0].fingerprint[:digits]} --dry-run")


class _Unresolved:
    """How many there are, how many of them still wait for someone, and since when."""

    def __init__(self) -> None:
        self.count = 0
        self.unresolved = 0
        self.oldest_ms: Optional[int] = None

    def add(self, letter: Letter) -> bool:
        """Count one; whether it is unresolved."""
        self.count += 1
        if letter.state != NEW:
            return False
        self.unresolved += 1
        at_ms = letter.record.timestamp_ms
        if at_ms is not None and (self.oldest_ms is None or at_ms < self.oldest_ms):
            self.oldest_ms = at_ms
        return True


def show_stats(desk: Desk, selection: Selection) -> int:
    """Totals by everything that dead letters tell, a histogram by hours, and how long they are kept."""
    totals, unresolved = Totals(_hours(selection.range)), _Unresolved()
    with Topic(desk) as topic:
        for letters in _all(desk, topic, selection):
            for letter in letters:
                totals.add(letter)
                unresolved.add(letter)
        row = render.totals_row(desk.dlq_topic, totals, unresolved.oldest_ms, retention_of(desk))
    lines = [render.to_json(row)] if desk.json else render.totals_lines(row, now_ms(), desk.width)
    for line in lines:
        desk.say(line)
    return desk.signals.exit_code


def _all(desk: Desk, topic: Topic, selection: Selection) -> Iterator[List[Letter]]:
    """What the selection takes, with progress; if it is stopped half-way, that is said."""
    progress = Progress(desk.err)
    yield from topic.batches(selection, progress)
    progress.clear()
    if desk.signals.requested:
        desk.note("stopped before the end: this is a part only")


def _window(wanted: Range, parts: int, default_ms: int) -> Window:
    """What a sparkline spans: what was asked for, else the last day."""
    end_ms = now_ms() if wanted.until_ms is None else wanted.until_ms
    begin_ms = end_ms - default_ms if wanted.since_ms is None else min(wanted.since_ms, end_ms - 1)
    return Window(begin_ms, end_ms + 1, parts)


MOST_HOURS = 168


def _hours(wanted: Range) -> Window:
    """Whole hours: those that were asked for, a week at most, else the last 24."""
    window = _window(wanted, 1, DAY_MS)
    last = window.end_ms // HOUR_MS + 1
    hours = min(MOST_HOURS, max(1, last - window.begin_ms // HOUR_MS))
    hours = min(hours, 24) if wanted.since_ms is None else hours
    return Window((last - hours) * HOUR_MS, last * HOUR_MS, hours)


def retention_of(desk: Desk) -> Retention:
    """How long the dead letter topic keeps records, as far as its settings may be read."""
    resource = ConfigResource(ResourceType.TOPIC, desk.dlq_topic)
    try:
        admin = AdminClient(desk.client)
        found = admin.describe_configs([resource], request_timeout=5)[resource].result()
    except KafkaException:
        return Retention(None, None)
    return Retention(int(found["retention.ms"].value), int(found["retention.bytes"].value))


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
    for line in render.show_lines(_look_closer(desk, letter), now_ms(), what.stack):
        desk.say(line)
    if what.history:
        for line in render.history_lines(_story(topic, letter), now_ms()):
            desk.say(line)


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
        before = _place_of(story[0].told.replay_from, topic.reader.topic)
        record = topic.reader.fetch(*before) if before and before[0] in topic.reader.partitions() else None
        if record is None:
            break
        story.insert(0, topic.letter(record))
    return story


def _place_of(text: Optional[str], topic: str) -> Any:
    """(partition, offset) of `topic-partition-offset`, if it is in this topic."""
    name, _, rest = (text or "").rpartition("-")[0].rpartition("-")
    partition, offset = rest, (text or "").rpartition("-")[2]
    if name != topic or not partition.isdecimal() or not offset.isdecimal():
        return None
    return int(partition), int(offset)
