"""Builds the engine from plain values. Start here to see its parts, then read `loop.py`."""

from typing import Callable, Dict, List, NamedTuple, Optional, Set, Tuple

from orderflow.consume import caution
from orderflow.consume.assignment import Assignment
from orderflow.consume.calls import Calls
from orderflow.consume.careful import CarefulCalls
from orderflow.consume.commands import Commands
from orderflow.consume.due_calls import DueCalls
from orderflow.consume.figures import Reading
from orderflow.consume.first_calls import FirstCalls
from orderflow.consume.intake import Intake
from orderflow.consume.key_brake import KeyBrake
from orderflow.consume.loop import Calling, Loop
from orderflow.consume.loop_first_calls import LoopFirstCalls
from orderflow.consume.outage_brake import OutageBrake
from orderflow.consume.outbox import Outbox
from orderflow.consume.outcomes import Business, Destination, Outcomes, Rules
from orderflow.consume.pace import Pace
from orderflow.consume.probing import Probing
from orderflow.consume.readings import Readings
from orderflow.consume.restoring import Connections, Restoration, Terms
from orderflow.consume.retry import Policy
from orderflow.consume.settling import Settling
from orderflow.consume.slices import Slices
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.world import World


class Settings(NamedTuple):
    """How the engine decides."""

    policy: Policy
    outage_window_s: float
    terms: Terms
    ask_max_bytes: Callable[[], Optional[int]]
    """Looks up the largest record the dead letter topic accepts."""


class Sending(NamedTuple):
    """Where results and dead letters go, and those waiting to be sent."""

    outbox: Outbox
    destination: Destination


class Engine:
    """All the parts and how they are connected."""

    def __init__(
        self,
        connections: Connections,
        business: Business,
        sending: Sending,
        settings: Settings,
        watchdog: Watchdog,
        world: World,
    ) -> None:
        session = connections.session
        outbox, destination = sending
        has_workers = business.has_workers
        self._session = session
        self.brake = OutageBrake(settings.outage_window_s)
        pace = Pace(has_workers)
        care = caution.POOL if has_workers else caution.INLINE
        terms = settings.terms._replace(care=care, topic_id=business.topic_id)
        restoration = Restoration(connections, terms, self.brake, pace, world)
        self.assignment = Assignment(session, restoration, self.brake, pace, world)
        rules = Rules(settings.policy, self.brake, KeyBrake(settings.policy.key_failures))
        outcomes = self._outcomes = Outcomes(self.assignment, outbox, business, destination, rules, world)
        calls = Calls(self.assignment.ready, self._outcomes, business, destination, watchdog, world)
        self.settling = Settling(session, self.assignment, outbox, settings.ask_max_bytes, watchdog, world)
        slices = Slices(self.settling, calls, pace, world)
        intake = Intake(session, self.assignment, world)
        self._careful = CarefulCalls(self.assignment, calls, self._outcomes, slices, pace, world)
        first = FirstCalls if business.loop is None else LoopFirstCalls
        calling = Calling(
            calls,
            DueCalls(self.assignment.ready, calls, self._careful, slices, world),
            first(intake, calls, self._outcomes, business, pace, world),
            self._careful,
            Probing(self.assignment.ready, self.brake, world),
            slices,
            Commands(connections.inbox, self.assignment.ready, outcomes, world),
        )
        self.loop = Loop(self.assignment, intake, calling, self.settling, pace, world)
        self._clock = world.clock
        self._readings = Readings(session, self.assignment, intake, calls, outcomes, self.settling)
        self._has_left = False

    # --- rebalance callbacks ---------------------------------------------------------------------

    def revoked(self, partitions: Set[int]) -> None:
        """Partitions are about to be revoked: settle their finished work."""
        if not self._has_left:
            self.settling.mark_clean(partitions)

    def leave(self) -> None:
        """Settle everything while we are still in the group, just before the client leaves it.

        A client that is leaving may never answer who it is in the group, which a transaction has to name
        (librdkafka issue 4041). So nothing is left to be settled in its last callback, unless it is refused
        here.
        """
        self._has_left = self.settling.mark_clean(set(self.assignment.ready))

    def expired(self) -> None:
        """Partitions already belong to others: no settlement may be in flight when this returns."""
        self.settling.wait()

    # --- queries ---------------------------------------------------------------------------------

    def reading(self) -> Reading:
        """What the engine knows of itself now, while the session is open."""
        return self._readings.take(self._clock())

    @property
    def retries(self) -> int:
        """Failed calls that were scheduled for a retry."""
        return self._outcomes.retries

    @property
    def waiting(self) -> int:
        """Orders waiting for a retry, including their followers."""
        return sum(partition.ledger.unfinished for partition in self.assignment.ready.values())

    @property
    def in_hand(self) -> Dict[int, Tuple[int, int]]:
        """By partition: the offset from which another owner would continue, and how many orders wait."""
        ledgers = {number: partition.ledger for number, partition in self.assignment.ready.items()}
        return {number: (ledger.commit_point, ledger.unfinished) for number, ledger in ledgers.items()}

    @property
    def suspects_in_flight(self) -> List[Tuple[int, int]]:
        """Partition and offset of each order being called by itself, since one may have ended a process."""
        return self._careful.suspects_in_flight
