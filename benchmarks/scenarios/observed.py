"""What it costs to be watched, and how soon a page comes, while the consumer has all it can do."""

from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

from benchmarks.fates import percentile
from benchmarks.looking import Look, looking
from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median, per_s
from benchmarks.rig import Rig, Run, Topic, Void
from benchmarks.scenarios.throughput import attempt
from tools.kafka_cluster import free_ports

METRICS = "/metrics"
PATHS = (METRICS, "/livez", "/readyz")
EVERY_S, OFTEN_S = 1.0, 0.05
"""Between two looks at each path where their cost is measured, and between two pages that are timed."""
MOST_COST = 0.02
LIMIT_MS = 100
PARTITIONS, MANY = 8, 64
PAGES, MOST_RUNS = 50, 6
"""Pages to be timed at least, and the runs in which they have to come together."""

ALONE, WATCHED = "METRICS_PORT unset", "scraped and probed every second"
Round = Dict[str, Run]


class Answers(NamedTuple):
    """The pages that were asked for while orders were being handled."""

    took_ms: List[float]
    """Sorted."""
    page_bytes: int


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Watched and not, in turn, round by round; then a page of many partitions, asked for again and again."""
    topic = rig.orders(plan.orders, PARTITIONS, invalid="")
    starts: Dict[str, Callable[[], Run]] = {
        ALONE: lambda: rig.run_ours(topic),
        WATCHED: lambda: _watched(rig, topic),
    }
    # It does not count: Kafka compiles its code meanwhile.
    attempt(starts[ALONE], "warming up", say)
    # Many: what is to be seen is smaller than what two runs differ by.
    rounds = [_round(starts, number, say) for number in range(4 * plan.rounds - 1)]
    return section(plan.orders, rounds, _answers(rig, plan, say))


# --- what it costs ---


def _round(starts: Dict[str, Callable[[], Run]], number: int, say: Say) -> Round:
    """Both once, each of them first in every other round; those left out whose counts are not right."""
    runs: Round = {}
    for name in list(starts)[:: -1 if number % 2 else 1]:
        for run in attempt(starts[name], name, say):
            runs[name] = run
    told = (f"{name}: {per_s(run.rate)}/s, {run.cpu_us:.2f} µs" for name, run in sorted(runs.items()))
    say(f"round {number + 1}: {'; '.join(told)}")
    return runs


def _watched(rig: Rig, topic: Topic) -> Run:
    run, looks = _run(rig, topic, PATHS, EVERY_S)
    if len({look.path for look in looks if look.status}) < len(PATHS):
        raise Void(f"not everything was answered while orders were handled: {looks}")
    return run


def _run(rig: Rig, topic: Topic, paths: Sequence[str], every_s: float) -> Tuple[Run, List[Look]]:
    """A run, and the looks between its first and its last order."""
    port = free_ports(1)[0]
    with looking(port, paths, every_s) as looks:
        run = rig.run_ours(topic, METRICS_PORT=str(port))
    return run, [look for look in looks if run.first_s < look.asked_s < run.last_s]


# --- how soon it answers ---


def _answers(rig: Rig, plan: Plan, say: Say) -> Answers:
    """Pages of many partitions. Raises Void if too few came together, or one was not answered."""
    topic = rig.orders(plan.orders, MANY, invalid="")
    timed: List[Look] = []
    for _ in range(MOST_RUNS):
        timed += _run(rig, topic, [METRICS], OFTEN_S)[1]
        if len(timed) >= PAGES:
            break
    took_ms = sorted(look.took_ms for look in timed)
    lost = [look for look in timed if look.status != 200]
    if len(timed) < PAGES or lost:
        raise Void(f"{len(timed)} pages, {len(lost)} of them without an answer")
    say(f"{len(timed)} pages, p99 {percentile(took_ms, 99):.0f} ms, worst {took_ms[-1]:.0f} ms")
    return Answers(took_ms, max(look.size for look in timed))


# --- the section ---


def section(orders: int, rounds: Sequence[Round], answers: Answers) -> Section:
    """What was measured, and whether it is what was promised."""
    both = [one for one in rounds if len(one) == 2]
    speeds = [one[WATCHED].rate / one[ALONE].rate for one in both]
    costs = [one[WATCHED].cpu_us / one[ALONE].cpu_us for one in both]
    return Section(
        title="Being watched",
        method=(
            f"{orders:,} good orders in {PARTITIONS} partitions, exactly-once, the handler only counts: "
            "full load. Once with METRICS_PORT unset, and once with all three paths asked for every second "
            f"by a process on the same two cores; {len(rounds)} rounds, and what is compared are the medians "
            "of the ratios within each round. Two runs of the same differ by more than 2 %, so a single "
            "round proves nothing, and a median of few not much. Processor time per order differs less, "
            f"and has the same bar. The page is one of {MANY} partitions under the same load, asked for "
            f"{1 / OFTEN_S:.0f} times a second."
        ),
        head=("Load", "orders/s", "of the unwatched", "CPU µs/order", "of the unwatched", "each round, k/s"),
        rows=[_row(ALONE, both, 1.0, 1.0), _row(WATCHED, both, median(speeds), median(costs))],
        bars=[
            _least("Metrics and probes cost at most 2 % of the throughput", speeds),
            _most("Metrics and probes cost at most 2 % more processor time per order", costs),
            _page(answers),
        ],
        remarks=[
            f"Watched to unwatched, each round: throughput {_each(speeds)}; processor time {_each(costs)}.",
            f"The page of {MANY} partitions has {answers.page_bytes:,} bytes; p50 "
            f"{percentile(answers.took_ms, 50):.0f} ms.",
        ],
    )


def _row(name: str, rounds: Sequence[Round], speed: float, cost: float) -> Sequence[str]:
    runs = [one[name] for one in rounds]
    rate, cpu_us = median(run.rate for run in runs), median(run.cpu_us for run in runs)
    each = " ".join(per_s(run.rate / 1000) for run in runs)
    return name, per_s(rate), f"{speed:.3f}", f"{cpu_us:.2f}", f"{cost:.3f}", each


def _each(ratios: Sequence[float]) -> str:
    return " ".join(f"{ratio:.3f}" for ratio in ratios)


def _least(promise: str, speeds: Sequence[float]) -> Bar:
    speed = median(speeds)
    return Bar(promise, f"{speed:.3f} of the unwatched", speed >= 1 - MOST_COST)


def _most(promise: str, costs: Sequence[float]) -> Bar:
    cost = median(costs)
    return Bar(promise, f"{cost:.3f} of the unwatched", 0 < cost <= 1 + MOST_COST)


def _page(answers: Answers) -> Bar:
    p99, worst = percentile(answers.took_ms, 99), answers.took_ms[-1]
    return Bar(
        f"`/metrics` answers within {LIMIT_MS} ms at full load, {MANY} partitions",
        f"p99 {p99:.0f} ms, {worst:.0f} ms at worst of {len(answers.took_ms)}",
        worst <= LIMIT_MS,
    )
