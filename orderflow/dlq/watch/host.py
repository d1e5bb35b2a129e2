"""What the screens of the live screen know of the app that shows them."""

import shlex
from typing import Callable, List, NamedTuple, Optional, Protocol, Sequence

from orderflow.dlq.watch.model import Model

Lines = Callable[[int], List[str]]
"""Text for a width in columns; may take a moment, and raise CommandError."""


class Looks(NamedTuple):
    """Where the screens that ask Kafka get their text."""

    letter: Callable[[str], List[str]]
    """One dead letter in full, by its position."""
    health: Lines
    waiting: Lines


class Feed(Protocol):
    """What keeps the model up to date."""

    trouble: Optional[str]
    """Why nothing is read at the moment, or not all."""
    read: int
    expected: int
    is_behind: bool
    """Whether what was there at the start is not read to its end."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, within a moment."""

    def reload(self) -> None:
        """Read everything again."""

    def give_way(self) -> None:
        """Rest for a moment: somebody waits for the screen."""


class Command(NamedTuple):
    """How the verbs are run: the start of the command line, and the settings that were typed for `watch`."""

    program: Sequence[str]
    settings: Sequence[str] = ()
    unselected: Sequence[str] = ()
    """The settings without what selects dead letters."""
    told: Sequence[str] = ()
    """The same without secrets."""

    def words(self, *verb: str) -> List[str]:
        """To be run."""
        return [*self.program, *verb, *self.settings]

    def words_on_waiting(self, *verb: str) -> List[str]:
        """To be run on orders that wait, and not on the dead letters that are shown."""
        return [*self.program, *verb, *self.unselected]

    def shown(self, *verb: str) -> str:
        """To be read and typed."""
        return shlex.join(["python", "dlq_handler.py", *verb, *self.told])


class Host(Protocol):
    """What the screens know of the app that shows them."""

    topic: str
    known: Model
    reading: Feed
    looks: Looks
    command: Command

    @property
    def is_answering(self) -> bool:
        """Whether a key was pressed just now."""

    @property
    def trouble(self) -> List[str]:
        """Why nothing is read at the moment; empty if it is."""

    def act(self, *verb: str) -> None:
        """Step aside for a verb, with its own dry run and question, and read again what it did."""

    def act_on_waiting(self, *verb: str) -> None:
        """The same for a verb that is not about the dead letters that are shown."""
