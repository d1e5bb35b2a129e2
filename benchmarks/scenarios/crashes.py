"""How many calls of the handler are repeated when the consumer is killed."""

import time
from collections import Counter
from pathlib import Path
from typing import List

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section
from benchmarks.rig import Rig, Topic, Void, eventually, finish, lines_of

ORDERS = 20_000
KILLS_AT = (4_000, 9_000, 14_000)
"""Calls after which the process is killed with -9."""
LIMIT = 100


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Three kills in each round, in both guarantees."""
    topic = rig.orders(ORDERS, 8, invalid="")
    rows = []
    for guarantee in ("exactly-once", "at-least-once"):
        repeats = []
        for number in range(plan.rounds):
            repeats.append(_repeats(rig, topic, guarantee, number))
            say(f"round {number + 1}: {guarantee}: {repeats[-1]} calls repeated by {len(KILLS_AT)} kills")
        rows.append((guarantee, str(max(repeats)), " ".join(map(str, repeats))))
    worst = max(int(row[1]) for row in rows)
    return Section(
        title="Calls repeated by crashes",
        method=(
            f"{ORDERS:,} orders, a handler of 1 ms, the consumer killed with -9 after "
            f"{', '.join(f'{at:,}' for at in KILLS_AT)} calls and started again each time. Every call is "
            "written to a file; counted are those beyond the first of each order."
        ),
        head=("Guarantee", "repeated calls, at worst", "each round"),
        rows=rows,
        bars=[
            Bar(
                f"Three kill -9 during {ORDERS:,} orders: at most {LIMIT} calls repeated",
                str(worst),
                worst <= LIMIT,
            )
        ],
    )


def _repeats(rig: Rig, topic: Topic, guarantee: str, number: int) -> int:
    todo = rig.job(topic, "shipped")
    calls = rig.folder / f"{todo.group}.calls"
    report = rig.folder / f"{todo.group}.report"
    flags = ("--guarantee", guarantee, "--until-drained")
    for at in (*KILLS_AT, None):
        process = rig.start_ours(todo, report, *flags, handler="millisecond", BENCH_CALLS=str(calls))
        if at is None:
            finish(process, 120)
        else:
            eventually(lambda at=at: len(lines_of(calls)) >= at, 120, f"{at} calls", every_s=0.05)  # type: ignore[misc]
            time.sleep(0.013 * number)
            process.kill()
    return _beyond_first(calls, topic)


def _beyond_first(calls: Path, topic: Topic) -> int:
    lines: List[str] = lines_of(calls)
    if len(Counter(lines)) != topic.good:
        raise Void(f"{len(Counter(lines)):,} of {topic.good:,} orders were called")
    return len(lines) - topic.good
