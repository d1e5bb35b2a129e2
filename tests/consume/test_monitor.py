"""The figures of a running consumer are true, also while it takes in nothing or its loop stands still."""

import threading
from functools import partial
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest

from orderflow.consume.event_counts import MOST_REASONS, OTHER, EventCounts
from orderflow.consume.figures import Figures, PartitionReading, Reading
from orderflow.consume.intake_states import WHY
from orderflow.consume.liveness import Found, Where
from orderflow.consume.monitor import HANGS_AFTER_S, Monitor
from orderflow.consume.restoring import Limits
from orderflow.consume.world import World
from orderflow.errors import InvalidOrder, RejectOrder, RetryLater
from tests.support.scripted_ends import ScriptedEnds
from tests.support.scripted_session import LIMITS, POLICY, Clock, Life, Topic

PATIENT = POLICY._replace(max_retries=1_000)
Report = Tuple[str, Dict[str, Any]]


class Watched(Life):
    """An engine under a monitor, which looks about once a second of the script's time."""

    def __init__(self, topic: Topic, handler: Callable[..., Any], **more: Any) -> None:
        super().__init__(topic, handler, **more)
        self.is_kafka_lost = False
        self.counts = EventCounts()
        self.ends = ScriptedEnds(topic)
        world = World(topic.clock, topic.clock.time_of_day, lambda: 0.0, self.report)
        self.monitor = Monitor(self.ends, self.counts, lambda: self.is_kafka_lost, world)
        self._look_at_s = 0.0

    def report(self, event: str, **fields: Any) -> None:
        """Keep and count an event."""
        super().report(event, **fields)
        if hasattr(self, "counts"):
            self.counts.note(event, fields)

    def step(self, times: int = 1) -> None:
        """Let the engine and the monitor go that many rounds."""
        for _ in range(times):
            super().step()
            self.monitor.turned(self.engine.reading)
            if self.clock() >= self._look_at_s:
                self._look_at_s = self.clock() + 1.0
                self.monitor.look()

    def run(self, seconds: float) -> Figures:
        """Let time pass; returns the figures after that."""
        until_s = self.clock() + seconds
        self.until(lambda: self.clock() >= until_s, steps=1_000_000)
        return self.monitor.figures


def fails(order: Dict[str, Any]) -> None:
    """A handler whose dependency is down."""
    raise ConnectionError("the bank is down")


def works(order: Dict[str, Any]) -> None:
    """A handler."""


# --- what is unseen


def test_unseen_is_true_while_a_full_ledger_takes_in_nothing() -> None:
    """Nothing is fetched, so the client's own idea of the end stands still. 4,000 orders come."""
    topic = Topic()
    topic.fill(20, keys=1)
    life = Watched(topic, fails, policy=PATIENT, limits=Limits(10, LIMITS.max_waiting_bytes))
    life.run(5.0)
    topic.fill(4_000)
    figures = life.run(4.0)
    taken_in = life.engine.assignment.ready[0].ledger.next

    assert figures.unseen == 4_020 - taken_in
    assert figures.partitions[0].stop is not None
    assert figures.partitions[0].stop.reason == "full"


def test_unseen_is_true_in_an_outage() -> None:
    """The outage brake lets one order a second through."""
    topic = Topic(2)
    for number in (0, 1):
        topic.fill(100, number)
    life = Watched(topic, fails)
    life.run(10.0)
    topic.fill(3_000, 1)
    figures = life.run(4.0)
    taken_in = [life.engine.assignment.ready[number].ledger.next for number in (0, 1)]

    assert figures.unseen == pytest.approx(3_200 - sum(taken_in), abs=6)
    assert {stop.reason for stop in figures.stops.values()} == {"outage"}
    assert all(each.is_braked for each in figures.partitions.values())


def test_nothing_is_unseen_once_all_is_taken_in() -> None:
    """Waiting orders are seen, and markers at the end of the log are no orders."""
    topic = Topic()
    topic.fill(10)
    topic.leave_hole(0, 3)

    figures = Watched(topic, fails).run(3.0)

    assert (figures.unseen, figures.partitions[0].oldest_unseen_s) == (0, 0.0)


def test_the_oldest_unseen_order_is_as_old_as_it_has_waited() -> None:
    """Also where nothing is fetched: the ends tell when it came."""
    topic = Topic()
    topic.fill(20, keys=1)
    life = Watched(topic, fails, policy=PATIENT, limits=Limits(10, LIMITS.max_waiting_bytes))
    life.run(10.0)
    assert life.monitor.figures.unseen

    first = life.monitor.figures.partitions[0].oldest_unseen_s
    later = life.run(30.0).partitions[0].oldest_unseen_s

    assert later - first == pytest.approx(30.0, abs=2.5)


def test_nothing_is_asked_while_kafka_is_away_and_nothing_forgotten() -> None:
    """A request that waits for a broker costs a CPU; and nobody can publish meanwhile either."""
    topic = Topic()
    topic.fill(20, keys=1)
    life = Watched(topic, fails, policy=PATIENT, limits=Limits(10, LIMITS.max_waiting_bytes))
    before = life.run(5.0)
    life.is_kafka_lost, asked = True, len(life.ends.asked)
    figures = life.run(60.0)

    assert len(life.ends.asked) == asked
    assert figures.unseen is not None and before.unseen is not None
    assert figures.is_kafka_lost
    assert figures.stops[0].reason == "kafka_lost"


def test_ends_are_asked_for_every_two_seconds_and_never_twice_at_a_time() -> None:
    """Whether the last request is answered or not."""
    topic = Topic()
    life = Watched(topic, works)
    life.run(20.0)
    assert 8 <= len(life.ends.asked) <= 11

    life.ends.is_silent = True
    asked = len(life.ends.asked)
    life.run(20.0)

    assert len(life.ends.asked) <= asked + 1


def test_a_partition_without_a_leader_keeps_no_other_from_being_known() -> None:
    """It is asked for again after a while, since to wait for it costs a CPU; the others as often as ever."""
    topic = Topic(2)
    life = Watched(topic, works)
    life.ends.leaderless.add(1)
    life.run(21.0)

    assert 8 <= sum(0 in asked for asked in life.ends.asked)
    assert 3 <= sum(1 in asked for asked in life.ends.asked) <= 4

    life.ends.leaderless.clear()
    life.run(17.0)
    before = len(life.ends.asked)
    life.run(6.0)
    assert all(asked == {0, 1} for asked in life.ends.asked[before:])


# --- what is in hand


def test_waiting_and_queued_are_two_figures() -> None:
    """One order waits for its retry, three queue behind it, and two of another key wait as well."""
    topic = Topic()
    for key in (b"ann", b"ann", b"ann", b"ann", None, None):
        topic.put(0, key)

    figures = Watched(topic, fails).run(2.0)

    assert (figures.waiting, figures.queued, figures.in_flight) == (3, 3, 0)


def test_orders_in_flight_are_not_waiting() -> None:
    """Worker threads have two, one queues behind the first, and none waits."""
    topic, may_end = Topic(), threading.Event()
    for key in (b"ann", b"ann", b"bob"):
        topic.put(0, key)
    life = Watched(topic, lambda order: may_end.wait(20), workers=4)
    life.step(20)
    life.clock.pass_by(2.0)
    life.step(1)
    figures = life.monitor.figures
    may_end.set()

    assert (figures.waiting, figures.queued, figures.in_flight) == (0, 1, 2)


def test_what_became_of_orders_is_counted_by_reason() -> None:
    """Each in its own way, and the calls by their outcome."""
    topic, problems = Topic(), [None, ValueError("a"), RejectOrder("b"), InvalidOrder("price", "is wrong")]

    def handler(order: Dict[str, Any]) -> None:
        problem = problems[int(order["value"].split(b":")[1])]
        if problem is not None:
            raise problem

    topic.fill(4)
    figures = Watched(topic, handler).run(20.0)

    assert figures.processed == 1
    assert figures.retries == {"process.failed": 3}
    assert figures.dead_lettered == {
        "process.rejected": 1,
        "validate.price": 1,
        "process.retries_exhausted": 1,
    }
    assert {name: sum(each.counts) for name, each in figures.calls.items()} == {
        "succeeded": 1,
        "failed": 4,
        "rejected": 2,
        "postponed": 0,
    }
    assert sum(figures.settlements["succeeded"].counts) >= 4


@pytest.mark.parametrize("workers", [1, 4])
def test_every_call_is_timed_once(workers: int) -> None:
    """Fast path, retries and worker threads: as many calls as were made, and as many successes as orders."""
    topic, calls = Topic(), []

    def handler(order: Dict[str, Any]) -> None:
        is_first = order["value"] not in calls
        calls.append(order["value"])
        if is_first and order["value"].endswith(b"7"):
            raise RetryLater(after=0.5)

    topic.fill(200, keys=20)
    figures = Watched(topic, handler, workers=workers).run(30.0)

    assert figures.processed == 200
    assert {name: sum(each.counts) for name, each in figures.calls.items()} == {
        "succeeded": 200,
        "failed": 0,
        "rejected": 0,
        "postponed": 20,
    }


def test_reasons_that_handlers_make_up_do_not_fill_the_memory_of_prometheus() -> None:
    """The first few are told apart."""
    counts = EventCounts()
    topic = Topic()
    topic.fill(500)

    def handler(order: Dict[str, Any]) -> None:
        raise RejectOrder("no", reason=f"order.{order['value']!r}")

    life = Watched(topic, handler)
    life.counts = counts
    life.run(5.0)

    assert len(counts.dead_lettered) == MOST_REASONS + 1
    assert sum(counts.dead_lettered.values()) == 500
    assert counts.dead_lettered[OTHER] == 500 - MOST_REASONS


# --- stops are told


def told(life: Watched) -> List[Report]:
    """The events about intake so far."""
    return [event for event in life.events if event[0].startswith("intake_")]


def test_a_stop_is_told_with_its_reason_and_its_length() -> None:
    """When it has lasted ten seconds, and when it ends."""
    topic, is_down = Topic(), True

    def handler(order: Dict[str, Any]) -> None:
        if is_down:
            raise ConnectionError

    topic.fill(20, keys=1)
    life = Watched(topic, handler, policy=PATIENT, limits=Limits(10, LIMITS.max_waiting_bytes))
    life.run(20.0)
    ((name, stopped),) = told(life)
    assert (name, stopped["partitions"], stopped["reason"]) == ("intake_stopped", (0,), "full")

    is_down = False
    life.run(30.0)
    _, (name, resumed) = told(life)

    assert (name, resumed["reason"]) == ("intake_resumed", "full")
    assert resumed["since_ms"] == pytest.approx(stopped["since_ms"], abs=2_000)
    assert resumed["for_s"] > stopped["for_s"] >= 10.0


# --- readings alone


def watching(clock: Clock, ends: Optional[ScriptedEnds] = None, where: Where = Where.ELSEWHERE) -> Monitor:
    """A monitor without an engine; a loop that does not turn is there."""
    world = World(clock, clock.time_of_day, lambda: 0.0, lambda event, **fields: None)
    ends = ends or ScriptedEnds(Topic())
    return Monitor(
        ends, EventCounts(), lambda: False, world, lambda thread: Found(where, "loop.py:7 in step")
    )


def _same(reading: Reading) -> Reading:
    return reading


def looked(monitor: Monitor, clock: Clock, reading: Optional[Reading], seconds: float) -> Figures:
    """The figures after so long, with this reading each second, or with a loop that does not turn."""
    for _ in range(int(seconds)):
        clock.pass_by(1.0)
        if reading is not None:
            monitor.turned(partial(_same, reading))
        monitor.look()
    return monitor.figures


READY = PartitionReading(next=5, end=5, is_restored=True)
AT_WORK = Reading(is_member=True, partitions={0: READY})


def test_a_partition_that_is_being_restored_is_stopped_and_not_ready() -> None:
    """/readyz says which."""
    clock = Clock()
    reading = Reading(is_member=True, partitions={0: READY, 1: PartitionReading(), 2: PartitionReading(7)})
    figures = looked(watching(clock, ScriptedEnds(Topic(3))), clock, reading, 3)

    assert set(figures.stops) == {1, 2}
    assert figures.health.not_ready == (f"partitions 1-2: {WHY['restoring'].words}",)
    assert figures.partitions[1].unseen is None


@pytest.mark.parametrize(
    ("holds", "is_ready"), [((), True), (("full",), True), (("registry",), True), (("blocked",), False)]
)
def test_what_comes_with_the_orders_does_not_make_a_consumer_unready(
    holds: Tuple[str, ...], is_ready: bool
) -> None:
    """A new version must be able to replace one whose ledger is full; it is noted all the same."""
    clock = Clock()
    reading = AT_WORK._replace(partitions={0: READY._replace(holds=holds)})
    health = looked(watching(clock), clock, reading, 3).health

    assert (health.not_ready == ()) is is_ready
    assert bool(health.notes) is (is_ready and bool(holds))


def test_readiness_from_start_to_end() -> None:
    """Starting, not a member yet, a member without partitions, stopping."""
    clock = Clock()
    monitor = watching(clock)
    found = [looked(monitor, clock, None, 1).health.not_ready]
    found.append(looked(monitor, clock, Reading(), 2).health.not_ready)
    found.append(looked(monitor, clock, Reading(is_member=True), 2).health.not_ready)
    monitor.stopping()
    found.append(looked(monitor, clock, None, 30).health.not_ready)

    assert found == [("starting",), ("not admitted by its group yet",), (), ("stopping",)]
    assert monitor.figures.health.hangs == ()


def test_unsettled_grows_only_while_there_is_something_to_do() -> None:
    """A quiet topic settles nothing, and nothing is wrong."""
    clock = Clock()
    monitor = watching(clock)
    assert looked(monitor, clock, AT_WORK, 60).unsettled_s == 0.0

    busy = AT_WORK._replace(has_unsettled=True, settled_at_s=clock())
    assert looked(monitor, clock, busy, 60).unsettled_s == pytest.approx(60.0)

    assert looked(monitor, clock, busy._replace(settled_at_s=clock()), 1).unsettled_s <= 1.0


def test_a_loop_that_hangs_is_not_alive_within_ten_seconds() -> None:
    """It is in no handler call, and does not wait for Kafka. Passing through once says nothing."""
    clock = Clock()
    monitor = watching(clock)
    looked(monitor, clock, AT_WORK, 2)
    assert looked(monitor, clock, None, HANGS_AFTER_S).health.hangs == ()

    (why,) = looked(monitor, clock, None, 2).health.hangs

    assert why == "the loop has not turned for 8 s, and is at loop.py:7 in step"
    assert looked(monitor, clock, AT_WORK, 1).health.hangs == ()


@pytest.mark.parametrize(
    ("where", "alive_s", "dead_s"),
    [(Where.CALLING, 3_000, None), (Where.WAITING, 590, 620), (Where.ELSEWHERE, 5, 9)],
)
def test_a_call_and_a_wait_for_kafka_are_no_hang(where: Where, alive_s: int, dead_s: Optional[int]) -> None:
    """A call has HANDLER_TIMEOUT, which the watchdog keeps; a request may last as long as an outage."""
    clock = Clock()
    monitor = watching(clock, where=where)
    looked(monitor, clock, AT_WORK, 1)

    assert looked(monitor, clock, None, alive_s).health.hangs == ()
    if dead_s is not None:
        assert looked(monitor, clock, None, dead_s - alive_s).health.hangs


def test_a_slow_call_in_the_loop_is_seen_from_outside() -> None:
    """The loop stands still in it; unseen goes on growing, and the reason is the handler."""
    topic, clock = Topic(), Clock()
    monitor = watching(clock, ScriptedEnds(topic), Where.CALLING)
    looked(monitor, clock, Reading(is_member=True, partitions={0: READY}), 2)
    topic.fill(1_000)
    figures = looked(monitor, clock, None, 8)

    assert figures.unseen == 995
    assert figures.stops[0].reason == "handler"
    assert figures.longest_call_s == pytest.approx(8.0)
    assert figures.health.not_ready == ()


def test_a_partition_behind_long_calls_is_stopped_without_a_break() -> None:
    """Between two calls of other partitions none is running for a moment."""
    clock, reports = Clock(), []
    world = World(clock, clock.time_of_day, lambda: 0.0, lambda event, **fields: reports.append(event))
    monitor = Monitor(ScriptedEnds(Topic()), EventCounts(), lambda: False, world)
    behind = AT_WORK._replace(partitions={0: READY._replace(end=9)})
    for number in range(60):
        call = behind._replace(oldest_call_at_s=clock() if number % 3 else None)
        looked(monitor, clock, call, 1)

    assert monitor.figures.stops[0].reason == "handler"
    assert reports == ["intake_stopped"]


def test_the_longest_call_of_the_workers_is_known() -> None:
    """Since when it has been running."""
    clock = Clock()
    monitor = watching(clock)

    figures = looked(monitor, clock, AT_WORK._replace(oldest_call_at_s=0.0), 12)

    assert figures.longest_call_s == pytest.approx(12.0)


def test_the_monitor_looks_by_itself_and_ends() -> None:
    """In a thread of its own, which shows what it found."""
    shown: List[Figures] = []
    is_shown = threading.Event()

    def show(figures: Figures) -> None:
        shown.append(figures)
        is_shown.set()

    monitor = watching(Clock())
    monitor.start(show)
    assert is_shown.wait(10)
    monitor.end()
    after = len(shown)

    assert not [thread for thread in threading.enumerate() if thread.name == "monitor"]
    assert len(shown) == after
