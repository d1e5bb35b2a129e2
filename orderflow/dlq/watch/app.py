"""The live screen itself, in Textual, which only the files of this folder and their tests import.

It only reads. Replaying, discarding and acting on waiting orders are the verbs' own: the screen steps aside
for their dry run and their question. The command that a key stands for is shown at the foot.
"""

import gc
import io
import signal
import subprocess
import time
from contextlib import suppress
from typing import Any, ClassVar, List, Sequence, Type

from textual.app import App, SuspendNotSupported
from textual.binding import Binding
from textual.driver import Driver
from textual.events import Event, Key

from orderflow.cli.output import Notes
from orderflow.cli.signals import StopSignals
from orderflow.dlq.watch.host import Command, Feed, Looks
from orderflow.dlq.watch.keyboard import QUICK
from orderflow.dlq.watch.model import Model
from orderflow.dlq.watch.screens import GroupsScreen
from orderflow.dlq.watch.table_screen import ANSWER_S

HEAR_S = 0.2
CLEAN_UP_S, LONGEST_DIRTY_S = 1.0, 2.0
"""Between two collections of garbage, and while somebody types all the time. A key may have to wait for
one: 20 ms, and 100 after ten seconds."""


class Watch(App[int]):
    """One live screen over the dead letters."""

    TITLE = "orderflow watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 1; text-style: bold; }
    #told { height: 1; }
    #foot { height: 1; color: $text-muted; }
    DataTable { height: 1fr; }
    Input { display: none; height: 3; }
    Input.asked { display: block; }
    """
    BINDINGS: ClassVar[List[Any]] = [Binding("q", "quit", "Quit")]

    def __init__(
        self,
        topic: str,
        model: Model,
        reading: Feed,
        looks: Looks,
        command: Command,
        signals: StopSignals,
    ) -> None:
        super().__init__()
        self.signals = signals
        self.key_s = 0.0
        """When the last key was pressed, on the monotonic clock."""
        self._cleaned_s = time.monotonic()
        self.topic = topic
        self.known = model
        self.reading = reading
        self.looks = looks
        self.command = command

    def get_driver_class(self) -> Type[Driver]:
        """One that hears a lone Escape as soon as it can."""
        driver = super().get_driver_class()
        return QUICK.get(driver, driver)

    def on_mount(self) -> None:
        """Begin with the groups."""
        self.reading.start()
        self.push_screen(GroupsScreen())
        self.set_interval(HEAR_S, self._end_if_asked)
        gc.disable()
        gc.freeze()  # what is there by now stays, and need not be looked through each time
        self.set_interval(HEAR_S, self._clean_up)

    def on_unmount(self) -> None:
        """Nothing is left running."""
        self.reading.stop()
        gc.unfreeze()
        gc.enable()

    @property
    def is_answering(self) -> bool:
        """Whether a key was pressed just now."""
        return time.monotonic() - self.key_s <= ANSWER_S

    def _clean_up(self) -> None:
        """Collect garbage between answers, a little at a time: Python itself does it in the midst of one.

        All of it, since what a screen was drawn with is mostly still in use when it is looked at first.
        """
        dirty_s = time.monotonic() - self._cleaned_s
        if dirty_s >= (LONGEST_DIRTY_S if self.is_answering else CLEAN_UP_S):
            gc.collect()
            self._cleaned_s = time.monotonic()

    def act(self, *verb: str) -> None:
        """Step aside for a verb, with its own dry run and question, and read again what it did."""
        self._step_aside(self.command.words(*verb), verb)

    def act_on_waiting(self, *verb: str) -> None:
        """The same for a verb that is not about the dead letters that are shown."""
        self._step_aside(self.command.words_on_waiting(*verb), verb)

    def _step_aside(self, words: Sequence[str], verb: Sequence[str]) -> None:
        heard = StopSignals(Notes(io.StringIO()))
        try:
            with self.suspend(), heard:  # Ctrl-C is meant for the verb, and comes back here
                _run_and_wait(words)
        except SuspendNotSupported:  # in a browser there is no terminal to ask on
            self.notify(self.command.shown(*verb), title="Type this in a terminal", timeout=30)
            return
        if heard.signal is not None and heard.signal != signal.SIGINT:  # the terminal is gone
            self.exit(return_code=heard.exit_code)
        self.reading.reload()

    @property
    def trouble(self) -> List[str]:
        """Why nothing is read at the moment; empty if it is."""
        return [self.reading.trouble] if self.reading.trouble else []

    async def on_event(self, event: Event) -> None:
        """A key is answered before anything else is read."""
        if isinstance(event, Key):
            self.key_s = time.monotonic()
            self.reading.give_way()
        await super().on_event(event)

    def _end_if_asked(self) -> None:
        """By SIGTERM, or since the terminal is gone: nobody would see what is read."""
        if self.signals.requested:
            self.exit(return_code=self.signals.exit_code)


def _run_and_wait(words: Sequence[str]) -> None:
    subprocess.run(words, check=False)
    with suppress(EOFError, OSError):
        input("\nEnter goes back to the screen ")
