"""From the moment an order was meant to be sent until a reader of committed results has it."""

from pathlib import Path
from typing import Dict, List, Sequence, Tuple

from benchmarks.fates import percentile
from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median
from benchmarks.rig import Process, Rig, Topic, eventually, finish, lines_of, unique

PER_S = 2_000
WARM_UP_S = 3
P50_MS, P99_MS = 20.0, 60.0
SHIPPED = 3
"""Partitions that the scripts give to `orders` when they create it."""
TOPOLOGIES = (
    ("exactly-once", SHIPPED),
    ("at-least-once", SHIPPED),
    ("exactly-once", 1),
    ("exactly-once", 8),
)
PARTS = ("in all", "to the handler", "to the reader")
PERCENT = (50, 90, 99, 99.9, 100)


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Each guarantee and number of partitions in turn, `rounds` times."""
    found: Dict[Tuple[str, int], List[Split]] = {topology: [] for topology in TOPOLOGIES}
    _measure(rig, plan._replace(latency_s=2 * plan.latency_s), *TOPOLOGIES[0])  # the broker's Java compiles
    for number in range(plan.rounds):
        for topology in TOPOLOGIES:
            split = _measure(rig, plan, *topology)
            found[topology].append(split)
            p50, p99 = percentile(split[0], 50), percentile(split[0], 99)
            say(f"round {number + 1}: {_name(*topology)}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    rows = [
        (f"{_name(*topology)}, {part}", *(f"{_median(splits, place, at):.1f}" for at in PERCENT))
        for topology, splits in found.items()
        for place, part in enumerate(PARTS)
    ]
    shipped = found["exactly-once", SHIPPED]
    p50, p99 = _median(shipped, 0, 50), _median(shipped, 0, 99)
    bars = [
        Bar(f"{PER_S:,} orders/s: p50 under {P50_MS:.0f} ms", f"{p50:.1f} ms", p50 < P50_MS),
        Bar(f"{PER_S:,} orders/s: p99 under {P99_MS:.0f} ms", f"{p99:.1f} ms", p99 < P99_MS),
    ]
    return Section(
        title="Latency",
        method=(
            f"{PER_S:,} orders/s for {plan.latency_s} s, sent on schedule whatever becomes of them, with the "
            "settings of `producer.py` (which waits up to 5 ms to fill a batch), to as many partitions as "
            "are named, the results to as many: 3 is what the scripts create. Sender, `consumer.py` and a "
            "`read_committed` reader of PROCESSED_TOPIC are processes of their own. Counted is from the "
            "intended time of sending, so that a stall shows in every order that it delayed. Milliseconds, "
            f"medians of {plan.rounds} rounds; left out are a whole run before them, in which the broker's "
            f"Java compiles its code, and the first {WARM_UP_S} s of each. Split: up to the handler's call "
            "(sending, fetching, waiting for the batch before to be taken), and from there to the reader "
            "(settling, and the reader's own fetch)."
        ),
        head=("Guarantee, partitions and part", "p50", "p90", "p99", "p99.9", "max"),
        rows=rows,
        bars=bars,
    )


Split = Tuple[List[float], List[float], List[float]]
"""In all, to the handler, and to the reader, in milliseconds and each sorted."""


def _measure(rig: Rig, plan: Plan, guarantee: str, partitions: int) -> Split:
    orders = rig.create(f"orders-{unique()}", partitions)
    results = rig.create(f"results-{unique()}", partitions)
    count = PER_S * plan.latency_s
    path = rig.folder / f"{results}.latency"
    consumer = _consumer(rig, Topic(orders, partitions, 1, 0, 0.0), results, guarantee)
    reading = {
        "brokers": rig.brokers,
        "topic": results,
        "partitions": partitions,
        "results": count,
        "path": str(path),
    }
    reader = rig.start_module("benchmarks.result_reader", reading)
    schedule = {"brokers": rig.brokers, "topic": orders, "per_s": PER_S, "orders": count, "prefix": "L"}
    finish(rig.start_module("benchmarks.sender", schedule), plan.latency_s + 60)
    finish(reader, 60)
    consumer.stop()
    return _split(path)


def _consumer(rig: Rig, orders: Topic, results: str, guarantee: str) -> Process:
    """It is there before the first order is."""
    todo = rig.job(orders, "shipped")
    flags = ("--guarantee", guarantee, "--processed-topic", results)
    consumer = rig.start_ours(todo, rig.folder / "unused", *flags, handler="tell_time")
    eventually(lambda: consumer.said().count("is ready") == orders.partitions, 30, "the consumer is ready")
    return consumer


def _split(path: Path) -> Split:
    lines = [tuple(map(int, line.split(","))) for line in lines_of(path)]
    first_us = min(line[0] for line in lines) + WARM_UP_S * 1_000_000
    kept = [(there / 1000, back / 1000) for intended, there, back in lines if intended >= first_us]
    return (
        sorted(there + back for there, back in kept),
        sorted(there for there, _ in kept),
        sorted(back for _, back in kept),
    )


def _name(guarantee: str, partitions: int) -> str:
    return f"{guarantee}, {partitions}"


def _median(splits: Sequence[Split], place: int, percent: float) -> float:
    return median(percentile(split[place], percent) for split in splits)
