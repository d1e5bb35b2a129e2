"""Opens the files that a command line names to be read, for all scripts alike."""

from typing import BinaryIO

from orderflow.exits import UsageError, fault_of


def open_given(path: str) -> BinaryIO:
    """The file, as bytes. Raises UsageError where there is none, or where we may not read it."""
    try:
        return open(path, "rb")
    except OSError as error:
        raise UsageError(f"{path}: {fault_of(error)}") from error
