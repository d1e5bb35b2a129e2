"""Whether the record that a dead letter points to is the one that it came from.

The place is text in a header, which an order's producer can write too if the system that dead-lettered it
adds no headers of its own. So a record that was fetched from there has to agree with what is here of it.
"""

from typing import NamedTuple, Tuple

from orderflow.dlq.dialects import OWN
from orderflow.dlq.explain import Explanation
from orderflow.dlq.letter import Letter
from orderflow.model.dead_letter import LEFT_OUT, is_diagnostic, pointer_to
from orderflow.model.records import Record

KEY, TIME, PARTITION, VALUE, HEADERS = "key", "time", "partition", "value", "headers"


class Comparison(NamedTuple):
    """A dead letter and the record that it points to."""

    differs: Tuple[str, ...]
    """The parts in which they differ: it is another record."""
    unknown: Tuple[str, ...]
    """Key or time, where the dead letter does not carry it."""


AGREES = Comparison((), ())


def doubt(comparison: Comparison) -> str:
    """What speaks against it, or cannot be checked, for people; empty where nothing does."""
    if comparison.differs:
        verb = "differs" if len(comparison.differs) == 1 and comparison.differs[0] != HEADERS else "differ"
        return f"another record is there: {' and '.join(comparison.differs)} {verb}"
    return f"{' and '.join(comparison.unknown)} unchecked" if comparison.unknown else ""


def compare(letter: Letter, source: Record) -> Comparison:
    """Hold all that the dead letter carries of its source against the record that was found there."""
    told = letter.told
    differs = [*_differing(letter.record, told, source), *_differing_from_ours(letter.record, told, source)]
    unknown = []
    if told.key_is_original is not True and told.dialect != OWN.name:
        unknown.append(KEY)
    if told.timestamp_ms is None and told.dialect != OWN.name:
        unknown.append(TIME)
    return Comparison(tuple(dict.fromkeys(differs)), tuple(unknown))


def _differing(record: Record, told: Explanation, source: Record) -> Tuple[str, ...]:
    parts = (
        (KEY, told.key_is_original is True and record.key != source.key),
        (VALUE, told.value_is_original is True and record.value != source.value),
        (TIME, told.timestamp_ms is not None and told.timestamp_ms != source.timestamp_ms),
        (PARTITION, told.partition != source.partition or told.offset != source.offset),
    )
    return tuple(name for name, is_other in parts if is_other)


def _differing_from_ours(record: Record, told: Explanation, source: Record) -> Tuple[str, ...]:
    """What we would have written of this record is known exactly, what we would have left out as well."""
    if told.dialect != OWN.name:
        return ()
    ours = pointer_to(source)
    left_out = dict(record.headers).get(LEFT_OUT) or b""
    headers = [header for header in record.headers if not is_diagnostic(header[0])]
    parts = (
        (KEY, record.key != ours.key),
        (VALUE, left_out.decode("utf-8", "replace") != ",".join(ours.left_out)),
        (TIME, told.timestamp_ms != source.timestamp_ms),
        # A dead letter goes to its source's partition, modulo the number of partitions.
        (PARTITION, record.partition > source.partition),
        (HEADERS, headers != ours.headers),
    )
    return tuple(name for name, is_other in parts if is_other)
