"""Whether a consumer is alive and ready, in words. Pure."""

from typing import Dict, Iterable, List, Mapping, NamedTuple, Optional, Tuple

from orderflow.consume.figures import Health, Reading, Stop
from orderflow.consume.intake_states import WHY

NOT_READY = ("kafka_lost", "restoring", "blocked", "stuck", "undelivered")
"""Reasons to take in nothing that a consumer with another version or on another machine might not have.

The others come with the orders: a new version must be able to replace one whose ledger is full.
"""


class Run(NamedTuple):
    """How far the run is, and how its loop is doing."""

    is_started: bool
    is_stopping: bool
    hangs: Optional[str]
    """Where the loop hangs, if it does."""
    is_topic_missing: bool = False
    """The topic of the orders does not exist any more."""


def health_of(run: Run, reading: Reading, stops: Mapping[int, Stop]) -> Health:
    """The answers to the probes."""
    hangs = () if run.hangs is None else (run.hangs,)
    by_reason = _by_reason(stops)
    told = {why: f"{partitions(by_reason[why])}: {WHY[why].words}" for why in WHY if why in by_reason}
    notes = tuple(line for why, line in told.items() if why not in NOT_READY)
    stuck = tuple(line for why, line in told.items() if why in NOT_READY)
    return Health(hangs, (*_not_yet(run, reading), *stuck), notes)


def _not_yet(run: Run, reading: Reading) -> Tuple[str, ...]:
    if not run.is_started:
        return ("starting",)
    if run.is_stopping:
        return ("stopping",)
    if run.is_topic_missing:
        return ("the topic of the orders does not exist any more",)
    if not reading.is_member and not reading.partitions:
        return ("not admitted by its group yet",)
    return ()


def _by_reason(stops: Mapping[int, Stop]) -> Dict[str, List[int]]:
    found: Dict[str, List[int]] = {}
    for number, stop in sorted(stops.items()):
        found.setdefault(stop.reason, []).append(number)
    return found


def partitions(numbers: Iterable[int]) -> str:
    """Partitions for people: `partition 3`, `partitions 0-2, 7`."""
    runs: List[List[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    listed = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
    is_one = len(runs) == 1 and runs[0][0] == runs[0][1]
    return f"partition{'' if is_one else 's'} {listed}"
