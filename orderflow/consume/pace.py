"""Decides how much to call between settlements: the batch size and the slice length.

A kill repeats unsettled calls, and a settlement costs a round trip. So handlers run for a slice of time that
is as long as Kafka takes to settle, within bounds. Pure: the time is an argument.
"""

from typing import NamedTuple

MAX_BATCH = 20_000
SLICE_S = 0.15
"""The longest handlers run between settlements, and so the most work a kill repeats."""
SLOW_SLICE_S = 0.01
SLOW_CALL_S = 0.0001
"""Calls longer than this are settled every 10 ms, if Kafka keeps up: a kill then repeats only a few."""
SWIFT_CALL_S = 0.00002
LOOK_EVERY = 64
"""While calls are shorter than SWIFT_CALL_S, the clock is read once per this many calls."""
POOL_SETTLE_S = 0.02
"""Workers keep calling during a settlement, so settling more often than this gains nothing."""
POOL_RUN = 800
"""Orders workers get between two settlements; after a death, the next owner must be careful this far."""


PAGE_BYTES_PER_S = 8_000_000
"""What pages may take of the network and of Kafka's disk: a long list is written less often."""


class Progress(NamedTuple):
    """The timing of the settlements."""

    is_on_its_way: bool
    """The last one is still in flight."""
    sent_off_at_s: float
    settled_at_s: float
    took_s: float
    """How long Kafka took for the last one that sent records."""
    page_bytes: int = 0
    """Bytes of the ledger pages in the last one."""


class Pace:
    """Adapts to how long calls and settlements take."""

    def __init__(self, has_workers: bool) -> None:
        self.batch_size = 500
        """Records to poll at a time."""
        self.reach = 2 * POOL_RUN
        """About how many orders may be called between two settlements; recorded for the next owner."""
        self._has_workers = has_workers
        self._given = 0
        """Orders given to workers since the last settlement."""
        self._call_s = 1.0
        """The mean call duration in the last batch; assumed slow until known."""

    # --- decisions -------------------------------------------------------------------------------

    def slice_s(self, settling_took_s: float) -> float:
        """The slice length. Were it shorter than Kafka takes to settle, handlers would mostly wait."""
        least_s = SLOW_SLICE_S if self._call_s > SLOW_CALL_S else SLICE_S
        return max(least_s, min(SLICE_S, settling_took_s))

    @property
    def look_every(self) -> int:
        """How many calls to make per look at the clock."""
        return LOOK_EVERY if self._call_s < SWIFT_CALL_S else 1

    @property
    def may_give_out(self) -> int:
        """How many more orders workers may be given before the next settlement."""
        return max(0, POOL_RUN - self._given)

    def is_time_to_settle(self, progress: Progress, polled: int, leftover: int, now_s: float) -> bool:
        """Whether to settle now. While a settlement is in flight, calls continue for another slice.

        A full batch (`polled`) with nothing left over suggests that there is more to call first.
        """
        if self._given >= POOL_RUN:
            return True
        if progress.page_bytes and now_s < progress.sent_off_at_s + _least_pause_s(progress.page_bytes):
            return False
        if progress.is_on_its_way:
            return now_s >= progress.sent_off_at_s + self.slice_s(progress.took_s)
        if self._has_workers:
            return now_s >= progress.settled_at_s + POOL_SETTLE_S
        has_more = polled == MAX_BATCH and not leftover
        return not has_more or now_s >= progress.settled_at_s + SLICE_S / 2

    # --- observations ----------------------------------------------------------------------------

    def batch_done(self, taken: int, took_s: float, cut_short: bool) -> None:
        """Size the next batch to fit into a slice. `cut_short`: the slice ended before the batch did."""
        if not taken:
            return
        self._call_s = took_s / taken
        if cut_short:
            self.batch_size = taken
        elif taken >= self.batch_size and took_s < SLICE_S / 2:
            self.batch_size = min(MAX_BATCH, self.batch_size * 2)

    def calls_took(self, calls: int, took_s: float) -> None:
        """Note how long a series of consecutive calls took."""
        self._call_s = took_s / max(1, calls)

    def gave_out(self, orders: int) -> None:
        """Workers were given this many orders."""
        self._given += orders

    def settled(self) -> None:
        """Results are settled or being settled."""
        self._given = 0

    def note_leftover(self, leftover: int) -> None:
        """Update `reach`: two settlements in flight may each miss a slice twice as large as the last."""
        if not self._has_workers:
            self.reach = 4 * self.batch_size + leftover


def _least_pause_s(page_bytes: int) -> float:
    """How long to wait after a settlement with pages of this size."""
    return min(SLICE_S, page_bytes / PAGE_BYTES_PER_S)
