"""Ends the transaction that the last owner of a partition left open when it died.

Until it has ended, Kafka tells no new owner what is committed: up to 20 s, if nobody ends it. What was
committed before it names the last owner, and tells it to those who do not wait for transactions. Kafka ends
the transaction at once when the owner's transactional id is initialised again.

An owner that is still alive has lost the partition, or could not settle in time when it was revoked. It takes
the abort as any other: its offsets of partitions that it still has are committed again. The owner may be us:
a producer that Kafka did not answer is dropped, and its successor begins only with the next settlement.

A transaction may also be open that nobody can end: a coordinator of Kafka 4.3 that restarts takes a partition
without leader for a deleted one, and never writes there that a transaction was committed (seen in 1 of 25
kills of a single broker under load). The broker logs "can hence be skipped" then. Only a person may decide.
"""

import logging
import threading
import time
from typing import Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, Tuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from orderflow.consume.client_config import Clients
from orderflow.consume.client_errors import RAISED, error_of
from orderflow.consume.source import Reports, Source
from orderflow.kafka.client_properties import without_membership
from orderflow.model.commit_metadata import read_metadata

log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 2.0
QUICK_TIMEOUT_S = 0.3
"""After which an owner's transaction is ended: at worst, one that Kafka was slow about is sent once more."""
STABLE_TIMEOUT_S = 0.5
"""After which a person is told that something is hidden."""
END_TIMEOUT_S = 10.0
HIDES_S = 15.0
"""For which that is believed. It is asked again sooner, unless what is committed was told meanwhile."""
AGAIN_S = 30.0
"""Before one is ended again that still hides something: Kafka writes that it has ended within a second."""


Committed = Tuple[Optional[int], str]
"""An offset, None where none is committed, and its metadata."""


class LeftOpen:
    """Ends such transactions in a thread of its own, one attempt at a time."""

    def __init__(self, topic: str, clients: Clients, end_ours: Callable[[], None]) -> None:
        """`end_ours` ends one that is our own, unless it is still being settled. It raises KafkaException."""
        self._topic = topic
        self._clients = clients
        self._end_ours = end_ours
        self._attempt: Optional[threading.Thread] = None
        self._again_at_s: Dict[str, float] = {}
        self._found: Tuple[FrozenSet[int], float] = (frozenset(), 0.0)
        """The partitions whose offsets stay hidden, and when that was found out."""

    @property
    def is_trying(self) -> bool:
        """Whether an attempt runs."""
        return self._attempt is not None and self._attempt.is_alive()

    def end(self, partitions: Sequence[int]) -> FrozenSet[int]:
        """Kafka does not say what is committed for these: find out whether that is why, and end it.

        Returns at once, with the partitions that were found a moment ago to be hidden still, although what
        could be ended was. Does nothing while the last attempt runs. What fails is tried again after the next
        look for what is committed that fails as well.
        """
        if self._clients.exactly_once and not self.is_trying:
            self._attempt = threading.Thread(
                target=self._try, args=(partitions,), name="left-open", daemon=True
            )
            self._attempt.start()
        hidden, found_at_s = self._found
        return hidden if time.monotonic() - found_at_s < HIDES_S else frozenset()

    def _try(self, partitions: Sequence[int]) -> None:
        try:
            last = self._committed(partitions, "read_uncommitted", ASK_TIMEOUT_S)
            hidden: List[int] = []
            for owner, numbers in _by_owner(last).items():
                if self._is_hidden(numbers, QUICK_TIMEOUT_S):
                    hidden += numbers
                    self._end_unless_lately(owner)
            self._found = self._still_hidden(hidden), time.monotonic()
        except RAISED as raised:
            log.debug("what is left open is not ended: %s", error_of(raised).str())

    def _still_hidden(self, partitions: Sequence[int]) -> FrozenSet[int]:
        """Those whose offsets are part of a transaction that is open yet. The client tells of all or none."""
        if not partitions or not self._is_hidden(partitions, STABLE_TIMEOUT_S):
            return frozenset()
        if len(partitions) == 1:
            return frozenset(partitions)
        return frozenset(number for number in partitions if self._is_hidden([number], STABLE_TIMEOUT_S))

    def _is_hidden(self, partitions: Sequence[int], timeout_s: float) -> bool:
        try:
            self._committed(partitions, "read_committed", timeout_s)
        except KafkaException as error:
            if error.args[0].code() not in _HIDDEN:
                raise
            return True
        return False

    def _committed(self, partitions: Sequence[int], isolation: str, timeout_s: float) -> Dict[int, Committed]:
        asking = Consumer({**without_membership(self._clients.consumer), "isolation.level": isolation})
        try:
            return Source(self._topic, asking, Reports()).committed(partitions, timeout_s)
        finally:
            asking.close()

    def _end_unless_lately(self, owner: Optional[str]) -> None:
        """Where it cannot be ended, the partitions that it does not hide need not wait for it."""
        if owner is None or time.monotonic() < self._again_at_s.get(owner, 0.0):
            return
        try:
            self._end_of(owner)
            self._again_at_s[owner] = time.monotonic() + AGAIN_S
        except RAISED as raised:
            log.debug("what %s has left open is not ended: %s", owner, error_of(raised).str())

    def _end_of(self, owner: str) -> None:
        if owner == self._clients.owner:
            return self._end_ours()
        Producer(dict(self._clients.of_owner(owner))).init_transactions(END_TIMEOUT_S)
        log.info("told Kafka to end the transaction that %s has left open", owner)


def _by_owner(committed: Mapping[int, Committed]) -> Dict[Optional[str], List[int]]:
    """The partitions by who has committed them last; None: no commit says so."""
    found: Dict[Optional[str], List[int]] = {}
    for number, (offset, metadata) in sorted(committed.items()):
        commit = None if offset is None else read_metadata(metadata, offset)
        found.setdefault(None if commit is None else commit.owner, []).append(number)
    return found


_HIDDEN = (KafkaError._TIMED_OUT, KafkaError.UNSTABLE_OFFSET_COMMIT)
"""What the client says where an open transaction hides what is committed, and others may see it."""
