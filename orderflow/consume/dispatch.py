"""The settlement in flight, sent from a thread of its own."""

from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from orderflow.consume.durations import FAILED, SUCCEEDED, Durations
from orderflow.consume.outbox import Outbox
from orderflow.consume.pace import Progress
from orderflow.consume.partition import Partition
from orderflow.consume.session import Session
from orderflow.consume.settlement import Outcome, Settlement
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.workers import Workers
from orderflow.consume.world import World
from orderflow.model.records import Outgoing

LOOK_S = 0.1
"""How long to wait for a settlement at a time; in between, the watchdog learns that no call is running."""


class Work(NamedTuple):
    """What one settlement sends and commits."""

    outbox: Outbox
    records: List[Outgoing]
    """Built in the polling thread: two busy threads slow each other down."""
    pages: List[Outgoing]
    """The ledger pages that the offsets name."""
    partitions: List[Partition]
    offsets: Dict[int, Tuple[int, str]]
    member: Any
    is_unsure: bool = False
    """It was sent, but its outcome is not known yet."""

    def without(self, numbers: Set[int]) -> Optional["Work"]:
        """The work less these partitions, None if none is left: any one shows whether it was committed."""
        self.outbox.forget(numbers)
        partitions = [partition for partition in self.partitions if partition.number not in numbers]
        offsets = {number: commit for number, commit in self.offsets.items() if number not in numbers}
        return self._replace(partitions=partitions, offsets=offsets) if offsets else None


class Answer(NamedTuple):
    """The outcome of a settlement."""

    work: Work
    settlement: Settlement


class Dispatch:
    """Sends one settlement at a time while the next orders are called."""

    def __init__(self, session: Session, watchdog: Watchdog, world: World) -> None:
        self._session = session
        self._watchdog = watchdog
        self._world = world
        self.durations = Durations(SUCCEEDED, FAILED)
        """How long settlements took, by whether Kafka accepted them."""
        self._thread = Workers(1, self._send)
        self._progress = Progress(False, 0.0, 0.0, 0.0)

    @property
    def progress(self) -> Progress:
        """Progress of the last settlement."""
        return self._progress._replace(is_on_its_way=not self._thread.has_finished)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is in flight and no answer is waiting to be collected."""
        return not self._thread.in_flight

    def send_off(self, work: Work) -> None:
        """Send a settlement. No other may be in flight."""
        page_bytes = sum(len(page.value or b"") for page in work.pages)
        self._progress = self._progress._replace(sent_off_at_s=self._world.clock(), page_bytes=page_bytes)
        self._thread.submit(work)

    def commit(self, work: Work, sent_s: float = 0.0) -> Settlement:
        """Commit the offsets and wait for the outcome. `sent_s`: how long it took to send the records."""
        began_s = self._world.clock()
        settlement = self._session.commit(work.offsets)
        self._took(settlement, sent_s + self._world.clock() - began_s)
        return settlement

    def settled(self) -> None:
        """The last settlement succeeded."""
        self._progress = self._progress._replace(settled_at_s=self._world.clock())

    def answer(self) -> Optional[Answer]:
        """Wait for the outcome of the settlement in flight; None if there is none."""
        while self._thread.in_flight:
            for work, settlement, error, _ in self._thread.collect(LOOK_S):
                if error is not None:
                    raise error
                if settlement.outcome is Outcome.SENT:
                    confirmed = settlement.confirmed
                    settlement = self.commit(work, self._progress.took_s)._replace(confirmed=confirmed)
                return Answer(work, settlement)
            self._be_patient()
        return None

    def give_up(self) -> None:
        """Wait until nothing is in flight, whatever the outcome, and wherever a crash has interrupted us."""
        while not self._thread.forget(LOOK_S):
            self._be_patient()

    def _be_patient(self) -> None:
        self._watchdog.idle()
        since_s = self._thread.oldest_start_s()
        if since_s is not None:
            self._session.while_waiting(self._world.clock() - since_s)

    def _send(self, work: Work) -> Settlement:
        """Runs in the sending thread, the only other one that may use the session."""
        if work.is_unsure:
            return self._session.find_out(work.offsets)
        began_s = self._world.clock()
        settlement = self._session.send(work.records, work.offsets, work.member, work.pages)
        took_s = self._world.clock() - began_s
        self._progress = self._progress._replace(took_s=took_s)
        self._took(settlement, took_s)
        return settlement

    def _took(self, settlement: Settlement, seconds: float) -> None:
        if settlement.outcome is not Outcome.SENT:  # its offsets have yet to be committed
            outcome = SUCCEEDED if settlement.outcome is Outcome.SETTLED else FAILED
            self.durations.add(outcome, seconds)
