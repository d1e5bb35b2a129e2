"""Runs calls in time slices, each followed by a settlement."""

from orderflow.consume.calls import Calls
from orderflow.consume.intake import LostTrack
from orderflow.consume.pace import SLICE_S, Pace
from orderflow.consume.settling import Settling, Verdict
from orderflow.consume.world import World


class Slices:
    """Begins slices and settles at their end."""

    def __init__(self, settling: Settling, calls: Calls, pace: Pace, world: World) -> None:
        self._settling = settling
        self._calls = calls
        self._pace = pace
        self._world = world

    def settle(self) -> bool:
        """Start settling finished work. False if the previous settlement is held. Raises LostTrack."""
        return self._noted(self._settling.settle())

    def settle_now(self) -> bool:
        """Settle finished work and wait for the outcome. False if it is held. Raises LostTrack."""
        return self._noted(self._settling.settle_now())

    def _noted(self, verdict: Verdict) -> bool:
        if verdict is Verdict.LOST:
            raise LostTrack(self._settling.lost)
        if verdict is Verdict.SETTLED:
            self._pace.settled()
            self._calls.settled()
        return verdict is Verdict.SETTLED

    def settle_if_time(self, polled: int, leftover: int) -> None:
        """Settle if a slice is over, or a key is waiting for a settlement."""
        progress, now_s = self._settling.progress, self._world.clock()
        is_time = self._pace.is_time_to_settle(progress, polled, leftover, now_s)
        if is_time or self._calls.waits_for_settlement:
            self.settle()

    def begin(self, share: float = 1.0, longest_s: float = SLICE_S) -> None:
        """Start a slice, or a share of one."""
        slice_s = self._pace.slice_s(self._settling.progress.took_s)
        self._calls.begin_slice(self._world.clock() + min(longest_s, share * slice_s))
