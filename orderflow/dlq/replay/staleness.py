"""Which keys have an order that is newer than a dead one, in 24 bytes a key that its dead letter carries.

Keys are kept as 64-bit hashes, salted for each process: that two of a million collide has a chance of one
in forty million, and nobody can choose them to.
"""

from array import array
from bisect import bisect_left
from typing import Callable, Dict, Optional, Tuple

from orderflow.dlq.audit import replayed_from
from orderflow.model.delivery_id import claimed_id, place_named
from orderflow.model.records import Record

PARTS = 256
PART_SHIFT = 56
"""A hash has 64 bits, of which the highest 8, with their sign, tell the part."""


class Hashes:
    """A set of hashes: filled first, then sealed, then asked. 8 bytes each, and hardly more while sealed."""

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(PARTS)]
        """By the highest bits, those of negative numbers behind the others; each is sorted by itself."""
        self._hashes = array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, value: object) -> None:
        """Put a value in."""
        hashed = hash(value)
        self._parts[hashed >> PART_SHIFT].append(hashed)

    def seal(self) -> None:
        """No more values come."""
        for place in range(-PARTS // 2, PARTS // 2):
            self._hashes.extend(sorted(set(self._parts[place])))
            self._parts[place] = array("q")

    def index(self, value: object) -> Optional[int]:
        """The place of the value in the sealed set; None where it is not in it."""
        wanted = hash(value)
        place = bisect_left(self._hashes, wanted)
        return place if place < len(self._hashes) and self._hashes[place] == wanted else None


class NewestByKey:
    """The newest offset of each key that matters, among orders that are not dead."""

    def __init__(self, is_own: Callable[[Record], bool] = lambda order: False) -> None:
        """`is_own`: whether the replay itself sent this order, which supersedes nothing then."""
        self._is_own = is_own
        self._keys = Hashes()
        self._dead = Hashes()
        self._places = Hashes()
        self._moved = Hashes()
        self._newest = array("q")
        self._are_any_newer = False
        """Whether any key has an order that did not die: mostly none has."""
        self._newest_of_found: Dict[int, int] = {}
        """The same by the hash of keys that were found out only in the source topic."""

    def expect(self, topic: str, partition: int, key: bytes) -> None:
        """Prepare for being asked about the key."""
        self._keys.add((topic, partition, key))

    def expect_at(self, topic: str, partition: int, offset: int) -> None:
        """Prepare for being asked about the key of the order there, which its dead letter does not carry."""
        self._places.add((topic, partition, offset))

    def died(
        self, topic: str, partition: int, offset: int, key: Optional[bytes], timestamp_ms: Optional[int]
    ) -> None:
        """The order there became a dead letter, so it supersedes nothing.

        Key and time, where they are known, have to be those of the order: the place alone may be forged.
        """
        self._dead.add((topic, partition, offset, key, timestamp_ms))

    def moved(self, dead: Record, source: Tuple[str, int, int]) -> None:
        """A replay sent this dead letter: what it sent is as old as the order that died at `source`."""
        self._moved.add((dead.position, source, dead.key, dead.value))

    def seal(self) -> None:
        """All dead letters were seen; orders come now."""
        self._keys.seal()
        self._moved.seal()
        self._dead.seal()
        self._places.seal()
        self._newest = array("q", [-1]) * len(self._keys)

    def begin_later(self) -> None:
        """Dead letters come that were written since the last orders, then later orders."""
        self._dead = Hashes()

    def seal_later(self) -> None:
        """All later dead letters were seen; later orders come now."""
        self._dead.seal()

    def saw(self, topic: str, order: Record) -> None:
        """An order stands in a source topic."""
        if order.key is None:
            return
        key = (topic, order.partition, order.key)
        if self._places and self._places.index((topic, order.partition, order.offset)) is not None:
            self._newest_of_found.setdefault(hash(key), -1)
        place, is_found = self._keys.index(key), hash(key) in self._newest_of_found
        if place is None and not is_found:
            return
        if self._is_dead(topic, order) or self._is_own(order):
            return
        self._are_any_newer = True
        age = self._age(topic, order)
        if place is not None:
            self._newest[place] = max(age, self._newest[place])
        if is_found:
            self._newest_of_found[hash(key)] = max(age, self._newest_of_found[hash(key)])

    def _age(self, topic: str, order: Record) -> int:
        """Its offset, or that of the order that died, if a replay sent it as it was."""
        if not self._moved or not order.headers:
            return order.offset
        source = place_named(claimed_id(order.headers))
        if source is None or source[:2] != (topic, order.partition):
            return order.offset
        sent = (replayed_from(order), source, order.key, order.value)
        return order.offset if self._moved.index(sent) is None else min(order.offset, source[2])

    def _is_dead(self, topic: str, order: Record) -> bool:
        keys, times = (order.key, None), (order.timestamp_ms, None)
        place = (topic, order.partition, order.offset)
        return any(self._dead.index((*place, key, at_ms)) is not None for key in keys for at_ms in times)

    def has_newer(self, topic: str, partition: int, offset: int, key: bytes) -> bool:
        """Whether the key has an order behind this offset that did not die."""
        if not self._are_any_newer:
            return False
        wanted = (topic, partition, key)
        place = self._keys.index(wanted)
        newest = self._newest_of_found.get(hash(wanted), -1)
        return max(newest, -1 if place is None else self._newest[place]) > offset
