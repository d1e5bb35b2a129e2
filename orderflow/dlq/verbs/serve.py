"""The verb `serve`: dead letters as a stock, for Prometheus. Reads the topic once, then follows it."""

import argparse
import time
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from orderflow.cli.outage import Outage
from orderflow.cli.port import OK_STATUS, UNAVAILABLE, Page, Port
from orderflow.cli.terminal import count
from orderflow.cli.values import LISTEN_AT, argument
from orderflow.dlq import audit
from orderflow.dlq.audit import AuditEntry, States
from orderflow.dlq.desk import Desk, Progress, now_ms
from orderflow.dlq.letter import NEW, FailureKind, Letter
from orderflow.dlq.retention import Retention
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.stock import METRICS, MOST_ROWS, Stock, StockFigures
from orderflow.dlq.topic import Topic, states_now
from orderflow.dlq.verbs.tail import note_loss, note_silence
from orderflow.exits import CommandError, TopicMissing
from orderflow.kafka.places import spans_of
from orderflow.kafka.positions import Range
from orderflow.kafka.reader import Reader, Unreadable, consumer_config
from orderflow.kafka.topic_identity import topic_id
from orderflow.model.records import Record

LISTEN = "127.0.0.1:9311"
SHOW_EVERY_S = 1.0
LOOK_EVERY_S = 30.0
"""Between two looks at what the topic has deleted, at its retention, and whether it is still the same."""
TRY_EVERY_S = 5.0
"""Between two looks whether there is an audit topic by now: the first replay or discard creates it."""
HANGS_AFTER_S = 60.0
"""Longer than all requests to Kafka between two rounds take."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Where to listen."""
    parser.add_argument(
        "--listen",
        metavar=LISTEN_AT.metavar,
        type=argument(LISTEN_AT),
        default=LISTEN,
        help=f"where to answer Prometheus (/metrics) and probes (/livez, /readyz) [default: {LISTEN}]",
    )


def run(desk: Desk, args: argparse.Namespace) -> int:
    """Serve until stopped."""
    selection = selected(desk, args)
    board = Board(time.monotonic)
    port = _port(args.listen, board)
    desk.tell("serving", address=authority(*args.listen))
    outage = Outage(desk.tell, str(desk.client["bootstrap.servers"]))
    try:
        Serving(desk, selection, board, outage).run()
    finally:
        port.close()
    return desk.signals.exit_code


def authority(address: str, port: int) -> str:
    """`127.0.0.1:9311`, `[::1]:9311`: the two as a URL has them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _port(listen: Tuple[str, int], board: "Board") -> Port:
    from orderflow.cli.exposition import Exposition

    address, number = listen
    exposition = Exposition(METRICS, lambda: board.figures)
    pages = {
        "/metrics": lambda: Page(OK_STATUS, exposition.page()),
        "/livez": board.liveness,
        "/readyz": board.readiness,
    }
    try:
        return Port(number, address, pages)
    except OSError as error:
        raise CommandError(f"--listen {address}:{number}: cannot listen there: {error.strerror}") from error


class Board:
    """What is shown to whoever asks, by the threads of the port."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.figures = StockFigures()
        self._clock = clock
        self._not_ready: Optional[str] = "starting"
        self._turned_at_s = clock()

    def turned(self, not_ready: Optional[str]) -> None:
        """The work goes on; `not_ready`: why the figures are not complete."""
        self._turned_at_s = self._clock()
        self._not_ready = not_ready

    def show(self, figures: StockFigures) -> None:
        """Show these figures from now on."""
        self.figures = figures

    def liveness(self) -> Page:
        """Whether the process should be left alone."""
        still_s = self._clock() - self._turned_at_s
        if still_s > HANGS_AFTER_S:
            return Page(UNAVAILABLE, f"hangs\nnothing has been read for {still_s:.0f} s\n".encode())
        return Page(OK_STATUS, b"alive\n")

    def readiness(self) -> Page:
        """Whether the figures are whole."""
        if self._not_ready is not None:
            return Page(UNAVAILABLE, f"not ready\n{self._not_ready}\n".encode())
        return Page(OK_STATUS, b"ready\n")


class Serving:
    """Keeps the stock up to date."""

    def __init__(self, desk: Desk, selection: Selection, board: Board, outage: Outage) -> None:
        self._desk = desk
        self._selection = selection
        self._board = board
        self._outage = outage
        self._stock = Stock()
        self._kinds: Dict[str, FailureKind] = {}
        """By fingerprint, as they are shown."""
        self._retention = Retention(None, None)
        self._show_at_s = self._look_at_s = 0.0
        self._has_answered = True
        """Whether Kafka has answered just now: who waits for its answers at other times misses a silence."""

    def run(self) -> None:
        """Read all that is there, and then what comes. Raises CommandError."""
        desk = self._desk
        dlq_id = topic_id(desk.client, desk.dlq_topic)
        with Audit(desk) as entries:
            entries.begin()
            states = states_now(desk)
            with Topic(desk, states.of, error_cb=lambda error: note_loss(self._outage, error)) as topic:
                ends = self._read(topic)
                self._stock.follow()
                self._look(topic, dlq_id)
                for records in topic.reader.follow(ends, self._is_over, True, heard=self._hear):
                    self._add(map(topic.letter, records))
                    self._take(entries, states)
                    self._look(topic, dlq_id)
                    self._show(topic)
                    self._has_answered = False

    def _read(self, topic: Topic) -> List[Any]:
        """Add all that is there; returns where to go on."""
        spans = spans_of(topic.reader, self._selection.range)
        size, read, progress = sum(span.end - span.begin for span in spans), 0, Progress(self._desk.err)
        for letters in topic.batches(self._selection._replace(limit=None, filters=()), progress, spans):
            read += len(letters)
            self._add(letters)
            self._board.turned(f"reading: {count(read)} of {count(size)}")
        progress.clear()
        return [span._replace(begin=span.end) for span in spans]

    def _add(self, letters: Iterable[Letter]) -> None:
        takes = self._selection.takes if self._selection.filters else None
        for letter in letters:
            if takes is None or takes(letter):
                record = letter.record
                at_ms = now_ms() if record.timestamp_ms is None else record.timestamp_ms
                is_open = letter.state == NEW
                self._stock.add(record.partition, record.offset, at_ms, self._shown_kind(letter), is_open)

    def _shown_kind(self, letter: Letter) -> FailureKind:
        """The kind without what is hidden, as its reason becomes a label. Worked out once for each kind."""
        kind = letter.kind
        if kind.fingerprint not in self._kinds and len(self._kinds) < MOST_ROWS:
            self._kinds[kind.fingerprint] = self._desk.mask.letter(letter).kind
        return self._kinds.get(kind.fingerprint) or self._desk.mask.letter(letter).kind

    def _take(self, entries: "Audit", states: States) -> None:
        for entry in entries.poll(may_begin=self._has_answered):
            states.add(entry)
            is_open = states.of(entry.partition, entry.offset) == NEW
            self._stock.set_open(entry.partition, entry.offset, is_open)

    def _look(self, topic: Topic, dlq_id: Optional[str]) -> None:
        """Now and then: what is gone, how long the rest is kept, and whether the topic is still the same."""
        if time.monotonic() < self._look_at_s or not self._has_answered:
            return
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        try:
            topic.look_for_hidden()
            for partition in topic.reader.partitions():
                self._stock.drop_before(partition, topic.reader.bounds(partition).low)
            self._retention = Retention.of(topic.settings())
        except Unreadable:
            return
        desk = self._desk
        if has_successor(dlq_id, lambda: topic_id(desk.client, desk.dlq_topic)):
            raise CommandError(f"{desk.dlq_topic} was deleted and created again: start anew")

    def _is_over(self) -> bool:
        return self._desk.signals.requested

    def _hear(self, silent_s: float) -> None:
        note_silence(self._outage, silent_s)
        self._has_answered = not self._outage.holds

    def _show(self, topic: Topic) -> None:
        is_lost = self._outage.holds
        self._board.turned("no broker is reached" if is_lost else topic.left_out)
        if time.monotonic() >= self._show_at_s:
            self._show_at_s = time.monotonic() + SHOW_EVERY_S
            self._board.show(self._stock.figures(now_ms(), self._retention.time_ms, is_lost))


def has_successor(then: Optional[str], ask: Callable[[], Optional[str]]) -> bool:
    """Whether the topic of this id was deleted and created again. Raises TopicMissing.

    While its id cannot be asked, or is not known to the broker that was asked, that is left for later.
    """
    try:
        now = ask()
    except TopicMissing:
        raise
    except CommandError:
        return False
    return None not in (then, now) and now != then


class Audit:
    """What is done to dead letters from now on. Use as a context manager."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._reader = Reader(consumer_config(desk.client, desk.consumer_group), desk.audit_topic)
        self._batches: Optional[Iterator[List[Record]]] = None
        self._try_at_s = 0.0
        self._was_missing = False

    def __enter__(self) -> "Audit":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.__exit__()

    def begin(self) -> None:
        """What is written from now on counts; all of it, if the topic is created by the first replay."""
        self._try_at_s = time.monotonic() + TRY_EVERY_S
        try:
            spans = spans_of(self._reader, Range())
        except TopicMissing:
            self._was_missing = True
        except Unreadable:
            pass
        else:
            begins = [span if self._was_missing else span._replace(begin=span.end) for span in spans]
            self._batches = self._reader.follow(begins, all_partitions=True)

    def poll(self, may_begin: bool = True) -> Iterator[AuditEntry]:
        """The entries since the last call. `may_begin`: whether it may wait for answers about the topic."""
        if may_begin and self._batches is None and time.monotonic() >= self._try_at_s:
            self.begin()
        if self._batches is not None:
            for record in self._next(self._batches):
                entry = audit.read_entry(record.key, record.value)
                if entry is not None:
                    yield entry

    def _next(self, batches: Iterator[List[Record]]) -> List[Record]:
        """What came; nothing once the topic was deleted, and then all that the next one of its name holds."""
        try:
            return next(batches)
        except TopicMissing:
            self._batches, self._was_missing = None, True
            return []
