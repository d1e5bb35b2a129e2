"""Which keys have an order that is newer than a dead one, in 16 bytes a key.

Keys are kept as 64-bit hashes, salted for each process: that two of a million collide has a chance of one
in forty million, and nobody can choose them to.
"""

from array import array
from bisect import bisect_left
from typing import Optional


class Hashes:
    """A set of hashes: filled first, then sealed, then asked. 8 bytes each."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def __len__(self) -> int:
        return len(self._hashes)

    def add(self, value: object) -> None:
        """Put a value in."""
        self._hashes.append(hash(value))

    def seal(self) -> None:
        """No more values come."""
        self._hashes = array("q", sorted(set(self._hashes)))

    def index(self, value: object) -> Optional[int]:
        """The place of the value in the sealed set; None where it is not in it."""
        wanted = hash(value)
        place = bisect_left(self._hashes, wanted)
        return place if place < len(self._hashes) and self._hashes[place] == wanted else None


class NewestByKey:
    """The newest offset of each key that matters, among orders that are not dead."""

    def __init__(self) -> None:
        self._keys = Hashes()
        self._dead = Hashes()
        self._newest = array("q")

    def expect(self, topic: str, partition: int, key: bytes) -> None:
        """Prepare for being asked about the key."""
        self._keys.add((topic, partition, key))

    def died(self, topic: str, partition: int, offset: int) -> None:
        """The order there became a dead letter, so it supersedes nothing."""
        self._dead.add((topic, partition, offset))

    def seal(self) -> None:
        """All dead letters were seen; orders come now."""
        self._keys.seal()
        self._dead.seal()
        self._newest = array("q", [-1]) * len(self._keys)

    def saw(self, topic: str, partition: int, offset: int, key: Optional[bytes]) -> None:
        """An order stands in a source topic. In order of each partition."""
        place = None if key is None else self._keys.index((topic, partition, key))
        if place is not None and self._dead.index((topic, partition, offset)) is None:
            self._newest[place] = offset

    def has_newer(self, topic: str, partition: int, offset: int, key: bytes) -> bool:
        """Whether the key has an order behind this offset that did not die."""
        place = self._keys.index((topic, partition, key))
        return place is not None and self._newest[place] > offset
