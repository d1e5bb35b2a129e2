"""One partition that is ours and ready: its ledger, and with how much care its orders are called."""

from typing import Dict, NamedTuple, Optional, Tuple

from orderflow.consume.ledger import Head, Ledger
from orderflow.consume.world import World
from orderflow.model.records import Message

FIRST_CHUNK, LARGEST_CHUNK = 100, 500
"""Orders of a partition that are announced at once after an owner died.

What ended the owner was most likely among the first: each chunk that is survived lets the next be twice
as large.
"""


class Task(NamedTuple):
    """What is called: a head, and the partition whose ledger lists it."""

    partition: "Partition"
    head: Head


class Partition:
    """A partition's ledger, and all that is known of its calls."""

    def __init__(self, number: int, ledger: Ledger, end: int, careful_left: int = 0) -> None:
        self.number = number
        self.ledger = ledger
        self.end = end
        """Where the log ended when this partition was restored."""
        self.careful_left = careful_left
        """Orders that are still to be announced before they are called, since an owner died."""
        self.in_flight = 0
        """Calls that run in worker threads."""
        self.alone: Optional[int] = None
        """The offset that is called while nothing else is, or died so before, since it may be a killer."""
        self.holds: Dict[str, Optional[float]] = {}
        """Why nothing is fetched, and until when (None: until it is released)."""
        self._chunk = FIRST_CHUNK

    def __repr__(self) -> str:
        return f"<partition {self.number}>"

    # --- calls that run --------------------------------------------------------------------------

    def call_begins(self) -> None:
        """A worker is given one of its orders."""
        self.in_flight += 1

    def call_ends(self) -> None:
        """A worker has returned one."""
        self.in_flight -= 1

    def attempt_of(self, head: Head) -> int:
        """1 for the first call. An order that is called alone has had its attempt counted before."""
        return head.attempts + (0 if self.alone == head.offset else 1)

    # --- caution after a death -------------------------------------------------------------------

    def mark_alone(self, offset: Optional[int]) -> None:
        """Name the one order that is called alone, in every commit from now on."""
        self.alone = offset
        self.ledger.touch()

    def end_alone(self, head: Head) -> None:
        """The call of this order returned: it needs the mark no more, if it had it."""
        if self.alone == head.offset:
            self.mark_alone(None)

    def admit_carefully(self) -> int:
        """With how much care one more order is called that is admitted now: how many of its key, or 1."""
        careful, self.careful_left = self.careful_left, max(0, self.careful_left - 1)
        return max(1, careful)

    @property
    def chunk(self) -> int:
        """How many orders to announce at once: no more than can be listed."""
        listable = max(1, self.ledger.room - 1)
        return min(self._chunk, self.careful_left or FIRST_CHUNK, listable)

    def chunk_survived(self, largest: int) -> None:
        """The next chunk may be twice as large, up to a bound."""
        self._chunk = min(largest, self._chunk * 2)

    @property
    def is_clean(self) -> bool:
        """Whether its next owner may trust that no call was cut short."""
        careful = any(head.suspect or head.careful for head in self.ledger.heads.values())
        return not self.in_flight and not self.careful_left and not careful

    # --- what is committed -----------------------------------------------------------------------

    def commit(self, world: World, clean: bool, braked: bool, reach: int) -> Tuple[int, str]:
        """Offset and metadata to commit now. `reach`: orders that may be called before the next commit."""
        # What is left to be called with care is as far ahead for the next owner as what we call ourselves.
        reach = max(reach, self.careful_left)
        text = self.ledger.metadata(world.clock(), world.time_of_day(), clean, braked, self.alone, reach)
        return self.ledger.commit_point, text


def size_of(message: Message) -> int:
    """Bytes that a record keeps in memory, about."""
    return len(message.value() or b"") + len(message.key() or b"") + 200
