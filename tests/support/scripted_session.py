"""Kafka as a script: one topic in memory, and a session whose every answer a test can choose.

The one fake of our own code that is worth having. It stands for the broker and its client, so that the real
engine can be stepped through redelivered, skipped and reordered records, refused and unknown settlements, and
deaths between any two steps, in milliseconds. `Topic` is what outlives a process; a `Life` is one process.

    topic = Topic(partitions=2)
    topic.put(0, b"key", b"value")
    life = Life(topic, handler)
    life.until(life.is_drained)
"""

from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple

from orderflow.consume.engine import Settings
from orderflow.consume.event_loop import EventLoop
from orderflow.consume.handler import Handler, is_async
from orderflow.consume.outcomes import Business, Destination
from orderflow.consume.pages import LedgerTopic
from orderflow.consume.publications import Targets
from orderflow.consume.reading_back import Found
from orderflow.consume.restoring import Limits, Terms
from orderflow.consume.retry import Policy
from orderflow.consume.settlement import SETTLED, Offsets, Settlement
from orderflow.consume.world import World
from orderflow.model.commit_metadata import read_metadata
from orderflow.model.records import Outgoing
from orderflow.testing.memory import (
    BEGAN_S,
    DEAD_LETTERS,
    LEDGER,
    ORDERS,
    RESULTS,
    Clock,
    EarlierWork,
    MemorySession,
    Stored,
    Topic,
    engine_on,
)
from tests.support.memory import Log, MemoryInbox, MemoryPages, MemoryRecovery

__all__ = ["BEGAN_S", "DEAD_LETTERS", "LEDGER", "ORDERS", "RESULTS", "Clock", "Stored", "Topic"]

POLICY = Policy(max_retries=3, backoff_s=1.0, backoff_max_s=8.0)
LIMITS = Limits(10_000, 64 * 1024 * 1024)
PAGES = LedgerTopic(LEDGER, 1, 1_000_000, "group")


class Answer(NamedTuple):
    """How one settlement ends: what the engine is told, and whether Kafka did it all the same."""

    settlement: Settlement
    took_effect: bool = False


class ScriptedSession(MemorySession):
    """A session whose every answer a test can choose. `answers`, `doubts` and `odd` are the script."""

    def __init__(
        self,
        topic: Topic,
        exactly_once: bool = True,
        partitions: Optional[Iterable[int]] = None,
        on_revoke: Callable[[Set[int]], None] = lambda gone: None,
    ) -> None:
        super().__init__(topic, exactly_once, partitions, on_revoke)
        self.answers: Deque[Answer] = deque()
        """How the next settlements end, with or without records; all succeed when it is empty."""
        self.doubts: Deque[Settlement] = deque()
        """What Kafka says of unknown outcomes; the truth when it is empty."""
        self.odd: Deque[Callable[[List[Stored]], Sequence[Stored]]] = deque()
        """What the next polls that find something make of what they found: repeat, skip, reorder."""
        self.sends: List[Tuple[Sequence[Outgoing], Offsets]] = []
        """Every try to settle, successful or not."""
        self.seeks: List[Tuple[int, int]] = []

    def _handed_over(self, found: List[Stored]) -> List[Stored]:
        return list(self.odd.popleft()(found)) if found and self.odd else found

    def seek(self, partition: int, offset: int) -> None:
        """Read on from an offset."""
        self.seeks.append((partition, offset))
        super().seek(partition, offset)

    def find_out(self, offsets: Offsets) -> Settlement:
        """What became of a settlement whose outcome is unknown."""
        return self.doubts.popleft() if self.doubts else super().find_out(offsets)

    def _settle(self, outgoing: Sequence[Outgoing], offsets: Offsets) -> Settlement:
        self.sends.append((outgoing, offsets))
        for offset, metadata in offsets.values():
            assert not metadata or read_metadata(metadata, offset), f"foreign to ourselves: {metadata}"
        if not self.answers:
            return super()._settle(outgoing, offsets)
        answer = self.answers.popleft()
        settled = super()._settle(outgoing, offsets) if answer.took_effect else SETTLED
        return answer.settlement if settled is SETTLED else settled


class ScriptedRecovery(MemoryRecovery):
    """The face of `orderflow.consume.reading_back.Recovery` over a `Topic`: all of a search in one poll."""

    def __init__(self, topic: Topic) -> None:
        super().__init__(Log())
        self._topic = topic

    def _found(self, partition: int, lone: List[int], through: Optional[int], end: int) -> Found:
        kept = self._topic.records[partition]
        records = [kept[offset] for offset in lone if offset in kept]
        if through is not None:
            records += self._topic.read(partition, through, end - through)
        records = [record for record in records if record.place < end]
        return Found(partition, list(records), [offset for offset in lone if offset not in kept], True)

    def close(self) -> None:
        """Nothing to close."""


class Killed(SystemExit):
    """Raised by a script's handler or answer: the process is dead, as by kill -9."""


class Life:
    """One process: the whole engine over a scripted session. To die is to be dropped."""

    def __init__(
        self,
        topic: Topic,
        handler: Handler,
        *,
        policy: Policy = POLICY,
        exactly_once: bool = True,
        workers: int = 1,
        partitions: Optional[Iterable[int]] = None,
        publishes: bool = False,
        limits: Limits = LIMITS,
        outage_window_s: float = 60.0,
        pages: bool = False,
        metadata_limit: int = 0,
        topic_id: Optional[str] = None,
        limit_of: Callable[[str], int] = lambda topic: 1_000_000,
        connect: Callable[..., ScriptedSession] = ScriptedSession,
        tells_each: bool = False,
    ) -> None:
        """`pages`: what does not fit into `metadata_limit` bytes is listed on a page of the ledger topic.

        `connect` makes the session, which a test may replace by a kind of its own.
        """
        self.topic = topic
        self.clock = clock = topic.clock
        self.events: List[Tuple[str, Dict[str, Any]]] = []
        self.session = connect(topic, exactly_once, partitions, self._revoked)
        world = World(clock, clock.time_of_day, lambda: 0.0, self.report)
        self.event_loop = EventLoop() if is_async(handler) else None
        business = Business(
            _as_it_is,
            handler,
            lambda value: None,
            keep_stack=False,
            topic_id=topic_id,
            workers=workers,
            loop=self.event_loop,
            tells_each=tells_each,
        )
        terms = Terms(limits, "group")
        if pages:
            terms = terms._replace(ledger_topic=PAGES, metadata_limit=metadata_limit)
        targets = Targets(RESULTS if publishes else None, 1_000_000, limit_of)
        self.inbox = MemoryInbox(lambda: topic.of(LEDGER), clock, clock.began_s)
        earlier = EarlierWork(ScriptedRecovery(topic), MemoryPages(lambda: topic.of(LEDGER)), self.inbox)
        settings = Settings(policy, outage_window_s, terms, lambda: None)
        self.engine = engine_on(
            self.session, business, Destination(targets, "group", "client"), settings, world, earlier
        )
        self.loop, self.brake = self.engine.loop, self.engine.brake

    def report(self, event: str, **fields: Any) -> None:
        """Keep an event of the engine."""
        self.events.append((event, fields))

    def names(self) -> List[str]:
        """The names of the events so far."""
        return [name for name, _ in self.events]

    def _revoked(self, partitions: Set[int]) -> None:
        self.engine.revoked(partitions)

    # --- running

    def step(self, times: int = 1) -> None:
        """Let the engine go that many rounds."""
        for _ in range(times):
            self.loop.step()

    def until(self, holds: Callable[[], bool], steps: int = 5_000) -> None:
        """Step until something holds; fails after that many steps."""
        for _ in range(steps):
            if holds():
                return
            self.step()
        raise AssertionError(f"not so after {steps} steps, at {self.clock():.1f} s: {self.events[-5:]}")

    def is_drained(self) -> bool:
        """Whether all that was there at the start is processed or dead-lettered, and settled."""
        return bool(self.session.assigned) and self.loop.is_drained

    def drain(self, steps: int = 5_000) -> "Life":
        """Step until everything has its fate."""
        self.until(self.is_drained, steps)
        return self

    def close(self) -> None:
        """End the event loop of an async handler."""
        if self.event_loop is not None:
            self.event_loop.close()

    def stop(self) -> None:
        """End as after Ctrl-C: everything settled, every partition given back with a clean mark."""
        self.loop.finish_calls(self.clock() + 5.0)
        self._revoked(set(self.session.assigned))


def _as_it_is(value: Optional[bytes]) -> Dict[str, Any]:
    return {"value": b"" if value is None else value}
