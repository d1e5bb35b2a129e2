"""Measure everything, in one run on one Kafka, and write docs/performance.md.

Owns: the command line and the order of the scenarios.
Does not know: how anything is measured.
Used by: `make bench`.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List

from benchmarks.plan import FULL, QUICK, Plan, Say
from benchmarks.report import Section, machine_facts, markdown
from benchmarks.rig import Rig, Void, scratch
from benchmarks.scenarios import (
    codec,
    crashes,
    dead_letters,
    latency,
    memory,
    own_speed,
    producer,
    profile,
    restart,
    sizes,
    takeover,
    throughput,
    waiting_io,
)
from benchmarks.work import ROOT
from tools.local_kafka import LocalKafka

DOCUMENT = ROOT / "docs" / "performance.md"

Scenario = Callable[[Rig, Plan, Say], Section]
SCENARIOS: Dict[str, Scenario] = {
    "throughput": throughput.run,
    "profile": profile.run,
    "own-speed": own_speed.run,
    "sizes": sizes.run,
    "memory": memory.run,
    "crashes": crashes.run,
    "waiting-io": waiting_io.run,
    "latency": latency.run,
    "takeover": takeover.run,
    "restart": restart.run,
    "producer": producer.run,
    "dead-letters": dead_letters.run,
    "codec": codec.run,
}


def main() -> int:
    """Run what was asked for; 1 where a scenario was void."""
    flags = _parser().parse_args()
    chosen = flags.only or list(SCENARIOS)
    plan = QUICK if flags.quick else FULL
    with scratch() as folder, LocalKafka(settings={"log.retention.ms": "-1"}) as kafka:
        rig = Rig(kafka.bootstrap_servers, Path(folder))
        sections = _measure(rig, plan, chosen)
        text = markdown(sections, machine_facts(kafka.version), _command(flags))
    if flags.quick or flags.only:
        sys.stdout.write(text)
    else:
        DOCUMENT.write_text(text, encoding="utf-8")
        _say(f"written to {DOCUMENT.relative_to(ROOT)}")
    return int(len(sections) < len(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small and once; printed, not written down")
    parser.add_argument("--only", nargs="+", choices=list(SCENARIOS), help="these scenarios; printed")
    return parser


def _command(flags: argparse.Namespace) -> str:
    if not flags.quick and not flags.only:
        return "make bench"
    only = f" --only {' '.join(flags.only)}" if flags.only else ""
    return f"python -m benchmarks{' --quick' if flags.quick else ''}{only}"


def _measure(rig: Rig, plan: Plan, chosen: List[str]) -> List[Section]:
    sections = []
    for name in chosen:
        try:
            sections.append(SCENARIOS[name](rig, plan, _say))
        except Void as void:
            _say(f"void: {name}: {void}")
    return sections


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
