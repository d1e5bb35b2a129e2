"""The standard streams as handlers find them: writing never fails, whatever became of the reader or the disk.

Only for the consumer: the two other scripts write data, whose loss has to be an error.
"""

import contextlib
import io
import select
import sys
from types import TracebackType
from typing import Any, List, Optional, TextIO, Type


class Outlet(io.FileIO):
    """A descriptor that takes everything. What cannot be written is dropped, and `lost` says why."""

    lost: Optional[OSError] = None

    def write(self, data: Any) -> int:
        """All of it is written, or dropped."""
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while left:
                written = super().write(left)
                if written is None:  # somebody else who has the pipe open made it non-blocking
                    select.select((), (self,), ())
                else:
                    left = left[written:]
        except OSError as error:
            self.lost = error
        return size


class HandlerStreams:
    """Replaces stdout and stderr while the block runs, and knows whether anybody still reads them.

    A handler that prints is not to blame for a reader that went away, a full disk, or a terminal that cannot
    show a character. And it would fail for every order from then on: what cannot be written stays buffered.
    """

    def __init__(self, err: TextIO) -> None:
        """`err`: where our own lines go."""
        self._outlets: List[Outlet] = []
        self.err = self._guarded(err)
        """The same for our own lines. A handler may close the stderr that it finds; not this one."""
        self._told = False
        self._replaced = contextlib.ExitStack()

    def __enter__(self) -> "HandlerStreams":
        self._replaced.enter_context(contextlib.redirect_stdout(self._guarded(sys.stdout)))
        self._replaced.enter_context(contextlib.redirect_stderr(self._guarded(sys.stderr)))
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        for stream in (sys.stdout, sys.stderr, self.err):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        self._replaced.close()

    @property
    def reader_left(self) -> bool:
        """Whether stdout or stderr was a pipe that nobody reads any more: `| head` has seen enough."""
        return any(isinstance(outlet.lost, BrokenPipeError) for outlet in self._outlets)

    def take_loss(self) -> Optional[str]:
        """Why something was dropped although nobody left: the first time, and never again."""
        if self._told or self.reader_left:
            return None
        lost = next((outlet.lost for outlet in self._outlets if outlet.lost is not None), None)
        if lost is None:
            return None
        self._told = True
        return lost.strerror or str(lost)

    def _guarded(self, stream: Any) -> Any:
        """The stream over an outlet; as it is where no descriptor is behind it."""
        try:
            descriptor = stream.fileno()
        except (OSError, ValueError, AttributeError):
            return stream
        with contextlib.suppress(OSError):
            stream.flush()
        outlet = Outlet(descriptor, "wb", closefd=False)
        self._outlets.append(outlet)
        unbuffered = stream.write_through
        return io.TextIOWrapper(
            outlet if unbuffered else io.BufferedWriter(outlet),
            encoding=stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.line_buffering,
            write_through=unbuffered,
        )
