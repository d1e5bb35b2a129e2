"""Creates files that only their owner may read, since they hold customers' orders: whole, or not at all."""

import os
import tempfile
import weakref
from contextlib import suppress
from types import TracebackType
from typing import Iterable, Optional, TextIO, Type

from orderflow.exits import CommandError, UsageError, fault_of


class PrivateFile:
    """A new file under a name that the user typed. It gets that name once it is complete.

    Until then it has another one beside it. So what a full disk or a kill has cut short is neither taken for
    the whole nor in the way of the next try. Raises CommandError then, and UsageError at once for a name that
    exists or where nothing can be created.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        if os.path.lexists(path):
            raise UsageError(self._taken)
        folder, name = os.path.split(path)
        try:
            descriptor, self._part = tempfile.mkstemp(".part", f"{name}.", folder or os.curdir)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(f"{path}: no such folder") from error
        except OSError as error:
            raise UsageError(f"{path}: cannot be created: {fault_of(error)}") from error
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", newline="")
        self._remove = weakref.finalize(self, _remove, self._file, self._part)

    def __enter__(self) -> "PrivateFile":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if kind is None and self._remove.alive:
            self.keep()
        self.discard()

    def lines(self, texts: Iterable[str], end: str = "\n") -> None:
        """Write lines."""
        try:
            self._file.write("".join([text + end for text in texts]))
        except OSError as error:
            raise self._failure(error) from error

    def keep(self) -> None:
        """It is complete: give it its name."""
        try:
            self._file.flush()
            _give_name(self._part, self.path)
        except FileExistsError as error:
            raise CommandError(self._taken) from error
        except OSError as error:
            raise self._failure(error) from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Leave nothing behind but what was kept."""
        self._remove()

    @property
    def _taken(self) -> str:
        return f"{self.path}: already exists and is not overwritten; choose another name"

    def _failure(self, error: OSError) -> CommandError:
        return CommandError(f"cannot write {self.path}: {error.strerror}; nothing of it was kept")


def require_new(path: str) -> None:
    """Return if such a file can be begun: asked first, nothing is read in vain. Raises UsageError."""
    PrivateFile(path).discard()


def write_private(path: str, text: str) -> None:
    """A whole new file at once: it is there with all of its text, or not at all. Raises CommandError."""
    with PrivateFile(path) as file:
        file.lines([text], end="")


def _give_name(part: str, path: str) -> None:
    """A link is never made in place of a file that is there."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.rename(part, path)


def _remove(file: TextIO, part: str) -> None:
    with suppress(OSError):
        file.close()
    with suppress(OSError):
        os.unlink(part)
