"""How soon new orders flow when a consumer starts with a full ledger of waiting ones."""

from typing import List

from benchmarks.new_orders import ORDERS, leave_waiting, start_with_new
from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median
from benchmarks.rig import Rig
from benchmarks.work import Job

LIMIT_S = 2.0
EVERY = 7_800
"""At 5 million orders 642 wait: nearly as many as the commit metadata lists."""


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Fill the ledger once, then kill and start again in each round."""
    topic = rig.publish(plan.many_orders, 1, invalid="")
    waiting = -(-topic.total // EVERY)
    todo = rig.job(topic, "shipped")
    leave_waiting(rig, todo, "every_nth_waits", 200, BENCH_EVERY=str(EVERY))
    say(f"{waiting} orders wait, spread over {topic.total:,} offsets")
    waits_s: List[float] = []
    for number in range(plan.rounds):
        waits_s.append(_start_s(rig, todo, number))
        say(f"round {number + 1}: first new order {waits_s[-1]:.2f} s after the assignment")
    return Section(
        title="Start with a full ledger",
        method=(
            f"One partition with {topic.total:,} orders, every {EVERY:,}th of which waits for its next try: "
            f"{waiting} in all. The consumer is killed with -9, {ORDERS} new orders are sent, and it is "
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


def _start_s(rig: Rig, todo: Job, number: int) -> float:
    started = start_with_new(rig, todo, number, "every_nth_waits", BENCH_EVERY=str(EVERY))
    started.process.kill()
    return started.first_s
