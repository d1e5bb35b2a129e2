"""The log of a script: a line for each record, with a time and a level, above the status line.

Everything goes through one handler of the standard library: the toolkit's entries, and whatever a user's code
or a library says with `logging`. As text for people, or as one JSON object a line for machines.
"""

import json
import logging
import sys
import threading
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from orderflow.model.log_entry import WORD_LEVELS, LogEntry
from orderflow.model.text import escape

TEXT, JSON = "text", "json"
NUMBERS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
"""Our levels as the standard library numbers them."""
OTHERS_EVENT = "log"
"""The event of what others log."""

_BY_NUMBER = sorted(((number, name) for name, number in NUMBERS.items()), reverse=True)
_WORDS = {"debug": "debug", "info": "info", "warning": "warn", "error": "ERROR"}
_OF_EVERY_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""Attributes that the standard library sets; any other is a caller's `extra`."""


class Log:
    """Writes entries, and takes in what others log."""

    def __init__(self, note: Callable[[str], None], form: str, level: str, is_terminal: bool) -> None:
        """`note` writes a line above the status line. Text on a terminal has a short time."""
        self._lines = JsonLines() if form == JSON else TextLines("%H:%M:%S" if is_terminal else None)
        self._handler = LineHandler(note, self._lines)
        self._least = NUMBERS[level]
        self.taken = frozenset(word for word in WORD_LEVELS if NUMBERS[WORD_LEVELS[word]] >= self._least)
        """The severities that are logged, of WORD_LEVELS."""

    def begin(self) -> None:
        """From now on, what anybody logs in this process comes out here."""
        root = logging.getLogger()
        for handler in list(root.handlers):
            root.removeHandler(handler)
        root.addHandler(self._handler)
        root.setLevel(self._least)
        logging.captureWarnings(True)

    def add(self, entry: LogEntry) -> None:
        """Log an entry. It needs no record of the standard library, which would take longer than the rest."""
        if entry.word in self.taken:
            self._handler.put(self.line_of(entry))

    def line_of(self, entry: LogEntry) -> str:
        """Its line or lines."""
        return self._lines.of(entry, time.time())


def log_uncaught() -> None:
    """What threads die of, and what is raised where nobody can catch it, is logged too, not printed."""
    log = logging.getLogger("python")

    def of_thread(args: "threading.ExceptHookArgs") -> None:
        if args.exc_type is not SystemExit:
            log.error("a thread has ended with an error", exc_info=args.exc_value)

    def unraisable(args: "sys.UnraisableHookArgs") -> None:
        log.error("%s", args.err_msg or "an error that nobody can catch", exc_info=args.exc_value)

    threading.excepthook = of_thread
    sys.unraisablehook = unraisable


class LineHandler(logging.Handler):
    """Writes each record with `note`."""

    def __init__(self, note: Callable[[str], None], formatter: logging.Formatter) -> None:
        super().__init__()
        self._note = note
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """What the standard library calls, one thread at a time. A faulty record must not stop the work."""
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - arguments that do not fit, a __str__ that raises, ...
            fault = logging.LogRecord(
                record.name, logging.ERROR, "", 0, _unshowable(record, error), None, None
            )
            line = self.format(fault)
        self.put(line)

    def put(self, line: str) -> None:
        """Write a line, while no other thread does."""
        self.acquire()  # its own lock, which a forked child gets anew
        try:
            for one in line.split("\n"):
                self._note(one)
        finally:
            self.release()


def _unshowable(record: logging.LogRecord, error: Exception) -> str:
    return f"a record of {record.pathname}:{record.lineno} cannot be shown: {type(error).__name__}"


# --- times ---


class Times:
    """Writes times. A second is written out once, however many lines it has."""

    def __init__(self, short: Optional[str]) -> None:
        """`short`: the form of a local time; without it, times are UTC, to the millisecond."""
        self._short = short
        self._last: Tuple[int, str] = (-1, "")

    def of(self, at_s: float) -> str:
        """A time in epoch seconds."""
        last, second = self._last, int(at_s)
        if last[0] != second:
            last = self._last = (second, self._written(second))
        return last[1] if self._short else f"{last[1]}.{int(at_s * 1000) % 1000:03}Z"

    def _written(self, second: int) -> str:
        if self._short:
            return time.strftime(self._short, time.localtime(second))
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


# --- text ---


class Lines(logging.Formatter):
    """Makes a line of an entry, or of a record of the standard library."""

    def of(self, entry: LogEntry, at_s: float) -> str:
        """The line of an entry."""
        raise NotImplementedError


class TextLines(Lines):
    """Time, level, and text that cannot control a terminal."""

    def __init__(self, short_time: Optional[str]) -> None:
        super().__init__()
        self._times = Times(short_time)

    def of(self, entry: LogEntry, at_s: float) -> str:
        """The line of an entry."""
        head = f"{self._times.of(at_s)} {entry.word} {escape(entry.line)}"
        traceback = entry.fields.get("traceback")
        return "\n".join([head, *(f"  {escape(line)}" for line in traceback)]) if traceback else head

    def format(self, record: logging.LogRecord) -> str:
        """The line; that of an exception is followed by those of its traceback."""
        head = f"{self._times.of(record.created)} {_WORDS[_level(record)]} {escape(record.name)}: "
        return head + "\n".join(map(escape, _with_traceback(record)))


def _with_traceback(record: logging.LogRecord) -> List[str]:
    """The message as one line, and the lines of the traceback, if there is one."""
    return [record.getMessage(), *(_traceback(record) or "").splitlines()]


# --- JSON ---


class JsonLines(Lines):
    """One object: time, level, event and message, then fields. Pure ASCII, so it cannot control anything."""

    def __init__(self) -> None:
        super().__init__()
        self._times = Times(None)

    def of(self, entry: LogEntry, at_s: float) -> str:
        """The line of an entry."""
        head = {"time": self._times.of(at_s), "level": entry.level, "event": entry.event}
        return _dumped({**head, "message": entry.line, **entry.fields})

    def format(self, record: logging.LogRecord) -> str:
        """The line of a record."""
        head = {"time": self._times.of(record.created), "level": _level(record), "event": OTHERS_EVENT}
        said = {"message": record.getMessage(), "logger": record.name}
        return _dumped({**head, **said, **_traceback_field(record), **_extras(record)})


def _extras(record: logging.LogRecord) -> Dict[str, Any]:
    """What the caller added with `extra=`; the names of ours are taken."""
    taken = {"time", "level", "event", "logger", "traceback", *_OF_EVERY_RECORD}
    return {name: value for name, value in vars(record).items() if name not in taken}


def _traceback_field(record: logging.LogRecord) -> Dict[str, str]:
    traceback = _traceback(record)
    return {} if traceback is None else {"traceback": traceback}


def _dumped(fields: Mapping[str, Any]) -> str:
    try:
        return json.dumps(fields, default=str, skipkeys=True, allow_nan=False)
    except ValueError:  # a number that JSON lacks, or a value that holds itself
        return json.dumps(
            {name: value if _is_plain(value) else repr(value) for name, value in fields.items()}
        )


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int)) or value is None


# --- records ---


def _level(record: logging.LogRecord) -> str:
    """The gravest of our levels that the record reaches."""
    return next((name for number, name in _BY_NUMBER if record.levelno >= number), "debug")


def _traceback(record: logging.LogRecord) -> Optional[str]:
    if not record.exc_info or record.exc_info[0] is None:
        return None
    return logging.Formatter().formatException(record.exc_info)
