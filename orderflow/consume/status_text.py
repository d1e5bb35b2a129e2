"""The text of the status line: how a run goes, and first of all why it does not."""

from typing import Dict, List, Mapping, Tuple

from orderflow.cli.terminal import count, duration
from orderflow.consume.figures import Figures, Stop
from orderflow.consume.health import partitions
from orderflow.consume.intake_states import WHY

SHOWN_AFTER_S = 2.0
"""Stops shorter than this are part of the ordinary course."""


def status_text(figures: Figures, took_s: float) -> str:
    """One line. What only sometimes matters is left out while it is zero."""
    rate = figures.processed / max(0.001, took_s)
    dead_lettered = sum(figures.dead_lettered.values())
    parts = [
        *([] if figures.partitions else ["no partitions"]),
        *_stopped(figures.stops, len(figures.partitions)),
        f"processed {count(figures.processed)}  {rate:,.0f}/s",
        f"waiting {count(figures.waiting)}",
        *([f"in flight {count(figures.in_flight)}"] if figures.in_flight else []),
        *([f"queued {count(figures.queued)}"] if figures.queued else []),
        f"dead-lettered {count(dead_lettered)}",
        f"unseen {'?' if figures.unseen is None else count(figures.unseen)}",
    ]
    return "  ".join(parts)


def _stopped(stops: Mapping[int, Stop], assigned: int) -> List[str]:
    """What stands still, shortest first: at the front, where even a narrow terminal shows it."""
    groups: Dict[str, List[Tuple[int, float]]] = {}
    for number, stop in stops.items():
        if stop.for_s >= SHOWN_AFTER_S:
            groups.setdefault(stop.reason, []).append((number, stop.for_s))
    return [_group(reason, groups[reason], assigned) for reason in WHY if reason in groups]


def _group(reason: str, stops: List[Tuple[int, float]], assigned: int) -> str:
    which = "" if len(stops) == assigned else f" {partitions(number for number, _ in stops)}"
    return f"STOPPED{which} {duration(max(for_s for _, for_s in stops))}: {WHY[reason].words};"
