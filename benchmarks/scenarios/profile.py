"""Where the time of the consumer goes."""

import sys
from collections import Counter
from pathlib import Path
from typing import List

from benchmarks.environments import PROFILER, NoEnvironment, python_of
from benchmarks.plan import Plan, Say
from benchmarks.report import Section
from benchmarks.rig import HANDLERS, NO_NEW_SCHEMAS, Rig, Run, Void, finish
from benchmarks.work import GOOD, REPORT, ROOT

PER_S = 100
PARTS = {
    "poll (orderflow/consume/source": "fetching records from the client",
    "read_order": "decoding and checking",
    "handle (benchmarks": "the handler",
    "_failed (orderflow/consume/first_calls": "bad orders: deciding",
    "answer (orderflow/consume/dispatch": "settling: waiting for the one before",
    "_work (orderflow/consume/settling": "settling: building it",
    "_send_off (orderflow/consume/settling": "settling: handing it over",
    "_settled (": "settling: reporting dead letters",
    "_note_positions": "keeping the books",
    "refresh": "keeping the books",
    "_call_inline": "the loop itself",
    "step (": "other",
}
"""Parts of a frame's text, the first that is found from the inside of a stack on, and what it belongs to."""


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """One run over a topic of the throughput table's size."""
    try:
        profiler = python_of(PROFILER.name, say).with_name("py-spy")
    except NoEnvironment as missing:
        raise Void(str(missing)) from missing
    samples = rig.folder / "profile.txt"
    result = _profiled(rig, plan, profiler, samples)
    say(f"profiled at {result.rate:,.0f}/s")
    counts = _parts(samples.read_text(encoding="utf-8"))
    total = sum(counts.values())
    return Section(
        title="Where the time goes",
        method=(
            f"The main thread of `consumer.py` (exactly-once, {plan.orders:,} orders, 1 % bad), looked at "
            f"{PER_S} times a second from outside, waiting included. While it waits for the settlement "
            "before, Kafka is what it waits for: on this machine the broker shares the processors."
        ),
        head=("Part", "share", "µs/order"),
        rows=[
            (part, f"{100 * count / total:.0f} %", f"{count / PER_S / plan.orders * 1e6:.2f}")
            for part, count in counts.most_common()
        ],
        bars=[],
    )


def _profiled(rig: Rig, plan: Plan, profiler: Path, samples: Path) -> Run:
    topic = rig.orders(plan.orders, 8)
    todo = rig.job(topic, "shipped")
    report = rig.folder / f"{todo.group}.report"
    command = [
        *(str(profiler), "record", "--idle", "--nonblocking", "--rate", str(PER_S)),
        *("--format", "raw", "--output", str(samples)),
        *("--", sys.executable, str(ROOT / "consumer.py"), "-b", rig.brokers, "--orders-topic", todo.topic),
        *("--dlq-topic", todo.dlq, "--consumer-group", todo.group, "--until-drained"),
        *("--handler", f"{HANDLERS}:nothing"),
    ]
    environ = {GOOD: str(topic.good), REPORT: str(report), **NO_NEW_SCHEMAS}
    finish(rig.start(command, environ, "profile"), 300)
    return rig.verified(todo, topic, report)


def _parts(samples: str) -> "Counter[str]":
    """Samples of the main thread inside of a step, by part. A line is a stack and how often it was seen."""
    counts: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, seen = line.rpartition(" ")
        frames = stack.split(";")
        if any(frame.startswith("step (") or ".step (" in frame for frame in frames):
            counts[_part(frames)] += int(seen)
    return counts


def _part(frames: List[str]) -> str:
    for frame in reversed(frames):
        for text, part in PARTS.items():
            if text in frame:
                return part
    return "other"
