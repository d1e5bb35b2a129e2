"""Standard streams for handlers that never fail to write, even if the reader is gone or the disk full.

Only for the consumer: the other two scripts write data, and losing that has to be an error.
"""

import contextlib
import io
import sys
from types import TracebackType
from typing import Any, Iterator, List, Optional, Type

from orderflow.cli.output import Notes, descriptor_of, write_all


class Outlet(io.FileIO):
    """A file descriptor that drops what it cannot write; `lost` then says why."""

    lost: Optional[OSError] = None

    def write(self, data: Any) -> int:
        """Write everything, or drop the rest."""
        whole = memoryview(data).cast("B")
        try:
            write_all(self.fileno(), whole)
        except OSError as error:
            self.lost = error
        return len(whole)


class HandlerStreams:
    """Replaces stdout and stderr while the block runs, and tracks whether anybody still reads them.

    A handler that prints is not to blame for a reader that went away, a full disk, or a terminal that cannot
    show a character. It would fail for every order from then on, since unwritten output stays buffered.
    """

    def __init__(self, err: Notes) -> None:
        self._outlets: List[Outlet] = []
        self.err = err
        """For our own lines. A handler may close its stderr, but not this one."""
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
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        self._replaced.close()

    @property
    def reader_left(self) -> bool:
        """Whether stdout or stderr is a pipe whose reader has gone, such as `| head`."""
        return any(isinstance(error, BrokenPipeError) for error in self._losses())

    def take_loss(self) -> Optional[str]:
        """Why output was dropped although the reader is still there. Returned only once."""
        if self._told or self.reader_left:
            return None
        lost = next(self._losses(), None)
        if lost is None:
            return None
        self._told = True
        return lost.strerror or str(lost)

    def _losses(self) -> Iterator[OSError]:
        found = (*(outlet.lost for outlet in self._outlets), self.err.lost)
        return (error for error in found if error is not None)

    def _guarded(self, stream: Any) -> Any:
        """The stream wrapped in an outlet, or unchanged if it has no file descriptor."""
        descriptor = descriptor_of(stream)
        if descriptor is None:
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
