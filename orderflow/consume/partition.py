"""One ready partition: its ledger, its running calls, and how carefully its orders are called."""

from typing import Dict, NamedTuple, Optional

from orderflow.consume.head import Head
from orderflow.consume.ledger import UNLIMITED, Ledger
from orderflow.consume.pages import Pages
from orderflow.consume.statement import Form, Statement, first_form
from orderflow.consume.waiting_bytes import size_of
from orderflow.consume.world import World
from orderflow.model.commit_metadata import PageName, Signature, Stand, second_form
from orderflow.model.records import Message

NO_SIGNATURE = Signature()
TELL_OF_PAGE_S = 60.0
"""After so long without a page, the next one is told again."""
FIRST_CHUNK, LARGEST_CHUNK = 100, 500
"""How many orders of a partition are announced at a time after an owner died.

The killer is most likely among the first, so the chunk size doubles after each chunk that is survived.
"""


REGISTRY = "registry"
"""Why a partition is held while the schema registry does not answer."""


class Task(NamedTuple):
    """One call to make: a head, and the partition whose ledger lists it."""

    partition: "Partition"
    head: Head


class Partition:
    """A partition's ledger and the state of its calls."""

    def __init__(
        self,
        number: int,
        ledger: Ledger,
        end: int,
        careful_left: int = 0,
        pages: Optional[Pages] = None,
        signature: Signature = NO_SIGNATURE,
    ) -> None:
        """`pages` None: what the commit metadata has no room for cannot be listed.

        `signature` is what every commit bears.
        """
        self.number = number
        self.ledger = ledger
        self.end = end
        """The end of the log when this partition was restored."""
        self.careful_left = careful_left
        """How many more orders to announce before calling them, because an owner died."""
        self.in_flight = 0
        """Calls running in worker threads."""
        self.alone: Optional[int] = None
        """The offset of a possible killer being called alone, or that died alone before."""
        self.holds: Dict[str, Optional[float]] = {}
        """Why fetching is paused, and until when (None: until released)."""
        self._chunk = FIRST_CHUNK
        self._pages = pages
        self._signature = signature
        self._is_on_page = pages is not None and pages.last is not None
        """The list that was stated last is on a page."""
        self._too_many = UNLIMITED
        """So many heads did not fit into the metadata."""
        self._paged_at_s: Optional[float] = None
        """When it last took a page to list what waits."""
        self._has_told = False
        """Something has been stated since it was restored."""
        self._settled_to: Optional[int] = None

    def __repr__(self) -> str:
        return f"<partition {self.number}>"

    def admit(self, message: Message) -> Head:
        """List a record as a head in flight. Its key must not have a head yet."""
        return self.ledger.admit(message, message.offset(), message.key(), size=size_of(message))

    # --- running calls ---------------------------------------------------------------------------

    def call_begins(self) -> None:
        """A worker was given one of its orders."""
        self.in_flight += 1

    def call_ends(self) -> None:
        """A worker finished one of its orders."""
        self.in_flight -= 1

    def attempt_of(self, head: Head) -> int:
        """The attempt number, from 1. For an order called alone it was counted before the call."""
        return head.attempts + (0 if self.alone == head.offset else 1)

    # --- caution after a death -------------------------------------------------------------------

    def mark_alone(self, offset: Optional[int]) -> None:
        """Name the order being called alone in every commit from now on."""
        self.alone = offset
        self.ledger.touch()

    def end_alone(self, head: Head) -> None:
        """The call of this order returned: remove its alone mark, if it has one."""
        if self.alone == head.offset:
            self.mark_alone(None)

    def admit_carefully(self) -> int:
        """Admit one more order carefully; returns how many calls of its key to announce, at least 1."""
        careful, self.careful_left = self.careful_left, max(0, self.careful_left - 1)
        return max(1, careful)

    @property
    def chunk(self) -> int:
        """How many orders to announce at a time, within what can be listed."""
        listable = max(1, self.ledger.room - 1)
        return min(self._chunk, self.careful_left or FIRST_CHUNK, listable)

    def chunk_survived(self, largest: int) -> None:
        """Double the chunk size, up to `largest`."""
        self._chunk = min(largest, self._chunk * 2)

    @property
    def is_clean(self) -> bool:
        """Whether its next owner may assume that no call was interrupted."""
        careful = any(head.suspect or head.careful for head in self.ledger.heads.values())
        return not self.in_flight and not self.careful_left and not careful

    # --- committing ------------------------------------------------------------------------------

    def settled(self, offset: int) -> None:
        """Kafka has this offset as its lowest unfinished one."""
        self._settled_to = offset

    @property
    def is_drained(self) -> bool:
        """Whether all that it held when it was restored is done and committed; later orders may wait."""
        if self.ledger.commit_point < self.end:
            return False
        has_nothing_to_tell = not self._has_told and not self.ledger.changed
        return has_nothing_to_tell or (self._settled_to is not None and self._settled_to >= self.end)

    def list_anew(self, partitions: int) -> None:
        """The topic of the pages was created anew, with so many partitions: a page that was in it is gone."""
        if self._pages is not None:
            self._pages.move(partitions)
            self.ledger.touch()

    def commit(self, world: World, clean: bool, braked: bool, reach: int) -> Statement:
        """What to commit, with a new page if it takes one.

        `reach`: about how many orders may be called before the next commit.
        """
        self._has_told = True
        stand = self._stand(world, clean, braked, reach)
        if self._pages is None:
            return Statement(stand.base, self._in_metadata(stand, world).text)
        text = self._if_it_fits(stand, world)
        self._is_on_page = text is None
        if text is not None:
            return Statement(stand.base, text)
        name, page = self._pages.new_page(self.ledger, stand, world)
        self._tell_of_page(name, world)
        return Statement(stand.base, second_form(stand, name), page)

    def _if_it_fits(self, stand: Stand, world: World) -> Optional[str]:
        """The metadata that lists the heads; None if they take a page.

        To write out a long list only to learn that it is too long costs more than the page: as many as were
        too many once are not tried again, unless a page has no room for them.
        """
        heads = len(self.ledger.heads)
        if self._too_many <= heads <= self.ledger.most_paged:
            return None
        form = self._in_metadata(stand, world)
        if form.fits or not heads:
            return form.text
        if form.is_too_long:
            self._too_many = heads
        return None

    def _tell_of_page(self, name: PageName, world: World) -> None:
        """One line when the list moves out of the metadata; none if it comes and goes."""
        now_s, last_s = world.clock(), self._paged_at_s
        self._paged_at_s = now_s
        if last_s is None or now_s - last_s > TELL_OF_PAGE_S:
            waiting = self.ledger.unfinished
            world.report("list_on_page", partition=self.number, waiting=waiting, topic=name.topic)

    def commit_again(self, world: World, clean: bool, braked: bool, reach: int) -> Statement:
        """The same while the list is what was committed last, so that its page can be named again."""
        stand = self._stand(world, clean, braked, reach)
        last = self._pages.last if self._pages is not None and self._is_on_page else None
        if last is None or not self.ledger.heads:
            return Statement(stand.base, self._in_metadata(stand, world).text)
        # Heads that were lost are still on that page: its own offset goes with it.
        return Statement(last.base, second_form(stand._replace(base=last.base), last.name))

    def _stand(self, world: World, clean: bool, braked: bool, reach: int) -> Stand:
        # The next owner must be careful with whatever is left of our own careful calls, too.
        reach = max(reach, self.careful_left)
        base, end = self.ledger.commit_point, self.ledger.next
        now_s = int(world.time_of_day())
        return Stand(base, end, clean, braked, self.alone, reach, now_s, *self._signature)

    def _in_metadata(self, stand: Stand, world: World) -> Form:
        """The list as metadata. Its delays count from the full second that the commit tells.

        From any other moment they would be cut to a second anew with each commit, and due ever earlier.
        """
        now_s = world.clock() - (world.time_of_day() - stand.written_at_s)
        return first_form(self.ledger, stand, now_s)
