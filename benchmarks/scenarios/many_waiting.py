"""What many waiting orders cost a consumer: memory, settlements, a stop and a start."""

import time
from pathlib import Path
from typing import List, NamedTuple

from benchmarks.fates import percentile
from benchmarks.new_orders import leave_waiting, send, start_with_new
from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median
from benchmarks.rig import Rig, Topic, eventually, finish, lines_of, read_report, unique
from benchmarks.work import NEW

MANY, PARTITIONS = 100_000, 3
SCATTERED, EVERY = 200_000, 10
"""Orders in one partition, of which every tenth waits."""
NEW_PER_S = 500
LIMIT_MIB, LIMIT_S = 300, 2.0
HANDLER = "every_nth_waits"


class Costs(NamedTuple):
    """What was measured of one consumer with many waiting orders."""

    filled_s: float
    settling_ms: List[float]
    """From the calls for new orders to a reader of their results, sorted."""
    peak_mib: float
    stop_s: float
    first_s: float
    """From an assignment to the first call for a new order."""
    peak_after_start_mib: float


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """All wait, in three partitions; then every tenth in one."""
    costs = []
    for number in range(plan.rounds):
        costs.append(_many(rig, plan))
        told = costs[-1]._replace(settling_ms=[percentile(costs[-1].settling_ms, 50)])
        say(f"round {number + 1}: {MANY:,} wait: {told}")
    starts_s = _scattered(rig, plan, say)
    waiting = SCATTERED // EVERY
    return Section(
        title=f"{MANY:,} waiting orders",
        method=(
            f"{MANY:,} orders of producer.py in {PARTITIONS} partitions, all of which wait for hours, so "
            f"that each partition's list is on a page. Meanwhile {NEW_PER_S} new orders/s come and are "
            "processed at once. Settling is from the call for a new order to a `read_committed` reader of "
            "its result: all of a settlement, with the pages. Then the consumer is stopped, new orders are "
            f"sent, and it is started again. The last row is one partition with {SCATTERED:,} orders, every "
            f"{EVERY}th of which waits; there it is killed with -9. Starts are timed from the assignment, as "
            "the group's coordinator shows it, to the first call for a new order."
        ),
        head=("", "median", "each round"),
        rows=[
            ("until all wait, s", *_each([one.filled_s for one in costs], 1)),
            ("settling, p50, ms", *_each([percentile(one.settling_ms, 50) for one in costs], 1)),
            ("settling, p99, ms", *_each([percentile(one.settling_ms, 99) for one in costs], 1)),
            ("peak memory, MiB", *_each([one.peak_mib for one in costs], 0)),
            ("stop, s", *_each([one.stop_s for one in costs], 2)),
            ("start: first new order, s", *_each([one.first_s for one in costs], 2)),
            ("peak memory after the start, MiB", *_each([one.peak_after_start_mib for one in costs], 0)),
            (f"{waiting:,} waiting of {SCATTERED:,}: first new order, s", *_each(starts_s, 2)),
        ],
        bars=_bars(costs, starts_s),
    )


def _bars(costs: List[Costs], starts_s: List[float]) -> List[Bar]:
    peak_mib = max(max(one.peak_mib, one.peak_after_start_mib) for one in costs)
    return [
        Bar(
            f"{MANY:,} waiting orders in less than {LIMIT_MIB} MiB",
            f"{peak_mib:.0f} MiB at worst",
            peak_mib < LIMIT_MIB,
        ),
        Bar(
            f"Start with {SCATTERED // EVERY:,} waiting over {SCATTERED:,} offsets: new orders within "
            f"{LIMIT_S:.0f} s",
            f"{max(starts_s):.2f} s at worst",
            max(starts_s) <= LIMIT_S,
        ),
    ]


def _each(values: List[float], digits: int) -> List[str]:
    return [f"{median(values):.{digits}f}", " ".join(f"{value:.{digits}f}" for value in values)]


def _many(rig: Rig, plan: Plan) -> Costs:
    topic = rig.publish(MANY, PARTITIONS, invalid="")
    results = rig.create(f"results-{unique()}", PARTITIONS)
    todo = rig.job(topic, "shipped")
    report = rig.folder / f"{todo.group}.report"
    process = rig.start_ours(todo, report, "--processed-topic", results, handler=HANDLER)
    eventually(report.exists, 120, "all orders were called once")
    filled_s = MANY / read_report(report, MANY).rate
    time.sleep(1)
    settling_ms = _settling_ms(rig, topic, results, plan.latency_s)
    peak_mib, began_s = process.peak_mib(), time.monotonic()
    process.stop()
    stop_s = time.monotonic() - began_s
    started = start_with_new(rig, todo, 1, HANDLER)
    peak_after_start_mib = started.process.peak_mib()
    started.process.kill()
    return Costs(filled_s, settling_ms, peak_mib, stop_s, started.first_s, peak_after_start_mib)


def _settling_ms(rig: Rig, topic: Topic, results: str, seconds: int) -> List[float]:
    path = rig.folder / f"{results}.latency"
    count = NEW_PER_S * seconds
    reading = {
        "brokers": rig.brokers,
        "topic": results,
        "partitions": PARTITIONS,
        "results": count,
        "path": str(path),
    }
    reader = rig.start_module("benchmarks.result_reader", reading)
    send(rig, topic.name, f"{NEW}0", count, NEW_PER_S)
    finish(reader, 60)
    return sorted(_back_ms(path))


def _back_ms(path: Path) -> List[float]:
    return [int(line.split(",")[2]) / 1000 for line in lines_of(path)]


def _scattered(rig: Rig, plan: Plan, say: Say) -> List[float]:
    topic = rig.publish(SCATTERED, 1, invalid="")
    todo = rig.job(topic, "shipped")
    leave_waiting(rig, todo, HANDLER, 120, BENCH_EVERY=str(EVERY))
    starts_s: List[float] = []
    for number in range(plan.rounds):
        started = start_with_new(rig, todo, number, HANDLER, BENCH_EVERY=str(EVERY))
        started.process.kill()
        starts_s.append(started.first_s)
        say(f"round {number + 1}: {SCATTERED // EVERY:,} wait: first new order after {started.first_s:.2f} s")
    return starts_s
