"""What slows the engine down, against its own speed: failures, partitions, orders that wait.

Owns: the variants of the load.
Does not know: other contestants.
Used by: __main__.
"""

from typing import Callable, Dict, List

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median, per_s
from benchmarks.rig import Rig, Run, Topic, eventually, read_report
from benchmarks.scenarios.throughput import attempt

NOTHING_FAILS = "nothing fails"
SOME_FAIL = "1 % fail at first, 1 s back-off"
FULL_LEDGER = "1 % fail at first, 5 s back-off: more wait than a ledger lists"
PARTITIONS = "64 partitions"
WAITING = "400 orders of other keys wait in each partition"
WAITING_EACH = 400

Variant = Callable[[], Run]


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Every variant in turn, round by round."""
    count = plan.orders // 2
    eight, many = rig.orders(count, 8, invalid=""), rig.orders(count, 64, invalid="")
    variants: Dict[str, Variant] = {
        NOTHING_FAILS: lambda: rig.run_ours(eight, handler="some_fail_first", BENCH_FAILING="none"),
        SOME_FAIL: lambda: _some_fail(rig, eight, "1"),
        FULL_LEDGER: lambda: _some_fail(rig, eight, "5"),
        PARTITIONS: lambda: rig.run_ours(many, handler="some_fail_first", BENCH_FAILING="none"),
        WAITING: lambda: _some_wait(rig, eight),
    }
    results: Dict[str, List[Run]] = {name: [] for name in variants}
    for number in range(plan.rounds):
        for name, variant in variants.items():
            found = attempt(variant, name, say)
            results[name] += found
            say(f"round {number + 1}: {name}: {', '.join(per_s(run.rate) for run in found) or 'void'}/s")
    return _section(results, plan)


def _some_fail(rig: Rig, topic: Topic, backoff_s: str) -> Run:
    return rig.run_ours(
        topic, "--retry-backoff", backoff_s, handler="some_fail_first", BENCH_FAILING="00"
    )


def _some_wait(rig: Rig, topic: Topic) -> Run:
    """These orders never end, so the consumer is stopped when the others are done."""
    waiting = WAITING_EACH * topic.partitions
    others = topic._replace(good=topic.good - waiting)
    todo = rig.job(others, "shipped")
    report = rig.folder / f"{todo.group}.report"
    process = rig.start_ours(todo, report, handler="some_wait", BENCH_WAITING=str(waiting))
    try:
        eventually(report.exists, 120, "the orders that need not wait")
    finally:
        process.stop()
    return read_report(report, others.good)


def _section(results: Dict[str, List[Run]], plan: Plan) -> Section:
    rates = {name: median(run.rate for run in runs) for name, runs in results.items()}
    own = rates[NOTHING_FAILS] or 1.0
    rows = [
        (
            name,
            per_s(rates[name]),
            f"{rates[name] / own:.2f}",
            f"{median(run.cpu_us for run in runs):.1f}",
            " ".join(per_s(run.rate / 1000) for run in runs),
        )
        for name, runs in results.items()
    ]
    return Section(
        title="Against its own speed",
        method=(
            f"{plan.orders // 2:,} good orders in 8 partitions, exactly-once, timed from the first to the "
            "last first call: what is left to retry at the end does not count. At 1 s of back-off some 2,000 "
            "orders wait at a time. At the default of 5 s there are more than the commit metadata lists, "
            "and partitions pause until some are done: that is the limit of §3 of the architecture, not a "
            "fault."
        ),
        head=("Load", "orders/s", "of its own speed", "CPU µs/order", "each round, k/s"),
        rows=rows,
        bars=[
            _bar("1 % of orders waiting for a retry: 0.85 of its own speed", rates[SOME_FAIL] / own),
            _bar("Cost does not grow with partitions (64 for 8)", rates[PARTITIONS] / own),
            _bar("Cost does not grow with waiting orders of other keys", rates[WAITING] / own),
        ],
    )


def _bar(promise: str, ratio: float) -> Bar:
    return Bar(promise, f"{ratio:.2f} of its own speed", ratio >= 0.85)
