"""Finds out how a running consumer is, beside the loop and without holding it up.

The loop leaves a reading of itself about once a second. A thread puts the reading together with the ends of
the log, which it asks for, also while the loop is in a handler call that takes minutes.
"""

import threading
from typing import Callable, Dict, Iterable, NamedTuple, Optional, Protocol, Set

from orderflow.consume.arrivals import Arrivals
from orderflow.consume.event_counts import EventCounts
from orderflow.consume.figures import Figures, PartitionFigures, PartitionReading, Reading
from orderflow.consume.health import Run, health_of
from orderflow.consume.intake_states import Change, IntakeStates, Surroundings
from orderflow.consume.liveness import Found, Where, find
from orderflow.consume.process_figures import process_figures
from orderflow.consume.world import World

READ_EVERY_S = 1.0
LOOK_EVERY_S = 1.0
LAST_LOOK_S = 1.0
"""How long to wait for the last look to end: a report may be stuck if nobody reads our stderr."""
ENDS_EVERY_S = 2.0
ENDS_AFTER_FAILURE_S = (2.0, 30.0)
"""Before a leader that did not answer is asked again: doubled each time, up to the second."""
STILL_S = 1.0
"""A loop that has not turned for this long is in a call, or waits, or hangs."""
HANGS_AFTER_S = 6.0
"""No step takes this long, apart from handler calls and requests to Kafka."""
CALLED_LATELY_S = 5.0
NEVER_RETURNS_S = 600.0
"""An outage of Kafka need not end the process, but a client that never returns from a call must."""


class Ends(Protocol):
    """Asks for the ends of the log: see `LogEnds`."""

    @property
    def is_asking(self) -> bool:
        """Whether the last request has not been answered yet."""

    def ask(self, partitions: Iterable[int]) -> None:
        """Ask for these."""

    def take(self) -> Dict[int, int]:
        """The ends that were answered since the last call."""


class Monitor:
    """Watches one consumer. The loop's thread calls `turned`; everything else may be asked by any thread."""

    def __init__(
        self,
        ends: Ends,
        counts: EventCounts,
        is_kafka_lost: Callable[[], bool],
        world: World,
        find_thread: Callable[[int], Found] = find,
        is_topic_missing: Callable[[], bool] = lambda: False,
    ) -> None:
        self._ends = _KnownEnds(ends)
        self._counts = counts
        self._is_kafka_lost = is_kafka_lost
        self._is_topic_missing = is_topic_missing
        self._world = world
        self._states = IntakeStates()
        self._arrivals = Arrivals()
        self._loop = _Turns(world.clock, find_thread)
        self._reading = Reading()
        self._read_at_s: Optional[float] = None
        self._idle_at_s = world.clock()
        self._called_at_s = -CALLED_LATELY_S
        self._figures = Figures()
        self._is_ended = threading.Event()
        self._thread: Optional[threading.Thread] = None

    # --- the loop --------------------------------------------------------------------------------

    def turned(self, read: Callable[[], Reading]) -> None:
        """The loop turned once more. Now and then, it is asked to read itself."""
        now_s = self._loop.turned()
        if self._read_at_s is None or now_s >= self._read_at_s + READ_EVERY_S:
            self._read_at_s = now_s
            self._reading = read()

    def stopping(self) -> None:
        """The loop finishes what it has begun, which has a time limit of its own."""
        self._loop.stopping()

    # --- running ---------------------------------------------------------------------------------

    def start(self, show: Callable[[Figures], None]) -> None:
        """Look again and again, in a thread, and show what was found."""
        self._thread = threading.Thread(target=self._watch, args=(show,), name="monitor", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Look no more, and report nothing more."""
        self._is_ended.set()
        if self._thread is not None:
            self._thread.join(LAST_LOOK_S)

    def _watch(self, show: Callable[[Figures], None]) -> None:
        while not self._is_ended.wait(LOOK_EVERY_S):
            self.look()
            show(self._figures)

    def look(self) -> None:
        """Find out how things are, and report what has changed."""
        now_s, reading = self._world.clock(), self._reading
        is_lost = self._is_kafka_lost()
        self._ends.look(reading.partitions, is_lost, now_s)
        self._note_arrivals(reading, now_s)
        partitions = {
            number: self._partition(number, each, now_s) for number, each in reading.partitions.items()
        }
        behind = {number for number, each in partitions.items() if each.unseen}
        changes = self._states.look(reading.partitions, behind, self._surroundings(reading, is_lost), now_s)
        self._show(reading, partitions, is_lost, now_s)
        for change in changes:
            self._report(change)

    def _surroundings(self, reading: Reading, is_lost: bool) -> Surroundings:
        self._loop.look()
        is_careful = any(each.careful for each in reading.partitions.values())
        now_s = self._world.clock()
        if self._loop.is_calling or reading.oldest_call_at_s is not None:
            self._called_at_s = now_s
        # Between two long calls none is running, which does not mean that they are over.
        is_calling = now_s - self._called_at_s < CALLED_LATELY_S
        return Surroundings(is_lost, self._loop.hangs is not None, is_careful, is_calling)

    def _report(self, change: Change) -> None:
        partitions, reason, for_s = change.partitions, change.reason, change.for_s
        since_ms = self._world.now_ms() - int(for_s * 1000)
        if change.has_stopped:
            self._world.report(
                "intake_stopped", partitions=partitions, reason=reason, for_s=for_s, since_ms=since_ms
            )
        else:
            self._world.report(
                "intake_resumed", partitions=partitions, reason=reason, for_s=for_s, since_ms=since_ms
            )

    # --- partitions ------------------------------------------------------------------------------

    def _note_arrivals(self, reading: Reading, now_s: float) -> None:
        self._arrivals.forget_all_but(set(reading.partitions))
        for number, each in reading.partitions.items():
            end = self._ends.of(number, each)
            if end is not None:
                self._arrivals.end_is(number, end, now_s)
        for number, (offset, stamp_s) in reading.times_s.items():
            self._arrivals.record_at(number, offset, stamp_s)

    def _partition(self, number: int, each: PartitionReading, now_s: float) -> PartitionFigures:
        end = self._ends.of(number, each)
        unseen, age_s = None, 0.0
        if end is not None and each.next is not None:
            unseen = max(0, end - each.next)
            age_s = self._arrivals.age_s(number, each.next, now_s, self._world.time_of_day())
        return PartitionFigures(
            each.waiting,
            each.in_flight,
            each.queued,
            each.waiting_bytes,
            each.waiting_limit,
            each.queued_limit,
            each.waiting_bytes_limit,
            unseen,
            age_s,
            None,
            each.is_braked,
            each.careful,
        )

    # --- what is shown ---------------------------------------------------------------------------

    def _show(
        self, reading: Reading, partitions: Dict[int, PartitionFigures], is_lost: bool, now_s: float
    ) -> None:
        stops = self._states.stops(now_s)
        shown = {number: each._replace(stop=stops.get(number)) for number, each in partitions.items()}
        turns = self._loop
        run = Run(turns.has_started, turns.is_stopping, turns.hangs, self._is_topic_missing())
        self._figures = Figures(
            1,
            reading.processed,
            dict(self._counts.dead_lettered),
            dict(self._counts.retries),
            self._counts.restarts,
            reading.rebalances,
            shown,
            self._unsettled_s(reading, any(each.unseen for each in shown.values()), now_s),
            self._longest_call_s(reading, now_s),
            reading.keys_braked,
            is_lost,
            reading.calls,
            reading.settlements,
            process_figures(),
            health_of(run, reading, stops),
        )

    def _unsettled_s(self, reading: Reading, is_behind: bool, now_s: float) -> float:
        if not is_behind and not reading.has_unsettled:
            self._idle_at_s = now_s
        return max(0.0, now_s - max(self._idle_at_s, reading.settled_at_s))

    def _longest_call_s(self, reading: Reading, now_s: float) -> float:
        if reading.oldest_call_at_s is not None:
            return max(0.0, now_s - reading.oldest_call_at_s)
        return self._loop.still_s if self._loop.is_calling else 0.0

    @property
    def figures(self) -> Figures:
        """The figures as of the last look."""
        return self._figures


class _Unanswered(NamedTuple):
    delay_s: float
    ask_at_s: float


class _KnownEnds:
    """The ends of the log, as far as they are known."""

    def __init__(self, ends: Ends) -> None:
        self._ends = ends
        self._known: Dict[int, int] = {}
        self._asked: Set[int] = set()
        self._ask_at_s = 0.0
        self._unanswered: Dict[int, _Unanswered] = {}
        """Partitions whose leader did not answer. It would cost a CPU to insist."""

    def look(self, assigned: Iterable[int], is_kafka_lost: bool, now_s: float) -> None:
        """Take the answers, and ask again if it is time. Asks nothing while Kafka is away."""
        if self._ends.is_asking:
            return
        self._take(now_s)
        if not is_kafka_lost and now_s >= self._ask_at_s:
            self._ask_at_s = now_s + ENDS_EVERY_S
            self._asked = {number for number in assigned if now_s >= self._due_s(number)}
            self._ends.ask(self._asked)

    def _take(self, now_s: float) -> None:
        answers, asked = self._ends.take(), self._asked
        self._known.update(answers)
        self._asked = set()
        for number in answers:
            self._unanswered.pop(number, None)
        first_s, longest_s = ENDS_AFTER_FAILURE_S
        for number in asked - set(answers):
            before = self._unanswered.get(number)
            delay_s = first_s if before is None else min(longest_s, 2 * before.delay_s)
            self._unanswered[number] = _Unanswered(delay_s, now_s + delay_s)

    def _due_s(self, number: int) -> float:
        unanswered = self._unanswered.get(number)
        return 0.0 if unanswered is None else unanswered.ask_at_s

    def of(self, number: int, reading: PartitionReading) -> Optional[int]:
        """The end of this partition: that of the last fetch while it is fetched from, if that is further."""
        ends = [self._known.get(number), None if reading.holds and number in self._known else reading.end]
        return max((end for end in ends if end is not None), default=None)


class _Turns:
    """Whether the loop turns and, if it does not, where it is."""

    def __init__(self, clock: Callable[[], float], find_thread: Callable[[int], Found]) -> None:
        self.has_started = self.is_stopping = self.is_calling = False
        self.still_s = 0.0
        self.hangs: Optional[str] = None
        self._clock = clock
        self._find = find_thread
        self._turned_at_s = clock()
        self._thread: Optional[int] = None
        self._was_lost = False

    def turned(self) -> float:
        """The loop turned; returns the time."""
        self._turned_at_s = self._clock()
        if not self.has_started:
            self._thread, self.has_started = threading.get_ident(), True
        return self._turned_at_s

    def stopping(self) -> None:
        """It will not turn any more."""
        self.is_stopping = True

    def look(self) -> None:
        """Find out where the loop is."""
        self.still_s = self._clock() - self._turned_at_s
        self.is_calling, self.hangs = False, None
        if self.still_s < STILL_S or self._thread is None or self.is_stopping:
            self._was_lost = False
            return
        found = self._find(self._thread)
        self.is_calling = found.where is Where.CALLING
        limit_s = HANGS_AFTER_S if found.where is Where.ELSEWHERE else NEVER_RETURNS_S
        is_lost = not self.is_calling and self.still_s > limit_s
        # Passing through once says nothing: between two requests to Kafka, for instance.
        if is_lost and self._was_lost:
            self.hangs = f"the loop has not turned for {self.still_s:.0f} s, and is at {found.at}"
        self._was_lost = is_lost
