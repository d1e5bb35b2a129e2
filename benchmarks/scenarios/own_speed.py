"""What slows the engine down, against its own speed: failures, partitions, orders that wait."""

from typing import Callable, Dict, Sequence

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median, per_s
from benchmarks.rig import Rig, Run, Topic, eventually, read_report
from benchmarks.scenarios.throughput import attempt

NOTHING_FAILS = "nothing fails"
SOME_FAIL = "1 % fail at first, 1 s back-off"
SHIPPED_BACKOFF = "1 % fail at first, 5 s back-off"
LASTS = "the same, second half of a long run"
LONG_RUN = "nothing fails, second half of a long run"
PARTITIONS = "64 partitions"
WAITING = "400 orders of other keys wait in each partition"
WAITING_EACH = 400
VARIANTS = (NOTHING_FAILS, SOME_FAIL, SHIPPED_BACKOFF, LONG_RUN, LASTS, PARTITIONS, WAITING)

Variant = Callable[[], Run]
Round = Dict[str, Run]


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Every variant in turn, round by round."""
    eight, many = rig.orders(plan.orders, 8, invalid=""), rig.orders(plan.orders, 64, invalid="")
    long = rig.orders(plan.many_orders, 8, invalid="")
    variants: Dict[str, Variant] = {
        NOTHING_FAILS: lambda: rig.run_ours(eight, handler="some_fail_first", BENCH_FAILING="none"),
        SOME_FAIL: lambda: _some_fail(rig, eight, "1"),
        SHIPPED_BACKOFF: lambda: _some_fail(rig, eight, "5"),
        LONG_RUN: lambda: _second_half(rig, long, "none"),
        LASTS: lambda: _second_half(rig, long, "00"),
        PARTITIONS: lambda: rig.run_ours(many, handler="some_fail_first", BENCH_FAILING="none"),
        WAITING: lambda: _some_wait(rig, eight),
    }
    # More than elsewhere: what a failure costs is no larger than what two rounds differ by.
    rounds = [_round(number, variants, say) for number in range(2 * plan.rounds - 1)]
    return _section(rounds, plan)


def _round(number: int, variants: Dict[str, Variant], say: Say) -> Round:
    """Every variant once, those left out whose counts are not right."""
    runs: Round = {}
    for name, variant in variants.items():
        for run in attempt(variant, name, say):
            runs[name] = run
        told = f"{per_s(runs[name].rate)}/s" if name in runs else "void"
        say(f"round {number + 1}: {name}: {told}")
    return runs


def _some_fail(rig: Rig, topic: Topic, backoff_s: str) -> Run:
    return rig.run_ours(topic, "--retry-backoff", backoff_s, handler="some_fail_first", BENCH_FAILING="00")


def _second_half(rig: Rig, topic: Topic, failing: str) -> Run:
    """Timed from the middle on: by then as many retries come due as are put off."""
    half = topic.good // 2
    run = rig.run_ours(
        topic, "--retry-backoff", "5", handler="some_fail_first", BENCH_FAILING=failing, BENCH_FROM=str(half)
    )
    share = (topic.good - half) / topic.good
    return run._replace(rate=run.rate * share, cpu_us=run.cpu_us / share, thread_us=run.thread_us / share)


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


def _section(rounds: Sequence[Round], plan: Plan) -> Section:
    shares = {name: _share(rounds, name) for name in VARIANTS}
    rows = []
    for name in VARIANTS:
        runs = [one[name] for one in rounds if name in one]
        rate, cpu_us = median(run.rate for run in runs), median(run.cpu_us for run in runs)
        each = " ".join(per_s(run.rate / 1000) for run in runs)
        rows.append((name, per_s(rate), f"{shares[name]:.2f}", f"{cpu_us:.1f}", each))
    return Section(
        title="Against its own speed",
        method=(
            f"{plan.orders:,} good orders in 8 partitions, exactly-once, timed from the first to the "
            "last first call: what is left to retry at the end does not count. Of its own speed: the median "
            "of the ratios within each round. At 1 s of back-off some thousands of orders wait at a time. At "
            "the default of 5 s it is more than the commit metadata lists, so that the lists are on pages of "
            f"the ledger topic. A long run has {plan.many_orders:,} orders and is timed from the middle on, "
            "when as many retries come due as are put off; its own speed is that of a long run without."
        ),
        head=("Load", "orders/s", "of its own speed", "CPU µs/order", "each round, k/s"),
        rows=rows,
        bars=[
            _bar("1 % of orders waiting for a retry: 0.85 of its own speed", shares[SOME_FAIL]),
            _bar("1 % failing at first, 5 s back-off: 0.85 of its own speed", shares[SHIPPED_BACKOFF]),
            _bar("Cost does not grow with partitions (64 for 8)", shares[PARTITIONS]),
            _bar("Cost does not grow with waiting orders of other keys", shares[WAITING]),
        ],
    )


def _share(rounds: Sequence[Round], name: str) -> float:
    """The median of its speed against the undisturbed one of the same round."""
    own = LONG_RUN if name in (LONG_RUN, LASTS) else NOTHING_FAILS
    return median(one[name].rate / one[own].rate for one in rounds if name in one and own in one)


def _bar(promise: str, ratio: float) -> Bar:
    return Bar(promise, f"{ratio:.2f} of its own speed", ratio >= 0.85)
