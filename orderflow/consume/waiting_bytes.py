"""How much memory waiting orders take: one count for all partitions of a process."""

from orderflow.model.records import Message, headers_of

OBJECT_BYTES = 600
"""What an order takes besides its own bytes: the client's message, its head, the tables (measured)."""


class WaitingBytes:
    """The bytes of all orders that are listed or queued, and their limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def add(self, size: int) -> None:
        """One more order is held."""
        self.used += size

    def give_back(self, size: int) -> None:
        """Orders are finished, or belong to another process now."""
        self.used -= size

    @property
    def are_spent(self) -> bool:
        """Whether no more orders should be held."""
        return self.used >= self.limit

    @property
    def have_room(self) -> bool:
        """Whether it is worthwhile to go on: a quarter is free."""
        return self.used * 4 <= self.limit * 3


class Share:
    """What one ledger holds of them."""

    def __init__(self, of: WaitingBytes) -> None:
        self.of = of
        self.bytes = 0

    def add(self, size: int) -> None:
        """One more order is held."""
        self.bytes += size
        self.of.add(size)

    def give_back(self, size: int) -> None:
        """Orders are finished, or belong to another process now."""
        self.bytes -= size
        self.of.give_back(size)


def size_of(message: Message) -> int:
    """Roughly how many bytes of memory a record takes, headers included."""
    size = OBJECT_BYTES + len(message.value() or b"") + len(message.key() or b"")
    headers = headers_of(message).headers
    if headers:
        size += sum(len(name) + len(value or b"") + 100 for name, value in headers)
    return size
