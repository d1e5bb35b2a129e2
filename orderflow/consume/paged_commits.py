"""Reads the pages that committed metadata names, so that a commit says what waits."""

from typing import Dict, List, Mapping, NamedTuple, Optional, Set

from confluent_kafka import KafkaException

from orderflow.consume.world import World
from orderflow.kafka.ledger_pages import LedgerPages, Wanted
from orderflow.kafka.refusals import NO_SUCH_TOPIC
from orderflow.model.commit_metadata import Commit
from orderflow.model.ledger_page import page_key

MOST_LOOKS = 10
"""Looks for a page's topic, seconds apart, before it counts as deleted: a new broker may not know it yet."""
NO_HASHES: Mapping[int, bytes] = {}


class Complete(NamedTuple):
    """A commit that lists its heads."""

    number: int
    base: int
    """The committed offset."""
    commit: Commit
    key_hashes: Mapping[int, bytes] = NO_HASHES
    """By the offset of a head with followers, the hash of its key."""
    page_written_at_s: int = 0
    """When the page was written that lists them, in epoch seconds; 0: there is none."""


class PagedCommits:
    """The partitions whose pages are being read."""

    def __init__(
        self, pages: LedgerPages, group: str, topic: str, world: World, topic_id: Optional[str] = None
    ) -> None:
        """`group` and `topic` (of the orders) are in the keys of the pages, its id is in their checks."""
        self._pages = pages
        self._group = group
        self._topic = topic
        self._topic_id = topic_id
        self._world = world
        self._wanted: Dict[int, Wanted] = {}
        self._looks: Dict[int, int] = {}
        self._without_topic: Set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def numbers(self) -> Set[int]:
        """The partitions that wait for their page."""
        return set(self._wanted)

    def cancel(self, numbers: Set[int]) -> None:
        """These are no longer ours."""
        self._pages.cancel(numbers)
        for number in numbers:
            self._wanted.pop(number, None)
            self._looks.pop(number, None)
        self._without_topic -= numbers

    def start(self, number: int, base: int, commit: Commit) -> None:
        """Read the page of this commit. Raises KafkaException where that has to be tried again later."""
        wanted = Wanted(page_key(self._group, self._topic, number), base, commit, self._topic_id)
        try:
            self._pages.start(number, wanted)
        except KafkaException as error:
            if error.args[0].code() not in NO_SUCH_TOPIC:
                raise
            looks = self._looks[number] = self._looks.get(number, 0) + 1
            if looks < MOST_LOOKS:
                raise
            self._without_topic.add(number)
        self._looks.pop(number, None)
        self._wanted[number] = wanted

    def poll(self, timeout_s: float) -> List[Complete]:
        """Read on for a moment; returns the commits that are complete. Raises KafkaException."""
        complete = [self._lost(number) for number in sorted(self._without_topic)]
        for number, found in self._pages.poll(timeout_s) if self._pages else []:
            if found is None:
                complete.append(self._lost(number))
                continue
            base, page = self._wanted.pop(number).base, found.page
            complete.append(Complete(number, base, found.commit, page.key_hashes, page.written_at_s))
        return complete

    def take_hidden(self) -> Set[int]:
        """Those whose page an open transaction may hide. They are no longer looked for."""
        hidden = self._pages.hidden()
        self.cancel(hidden)
        return hidden

    def _lost(self, number: int) -> Complete:
        """Nothing may be skipped: all from the committed offset on counts as unfinished."""
        wanted = self._wanted.pop(number)
        base, commit = wanted.base, wanted.commit
        self._without_topic.discard(number)
        topic = "" if commit.page is None else commit.page.topic
        self._world.report("page_lost", partition=number, offset=base, until=commit.next, topic=topic)
        return Complete(number, base, commit._replace(next=base, alone=None, reach=None, page=None))
