"""The text of the status line: how a run goes, and first of all why it does not."""

from typing import Dict, List, Tuple

from orderflow.cli.terminal import count, duration
from orderflow.consume.figures import Figures
from orderflow.consume.health import partitions
from orderflow.consume.intake_states import WHY

SHOWN_AFTER_S = 2.0
"""Stops shorter than this are part of the ordinary course."""


def status_text(figures: Figures, took_s: float) -> str:
    """One line. What only sometimes matters is left out while it is zero."""
    rate = figures.processed / max(0.001, took_s)
    processed = f"processed {count(figures.processed)}  {rate:,.0f}/s"
    dead_lettered = f"dead-lettered {count(sum(figures.dead_lettered.values()))}"
    in_hand = [
        f"waiting {count(figures.waiting)}",
        *([f"in flight {count(figures.in_flight)}"] if figures.in_flight else []),
        *([f"queued {count(figures.queued)}"] if figures.queued else []),
    ]
    unseen = f"unseen {'?' if figures.unseen is None else _about(figures.unseen)}"
    stopped = _stopped(figures)
    if stopped:  # then what is not done matters more than what is, and the line may be cut
        return "  ".join([*stopped, unseen, *in_hand, dead_lettered, processed])
    return "  ".join([processed, *in_hand, dead_lettered, unseen])


def _about(offsets: int) -> str:
    """How many orders that is at most: markers take offsets too. Short, since the line may be cut."""
    return f"~{count(offsets)}" if offsets else "0"


def _stopped(figures: Figures) -> List[str]:
    """What stands still, and why."""
    if not figures.partitions:
        return ["no partitions"]
    groups: Dict[str, List[Tuple[int, float]]] = {}
    for number, stop in figures.stops.items():
        if stop.for_s >= SHOWN_AFTER_S:
            groups.setdefault(stop.reason, []).append((number, stop.for_s))
    return [_group(WHY[why].short, groups[why], len(figures.partitions)) for why in WHY if why in groups]


def _group(why: str, stops: List[Tuple[int, float]], assigned: int) -> str:
    which = "" if len(stops) == assigned else f" {partitions(number for number, _ in stops)}"
    return f"STOPPED{which} {duration(max(for_s for _, for_s in stops))} ({why})"
