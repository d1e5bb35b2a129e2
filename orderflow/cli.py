"""What the three scripts share as command-line programs: exit codes, stop signals, streams and progress.

Owns: the exit codes, the errors that are told in one line, `run`, `StopSignals`, `StatusLine`, `Outage`.
Does not know: settings, orders, Kafka's client.
Used by: producer.py, consumer.py, dlq_handler.py, config.py (its error), topics (its errors).
"""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Callable, List, Mapping, Optional, Sequence, TextIO, Type

from orderflow.text import escape
from orderflow.time_spans import write_span

OK = 0
FAILED = 1
"""Failed at run time."""
USAGE = 2
"""Wrong flags or settings: nothing was done."""
INCOMPLETE = 3
"""Finished, but some of what was chosen was not sent."""
REFUSED = 4
"""Not confirmed, plan drifted, or preflight refused."""
TRIPPED = 5
"""Outage brake or canary stopped it."""
INTERRUPTED = 130
TERMINATED = 143


class CommandError(Exception):
    """An expected failure: its text is all that the user is told, its exit code is the script's."""

    exit_code = FAILED


class UsageError(CommandError):
    """Flags or settings that cannot be used."""

    exit_code = USAGE


class KafkaUnreachable(CommandError):
    """No broker answers at the address that was given."""


class TopicMissing(CommandError):
    """A topic is not there and may not be created by us."""


class Refused(CommandError):
    """Not done, because it was not confirmed or a check before it said no."""

    exit_code = REFUSED


class Tripped(CommandError):
    """Stopped by the outage brake or a canary."""

    exit_code = TRIPPED


Main = Callable[[Sequence[str], TextIO, TextIO], int]


def run(main: Main, argv: Optional[Sequence[str]] = None) -> int:
    """Call `main(argv, out, err)` and return the exit code, with expected failures told in one line.

    A reader of our output that goes away (`| head`) ends it quietly with 0. A bug keeps its traceback.
    """
    _open_closed_streams()
    out, err = sys.stdout, sys.stderr
    try:
        code = _guarded(main, sys.argv[1:] if argv is None else argv, out, err)
        out.flush()
    except BrokenPipeError:
        code = OK
    _discard_unread(out, err)
    return code


def _guarded(main: Main, argv: Sequence[str], out: TextIO, err: TextIO) -> int:
    try:
        return main(argv, out, err)
    except SystemExit as exit_request:  # argparse: 0 for --help, 2 for a wrong flag
        return exit_request.code if isinstance(exit_request.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except CommandError as error:
        complain(err, str(error))
        return error.exit_code


def complain(err: TextIO, message: str) -> None:
    """Write one error for the user under the script's name. Line breaks are ours; all else is escaped."""
    lines = [escape(line) for line in message.split("\n")]
    with contextlib.suppress(OSError):  # the exit code says it, too
        err.write(f"{program()}: " + "\n".join(lines) + "\n")
        err.flush()


def program() -> str:
    """The script's file name, as messages start with it."""
    return os.path.basename(sys.argv[0]) or "orderflow"


def _open_closed_streams() -> None:
    """Put the null device where stdin, stdout or stderr was closed before we started (`2>&-`).

    Else the next file or socket gets that number, and what any library prints goes into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free. Children are to have it, too.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8"))


def _discard_unread(*streams: TextIO) -> None:
    """Point what nobody reads at the null device, or the interpreter complains when it flushes at exit."""
    for stream in streams:
        try:
            stream.flush()
        except ValueError:  # it is closed
            continue
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def arguments(doc: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """A parser whose help opens with the first line of `doc` and ends with real commands to copy."""
    epilog = "examples:\n" + "\n".join(f"  {example}" for example in examples)
    return argparse.ArgumentParser(
        description=doc.strip().split("\n")[0], epilog=epilog, allow_abbrev=False, formatter_class=_HelpFormat
    )


class _HelpFormat(argparse.RawDescriptionHelpFormatter):
    """Help at a width that does not depend on the terminal, so that the documents can quote it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)


# --- Terminals ---


def is_terminal(stream: TextIO, environ: Optional[Mapping[str, str]] = None) -> bool:
    """Whether the stream is a terminal whose line can be rewritten. `TERM=dumb` cannot."""
    term = (os.environ if environ is None else environ).get("TERM", "")
    return stream.isatty() and term != "dumb"


def has_colour(stream: TextIO, environ: Optional[Mapping[str, str]] = None) -> bool:
    """Whether colour may be written to the stream: a capable terminal, and no `NO_COLOR` (no-color.org)."""
    return is_terminal(stream, environ) and not (os.environ if environ is None else environ).get("NO_COLOR")


class StatusLine:
    """Progress of long work: one line rewritten in place on a terminal, a plain line every 10 s elsewhere."""

    def __init__(
        self, err: TextIO, clock: Callable[[], float] = time.monotonic, plain_every_s: float = 10.0
    ) -> None:
        self._err = err
        self._clock = clock
        self._live = is_terminal(err)
        self._every_s = 0.2 if self._live else plain_every_s
        self._due = clock() + self._every_s
        self._shown = False
        self.abandoned = False
        """Whether nobody can read any more what is written: time to finish what is begun, and to end."""

    def due(self) -> bool:
        """Whether it is time to show progress again; asking is cheap, so work out the text only then."""
        return self._clock() >= self._due

    def show(self, text: str) -> None:
        """Show the state of the work now."""
        self._due = self._clock() + self._every_s
        if not self._live:
            self._write(f"{text}\n")
        else:
            self._write("\r\x1b[K" + text[: shutil.get_terminal_size().columns - 1])
            self._shown = True

    def note(self, line: str) -> None:
        """Write a line that stays, above the progress."""
        self.clear()
        self._write(f"{line}\n")

    def clear(self) -> None:
        """Take the progress off the terminal, before something else is written or at the end."""
        if self._shown:
            self._write("\r\x1b[K")
            self._shown = False

    def _write(self, text: str) -> None:
        try:
            self._err.write(text)
            self._err.flush()
        except OSError:  # the reader or the terminal is gone; to fail here would leave work half done
            self.abandoned = True


def count(number: int) -> str:
    """A number for people: 1,284."""
    return f"{number:,}"


def duration(seconds: float) -> str:
    """A length of time for people, its two largest units: 6d 5h, 2m 3s, 0.4s."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    return write_span(int(seconds) * 1000)


# --- Signals ---


class StopSignals:
    """SIGINT and SIGTERM while the block runs: the first asks to stop and says so, the second ends at once.

    Poll `requested` between short steps; the client's calls return to Python at their time-outs only. A child
    that is forked meanwhile gets back what was there before: whoever terminates it wants it to end.
    """

    def __init__(self, err: TextIO) -> None:
        self._err = err
        self._before: List[Any] = []
        self._unblocked = threading.local()
        """Of each thread that forks: the signals that it blocks by itself."""
        self.signal: Optional[int] = None
        self._limit_s: Optional[float] = None

    def limit(self, seconds: float) -> None:
        """End the process so long after the first signal, whatever then still blocks it."""
        self._limit_s = seconds

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 or 143 after a signal, 0 without one."""
        return OK if self.signal is None else 128 + self.signal

    def __enter__(self) -> "StopSignals":
        self._before = [
            (number, signal.signal(number, self._on_signal)) for number in (signal.SIGINT, signal.SIGTERM)
        ]
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._block, after_in_parent=self._unblock, after_in_child=self._restore_in_child
            )
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before:
            signal.signal(number, handler)
        self._before = []

    def _block(self) -> None:
        """A signal that finds our handler still in place in the child would be taken for one to us."""
        self._unblocked.mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))

    def _unblock(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._unblocked.mask)

    def _restore_in_child(self) -> None:
        self._restore()
        self._unblock()

    def _end_later(self, number: int, limit_s: float) -> None:
        def end() -> None:
            left = "ending as it is; nothing is lost"
            _write_directly(self._err, f"{program()}: not done within {limit_s:g} s: {left}\n")
            os._exit(128 + number)

        timer = threading.Timer(limit_s, end)
        timer.daemon = True
        timer.start()

    def _on_signal(self, number: int, frame: Optional[FrameType]) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        if self._limit_s is not None:
            self._end_later(number, self._limit_s)
        # os.write, as this may interrupt a write to the same buffer, which must not be entered twice
        _write_directly(
            self._err, f"{program()}: stopping ({signal.Signals(number).name}); again to stop at once\n"
        )


def _write_directly(stream: TextIO, text: str) -> None:
    try:
        clear = "\r\x1b[K" if is_terminal(stream) else ""
        os.write(stream.fileno(), (clear + text).encode())
    except (OSError, ValueError):  # no file behind it, or it is closed: stopping matters more than saying so
        pass


# --- Losing and regaining Kafka ---


class Outage:
    """Says once that Kafka is lost and once that it is back, however many errors come between."""

    def __init__(
        self, note: Callable[[str], None], address: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._note = note
        self._address = address
        self._clock = clock
        self._since: Optional[float] = None

    @property
    def holds(self) -> bool:
        """Whether Kafka counts as lost now."""
        return self._since is not None

    def lost(self, why: str) -> None:
        """The client reports that no broker can be reached."""
        if self._since is None:
            self._since = self._clock()
            self._note(
                f"{program()}: Kafka at {self._address} is lost ({escape(why)}); trying until it is back"
            )

    def back(self) -> None:
        """Something got through to Kafka."""
        if self._since is not None:
            gone_s = self._clock() - self._since
            self._since = None
            self._note(f"{program()}: Kafka at {self._address} is back after {duration(gone_s)}")
