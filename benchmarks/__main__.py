"""Run all benchmarks on one Kafka and write docs/performance.md."""

import argparse
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Tuple

from benchmarks.neighbours import Neighbours
from benchmarks.plan import FULL, QUICK, Plan, Say
from benchmarks.report import Section, machine_facts, markdown
from benchmarks.rig import Rig, Void, scratch
from benchmarks.scenarios import (
    codec,
    crashes,
    dead_letters,
    latency,
    many_waiting,
    memory,
    observed,
    own_speed,
    partial_outage,
    processes,
    producer,
    profile,
    restart,
    sizes,
    takeover,
    throughput,
    waiting_io,
    watch,
)
from benchmarks.work import ROOT
from tools.local_kafka import LocalKafka

DOCUMENT = ROOT / "docs" / "performance.md"
SCRAP = ROOT / "build" / "performance.md"
"""What a quick or partial run found."""

Scenario = Callable[[Rig, Plan, Say], Section]
SCENARIOS: Dict[str, Scenario] = {
    "throughput": throughput.run,
    "own-speed": own_speed.run,
    "observed": observed.run,
    "latency": latency.run,
    "partial-outage": partial_outage.run,
    "restart": restart.run,
    "many-waiting": many_waiting.run,
    "dead-letters": dead_letters.run,
    "watch": watch.run,
    "crashes": crashes.run,
    "waiting-io": waiting_io.run,
    "processes": processes.run,
    "takeover": takeover.run,
    "memory": memory.run,
    "producer": producer.run,
    "codec": codec.run,
    "profile": profile.run,
    "sizes": sizes.run,
}


def main() -> int:
    """Run the chosen scenarios; 1 if one was void."""
    flags = _parser().parse_args()
    chosen = flags.only or list(SCENARIOS)
    plan = QUICK if flags.quick else FULL
    neighbours = Neighbours()
    sections: Dict[str, Section] = {}
    with scratch() as folder, _kafka() as kafka:
        rig = Rig(kafka.bootstrap_servers, Path(folder))
        facts = machine_facts(kafka.version)
        for name, section in _measure(rig, plan, chosen):
            sections[name] = section
            _write(markdown(_in_order(sections), facts, _command(flags)), flags)
    facts.append(_quiet(neighbours.share()))
    _write(markdown(_in_order(sections), facts, _command(flags)), flags)
    return int(len(sections) < len(chosen))


BROKER_JVM = ("-Xms1g", "-Xmx1g", "-Xmn700m", "-XX:+UseSerialGC")
"""A garbage collection stops the broker for 50 ms here, which must not decide a latency's p99."""


def _kafka() -> LocalKafka:
    """A broker that keeps everything and is rarely stopped by garbage collection."""
    return LocalKafka(settings={"log.retention.ms": "-1"}, jvm_options=BROKER_JVM)


def _in_order(sections: Dict[str, Section]) -> List[Section]:
    return [sections[name] for name in SCENARIOS if name in sections]


def _quiet(share: Optional[float]) -> str:
    if share is None:
        return "whether other work ran beside it is not known"
    return f"other work on the machine meanwhile: {share:.1f} processors on the mean"


def _write(text: str, flags: argparse.Namespace) -> None:
    """Write what is measured so far, so that an interrupted run is not wasted."""
    document = SCRAP if flags.quick or flags.only else DOCUMENT
    document.parent.mkdir(exist_ok=True)
    document.write_text(text, encoding="utf-8")
    _say(f"written to {document.relative_to(ROOT)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    add, place = parser.add_argument, f"written to {SCRAP.relative_to(ROOT)}"
    add("--quick", action="store_true", help=f"small and once; {place}")
    add("--only", nargs="+", choices=list(SCENARIOS), metavar="NAME", help=f"{', '.join(SCENARIOS)}; {place}")
    return parser


def _command(flags: argparse.Namespace) -> str:
    if not flags.quick and not flags.only:
        return "make bench"
    only = f" --only {' '.join(flags.only)}" if flags.only else ""
    return f"python -m benchmarks{' --quick' if flags.quick else ''}{only}"


def _measure(rig: Rig, plan: Plan, chosen: List[str]) -> Iterator[Tuple[str, Section]]:
    for name in chosen:
        try:
            yield name, SCENARIOS[name](rig, plan, _say)
        except Void as void:
            _say(f"void: {name}: {void}")


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
