"""How soon a consumer that is started calls orders that are new to it."""

import time
from typing import Any, List, NamedTuple, Set

from benchmarks.rig import Process, Rig, eventually, finish, lines_of
from benchmarks.work import NEW, Job

ORDERS = 50


class Started(NamedTuple):
    """A consumer that was started and has called the new orders."""

    process: Process
    first_s: float
    """From the assignment, as the group's coordinator shows it, to the first call for a new order."""


def leave_waiting(rig: Rig, todo: Job, handler: str, timeout_s: float, **environ: str) -> None:
    """Have a consumer call every order once, so that some wait for their next try, and kill it."""
    report = rig.folder / f"{todo.group}.report"
    process = rig.start_ours(todo, report, handler=handler, **environ)
    eventually(report.exists, timeout_s, "all orders were called once")
    time.sleep(1)
    process.kill()


def start_with_new(rig: Rig, todo: Job, number: int, handler: str, **environ: str) -> Started:
    """Send new orders, start a consumer, and wait until it has called them. `number`: how often before."""
    calls = rig.folder / f"{todo.group}-{number}.calls"
    send(rig, todo.topic, f"{NEW}{number}")
    dead = {member.member_id for member in _members(rig, todo.group)}
    unused = rig.folder / "unused"
    process = rig.start_ours(todo, unused, handler=handler, BENCH_CALLS=str(calls), **environ)
    try:
        assigned_s = eventually(lambda: _assigned_s(rig, todo.group, dead), 60, "an assignment", 0.01)
        eventually(lambda: len(lines_of(calls)) >= ORDERS, 60, "the new orders")
    except BaseException:
        process.kill()
        raise
    return Started(process, float(lines_of(calls)[0]) - float(assigned_s))


def send(rig: Rig, topic: str, prefix: str, orders: int = ORDERS, per_s: int = 1000) -> None:
    """Send orders at a steady rate, and wait until they are there."""
    schedule = {"brokers": rig.brokers, "topic": topic, "per_s": per_s, "orders": orders, "prefix": prefix}
    finish(rig.start_module("benchmarks.sender", schedule), 60 + orders / per_s)


def _assigned_s(rig: Rig, group: str, dead: Set[str]) -> float:
    """The time, if a member that is not one of the dead has a partition by now."""
    members = [member for member in _members(rig, group) if member.member_id not in dead]
    has_partition = any(member.assignment.topic_partitions for member in members)
    return time.monotonic() if has_partition else 0.0


def _members(rig: Rig, group: str) -> List[Any]:
    return list(rig.admin.describe_consumer_groups([group])[group].result(10).members)
