"""Worker threads for handlers that wait: 64 against one."""

from functools import partial
from typing import Dict, List

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median, per_s
from benchmarks.rig import Rig, Run, Topic
from benchmarks.scenarios.throughput import attempt

WANTED = 50.0
ORDERS = {1: 1_000, 64: 50_000}
"""So many that each takes about five seconds."""


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """One worker, then 64, round by round."""
    topics = {workers: rig.publish(count, 8, invalid="") for workers, count in ORDERS.items()}
    rates: Dict[int, List[float]] = {workers: [] for workers in ORDERS}
    for number in range(plan.rounds):
        for workers, topic in topics.items():
            found = attempt(partial(_run, rig, topic, workers), f"{workers} workers", say)
            rates[workers] += [run.rate for run in found]
        say(f"round {number + 1}: " + ", ".join(f"{w}: {per_s(r[-1])}/s" for w, r in rates.items() if r))
    one, many = median(rates[1]), median(rates[64])
    gain = many / one if one else 0.0
    return Section(
        title="Handlers that wait",
        method="A handler that sleeps for 5 ms, exactly-once, the keys all different, `--workers` 1 and 64.",
        head=("Workers", "orders/s", "times one worker"),
        rows=[("1", per_s(one), "1.0"), ("64", per_s(many), f"{gain:.1f}")],
        bars=[Bar(f"64 workers at least {WANTED:.0f} times one", f"{gain:.1f} times", gain >= WANTED)],
    )


def _run(rig: Rig, topic: Topic, workers: int) -> Run:
    return rig.run_ours(topic, "--workers", str(workers), handler="five_milliseconds")
