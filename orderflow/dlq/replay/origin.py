"""Where a dead letter came from, as it tells, and what of its source it carries."""

import re
from typing import NamedTuple, Optional

from orderflow.dlq.dialects import OWN
from orderflow.dlq.explain import created_ms, user_headers
from orderflow.dlq.letter import Letter, by_name
from orderflow.model import dead_letter as own
from orderflow.model.delivery_id import REPLAY_ID, claimed_id, id_of, place_id, place_named
from orderflow.model.records import Headers


class Origin(NamedTuple):
    """Where a dead letter came from, and what of its source it carries."""

    topic: Optional[str]
    partition: Optional[int]
    offset: Optional[int]
    replays: int
    headers: Headers
    """The source's own."""
    is_whole: bool
    """Key, value and headers of the source are here as they were."""
    known_id: Optional[str]
    """What the order was called, as the dead letter tells."""
    has_value: Optional[bool]
    """False: it stands in the source only. None: there is no source."""


def origin_of(letter: Letter) -> Origin:
    """Where it came from and what it carries; quick for dead letters of our own, which are most."""
    kind, headers = letter.kind, letter.record.headers
    if kind.dialect != OWN.name:
        return _foreign_origin(letter)
    ours = letter.own or by_name(headers)
    kept = [headers[place] for place in ours.shape.of_source]
    whole = own.LEFT_OUT not in ours.shape.places
    replays = _count(ours.get(own.REPLAY_COUNT))
    _, partition, offset = letter.detail
    known_id = id_of(ours.get(own.ID)) or claimed_id(headers)
    return Origin(
        kind.topic, _no_command(partition), _no_command(offset), replays, kept, whole, known_id, whole
    )


def first_offset(letter: Letter, partition: int, offset: int) -> int:
    """How old the order is that died at this place: the lowest offset of its partition at which it stood.

    A replay puts an order behind all others of its partition, but makes it no newer: the delivery id that it
    bears names where it stood first.
    """
    named = place_named(claimed_id(letter.record.headers)) if _was_replayed(letter) else None
    if named is None or named[:2] != (letter.kind.topic, partition):
        return offset
    return min(offset, named[2])


def _was_replayed(letter: Letter) -> bool:
    """Quick for dead letters of our own, of which most never were."""
    return not letter.own or REPLAY_ID in letter.own.shape.places


def _no_command(number: Optional[int]) -> Optional[int]:
    """The partition or offset; None where it is negative, which no record has. Kafka Streams writes -1."""
    return None if number is None or number < 0 else number


def _foreign_origin(letter: Letter) -> Origin:
    told = letter.told
    parts = (told.key_is_original, told.value_is_original, told.headers_are_original)
    return Origin(
        told.topic,
        _no_command(told.partition),
        _no_command(told.offset),
        max(0, told.replay_count or 0),
        without_replays(user_headers(letter.record.headers, created_ms(letter.record))),
        all(part is True for part in parts),
        claimed_id(letter.record.headers),
        told.value_is_original and told.key_is_original,
    )


def guessed_id(letter: Letter) -> str:
    """What to call an order whose dead letter does not say it; always the same for one dead letter.

    An older version of ours called it by its place, and its handler may know it so. A stranger's order was
    not called by us before; its time keeps it apart from another of a topic that was created again.
    """
    record, told = letter.record, letter.told
    place = (told.topic, told.partition, told.offset)
    is_ours = told.dialect == OWN.name
    if place[0] is None or place[1] is None or place[2] is None:
        return place_id(record.topic, record.partition, record.offset, record.timestamp_ms)
    return place_id(place[0], place[1], place[2], None if is_ours else told.timestamp_ms)


def _count(value: Optional[bytes]) -> int:
    """0 for what no replay writes, and what is too long to be counted."""
    return int(value) if value is not None and _COUNT.fullmatch(value) else 0


_COUNT = re.compile(rb"[0-9]{1,9}")


def place_of(origin: Origin) -> str:
    """The source's position; empty where it is not told."""
    return "" if origin.topic is None else f"{origin.topic}-{origin.partition}-{origin.offset}"


def without_replays(headers: Headers) -> Headers:
    """The source's own: neither the life story of earlier replays nor the mark that headers are missing."""
    ours = (own.REPLAY_PREFIX, own.HEADERS_LEFT_OUT)
    return [header for header in headers if not header[0].startswith(ours)]
