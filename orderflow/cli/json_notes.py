"""Notes as a log: with LOG_FORMAT=json, whatever a script says on stderr is an object a line."""

import time
from typing import Iterable, Sequence, TextIO

from orderflow.cli.log import JSON, JsonLines, Log, log_uncaught
from orderflow.cli.output import Notes
from orderflow.cli.script_events import SCRIPT_EVENTS
from orderflow.model.log_entry import LogEntry
from orderflow.model.text import without_passwords

BUG = "this is a bug of the toolkit"


class JsonNotes(Notes):
    """Each note is an object, and nothing is rewritten or rung, terminal or not."""

    def __init__(self, stream: TextIO, is_closed: bool = False) -> None:
        super().__init__(stream, is_closed)
        self._objects = JsonLines()

    def begin(self) -> None:
        """From now on, what libraries log and what threads die of is an object too."""
        Log(self.written, JSON, "warning", is_terminal=False).begin()
        log_uncaught()

    @property
    def can_rewrite(self) -> bool:
        """No line is written in place of another."""
        return False

    def lines(self, texts: Iterable[str], end: str = "\n") -> None:
        """What has no event of its own."""
        for text in texts:
            self.tell("note", text=text)

    def complain(self, *lines: str, traceback: Sequence[str] = ()) -> None:
        """The error that ends the script."""
        self.tell("failed", detail="\n".join(lines), traceback=list(traceback))

    def complain_of_usage(self, message: str, lines: Sequence[str]) -> None:
        """What was typed is wrong."""
        self.tell("failed", detail=message, traceback=[])

    def complain_of_bug(self, traceback: Sequence[str]) -> None:
        """A bug of ours ends the script."""
        self.tell("failed", detail=f"{BUG}: {traceback[-1]}", traceback=list(traceback))

    def status(self, text: str) -> None:
        """Nothing: nobody watches a log."""

    def clear(self) -> None:
        """The same."""

    def bell(self) -> None:
        """The same."""

    def tell(self, event: str, **fields: object) -> None:
        """An event of the scripts' catalogue."""
        self.written(self._told(event, **fields))

    def _told(self, event: str, **fields: object) -> str:
        kind = SCRIPT_EVENTS[event]
        shown = {name: _without_passwords(value) for name, value in fields.items()}
        entry = LogEntry(event, kind.severity, kind.line(**shown), shown)
        return self._objects.of(entry, time.time())


def _without_passwords(value: object) -> object:
    return without_passwords(value) if isinstance(value, str) else value
