"""Records that Kafka refuses: found among those of a transaction, which it refuses whole, and named."""

from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from orderflow.exits import CommandError
from orderflow.kafka.transactions import OutOfStep, RecordsRefused
from orderflow.model.records import Outgoing, Place
from orderflow.model.text import escape, shown_bytes

FEW_SUSPECTS = 8
"""Up to so many are tried one by one; where Kafka blames whole batches, halves are the shorter way."""
MOST_IN_A_ROW = 100
"""So many refusals without a record between that was taken: it is not the records."""
MOST_NAMED = 20


Refusal = Union[RecordsRefused, OutOfStep]
"""Why nothing of a transaction was committed, so that its records are sent again, or some of them."""


class Parcel(NamedTuple):
    """One record to send for a dead letter."""

    place: Place
    """Of the dead letter."""
    outgoing: Outgoing

    @property
    def position(self) -> str:
        """The place, as people write it."""
        return f"{self.place[0]}:{self.place[1]}"


class Refusals:
    """Those of one process at work on a job, named as they are found."""

    def __init__(self, tell: Callable[[str], None], shows_keys: bool = True) -> None:
        self._tell = tell
        self._shows_keys = shows_keys
        self._untold: Dict[str, str] = {}
        self._named = 0
        self._in_a_row = 0

    @property
    def untold(self) -> Mapping[str, str]:
        """Kafka's reasons, by position, for what the job's record does not name yet."""
        return self._untold

    def add(self, parcel: Parcel, reason: str) -> None:
        """Name one. Raises CommandError where too many came in a row, so that it is not the records."""
        self._untold[parcel.position] = reason
        self._in_a_row += 1
        if self._in_a_row >= MOST_IN_A_ROW:
            raise CommandError(f"Kafka refused {self._in_a_row} records one after the other: {reason}")
        self._named += 1
        if self._named <= MOST_NAMED:
            told = f"{parcel.position} is not sent: Kafka refuses it for {escape(parcel.outgoing.topic)}"
            told += f", key {shown_bytes(parcel.outgoing.key)}" if self._shows_keys else ""
            self._tell(f"{told}: {escape(reason)}")
        if self._named == MOST_NAMED:
            self._tell("what else is refused stands in the job's record: `jobs show`")

    def are_told(self, sent: int) -> None:
        """They stand in the job's record, which was written with so many records that were taken."""
        self._untold.clear()
        if sent:
            self._in_a_row = 0


def send_again(
    parcels: Sequence[Parcel],
    refusal: Refusal,
    send: Callable[[Sequence[Parcel]], Optional[Refusal]],
    name: Callable[[Parcel, str], None],
    is_stopped: Callable[[], bool],
) -> None:
    """Send what the refused transaction held, but for the records that are to blame, which are named.

    Part by part, in their order, since of a key the older one goes first. None is sent twice: what was
    refused was not committed. `send` sends a part as a transaction, and tells why that was refused, too.
    """
    waiting = _next_tries(parcels, refusal, name)
    while waiting and not is_stopped():
        part = waiting.pop(0)
        again = send(part)
        if again is not None:
            waiting[:0] = _next_tries(part, again, name)


def _next_tries(
    parcels: Sequence[Parcel], refusal: Refusal, name: Callable[[Parcel, str], None]
) -> List[List[Parcel]]:
    if isinstance(refusal, OutOfStep):
        return [list(parcels)] if parcels else []
    if len(parcels) > 1:
        return _parts(parcels, refusal)
    for parcel in parcels:
        name(parcel, refusal.reason)
    return []


def _parts(parcels: Sequence[Parcel], refusal: RecordsRefused) -> List[List[Parcel]]:
    """The parcels in their order, in parts to be sent one after the other: each suspect apart, or halves."""
    blamed = sum(parcel.place in refusal.reasons for parcel in parcels)
    if not 0 < blamed <= FEW_SUSPECTS:
        middle = len(parcels) // 2
        return [list(parcels[:middle]), list(parcels[middle:])]
    found: List[List[Parcel]] = [[]]
    for parcel in parcels:
        if parcel.place in refusal.reasons:
            found += [[parcel], []]
        else:
            found[-1].append(parcel)
    return [part for part in found if part]
