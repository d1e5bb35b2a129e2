"""Whether a dead letter may be replayed, why not, and the record that is then sent.

The rule for targets: a header says where a record came from; that it may go there again is for the operator
to say. So only a confirmed topic is ever sent to, or fetched from.
"""

import hashlib
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Tuple

from orderflow.dlq.audit import replayed_from
from orderflow.dlq.explain import user_headers
from orderflow.dlq.letter import DISCARDED, FAILED_AGAIN, NEW, REPLAYED, Letter
from orderflow.dlq.pointer import AGREES, Comparison, compare, doubt
from orderflow.dlq.replay.origin import (
    Origin,
    first_offset,
    guessed_id,
    origin_of,
    place_of,
    without_replays,
)
from orderflow.errors import OrderError, RegistryUnavailable
from orderflow.model import dead_letter as own
from orderflow.model.delivery_id import REPLAY_ID, claimed_id
from orderflow.model.records import Headers, Outgoing, Record, place_in

Order = Dict[str, Any]

ALREADY_REPLAYED = "already replayed"
LIVES_ON = "failed again, and lives on as a later dead letter"
RESOLVED = "discarded"
NO_TARGET = "does not tell where it came from: choose a topic with --to"
FOREIGN = "came from a topic that was not confirmed"
LOOP = "would go back into the dead letters"
AT_CAP = "replayed as often as --max-replays allows"
NOT_HERE = "its value is not in the dead letter, and the source no longer has it"
ANOTHER = "points to a record that is not the one it came from"
NO_SOURCE = "there is no source record to send"
STILL_FAILS = "still fails today's decoder or rules"
NOT_REPAIRABLE = "cannot be repaired: it cannot be decoded"
MISFIT = "does not fit today's schema after --set"
TOO_LARGE = "larger than its target takes"
NO_KEY = "has no key, and its target is compacted, which takes none without"
SUPERSEDED = "superseded: its key has a newer order"
NOT_SELECTED = "no longer what was selected: its state has changed"
UNJUDGED = "cannot be judged: the schema registry does not answer"

SETTLED = frozenset((ALREADY_REPLAYED, LIVES_ON, RESOLVED, NOT_SELECTED))
"""Nothing is left to do for these, so they do not count as chosen but not sent."""

SKIP, WARN, ALLOW = "skip", "warn", "allow"
STALE = (SKIP, WARN, ALLOW)


class Terms(NamedTuple):
    """What the operator decided. Equal terms give equal verdicts, so a job can go on where it stopped."""

    dlq_topic: str
    audit_topic: str
    orders_topic: str
    """Where today's decoder and rules apply."""
    confirmed: FrozenSet[str] = frozenset()
    """The topics that may be sent to and fetched from."""
    target: Optional[str] = None
    """None: where each came from."""
    stale: str = SKIP
    max_replays: int = 3
    again: bool = False
    """Also those that were replayed before."""
    unchecked: bool = False
    """Also those that still fail today's decoder or rules."""
    repairs: Mapping[str, Any] = {}


class Aids(NamedTuple):
    """What the judge asks others for."""

    read: Callable[[Optional[bytes]], Order]
    """Decodes and validates. Raises OrderError or RegistryUnavailable."""
    decode: Callable[[Optional[bytes]], Order]
    encode: Callable[[Order], bytes]
    """With today's schema. Raises ValueError."""
    fetch: Callable[[str, int, int], Optional[Record]]
    """The record at a place of a confirmed topic, if it is still there."""
    has_newer: Callable[[str, int, int, bytes], bool]
    """Whether topic and partition hold an order of the key behind this offset that did not die."""
    partitions: Callable[[str], int]
    """Of a topic."""
    room: Callable[[str], int]
    """Bytes that a record of the topic may take."""
    was_replayed: Callable[[int, int], bool]
    """Whether the audit knows of a replay of the dead letter at this place."""
    needs_key: Callable[[str], bool]
    """Whether the topic takes no record without a key."""


class Source(NamedTuple):
    """What stood in the source topic, without the traces of earlier replays."""

    key: Optional[bytes]
    value: Optional[bytes]
    headers: Headers
    headers_left_out: bool = False
    """It has some that no client of ours can read."""
    known_id: Optional[str] = None
    """What the order was called, as the source tells."""
    fetched: Optional[Comparison] = None
    """Of the dead letter with what was fetched; None where nothing was."""


class Verdict(NamedTuple):
    """What is to be done with one dead letter."""

    outgoing: Optional[Outgoing]
    """None: it is not sent."""
    why: str = ""
    """Why not: one of the sentences above."""
    detail: str = ""
    is_stale: bool = False
    """It is sent although its key has a newer order."""
    headers_left_out: bool = False
    """It is sent without the headers of its source, which no client of ours can read."""
    before: Optional[Order] = None
    after: Optional[Order] = None
    """The order around a repair."""
    is_fetched: bool = False
    """What is sent stands in the source topic, where the dead letter points to."""
    unchecked: Tuple[str, ...] = ()
    """What of that could not be checked, because the dead letter does not carry it."""


class Judge:
    """Decides on dead letters, one by one, by the terms of a job."""

    def __init__(self, terms: Terms, aids: Aids, job: str = "") -> None:
        """`job` signs what is sent; a look ahead has none."""
        self._terms = terms
        self._aids = aids
        self._signature: Headers = [(own.REPLAY_JOB, job.encode())] if job else []
        self._checks = not terms.unchecked

    def verdict(self, letter: Letter) -> Verdict:
        """Whether it may be sent, and as what."""
        refusal = self._by_state(letter)
        if refusal:
            return Verdict(None, refusal)
        origin = self._with_supported_count(letter.record, origin_of(letter))
        target = self._terms.target or origin.topic
        refusal = self._by_target(target) or self._by_count(origin)
        if refusal:
            return Verdict(None, refusal, place_of(origin))
        try:
            source = self._source(letter, origin)
        except _NotSent as error:
            return Verdict(None, error.why, str(error))
        return self._on_content(letter, origin, source, str(target))

    def _by_state(self, letter: Letter) -> str:
        state = letter.state
        if state == NEW:
            return ""
        if state == DISCARDED:
            return RESOLVED
        return "" if self._terms.again else _DONE[state]

    def _by_target(self, target: Optional[str]) -> str:
        if target is None:
            return NO_TARGET
        if target in (self._terms.dlq_topic, self._terms.audit_topic):
            return LOOP
        return "" if target in self._terms.confirmed else FOREIGN

    def _with_supported_count(self, record: Record, origin: Origin) -> Origin:
        """How often it was replayed is a header, which its producer can write, too.

        One that really was replayed names a dead letter of which the audit knows a replay.
        """
        if not origin.replays:
            return origin
        before = place_in(self._terms.dlq_topic, replayed_from(record))
        is_supported = before is not None and self._aids.was_replayed(*before)
        return origin if is_supported else origin._replace(replays=0)

    def _by_count(self, origin: Origin) -> str:
        return AT_CAP if origin.replays >= self._terms.max_replays else ""

    def _source(self, letter: Letter, origin: Origin) -> Source:
        """The record as it was before it died, from the dead letter or else from its topic.

        Raises _NotSent where it is in neither.
        """
        here = Source(letter.record.key, letter.record.value, origin.headers)
        if origin.is_whole:
            return here
        fetched = self._fetch(origin)
        comparison = compare(letter, fetched) if fetched is not None else AGREES
        if fetched is not None and not comparison.differs:
            return _as_source(fetched, comparison)
        if origin.has_value:  # only the source's headers are missing
            return here
        if comparison.differs:
            raise _NotSent(ANOTHER, f"{place_of(origin)}: {doubt(comparison)}")
        raise _NotSent(NO_SOURCE if origin.has_value is None else NOT_HERE, place_of(origin))

    def _fetch(self, origin: Origin) -> Optional[Record]:
        if origin.topic is None or origin.partition is None or origin.offset is None:
            return None
        if origin.topic not in self._terms.confirmed:
            return None
        return self._aids.fetch(origin.topic, origin.partition, origin.offset)

    def _on_content(self, letter: Letter, origin: Origin, source: Source, target: str) -> Verdict:
        before = after = None
        try:
            if self._terms.repairs:
                before, after, value = self._repaired(source.value)
                source = source._replace(value=value)
            if self._checks and target == self._terms.orders_topic:
                self._aids.read(source.value)
        except _NotSent as error:
            return Verdict(None, error.why, str(error))
        except OrderError as error:
            return Verdict(None, STILL_FAILS, f"{error.reason}: {error}")
        except RegistryUnavailable as error:
            return Verdict(None, UNJUDGED, str(error))
        is_stale = self._is_stale(letter, origin, source.key, target)
        if is_stale and self._terms.stale == SKIP:
            return Verdict(None, SUPERSEDED, place_of(origin))
        outgoing = self._outgoing(letter, origin, source, target)
        misfit = self._misfit(source, outgoing)
        if misfit is not None:
            return misfit
        left_out = letter.headers_left_out or source.headers_left_out
        is_fetched, unchecked = source.fetched is not None, (source.fetched or AGREES).unknown
        return Verdict(outgoing, "", "", is_stale, left_out, before, after, is_fetched, unchecked)

    def _repaired(self, value: Optional[bytes]) -> "_Repair":
        try:
            before = self._aids.decode(value)
        except OrderError as error:
            raise _NotSent(NOT_REPAIRABLE, f"{error.reason}: {error}") from error
        after = {**before, **self._terms.repairs}
        try:
            return _Repair(before, after, self._aids.encode(after))
        except ValueError as error:
            raise _NotSent(MISFIT, str(error)) from error

    def _misfit(self, source: Source, outgoing: Outgoing) -> Optional[Verdict]:
        """Why the target would not take it, as far as its settings tell."""
        if not self._fits(source, outgoing):
            return Verdict(None, TOO_LARGE, f"{own.size_of(outgoing):,} bytes")
        if outgoing.key is None and self._aids.needs_key(outgoing.topic):
            return Verdict(None, NO_KEY)
        return None

    def _fits(self, source: Source, outgoing: Outgoing) -> bool:
        """Whether the target takes it; measured exactly only where that may matter."""
        room = self._aids.room(outgoing.topic)
        if not source.headers and len(source.key or b"") + len(source.value or b"") + STORY_BYTES <= room:
            return True
        return own.size_of(outgoing) <= room

    def _is_stale(self, letter: Letter, origin: Origin, key: Optional[bytes], target: str) -> bool:
        """Whether it would come behind a newer order of its key. Only where it came from is there a newer."""
        if self._terms.stale == ALLOW or key is None or target != origin.topic:
            return False
        partition, offset = origin.partition, origin.offset
        if partition is None or offset is None:
            return False
        return self._aids.has_newer(target, partition, first_offset(letter, partition, offset), key)

    def _outgoing(self, letter: Letter, origin: Origin, source: Source, target: str) -> Outgoing:
        """What is sent: the source, and what tells its life, set anew. Its time is that of the replay.

        Where it came from it goes to its old partition, behind what there is of its key.
        """
        partition = origin.partition if target == origin.topic else None
        if partition is not None and not 0 <= partition < self._aids.partitions(target):
            partition = None
        first_id = origin.known_id or source.known_id or guessed_id(letter)
        story: Headers = [
            (REPLAY_ID, first_id.encode()),
            (own.REPLAY_COUNT, b"%d" % (origin.replays + 1)),
            (own.REPLAY_FROM, letter.record.position.encode()),
        ]
        headers = source.headers + story + self._signature
        return Outgoing(target, source.key, source.value, headers, partition)


_DONE = {REPLAYED: ALREADY_REPLAYED, FAILED_AGAIN: LIVES_ON}


class _Repair(NamedTuple):
    before: Order
    after: Order
    value: bytes


class _NotSent(Exception):
    """Why a dead letter is not sent, and the detail."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(detail)
        self.why = why


def _as_source(fetched: Record, comparison: Comparison) -> Source:
    own_headers = user_headers(fetched.headers)  # someone may have copied a dead letter back before
    left_out, known_id = fetched.headers_left_out is not None, claimed_id(fetched.headers)
    return Source(fetched.key, fetched.value, without_replays(own_headers), left_out, known_id, comparison)


# --- The parts of a record ---

STORY_BYTES = 1024
"""More than the replay headers and Kafka's own take."""


def digest(outgoing: Outgoing) -> str:
    """SHA-256 of all that will be sent, whichever job sends it: what a reviewed plan holds on to."""
    hashed = hashlib.sha256()
    place = "" if outgoing.partition is None else str(outgoing.partition)
    parts: List[Optional[bytes]] = [outgoing.topic.encode(), place.encode(), outgoing.key, outgoing.value]
    for name, value in outgoing.headers:
        if name == own.REPLAY_JOB:
            continue
        parts += [name.encode("utf-8", "surrogatepass"), value]
    for part in parts:
        hashed.update(b"-" if part is None else b"%d:" % len(part) + part)
    return hashed.hexdigest()
