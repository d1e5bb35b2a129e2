"""Where the engine hears from operators, and tells them why orders wait."""

from typing import FrozenSet, List, Optional, Protocol

from orderflow.kafka.command_reader import Received


class Inbox(Protocol):
    """Where commands come from; see `CommandReader`."""

    def listen(self, partitions: FrozenSet[int]) -> None:
        """Hear commands for these partitions."""

    def take(self) -> List[Received]:
        """What was heard since the last call."""

    def take_problem(self) -> Optional[str]:
        """Why nothing can be heard, told once."""

    def tell(self, partition: int, reasons: bytes) -> None:
        """Pass on why orders of a partition wait, if that can be done."""


class NoInbox:
    """Where nobody can command anything."""

    def listen(self, partitions: FrozenSet[int]) -> None:
        """Nothing is heard."""

    def take(self) -> List[Received]:
        """Nothing."""
        return []

    def take_problem(self) -> Optional[str]:
        """None."""

    def tell(self, partition: int, reasons: bytes) -> None:
        """Nobody looks."""
