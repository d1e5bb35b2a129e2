"""The one way out for text: whatever a script writes to stdout or stderr goes through here.

So no text from a topic, a file, a server or the command line can control a terminal or forge a line, no
character can be one that the terminal lacks, and no full disk or closed stream ends in a traceback. What
controls the terminal (colour, the status line, the bell) has a method of its own.
"""

import codecs
import os
import select
from contextlib import suppress
from functools import partial
from typing import Callable, Iterable, Optional, Sequence, TextIO, Union

from orderflow.cli.script_events import NAMED, line_of
from orderflow.cli.terminal import can_rewrite, columns_of, has_colour, program
from orderflow.exits import CommandError
from orderflow.model.text import Heading, escape, unencodable, without_passwords

CLEAR_LINE = "\r\x1b[K"
_BOLD, _PLAIN, _BELL = "\x1b[1m", "\x1b[0m", "\a"
_ESCAPED = "orderflow.escaped"

codecs.register_error(_ESCAPED, unencodable)


class ReaderLeft(Exception):
    """The reader of a pipe has seen enough, as with `| head`."""


class Output:
    """Data for stdout: whole lines, written at once.

    Raises ReaderLeft or CommandError if they cannot be written: lost data is never a success.
    """

    name = "stdout"

    def __init__(self, stream: TextIO, is_closed: bool = False) -> None:
        """`is_closed`: the script was started without it, and `stream` only stands in."""
        self._stream = stream
        self._is_closed = is_closed
        self._send_bytes = _closed if is_closed else _sender(stream)
        self.encoding: str = getattr(stream, "encoding", None) or "utf-8"
        self.lost: Optional[OSError] = None
        """Why something could not be written; None if everything was."""

    @property
    def descriptor(self) -> Optional[int]:
        """Of the file behind it, for a child process; None if there is none."""
        return None if self._is_closed else descriptor_of(self._stream)

    @property
    def is_terminal(self) -> bool:
        """Whether it is a terminal, of whatever abilities."""
        return self._stream.isatty()

    @property
    def can_rewrite(self) -> bool:
        """Whether it is a terminal that can rewrite a line."""
        return can_rewrite(self._stream)

    @property
    def colour(self) -> bool:
        """Whether it may get colour."""
        return has_colour(self._stream)

    @property
    def width(self) -> Optional[int]:
        """Columns of the terminal as it is now; None for anything else."""
        return columns_of(self._stream) if self.is_terminal else None

    @property
    def reader_left(self) -> bool:
        """Whether it is a pipe whose reader has gone."""
        return isinstance(self.lost, BrokenPipeError)

    def line(self, text: str) -> None:
        """Write one line."""
        self.lines([text])

    def lines(self, texts: Iterable[str], end: str = "\n") -> None:
        """Write lines, all at once."""
        self._write("".join([self._shown(text) + end for text in texts]))

    def encoded(self, text: str) -> bytes:
        """The bytes of a text in the encoding of this output, with stand-ins for what that lacks."""
        return text.encode(self.encoding, _ESCAPED)

    def data(self, data: bytes) -> None:
        """Write bytes as they are. A terminal never gets any."""
        if self.is_terminal:
            raise CommandError("bytes are not written to a terminal: redirect the output")
        self._send(data)

    def premise(self, *texts: str) -> None:
        """Write lines about what is done or judged next: a reader who has gone, as `head`, ends neither."""
        with suppress(ReaderLeft):
            self.lines(texts)

    def result(self, text: str) -> None:
        """Write the line that tells what was done. Never raises: it is done even if nobody can read that."""
        with suppress(ReaderLeft, CommandError):
            self.line(text)

    def _shown(self, text: str) -> str:
        """A line as it is written. Only a heading, which is a type and no text, gets colour."""
        bold = isinstance(text, Heading) and self.colour
        return f"{_BOLD}{escape(text)}{_PLAIN}" if bold else escape(text)

    def _write(self, text: str) -> None:
        self._send(self.encoded(text))

    def _send(self, data: bytes) -> None:
        try:
            self._send_bytes(data)
        except OSError as error:
            self.lost = error
            self._refuse(error)

    def _refuse(self, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            raise ReaderLeft from error
        raise CommandError(self.complaint(error)) from error

    def complaint(self, error: OSError) -> str:
        """What to say about a loss."""
        return f"cannot write to {self.name}: {error.strerror or error}"


class Notes(Output):
    """Everything else, for stderr. Never raises: work that is under way matters more than telling of it."""

    name = "stderr"

    def complain(self, *lines: str, traceback: Sequence[str] = ()) -> None:
        """The error that ends the script, after its name. A line break within a line is data.

        `traceback`: that of a user's code which is to blame.
        """
        first, *others = map(without_passwords, lines or ("",))
        self.lines([*(f"  {line}" for line in traceback), f"{program()}: {first}", *others])

    def complain_of_usage(self, message: str, lines: Sequence[str]) -> None:
        """What was typed is wrong; `lines` say it together with what could have been typed."""
        self.lines(lines)

    def complain_of_bug(self, traceback: Sequence[str]) -> None:
        """A bug of ours ends the script."""
        self.lines(traceback)

    def tell(self, event: str, **fields: object) -> None:
        """An event of the scripts' catalogue."""
        self.line(self._told(event, **fields))

    def written(self, line: str) -> None:
        """A line of a log, which has its form already."""
        self._write(escape(line) + "\n")

    def _told(self, event: str, **fields: object) -> str:
        line = without_passwords(line_of(event, **fields))
        return f"{program()}: {line}" if event in NAMED else line

    def status(self, text: str) -> None:
        """Show a line in place of the one before, on a terminal that can."""
        self._write(CLEAR_LINE + escape(text))

    def clear(self) -> None:
        """Take that line away again."""
        self._write(CLEAR_LINE)

    def prompt(self, text: str) -> None:
        """A question, with the cursor left behind it."""
        self._write(escape(text))

    def interject(self, event: str, **fields: object) -> None:
        """An event in the midst of other work, in whose status line's place its line may have to stand.

        It never waits, as everything else does while a pager does not read or a terminal is held by Ctrl-S.
        """
        self.interject_line(self._told(event, **fields))

    def interject_line(self, line: str) -> None:
        """The same of a line of a log, which has its form already."""
        if _has_room(self.descriptor):
            self._write((CLEAR_LINE if self.can_rewrite else "") + escape(line) + "\n")

    def bell(self) -> None:
        """Ring."""
        self._write(_BELL)

    def _refuse(self, error: OSError) -> None:
        pass


# --- Streams ---


def _sender(stream: TextIO) -> Callable[[bytes], None]:
    """What writes to the file behind the stream, without a buffer that could fail later; else to itself."""
    descriptor = descriptor_of(stream)
    if descriptor is None:
        return lambda data: _send_text(stream, data)
    with suppress(OSError, ValueError):
        stream.flush()
    return partial(write_all, descriptor)


def descriptor_of(stream: TextIO) -> Optional[int]:
    """Of the file behind a stream; None if there is none."""
    try:
        return stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None


def _has_room(descriptor: Optional[int]) -> bool:
    """Whether a line can be written without waiting."""
    if descriptor is None:
        return True
    with suppress(OSError, ValueError):
        return bool(select.select((), (descriptor,), (), 0)[1])
    return False


def _send_text(stream: TextIO, data: bytes) -> None:
    stream.write(data.decode(getattr(stream, "encoding", None) or "utf-8"))
    stream.flush()


def _closed(data: bytes) -> None:
    raise OSError("it is closed")


def write_all(descriptor: int, data: Union[bytes, memoryview]) -> None:
    """Write everything, or raise OSError."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # another process that shares the pipe or terminal made it non-blocking
            select.select((), (descriptor,), ())
