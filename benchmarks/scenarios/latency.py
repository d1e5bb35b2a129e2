"""From the moment an order was meant to be sent until a reader of committed results has it.

Owns: the three processes around the consumer, and the percentiles.
Does not know: what takes the time in between.
Used by: __main__.
"""

import json
import sys
from pathlib import Path
from typing import List, Sequence, Tuple

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section
from benchmarks.rig import Process, Rig, Topic, eventually, finish, lines_of, unique

PER_S = 2_000
WARM_UP_S = 3
P50_MS, P99_MS = 20.0, 60.0
PARTS = ("in all", "to the handler", "to the reader")
PERCENT = (50, 90, 99, 99.9, 100)


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Both guarantees, one after the other."""
    rows, bars = [], []
    for guarantee in ("exactly-once", "at-least-once"):
        totals, to_handler, to_reader = _measure(rig, plan, guarantee)
        for part, values in zip(PARTS, (totals, to_handler, to_reader)):
            rows.append((f"{guarantee}, {part}", *(f"{_percentile(values, at):.1f}" for at in PERCENT)))
        p50, p99 = _percentile(totals, 50), _percentile(totals, 99)
        say(f"{guarantee}: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
        if guarantee == "exactly-once":
            bars = [
                Bar(f"{PER_S:,} orders/s: p50 under {P50_MS:.0f} ms", f"{p50:.1f} ms", p50 < P50_MS),
                Bar(f"{PER_S:,} orders/s: p99 under {P99_MS:.0f} ms", f"{p99:.1f} ms", p99 < P99_MS),
            ]
    return Section(
        title="Latency",
        method=(
            f"{PER_S:,} orders/s for {plan.latency_s} s, sent on schedule whatever becomes of them, with the "
            "settings of `producer.py` (which waits up to 10 ms to fill a batch). Sender, `consumer.py` "
            "and a `read_committed` reader of PROCESSED_TOPIC are processes of their own. Counted is from "
            "the intended time of sending, so that a stall shows in every order that it delayed. "
            f"Milliseconds; the first {WARM_UP_S} s are left out. Split: up to the handler's call "
            "(sending, fetching, waiting for the batch before to be taken), and from there to the reader "
            "(settling, and the reader's own fetch)."
        ),
        head=("Guarantee and part", "p50", "p90", "p99", "p99.9", "max"),
        rows=rows,
        bars=bars,
    )  # fmt: skip


def _measure(rig: Rig, plan: Plan, guarantee: str) -> Tuple[List[float], List[float], List[float]]:
    orders, results = rig.create(f"orders-{unique()}", 8), rig.create(f"results-{unique()}", 8)
    count = PER_S * plan.latency_s
    path = rig.folder / f"{results}.latency"
    consumer = _consumer(rig, orders, results, guarantee)
    reading = {"brokers": rig.brokers, "topic": results, "partitions": 8, "results": count, "path": str(path)}
    reader = _module(rig, "benchmarks.result_reader", reading)
    schedule = {"brokers": rig.brokers, "topic": orders, "per_s": PER_S, "orders": count, "prefix": "L"}
    finish(_module(rig, "benchmarks.sender", schedule), plan.latency_s + 60)
    finish(reader, 60)
    consumer.stop()
    return _split(path)


def _consumer(rig: Rig, orders: str, results: str, guarantee: str) -> Process:
    """It is there before the first order is."""
    todo = rig.job(Topic(orders, 8, 1, 0, 0.0), "shipped")
    flags = ("--guarantee", guarantee, "--processed-topic", results)
    consumer = rig.start_ours(todo, rig.folder / "unused", *flags, handler="tell_time")
    eventually(lambda: consumer.said().count("is ready") == 8, 30, "the consumer is ready")
    return consumer


def _module(rig: Rig, module: str, argument: object) -> Process:
    return rig.start([sys.executable, "-m", module, json.dumps(argument)], {}, module)


def _split(path: Path) -> Tuple[List[float], List[float], List[float]]:
    """In all, to the handler, and to the reader, in milliseconds and each sorted."""
    lines = [tuple(map(int, line.split(","))) for line in lines_of(path)]
    first_us = min(line[0] for line in lines) + WARM_UP_S * 1_000_000
    kept = [(there / 1000, back / 1000) for intended, there, back in lines if intended >= first_us]
    return (
        sorted(there + back for there, back in kept),
        sorted(there for there, _ in kept),
        sorted(back for _, back in kept),
    )


def _percentile(values: Sequence[float], percent: float) -> float:
    return values[min(len(values) - 1, int(len(values) * percent / 100))]
