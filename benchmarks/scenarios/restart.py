"""How soon new orders flow when a consumer starts with a full ledger of waiting ones."""

import json
import sys
import time
from pathlib import Path
from typing import Any, List, Set

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median
from benchmarks.rig import Rig, Topic, eventually, finish, lines_of
from benchmarks.work import Job

LIMIT_S = 2.0
EVERY = 7_800
"""At 5 million orders 642 wait: nearly as many as one ledger lists, beyond which nothing is admitted."""
NEW_ORDERS = 50


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Fill the ledger once, then kill and start again in each round."""
    topic = rig.publish(plan.many_orders, 1, invalid="")
    waiting = -(-topic.total // EVERY)
    todo = rig.job(topic._replace(good=topic.total - waiting), "shipped")
    _fill(rig, todo)
    say(f"{waiting} orders wait, spread over {topic.total:,} offsets")
    waits_s: List[float] = []
    for number in range(plan.rounds):
        waits_s.append(_start_s(rig, todo, topic, number))
        say(f"round {number + 1}: first new order {waits_s[-1]:.2f} s after the assignment")
    return Section(
        title="Start with a full ledger",
        method=(
            f"One partition with {topic.total:,} orders, every {EVERY:,}th of which waits for its next try: "
            f"{waiting} in all. The consumer is killed with -9, {NEW_ORDERS} new orders are sent, and it is "
            "started again. Timed from the assignment, as the group's coordinator shows it, to the first "
            "call for a new order."
        ),
        head=("", "seconds"),
        rows=[
            ("median", f"{median(waits_s):.2f}"),
            ("each round", " ".join(f"{wait:.2f}" for wait in waits_s)),
        ],
        bars=[
            Bar(
                f"Start with a full ledger over {topic.total:,} offsets: new orders within {LIMIT_S:.0f} s",
                f"{max(waits_s):.2f} s at worst",
                max(waits_s) <= LIMIT_S,
            )
        ],
    )


def _fill(rig: Rig, todo: Job) -> None:
    report = rig.folder / f"{todo.group}.report"
    process = rig.start_ours(todo, report, handler="every_7800th_waits")
    eventually(report.exists, 200, "all orders that need not wait")
    time.sleep(1)
    process.kill()


def _start_s(rig: Rig, todo: Job, topic: Topic, number: int) -> float:
    calls = rig.folder / f"{todo.group}-{number}.calls"
    _send_new(rig, topic.name, number)
    dead = {member.member_id for member in _members(rig, todo.group)}
    unused = rig.folder / "unused"
    process = rig.start_ours(todo, unused, handler="every_7800th_waits", BENCH_CALLS=str(calls))
    try:
        assigned_s = eventually(lambda: _assigned_s(rig, todo.group, dead), 60, "an assignment", 0.01)
        eventually(lambda: len(lines_of(calls)) >= NEW_ORDERS, 60, "the new orders")
        return _first_s(calls) - float(assigned_s)
    finally:
        process.kill()


def _send_new(rig: Rig, topic: str, number: int) -> None:
    prefix = f"NEW-{number}"
    schedule = {
        "brokers": rig.brokers,
        "topic": topic,
        "per_s": 1000,
        "orders": NEW_ORDERS,
        "prefix": prefix,
    }
    finish(rig.start([sys.executable, "-m", "benchmarks.sender", json.dumps(schedule)], {}, "sender"), 60)


def _assigned_s(rig: Rig, group: str, dead: Set[str]) -> float:
    """The time, if a member that is not one of the dead has the partition by now."""
    members = [member for member in _members(rig, group) if member.member_id not in dead]
    has_partition = any(member.assignment.topic_partitions for member in members)
    return time.monotonic() if has_partition else 0.0


def _members(rig: Rig, group: str) -> List[Any]:
    return list(rig.admin.describe_consumer_groups([group])[group].result(10).members)


def _first_s(calls: Path) -> float:
    return float(lines_of(calls)[0])
