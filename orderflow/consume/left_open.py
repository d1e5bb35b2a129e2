"""Ends the transaction that the last owner of a partition left open when it died.

Until it has ended, Kafka tells no new owner what is committed: up to 20 s, if nobody ends it. What was
committed before it names the last owner, and tells it to those who do not wait for transactions. Kafka ends
the transaction at once when the owner's transactional id is initialised again.

An owner that is still alive has lost the partition, or could not settle in time when it was revoked. It takes
the abort as any other: its offsets of partitions that it still has are committed again.
"""

import logging
import threading
from typing import Iterable, Optional, Sequence, Set, Tuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from orderflow.consume.client_config import Clients
from orderflow.consume.client_errors import RAISED, error_of
from orderflow.consume.source import Reports, Source
from orderflow.kafka.client_properties import without_membership
from orderflow.model.commit_metadata import read_metadata

log = logging.getLogger(__name__)

ASK_TIMEOUT_S = 2.0
STABLE_TIMEOUT_S = 0.5
END_TIMEOUT_S = 10.0


class LeftOpen:
    """Ends such transactions in a thread of its own, one attempt at a time."""

    def __init__(self, topic: str, clients: Clients) -> None:
        self._topic = topic
        self._clients = clients
        self._attempt: Optional[threading.Thread] = None

    @property
    def is_trying(self) -> bool:
        """Whether an attempt runs."""
        return self._attempt is not None and self._attempt.is_alive()

    def end(self, partitions: Sequence[int]) -> None:
        """Kafka does not say what is committed for these: find out whether that is why, and end it.

        Returns at once, and does nothing while the last attempt runs. What fails is tried again when the next
        look for what is committed has failed as well.
        """
        if self._clients.exactly_once and not self.is_trying:
            self._attempt = threading.Thread(
                target=self._try, args=(partitions,), name="left-open", daemon=True
            )
            self._attempt.start()

    def _try(self, partitions: Sequence[int]) -> None:
        try:
            for owner in self._owners(partitions):
                self._end_of(owner)
        except RAISED as raised:
            log.debug("what is left open is not ended: %s", error_of(raised).str())

    def _owners(self, partitions: Sequence[int]) -> Set[str]:
        """The last owners of those partitions whose offsets are part of an open transaction, without us."""
        last = self._committed(partitions, "read_uncommitted", ASK_TIMEOUT_S)
        try:
            self._committed(partitions, "read_committed", STABLE_TIMEOUT_S)
            return set()
        except KafkaException as error:
            if error.args[0].code() not in _HIDDEN:
                raise
        commits = (read_metadata(metadata, offset) for offset, metadata in last if offset is not None)
        owners = {commit.owner for commit in commits if commit is not None and commit.owner is not None}
        return owners - {self._clients.owner or ""}

    def _committed(
        self, partitions: Sequence[int], isolation: str, timeout_s: float
    ) -> Iterable[Tuple[Optional[int], str]]:
        asking = Consumer({**without_membership(self._clients.consumer), "isolation.level": isolation})
        try:
            return Source(self._topic, asking, Reports()).committed(partitions, timeout_s).values()
        finally:
            asking.close()

    def _end_of(self, owner: str) -> None:
        Producer(dict(self._clients.of_owner(owner))).init_transactions(END_TIMEOUT_S)
        log.info("ended the transaction that %s had left open", owner)


_HIDDEN = (KafkaError._TIMED_OUT, KafkaError.UNSTABLE_OFFSET_COMMIT)
"""What Kafka says where an open transaction hides what is committed, if it answers those who may see it."""
