"""Watches the connection to Kafka and the group membership, and reports what stops the consumer."""

import os
import time
from typing import Any, Callable, Dict, NamedTuple, Optional

from confluent_kafka import KafkaError

from orderflow import exits
from orderflow.cli.outage import Outage
from orderflow.consume.failing import Failing
from orderflow.consume.ledger_watch import LedgerWatch
from orderflow.consume.membership import Membership
from orderflow.consume.missing_topic import MissingTopic
from orderflow.consume.session import Session
from orderflow.consume.settlement import SessionLost
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.world import Report
from orderflow.exits import CommandError
from orderflow.kafka.reachable import require_kafka
from orderflow.kafka.refusals import plain_reason
from orderflow.kafka.standing import Standing, standing
from orderflow.kafka.topic_identity import Identity

SILENCE_S = 5.0
LOOK_FOR_KAFKA_S = 2.0
UNHEARD_S = 30.0
"""Longer than a client takes to find a broker again. If it does not (seen after a broker was frozen for
20 s: "no broker available for coordinator query"), the process has to be restarted."""
READ_AGAIN_S = 10.0
STUCK_S = 600.0
"""An outage of Kafka need not end the process, but a client that never returns from a call must."""
READING = "reading orders"


class Topics(NamedTuple):
    """The topics that are watched."""

    orders: Identity
    dead_letters: Identity
    ledger: LedgerWatch


class KafkaWatch:
    """Checks the connection between steps of the loop, and while waiting for a settlement."""

    def __init__(
        self,
        conf: Dict[str, Any],
        group: str,
        found: Topics,
        outage: Outage,
        watchdog: Watchdog,
        report: Report,
    ) -> None:
        self._conf = conf
        self._group = group
        self._topics = found
        self._outage = outage
        self._watchdog = watchdog
        self._report = report
        self._session: Optional[Session] = None
        self._list_anew: Callable[[int], None] = lambda partitions: None
        self._membership = Membership(time.monotonic, self._ask_group, report)
        self._failing = Failing(time.monotonic, report)
        self._missing = MissingTopic(time.monotonic, report)
        self._read_fault_s = 0.0
        self._look_at_s = 0.0
        self._unheard_since_s: Optional[float] = None

    def begin(self, session: Session, list_anew: Callable[[int], None]) -> None:
        """Watch over this session from now on.

        `list_anew` is told how many partitions a ledger topic has that was created anew.
        """
        self._session = session
        self._list_anew = list_anew

    # --- between two steps -----------------------------------------------------------------------

    def look(self) -> None:
        """Report problems with the connection. Raises SessionLost if it cannot recover by itself."""
        assert self._session is not None
        self._watch(self._session)
        if self._outage.holds:
            return
        self._topics.dead_letters.look()
        if self._topics.orders.has_changed():
            raise SessionLost(_replaced(self._session.topic))
        self._missing.look(self._session.topic, self._topics.orders.missing_s)
        partitions = self._topics.ledger.made_anew()
        if partitions is not None:
            self._list_anew(partitions)

    @property
    def is_topic_missing(self) -> bool:
        """Whether the orders topic does not exist any more, and that was reported."""
        return self._missing.is_told

    def _watch(self, session: Session) -> None:
        for error in session.take_errors():
            if error.code() == KafkaError._ALL_BROKERS_DOWN:
                self._outage.lost(plain_reason(error))
        self._watch_reading(session)
        is_explained = self._outage.holds or self._topics.orders.missing_s is not None
        self._membership.look(bool(session.assigned) or is_explained, session.last_word)
        if not session.assigned or self._outage.holds:
            self._look_for_kafka(session)

    def _watch_reading(self, session: Session) -> None:
        faults = session.take_faults()
        if faults:
            self._read_fault_s = time.monotonic()
            self._failing.failed(READING, faults[-1].str())
        elif time.monotonic() > self._read_fault_s + READ_AGAIN_S:
            self._failing.succeeded(READING)

    def _ask_group(self) -> Standing:
        assert self._session is not None
        return standing(self._conf, self._group, self._session.member_id())

    def _look_for_kafka(self, session: Session) -> None:
        """Report Kafka as lost or back. Raises SessionLost if only this client cannot find it."""
        if not self._is_time_to_look():
            return
        if session.answers(timeout_s=1.0):
            self._unheard_since_s = None
            self._outage.back()
            return
        self._outage.lost("no answer")
        if self._unheard_since_s is None:
            self._unheard_since_s = time.monotonic()
        if time.monotonic() - self._unheard_since_s > UNHEARD_S and _is_there(self._conf):
            raise SessionLost(
                f"Kafka at {self._conf['bootstrap.servers']} answers other clients, but not this one for "
                f"{UNHEARD_S:.0f} s. Nothing is lost: restart the consumer"
            )

    def _is_time_to_look(self) -> bool:
        if time.monotonic() < self._look_at_s:
            return False
        self._look_at_s = time.monotonic() + LOOK_FOR_KAFKA_S
        return True

    # --- while waiting for a settlement ----------------------------------------------------------

    def waiting(self, waited_s: float) -> None:
        """A settlement has been unanswered for `waited_s`: report it, so that no stall is silent."""
        self._watchdog.idle()
        if waited_s > SILENCE_S and self._is_time_to_look():
            self._look_while_waiting()
        if waited_s > STUCK_S:
            self._report("settlement_stuck", after_s=STUCK_S)
            os._exit(exits.FAILED)  # a client that does not return from a call cannot be closed either

    def _look_while_waiting(self) -> None:
        """If Kafka answers, only something this commit needs is missing: the settlement will report it.

        The consumer cannot be asked: a client lets in one call at a time, and a commit may take minutes.
        """
        if not self._topics.orders.answers(timeout_s=1.0):
            self._outage.lost(f"no answer to a commit for {SILENCE_S:.0f} s")

    # --- at the end ------------------------------------------------------------------------------

    def require_same_topic(self) -> None:
        """Raise SessionLost if the orders topic was recreated while its orders were being processed."""
        assert self._session is not None
        if self._topics.orders.has_changed_by_now():
            raise SessionLost(_replaced(self._session.topic))


def _replaced(topic: str) -> str:
    return (
        f"{topic} was deleted and recreated while orders were being processed: some orders in the new topic "
        "may have been skipped. To process everything it holds, reset the group: "
        f"kafka-consumer-groups.sh --reset-offsets --to-earliest --topic {topic} --execute"
    )


def _is_there(conf: Dict[str, Any]) -> bool:
    """Whether a new client finds Kafka."""
    try:
        require_kafka(conf, timeout_s=3.0)
        return True
    except CommandError:
        return False
