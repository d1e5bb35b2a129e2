"""All that a replay was asked for, in a form that outlives the process.

What would differ when a job is resumed is fixed at its start: ages become times, and the ends of all topics
are kept, so that later dead letters do not change what is chosen. What is chosen may be superseded later.
"""

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.replay.judge import STALE, Terms
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
    """Of the source topics and the dead letter topic, when the job began."""
    dlq_id: Optional[str] = None
    """The id of the dead letter topic: in one that was created again, its positions mean other records."""

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
    """The request in plain values. Raises ValueError for one that this version does not understand.

    It stood in a topic or a file that others may write to, so each value is checked before it is used.
    """
    try:
        terms = {**plain["terms"], "confirmed": frozenset(_texts(plain["terms"]["confirmed"]))}
        return Request(
            _wanted(Wanted(**plain["wanted"])),
            tuple((p, o) for p, o in (_wholes(place, 2) for place in plain["positions"])),
            whole(plain["now_ms"]),
            _terms(Terms(**terms)),
            None if plain["rate_per_s"] is None else _number(plain["rate_per_s"], 1e-9, 1e9),
            _canary(Canary(**plain["canary"])),
            _text_or_none(plain["plan_digest"]),
            tuple(Span(*_wholes(span, 3)) for span in plain["spans"]),
            _ends(plain["ends"]),
            _text_or_none(plain.get("dlq_id")),
        )
    except (LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"it was begun by another version: {error}") from error


def _wanted(wanted: Wanted) -> Wanted:
    for name, value in wanted._asdict().items():
        if name not in _NO_TEXTS:
            _texts(value)
    _wholes(wanted.partitions)
    _wholes([] if wanted.limit is None else [wanted.limit])
    _text_or_none(wanted.since)
    _text_or_none(wanted.until)
    return wanted


_NO_TEXTS = ("partitions", "limit", "since", "until")


def _terms(terms: Terms) -> Terms:
    _texts([terms.dlq_topic, terms.audit_topic, terms.orders_topic])
    _text_or_none(terms.target)
    whole(terms.max_replays)
    flags = {type(terms.again), type(terms.unchecked)}
    if terms.stale not in STALE or flags != {bool} or not isinstance(terms.repairs, dict):
        raise ValueError("its terms are none")
    return terms


def _canary(canary: Canary) -> Canary:
    return Canary(whole(canary.size), _number(canary.stop_if_back, 0, 1), _number(canary.timeout_s, 0, 1e9))


def _ends(plain: Any) -> Ends:
    return {
        topic: {int(p): whole(end) for p, end in by.items() if _DIGITS.fullmatch(p)}
        for topic, by in plain.items()
    }


_DIGITS = re.compile("[0-9]{1,9}")


def whole(value: Any) -> int:
    """A whole number as one of Kafka's can be. Raises ValueError for anything else."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(_misfit(value, "a whole number"))
    return value


def _wholes(values: Any, number: Optional[int] = None) -> List[int]:
    if not isinstance(values, (list, tuple)) or number not in (None, len(values)):
        raise ValueError(_misfit(values, "a list" if number is None else f"a list of {number}"))
    return [whole(value) for value in values]


def _number(value: Any, least: float, most: float) -> float:
    if type(value) not in (int, float) or not least <= value <= most:
        raise ValueError(_misfit(value, f"a number between {least:g} and {most:g}"))
    return float(value)


def _texts(values: Any) -> List[str]:
    if not isinstance(values, (list, tuple)) or not all(isinstance(value, str) for value in values):
        raise ValueError(_misfit(values, "a list of texts"))
    return list(values)


def _text_or_none(value: Any) -> Optional[str]:
    if value is not None and not isinstance(value, str):
        raise ValueError(_misfit(value, "a text"))
    return value


def _misfit(value: Any, wanted: str) -> str:
    """The value itself is not shown: it may be anything, and of any depth."""
    return f"its record holds a {type(value).__name__} where {wanted} belongs"
