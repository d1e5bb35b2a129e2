"""The brake on failing keys: it keeps a key that always fails from holding up each of its orders.

Pure: it is given what becomes of the orders, and says which keys to hold back.
"""

from collections import OrderedDict
from typing import Optional

MOST_AGAIN = 20
"""Per key. So fewer than five keys never make an outage: 4 * (2 + 20) is less than 90."""


class FailingKey:
    """A key whose orders have used up their retries since the last one that succeeded."""

    __slots__ = ("again", "began", "dead_letters")

    def __init__(self, began: int) -> None:
        self.dead_letters = 0
        """In a row."""
        self.began = began
        """Its partition's count of noted successes when the key began to fail."""
        self.again = 0
        """Evidence it has added beyond its first vote."""

    def exhausted(self) -> None:
        """One more of its orders used up its retries."""
        self.dead_letters += 1

    def count_again(self, most: int) -> int:
        """The evidence one more failure adds: at most `most`, within the key's overall limit."""
        counts = min(most, MOST_AGAIN - self.again)
        self.again += counts
        return counts


class KeyBrake:
    """Stops retrying keys whose orders keep using up their retries: the next get one call and no back-off.

    Without it, a key that always fails would hold up each of its orders for the full back-off. A single dead
    letter says nothing about the key: that order may be poison and the next one fine.

    Only a success restores a key's full retry budget. An order dead-lettered for its content (rejected or
    undecodable) neither counts nor resets: it says nothing about whether retrying helps.
    """

    def __init__(self, dead_letters: int = 3, max_keys: int = 10_000) -> None:
        self.dead_letters = dead_letters
        self.max_keys = max_keys
        self.failing: OrderedDict[Optional[bytes], FailingKey] = OrderedDict()
        """The only look-up made for an order that succeeds at once, and only while any key is failing."""

    def holds(self, key: Optional[bytes]) -> bool:
        """Whether this key's orders get a single call now."""
        known = self.failing.get(key)
        return known is not None and known.dead_letters >= self.dead_letters

    def held(self) -> int:
        """How many keys get a single call for each order now."""
        return sum(known.dead_letters >= self.dead_letters for known in self.failing.values())

    def exhausted(self, key: Optional[bytes], began: int = 0) -> None:
        """An order of this key used up its retries and was given up."""
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
        """An order of this key was processed: the key gets its full retry budget back."""
        self.failing.pop(key, None)
