"""Processes for handlers that compute: two against one."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median, per_s
from benchmarks.rig import TIMEOUT_S, Rig, Topic, Void, finish, lines_of, unique
from benchmarks.work import CALLS_A_TICK

WANTED = 1.8
SHORTEST_S = 1.0
"""A shorter time in which all processes work says nothing."""


class Load(NamedTuple):
    """A handler, by the processor time that it takes."""

    name: str
    cpu_us: int


COMPUTES, COUNTS = Load("computes for 100 µs", 100), Load("only counts", 0)
ORDERS = {COMPUTES: 100_000, COUNTS: 1_000_000}
"""So many that all processes work together for some seconds."""
Rates = Dict[Tuple[Load, int], List[float]]


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """One process, then two, round by round."""
    topics = {load: rig.orders(count, 8, invalid="") for load, count in ORDERS.items()}
    rates: Rates = {(load, processes): [] for load in topics for processes in (1, 2)}
    for number in range(plan.rounds):
        for load, processes in rates:
            try:
                rates[load, processes].append(_run(rig, topics[load], load, processes))
            except Void as void:
                say(f"void: {load.name}, {processes} processes: {void}")
        said = (f"{load.name}, {n}: {per_s(r[-1])}/s" for (load, n), r in rates.items() if r)
        say(f"round {number + 1}: " + "; ".join(said))
    return _section(rates)


def _run(rig: Rig, topic: Topic, load: Load, processes: int) -> float:
    """Orders a second while all processes work."""
    todo = rig.job(topic, "shipped")
    ticks = rig.folder / f"ticks-{unique()}"
    process = rig.start_ours(
        todo,
        rig.folder / f"{todo.group}.report",
        *("--until-drained", "--processes", str(processes)),
        handler="compute",
        BENCH_CPU_US=str(load.cpu_us),
        BENCH_CALLS=str(ticks),
    )
    finish(process, TIMEOUT_S)
    committed = rig.committed(topic, todo.group)
    if committed != topic.total:
        raise Void(f"{committed} of {topic.total} committed")
    return rate_together(_read(ticks), processes)


def _read(ticks: Path) -> List[Tuple[float, str]]:
    pairs = (line.split(",") for line in lines_of(ticks))
    return [(float(at_s), pid) for at_s, pid in pairs]


def rate_together(ticks: Sequence[Tuple[float, str]], processes: int) -> float:
    """Calls a second from when the last process has begun until the first one has ended. Raises Void."""
    by_pid: Dict[str, List[float]] = {}
    for at_s, pid in ticks:
        by_pid.setdefault(pid, []).append(at_s)
    if len(by_pid) != processes:
        raise Void(f"{len(by_pid)} of {processes} processes worked")
    from_s, to_s = max(map(min, by_pid.values())), min(map(max, by_pid.values()))
    if to_s - from_s < SHORTEST_S:
        raise Void(f"all processes worked together for {to_s - from_s:.1f} s only")
    return CALLS_A_TICK * sum(from_s < at_s <= to_s for at_s, _ in ticks) / (to_s - from_s)


def _section(rates: Rates) -> Section:
    medians = {key: median(found) for key, found in rates.items()}
    gains = {load: medians[load, 2] / medians[load, 1] if medians[load, 1] else 0.0 for load, _ in rates}
    rows = [
        (
            load.name,
            str(processes),
            per_s(medians[load, processes]),
            f"{gains[load]:.2f}" if processes == 2 else "1.00",
            " ".join(per_s(rate / 1000) for rate in found),
        )
        for (load, processes), found in rates.items()
    ]
    gain = gains[COMPUTES]
    return Section(
        title="Handlers that compute",
        method=(
            "`--processes` 1 and 2, exactly-once, 8 partitions, counted while all processes work. The time "
            "of a handler that computes is processor time. Kafka runs on the same two cores, and two "
            "processes that only count leave it none of its own."
        ),
        head=("Handler", "Processes", "orders/s", "times one process", "each round, k/s"),
        rows=rows,
        bars=[Bar(f"Two processes at least {WANTED} times one", f"{gain:.2f} times", gain >= WANTED)],
    )
