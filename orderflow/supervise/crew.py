"""The processes themselves: how they are started, heard and ended.

Each is a fresh interpreter, so that no thread or connection of a Kafka client is ever forked, and has a
session of its own, so that Ctrl-C reaches it once: through us. What it prints comes through pipes, so that no
line of one process lands within a line of another, or in the status line.
"""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from types import FrameType
from typing import Callable, List, NamedTuple, Optional, Sequence

from orderflow.supervise import link
from orderflow.supervise.output import Lines
from orderflow.supervise.report import NOTHING, Report, read

CHUNK_BYTES = 65_536
MOST_CHUNKS = 16
"""The most that is read from one process at a time, so that none keeps the others from being heard."""

Print = Callable[[int, bytes, bool], None]
"""Prints a line of process number N; the last argument is whether it came from stderr."""


class Source(NamedTuple):
    """Something of a process to be read, and what to do with each line of it."""

    descriptor: int
    lines: Lines
    take: Callable[[bytes], None]


class Process:
    """One consumer's process."""

    def __init__(
        self, number: int, popen: "subprocess.Popen[bytes]", ours: socket.socket, out: Print
    ) -> None:
        assert popen.stdout is not None
        assert popen.stderr is not None
        self.report: Report = NOTHING
        self.heard_at_s = time.monotonic()
        self._popen = popen
        self._code: Optional[int] = None
        self._socket = ours
        self._files = (popen.stdout, popen.stderr)
        self.sources = [
            Source(ours.fileno(), Lines(), self._take_report),
            Source(popen.stderr.fileno(), Lines(), lambda line: out(number, line, True)),
            Source(popen.stdout.fileno(), Lines(), lambda line: out(number, line, False)),
        ]

    @property
    def pid(self) -> int:
        """The system's number for it."""
        return self._popen.pid

    def _take_report(self, line: bytes) -> None:
        report = read(line)
        if report is not None:
            self.report, self.heard_at_s = report, time.monotonic()

    def has_ended(self) -> bool:
        """Whether it has ended; what it said may still have to be read."""
        return self._popen.poll() is not None

    def poll(self) -> Optional[int]:
        """Its code once it has ended and all that it said has been read, else None."""
        return self._code

    def ask_to_stop(self) -> None:
        """It finishes what it is doing, and leaves the group."""
        with contextlib.suppress(OSError):
            self._socket.send(link.STOP, socket.MSG_DONTWAIT)

    def kill(self) -> None:
        """End it as kill -9 does."""
        self._popen.kill()

    def signal(self, number: int) -> None:
        """Send it this signal."""
        self._popen.send_signal(number)

    def bury(self) -> None:
        """It has ended: let go of what it was heard by. What it forked may still hold the other ends."""
        for source in self.sources:
            rest = source.lines.rest()
            if rest:
                source.take(rest)
        self._socket.close()
        for file in self._files:
            file.close()
        self._code = self._popen.returncode


class Crew:
    """All processes that run."""

    def __init__(self, command: Sequence[str], flag: str, out: Print) -> None:
        """`command` is repeated for each process; `flag` is filled with its number and that of its link."""
        self._command = list(command)
        self._flag = flag
        self._out = out
        self._selector = selectors.DefaultSelector()
        self._processes: List[Process] = []

    def start(self, number: int) -> Process:
        """Start the process with this number."""
        ours, theirs = socket.socketpair()
        with theirs:
            popen = subprocess.Popen(
                [*self._command, self._flag.format(number, theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        process = Process(number, popen, ours, self._out)
        self._processes.append(process)
        for source in process.sources:
            os.set_blocking(source.descriptor, False)
            self._selector.register(source.descriptor, selectors.EVENT_READ, source)
        return process

    # --- hearing ---------------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> None:
        """Take what the processes say, until there is something or the time is up."""
        for key, _ in self._selector.select(timeout_s):
            if not _read(key.data):
                self._selector.unregister(key.fileobj)
        for process in [each for each in self._processes if each.has_ended()]:
            self._bury(process)

    def _bury(self, process: Process) -> None:
        """Take the last words of a process that has ended."""
        registered = self._selector.get_map()
        for source in process.sources:
            if source.descriptor in registered:
                _read(source)
                self._selector.unregister(source.descriptor)
        process.bury()
        self._processes.remove(process)

    # --- signals ---------------------------------------------------------------------------------

    def kill(self) -> None:
        """End all of them at once."""
        for process in self._processes:
            process.kill()

    def suspend_with_us(self) -> None:
        """Let Ctrl-Z stop them too: the terminal does not reach their sessions."""
        if hasattr(signal, "SIGTSTP"):
            signal.signal(signal.SIGTSTP, self._on_suspend)

    def _on_suspend(self, number: int, frame: Optional[FrameType]) -> None:
        for process in self._processes:
            process.signal(signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        for process in self._processes:
            process.signal(signal.SIGCONT)


def _read(source: Source) -> bool:
    """Take all that is there; whether there may be more later."""
    for _ in range(MOST_CHUNKS):
        try:
            chunk = os.read(source.descriptor, CHUNK_BYTES)
        except BlockingIOError:
            return True
        except OSError:  # the socket of a process that was killed
            return False
        if not chunk:
            return False
        for line in source.lines.take(chunk):
            source.take(line)
    return True


def own_command(argv: Sequence[str]) -> List[str]:
    """The command that started this process, options of the interpreter included."""
    given: Optional[Sequence[str]] = getattr(sys, "orig_argv", None)  # from Python 3.10 on
    if given is None:
        return [sys.executable, sys.argv[0], *argv]
    return [sys.executable, *given[1:]]
