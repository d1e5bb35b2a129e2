"""Creates files that only their owner may read, since they hold customers' orders."""

import os
from typing import TextIO

from orderflow.exits import CommandError


def open_private(path: str) -> TextIO:
    """A new file that only its owner may read. Raises FileExistsError, or OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")


def write_private(path: str, text: str) -> None:
    """A whole new file at once: it is there with all of its text, or not at all. Raises CommandError."""
    part = f"{path}.{os.getpid()}.part"
    with create_private(part) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.link(part, path)  # unlike a rename, it never overwrites
        except OSError as error:
            raise _refusal(path, error) from error
        finally:
            os.unlink(part)


def create_private(path: str) -> TextIO:
    """The same for a path that the user typed. Raises CommandError."""
    try:
        return open_private(path)
    except OSError as error:
        raise _refusal(path, error) from error


def _refusal(path: str, error: OSError) -> CommandError:
    if isinstance(error, FileExistsError):
        return CommandError(f"{path} already exists and is not overwritten: choose another name")
    return CommandError(f"cannot write {path}: {error.strerror}")
