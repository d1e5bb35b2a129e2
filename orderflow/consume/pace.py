"""How much to call before what was done is settled: the size of a batch, the length of a slice.

A kill repeats what was not settled, and a settlement costs a round trip. So handlers run for a slice of time,
and a slice is as long as Kafka takes to settle, within bounds. Pure: it is told the time.
"""

from typing import NamedTuple

MAX_BATCH = 20_000
SLICE_S = 0.15
"""Handlers run no longer than this before what they did is settled: a kill repeats no more."""
SLOW_SLICE_S = 0.01
SLOW_CALL_S = 0.0001
"""Calls that take longer than this are settled every 10 ms, if Kafka can: a kill then repeats a handful."""
SWIFT_CALL_S = 0.00002
LOOK_EVERY = 64
"""While calls are shorter than that, one look at the clock serves this many."""
POOL_SETTLE_S = 0.02
"""Workers go on while the last calls are settled, so settling more often than this gains nothing."""
POOL_RUN = 800
"""Orders that workers are given between two settlements: so far the next owner has to be careful."""


class Progress(NamedTuple):
    """How the settlements are getting on."""

    is_on_its_way: bool
    """The last one has not come back yet."""
    sent_off_at_s: float
    settled_at_s: float
    took_s: float
    """How long Kafka took for the last one that had something to send."""


class Pace:
    """Adapts to how long calls and settlements take."""

    def __init__(self, has_workers: bool) -> None:
        self.batch_size = 500
        """Records to poll at once."""
        self.reach = 2 * POOL_RUN
        """About how many orders may be called between two settlements; the next owner is told."""
        self._has_workers = has_workers
        self._given = 0
        """Orders given to workers since what they did was last settled."""
        self._call_s = 1.0
        """The mean length of a call in the last batch; slow until it is known."""

    # --- what it says ----------------------------------------------------------------------------

    def slice_s(self, settling_took_s: float) -> float:
        """No shorter than Kafka takes to settle, or handlers would wait for Kafka most of the time."""
        least_s = SLOW_SLICE_S if self._call_s > SLOW_CALL_S else SLICE_S
        return max(least_s, min(SLICE_S, settling_took_s))

    @property
    def look_every(self) -> int:
        """One look at the clock serves this many calls."""
        return LOOK_EVERY if self._call_s < SWIFT_CALL_S else 1

    @property
    def may_give_out(self) -> int:
        """How many more orders workers may be given before what they did is settled."""
        return max(0, POOL_RUN - self._given)

    def is_time_to_settle(self, progress: Progress, polled: int, leftover: int, now_s: float) -> bool:
        """Calls go on while the settlement before is on its way, until they have filled a slice again.

        `polled`: a full batch that was done in time tells of more, and each settlement has its price.
        """
        if self._given >= POOL_RUN:
            return True
        if progress.is_on_its_way:
            return now_s >= progress.sent_off_at_s + self.slice_s(progress.took_s)
        if self._has_workers:
            return now_s >= progress.settled_at_s + POOL_SETTLE_S
        has_more = polled == MAX_BATCH and not leftover
        return not has_more or now_s >= progress.settled_at_s + SLICE_S / 2

    # --- what it is told -------------------------------------------------------------------------

    def batch_done(self, taken: int, took_s: float, cut_short: bool) -> None:
        """Let the next batch be as large as fits into a slice. `cut_short`: the slice ended before it."""
        if not taken:
            return
        self._call_s = took_s / taken
        if cut_short:
            self.batch_size = taken
        elif taken >= self.batch_size and took_s < SLICE_S / 2:
            self.batch_size = min(MAX_BATCH, self.batch_size * 2)

    def calls_took(self, calls: int, took_s: float) -> None:
        """That many calls, made one after the other, took so long."""
        self._call_s = took_s / max(1, calls)

    def gave_out(self, orders: int) -> None:
        """Workers were given that many."""
        self._given += orders

    def settled(self) -> None:
        """What was done is settled, or on its way to be."""
        self._given = 0

    def note_leftover(self, leftover: int) -> None:
        """What two settlements, both on their way, may not hold yet: two slices, each twice the last one."""
        if not self._has_workers:
            self.reach = 4 * self.batch_size + leftover
