"""All that a replay was asked for, in a form that outlives the process.

What would differ when a job is resumed is fixed at its start: ages become times, and the ends of all topics
are kept, so that neither later dead letters nor the job's own copies change what is chosen.
"""

from typing import Any, Dict, Mapping, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.replay.judge import Terms
from orderflow.dlq.selection import Selection, Wanted, at_places, selection
from orderflow.kafka.reader import Span

Ends = Mapping[str, Mapping[int, int]]
"""By topic and partition: the offset that is the next one to be written."""


class Canary(NamedTuple):
    """How many are sent first, and when the rest is held back."""

    size: int = 0
    """0: no canary."""
    stop_if_back: float = 0.05
    """The share that came back as dead letters at which it stops."""
    timeout_s: float = 300.0
    """How long the consumer group may take to pass them."""


class Request(NamedTuple):
    """What a job does, whoever goes on with it."""

    wanted: Wanted
    positions: Tuple[Tuple[int, int], ...]
    """Dead letters named one by one, as (partition, offset); empty: all that `wanted` selects."""
    now_ms: int
    """What ages are counted from."""
    terms: Terms
    rate_per_s: Optional[float] = None
    canary: Canary = Canary()
    plan_digest: Optional[str] = None
    """Of the plan file that is carried out."""
    spans: Tuple[Span, ...] = ()
    """What is read of the dead letter topic."""
    ends: Ends = {}
    """Of the source topics and the dead letter topic."""

    def selection(self, order_fields: Sequence[str]) -> Selection:
        """The dead letters that it is about. Raises SelectionError."""
        return at_places(selection(self.wanted, order_fields, self.now_ms), self.positions)


def to_json(request: Request) -> Dict[str, Any]:
    """The request as plain values."""
    plain = request._asdict()
    plain["wanted"] = request.wanted._asdict()
    plain["terms"] = {**request.terms._asdict(), "confirmed": sorted(request.terms.confirmed)}
    plain["canary"] = request.canary._asdict()
    return plain


def from_json(plain: Mapping[str, Any]) -> Request:
    """The request in plain values. Raises ValueError for one that this version does not understand."""
    try:
        terms = {**plain["terms"], "confirmed": frozenset(plain["terms"]["confirmed"])}
        ends = {topic: {int(p): end for p, end in by.items()} for topic, by in plain["ends"].items()}
        return Request(
            Wanted(**plain["wanted"]),
            tuple((int(p), int(o)) for p, o in plain["positions"]),
            plain["now_ms"],
            Terms(**terms),
            plain["rate_per_s"],
            Canary(**plain["canary"]),
            plain["plan_digest"],
            tuple(Span(*span) for span in plain["spans"]),
            ends,
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"it was begun by another version: {error}") from error
