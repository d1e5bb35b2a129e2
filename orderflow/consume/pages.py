"""Numbers, names and builds the pages of one partition's ledger."""

from typing import NamedTuple, Optional, Tuple

from orderflow.consume.ledger import Ledger
from orderflow.consume.listing import as_entries
from orderflow.consume.outbox import NO_TIMESTAMP
from orderflow.consume.world import World
from orderflow.model.commit_metadata import PageName, Stand
from orderflow.model.ledger_page import Heading, most_heads, page_key, write_page
from orderflow.model.records import Outgoing

CLOCK_SET_S = 1.0
"""The time of day and the clock of due times drift apart no further, unless one of them is set."""


class LedgerTopic(NamedTuple):
    """The topic that pages are written to."""

    name: str
    partitions: int
    max_bytes: int
    """The largest record that it accepts."""
    group: str

    @property
    def most_heads(self) -> int:
        """How many heads a page can list."""
        return most_heads(self.max_bytes)


class Written(NamedTuple):
    """The page that was written last."""

    base: int
    """The offset committed with it."""
    name: PageName


class Pages:
    """The pages of one partition."""

    def __init__(
        self, topic: LedgerTopic, orders_topic: str, partition: int, last: Optional[Written] = None
    ) -> None:
        """`last`: the page that the last owner committed."""
        self.last = last
        self._began_s: Optional[float] = None
        """The epoch second at which the clock of due times showed 0, as the heads' entries have it."""
        self._topic = topic
        self._key = page_key(topic.group, orders_topic, partition)
        self._number = partition

    def move(self, partitions: int) -> None:
        """The topic was created anew, with so many partitions."""
        self._topic = self._topic._replace(partitions=partitions)

    def new_page(self, ledger: Ledger, stand: Stand, world: World) -> Tuple[PageName, Outgoing]:
        """A new page with all heads of the ledger, and its name.

        Numbers are times, so that they rise from owner to owner even if one of them needed no page.
        """
        time_of_day_s = world.time_of_day()
        number = int(time_of_day_s * 1000)
        if self.last is not None:
            number = max(number, self.last.name.number + 1)
        listed = as_entries(ledger.heads, self._steady(ledger, time_of_day_s - world.clock()))
        heading = Heading(number, stand.base, stand.next, stand.written_at_s)
        value = write_page(self._key, heading, *listed, stand.topic_id)
        partition = self._number % max(1, self._topic.partitions)
        name = PageName(self._topic.name, partition, number)
        self.last = Written(stand.base, name)
        return name, Outgoing(self._topic.name, self._key, value, [], partition, NO_TIMESTAMP)

    def _steady(self, ledger: Ledger, began_s: float) -> float:
        """The same `began_s` for all entries, also for those of earlier pages, until the clock is set."""
        if self._began_s is None or abs(began_s - self._began_s) > CLOCK_SET_S:
            self._began_s = began_s
            for head in ledger.heads.values():
                head.forget_entry()
        return self._began_s
