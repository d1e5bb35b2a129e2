"""Creates files that only their owner may read, since they hold customers' orders."""

import os
from typing import TextIO

from orderflow.exits import CommandError


def open_private(path: str) -> TextIO:
    """A new file that only its owner may read. Raises FileExistsError, or OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "w", encoding="utf-8", newline="")


def create_private(path: str) -> TextIO:
    """The same for a path that the user typed. Raises CommandError."""
    try:
        return open_private(path)
    except FileExistsError as error:
        raise CommandError(f"{path} already exists and is not overwritten: choose another name") from error
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
