"""How long a killed consumer's partitions are idle."""

import time
from pathlib import Path
from typing import Dict, List, Set, Tuple

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median
from benchmarks.rig import Process, Rig, Topic, Void, eventually, lines_of, unique

PARTITIONS = 8
PER_S = 400
LIMIT_S = 15.0


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Kill one of two in each round."""
    waits_s: List[float] = []
    for number in range(plan.rounds):
        waits_s.append(_wait_s(rig))
        say(f"round {number + 1}: all partitions at work again after {waits_s[-1]:.1f} s")
    return Section(
        title="After the death of one of two consumers",
        method=(
            f"{PER_S} orders/s in {PARTITIONS} partitions, two consumers as shipped. One is killed with -9; "
            "timed until an order of each of its partitions was handled by the other."
        ),
        head=("", "seconds"),
        rows=[
            ("median", f"{median(waits_s):.1f}"),
            ("each round", " ".join(f"{wait:.1f}" for wait in waits_s)),
        ],
        bars=[
            Bar(
                f"Killed partitions at work again within {LIMIT_S:.0f} s",
                f"{max(waits_s):.1f} s at worst",
                max(waits_s) <= LIMIT_S,
            )
        ],
        remarks=[
            "Chosen for it: `session.timeout.ms` 8000 (until the dead member is missed) and "
            "`transaction.timeout.ms` 10000 (until its open transaction no longer hides the committed "
            "offsets, if the kill came amid one; Kafka looks for such every 10 s). Both clocks start with "
            "the kill, so they do not add up."
        ],
    )


def _wait_s(rig: Rig) -> float:
    topic = Topic(rig.create(f"orders-{unique()}", PARTITIONS), PARTITIONS, 1, 0, 0.0)
    todo = rig.job(topic, "shipped")
    calls = rig.folder / f"{todo.group}.calls"
    both = [
        rig.start_ours(todo, rig.folder / "unused", handler="tell_partition", BENCH_CALLS=str(calls))
        for _ in range(2)
    ]
    sender = _sender(rig, topic.name)
    try:
        return _kill_and_wait_s(both, calls)
    finally:
        for process in (*both, sender):
            process.kill()


def _sender(rig: Rig, topic: str) -> Process:
    schedule = {"brokers": rig.brokers, "topic": topic, "per_s": PER_S, "orders": PER_S * 60, "prefix": "T"}
    return rig.start_module("benchmarks.sender", schedule)


def _kill_and_wait_s(both: List[Process], calls: Path) -> float:
    victim = both[1]
    eventually(lambda: _share_is_even(both, calls), 60, "both consumers have half of the partitions")
    killed_s = time.monotonic()
    victim.kill()
    orphans = _owners(calls)[str(victim.pid)]
    survivor = both[0].pid
    eventually(lambda: orphans <= set(_taken_over(calls, survivor, killed_s)), 60, "the takeover", 0.1)
    return max(_taken_over(calls, survivor, killed_s)[number] for number in orphans) - killed_s


def _share_is_even(both: List[Process], calls: Path) -> bool:
    if not all(process.is_running() for process in both):
        raise Void(f"a consumer ended: {both[0].said()[-200:]} {both[1].said()[-200:]}")
    owners = _owners(calls)
    return all(len(owners.get(str(process.pid), ())) == PARTITIONS // 2 for process in both)


def _owners(calls: Path) -> Dict[str, Set[str]]:
    """Partitions by the process that handled their last order."""
    last = {partition: pid for _, pid, partition in _lines(calls)}
    owners: Dict[str, Set[str]] = {}
    for partition, pid in last.items():
        owners.setdefault(pid, set()).add(partition)
    return owners


def _taken_over(calls: Path, pid: int, since_s: float) -> Dict[str, float]:
    """When the survivor handled its first order of each partition after the kill."""
    first: Dict[str, float] = {}
    for at_s, by, partition in _lines(calls):
        if by == str(pid) and at_s > since_s:
            first.setdefault(partition, at_s)
    return first


def _lines(calls: Path) -> List[Tuple[float, str, str]]:
    return [(float(at), pid, number) for at, pid, number, _ in (line.split(",") for line in lines_of(calls))]
