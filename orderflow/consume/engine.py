"""Builds the engine from plain values. Start here to see its parts, then read `loop.py`."""

from typing import Callable, NamedTuple, Optional, Set

from orderflow.consume import caution
from orderflow.consume.assignment import Assignment
from orderflow.consume.brakes import KeyBrake, OutageBrake
from orderflow.consume.calls import Calls
from orderflow.consume.careful import CarefulCalls
from orderflow.consume.due_calls import DueCalls
from orderflow.consume.first_calls import FirstCalls
from orderflow.consume.intake import Intake
from orderflow.consume.loop import Calling, Loop
from orderflow.consume.metrics import Figures
from orderflow.consume.outbox import Outbox
from orderflow.consume.outcomes import Business, Destination, Outcomes, Rules
from orderflow.consume.pace import Pace
from orderflow.consume.probing import Probing
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
        has_workers = business.workers > 1
        self._session = session
        self.brake = OutageBrake(settings.outage_window_s)
        pace = Pace(has_workers)
        terms = settings.terms._replace(care=caution.POOL if has_workers else caution.INLINE)
        restoration = Restoration(connections, terms, self.brake, pace, world)
        self.assignment = Assignment(session, restoration, self.brake, pace, world)
        rules = Rules(settings.policy, self.brake, KeyBrake(settings.policy.key_failures))
        self._outcomes = Outcomes(self.assignment, outbox, business, destination, rules, world)
        calls = Calls(self.assignment.ready, self._outcomes, business, destination, watchdog, world)
        self.settling = Settling(session, self.assignment, outbox, settings.ask_max_bytes, watchdog, world)
        slices = Slices(self.settling, calls, pace, world)
        intake = Intake(session, self.assignment, world)
        careful = CarefulCalls(self.assignment, calls, self._outcomes, slices, pace, world)
        calling = Calling(
            calls,
            DueCalls(self.assignment.ready, calls, careful, slices, world),
            FirstCalls(intake, calls, self._outcomes, business, pace, world),
            careful,
            Probing(self.assignment.ready, self.brake, world),
            slices,
        )
        self.loop = Loop(self.assignment, intake, calling, self.settling, pace, world)

    # --- rebalance callbacks ---------------------------------------------------------------------

    def revoked(self, partitions: Set[int]) -> None:
        """Partitions are about to be revoked: settle their finished work."""
        self.settling.mark_clean(partitions)

    def expired(self) -> None:
        """Partitions already belong to others: no settlement may be in flight when this returns."""
        self.settling.wait()

    # --- queries ---------------------------------------------------------------------------------

    def figures(self) -> Figures:
        """Current figures, while the session is open."""
        processed, dead_lettered = self.settling.counts
        return Figures(processed, dead_lettered, self.retries, self.waiting, self._lag(), self.brake.is_on)

    @property
    def retries(self) -> int:
        """Failed calls that were scheduled for a retry."""
        return self._outcomes.retries

    @property
    def waiting(self) -> int:
        """Orders waiting for a retry, including their followers."""
        return sum(partition.ledger.unfinished for partition in self.assignment.ready.values())

    def _lag(self) -> int:
        """Records not admitted yet, as of the last fetch."""
        ready = self.assignment.ready.items()
        ends = ((partition.ledger.next, self._session.known_end(number)) for number, partition in ready)
        return sum(max(0, end - reached) for reached, end in ends if end is not None)
