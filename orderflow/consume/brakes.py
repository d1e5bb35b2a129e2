"""The two brakes: they keep an outage from flooding the dead letters, and one key from holding up its queue.

Pure: told of every outcome, and asked whom they hold. The clock is an argument.
"""

from collections import OrderedDict, deque
from typing import Deque, Dict, List, NamedTuple, Optional, Sequence, Set

from orderflow.model.records import Message

VOTE = 2
"""What the failed first call of an order counts, once for each key until it succeeds."""
BUDGET = 16
"""What an order of a failing key counts whose budget is used up, if nothing has succeeded meanwhile."""
REPEAT = 1
"""The same of an order that got a single call."""
MOST_AGAIN = 20
"""For each key. So fewer than five keys never make an outage: 4 * (2 + 20) is less than 90."""
SUCCESS = 18
"""What a success takes away again: nine in ten must fail, or the evidence does not grow."""
OUTAGE = 90
"""The evidence at which an outage is certain enough: 45 votes without a success."""
IN_A_ROW = 3
"""A partition in which so many calls in a row failed, retries too, is one that fails now."""
RELEASE_CALLS, RELEASE_SUCCESSES = 4, 2
"""A partition that is held is released when so many of its last calls succeeded."""


class FailingKey:
    """A key whose orders were dead-lettered for want of retries since one of them succeeded."""

    __slots__ = ("again", "began", "dead_letters")

    def __init__(self, began: int) -> None:
        self.dead_letters = 0
        """In a row."""
        self.began = began
        """How many successes its partition had noted when the key began to fail."""
        self.again = 0
        """What it counted as evidence beyond its first vote."""

    def exhausted(self) -> None:
        """One more of its orders used its budget up."""
        self.dead_letters += 1

    def count_again(self, most: int) -> int:
        """How much one more failure of it counts, of at most `most`; all of them are bounded together."""
        counts = min(most, MOST_AGAIN - self.again)
        self.again += counts
        return counts


class KeyBrake:
    """Keys of which so many orders in a row used their budget up that the next get one call, no back-off.

    Without it a key that always fails would hold each order of its queue for the whole budget. One dead
    letter is no evidence of the key: that order may be poison, and the next one sound.

    Only a success gives a key its full budget back. An order that was dead-lettered for what it is (rejected,
    not an order) neither counts nor resets: it tells nothing of whether calling again helps.
    """

    def __init__(self, dead_letters: int = 3, max_keys: int = 10_000) -> None:
        self.dead_letters = dead_letters
        self.max_keys = max_keys
        self.failing: OrderedDict[Optional[bytes], FailingKey] = OrderedDict()
        """The one look-up that an order which succeeds at once costs, and only while there is one."""

    def holds(self, key: Optional[bytes]) -> bool:
        """Whether the next failure of this key is its order's last."""
        known = self.failing.get(key)
        return known is not None and known.dead_letters >= self.dead_letters

    def exhausted(self, key: Optional[bytes], began: int = 0) -> None:
        """An order of this key was given up for want of retries."""
        if key is None:
            return
        known = self.failing.get(key)
        if known is None:
            known = self.failing[key] = FailingKey(began)
        known.exhausted()
        self.failing.move_to_end(key)
        if len(self.failing) > self.max_keys:
            self.failing.popitem(last=False)

    def succeeded(self, key: Optional[bytes]) -> None:
        """An order of this key was processed: the key has its full budget back."""
        self.failing.pop(key, None)


class FailedCall(NamedTuple):
    """What the outage brake needs to know of a call that failed."""

    first: bool
    """It was the first of its order in this process."""
    last: bool = False
    """The order's budget is used up."""
    retried: bool = False
    """The order had been called before."""
    voted: bool = False
    """Its first call was evidence."""
    began: int = 0
    """How many successes of its partition had been noted when the order first failed."""
    known: Optional[FailingKey] = None
    """Its key was failing before."""


class _Part:
    """What is known of one partition."""

    __slots__ = ("evidence", "failed", "held", "is_fresh", "pending", "probe_at_s", "probes", "successes")

    def __init__(self) -> None:
        self.held = False
        self.is_fresh = True
        """No call of it has succeeded or failed yet."""
        self.evidence = 0
        self.pending = 0
        """Evidence since the last success that was not pooled yet."""
        self.failed = 0
        """Calls that failed in a row."""
        self.successes = 0
        """Those that were noted, which is not all of them, but one after each failure at least."""
        self.probes: Deque[bool] = deque(maxlen=RELEASE_CALLS)
        self.probe_at_s = 0.0

    def hold(self) -> None:
        self.held, self.is_fresh = True, False
        self.probes.clear()
        self.probe_at_s = 0.0

    def fail(self, counts: int) -> int:
        """One more call failed; what is to be pooled for it."""
        self.is_fresh = False
        self.failed += 1
        self.evidence += counts
        self.pending += counts
        if not self.fails_now:
            return 0
        pooled, self.pending = self.pending, 0
        return pooled

    def succeed(self, calls: int) -> None:
        self.successes += calls
        self.probe_at_s = 0.0
        if self.held:
            self.probes.extend([True] * min(calls, RELEASE_CALLS))
        else:
            self.evidence = max(0, self.evidence - SUCCESS * calls)

    def release(self) -> None:
        self.held, self.evidence = False, 0

    def calm(self) -> None:
        """What failed before the last success counts no more as failing now."""
        self.failed = self.pending = 0
        self.is_fresh = False

    def probe_next(self, at_s: float) -> None:
        self.probe_at_s = at_s

    @property
    def may_be_released(self) -> bool:
        return self.probes.count(True) >= RELEASE_SUCCESSES

    @property
    def fails_now(self) -> bool:
        return self.failed >= (IN_A_ROW if self.successes else 1)

    @property
    def is_calm(self) -> bool:
        return not (self.held or self.is_fresh or self.evidence or self.failed)


class OutageBrake:
    """Tells an outage of what the handler needs from faults of single orders, partition by partition.

    The rule. The evidence is failed first calls. Each key counts once until it succeeds, since whatever
    follows a failing key tells of that key and of nothing else; an order without a key counts for itself.
    Retries are no evidence: poison at the end of a topic fails forever, while nothing fresh does. Nor is
    an order that the handler never saw, or one that it asked to be given later. Each success takes nine
    failures back. When 45 are left, that partition is held.

    Partitions with few orders are taken together: as soon as three calls in a row have failed in a
    partition (or all of its calls so far), its failures count for the pool as well. When the pool holds 45,
    every partition that fails so is held. One whose calls succeed is never in the pool, and stays free.
    While any partition is held, one that no call has been made of yet is held too, until its first
    call succeeds.

    Where a topic has fewer than 45 keys, so many can never count. So the orders behind a dead-lettered one
    of their key count as well when their budget is used up, as long as nothing at all in their partition has
    succeeded since their key began to fail: eight times as much, since four calls and 35 s tell more than one
    call, and bounded for each key. Five keys that have used two budgets up each are an outage then; fewer
    than five never are one, and are left to the key brake. An order whose first call was no evidence, since
    it was made before a restart or a release, counts when its budget is used up, under the same condition.

    While a partition is held, nothing of it is given up for want of retries beyond one order a window (over
    all partitions), so that a topic of nothing but poison still drains. It is released when two of its
    last four calls have succeeded.
    """

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.uneasy: Set[int] = set()
        """The partitions whose successes matter; of all others none needs to be counted."""
        self._parts: Dict[int, _Part] = {}
        self._pool = 0
        self._held: Set[int] = set()
        self._given_up_at_s: Optional[float] = None

    # --- whom it holds ---------------------------------------------------------------------------

    @property
    def is_on(self) -> bool:
        """Whether any partition is held."""
        return bool(self._held)

    def held(self) -> List[int]:
        """The partitions in which nearly everything fails."""
        return sorted(self._held)

    def holds(self, number: int) -> bool:
        """Whether this partition is held, by its own failures or as a fresh one in an outage."""
        return bool(self._held) and (number in self._held or self._part(number).is_fresh)

    def probe_at_s(self, number: int) -> float:
        """When an order of this partition, which is held, may be tried."""
        return self._part(number).probe_at_s

    def probing(self, number: int, next_s: float) -> None:
        """An order of this partition is tried now; another at `next_s`, or at once if this one succeeds."""
        self._part(number).probe_next(next_s)

    # --- what happens ----------------------------------------------------------------------------

    def add(self, number: int, held: bool = False) -> None:
        """A partition is ours; its last owner held it, or did not."""
        part = self._part(number)
        if held and not part.held:
            self._hold(number)

    def forget(self, number: int) -> None:
        """A partition was taken away."""
        self._parts.pop(number, None)
        self.uneasy.discard(number)
        self._held.discard(number)
        self._pool = 0

    def began(self, number: int) -> int:
        """The successes of a partition that were noted, to be told of again when a key fails on."""
        return self._part(number).successes

    def failed(self, number: int, call: FailedCall) -> List[int]:
        """A call failed. The partitions that are held from now on."""
        part = self._part(number)
        self.uneasy.add(number)
        if self.holds(number):
            part.probes.append(False)
            return [] if part.held else self._hold(number)
        self._pool += part.fail(_weight(part, call))
        return self._judged(number, part)

    def _judged(self, number: int, part: _Part) -> List[int]:
        if self._pool >= OUTAGE:
            failing = [other for other, one in self._parts.items() if one.fails_now and not one.held]
            return self._hold(*failing)
        return self._hold(number) if part.evidence >= OUTAGE else []

    def _hold(self, *numbers: int) -> List[int]:
        self._pool = 0
        for number in numbers:
            self._part(number).hold()
        self._held.update(numbers)
        self.uneasy.update(numbers)
        return sorted(numbers)

    def needed(self, number: int) -> int:
        """How many successes of this partition make a difference now; any more make none."""
        if number not in self.uneasy:
            return 0
        part = self._part(number)
        evidence = max(part.evidence, self._pool if part.fails_now else 0)
        return max(1, -(-evidence // SUCCESS))

    def succeeded(self, number: int, calls: int = 1) -> bool:
        """So many calls succeeded, first ones or later ones. True when that releases the partition."""
        if number not in self.uneasy or not calls:
            return False
        part = self._part(number)
        part.succeed(calls)
        if part.held and not part.may_be_released:
            return False
        if part.held:
            self._release(number, part)
            return True
        if part.fails_now:
            self._pool = max(0, self._pool - SUCCESS * calls)
        self._calm(number, part)
        return False

    def _release(self, number: int, part: _Part) -> None:
        part.release()
        self._held.discard(number)
        if not self._held:
            self._given_up_at_s = None
        self._calm(number, part)

    def _calm(self, number: int, part: _Part) -> None:
        part.calm()
        if part.is_calm:
            self.uneasy.discard(number)

    def permits_dead_letter(self, number: int, now_s: float) -> bool:
        """Whether an order of this partition may be given up now for want of retries, and if so, it is.

        Once a window while the partition is held.
        """
        if not self.holds(number):
            return True
        if self._given_up_at_s is None:
            self._given_up_at_s = now_s
        if now_s - self._given_up_at_s < self.window_s:
            return False
        self._given_up_at_s = now_s
        return True

    def _part(self, number: int) -> _Part:
        part = self._parts.get(number)
        if part is None:
            part = self._parts[number] = _Part()
            self.uneasy.add(number)
        return part


def _weight(part: _Part, call: FailedCall) -> int:
    if call.first and call.known is None:
        return VOTE
    if not call.last:
        return 0
    if call.known is None:
        return VOTE if not call.voted and call.began == part.successes else 0
    if call.known.began != part.successes:
        return 0
    return call.known.count_again(BUDGET if call.retried else REPEAT)


class Successes:
    """The successes of one batch by partition, counted backwards, and only as many as make a difference.

    To count each as it comes would cost every order that succeeds a look-up.
    """

    def __init__(self, records: Sequence[Message]) -> None:
        self.others: Set[int] = set()
        """Places in the batch, from 1, of what did not succeed: failed, queued, or never handled."""
        self._size = 0
        self._records = records
        self._counted: Dict[int, int] = {}

    def end_at(self, place: int) -> None:
        """The batch was taken up to and with this place."""
        self._size = place

    def count(self, number: int, most: int, until: Optional[int] = None) -> int:
        """Successes of a partition since its last count, up to and with the place `until`, `most` at most."""
        until = self._size if until is None else until
        place, floor, found = until, self._counted.get(number, 0), 0
        self._counted[number] = until
        while place > floor and found < most:
            if place not in self.others and self._records[place - 1].partition() == number:
                found += 1
            place -= 1
        return found
