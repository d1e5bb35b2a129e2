"""Tracebacks of the handler's own code, each kind once."""

import contextlib
import os
import traceback
from types import TracebackType
from typing import Callable, List, Optional, Set, Tuple

from orderflow.errors import Failure, class_name
from orderflow.frames import is_passed_over
from orderflow.model.records import Message

MOST_KINDS = 200
"""After so many kinds of error no more are shown: they would differ in what does not matter."""
MOST_FRAMES = 20
MOST_LINES = 60
LONGEST_LINE = 300
LONGEST_PART = 10_000
"""Characters of a frame or a message."""


class Tracebacks:
    """Shows the first traceback of each kind of error: its class and where it began."""

    def __init__(self, report: Callable[..., None]) -> None:
        self._report = report
        self._seen: Set[Tuple[str, Optional[str]]] = set()

    def note(self, error: BaseException, failure: Failure, record: Message) -> None:
        """A handler raised this. What it raised on purpose, by our own classes, is no surprise."""
        if failure.reason != "process.failed" or failure.frame is None:
            return
        kind = (failure.error_class, failure.frame)
        if kind in self._seen or len(self._seen) >= MOST_KINDS:
            return
        self._seen.add(kind)
        traceback = traceback_of(error)
        self._report("first_of_its_kind", record=record, failure=failure, traceback=traceback)


def traceback_of(error: BaseException) -> List[str]:
    """The lines of an error's traceback without the toolkit's own frames, bounded whatever the error is.

    Files below the working directory are named from there.
    """
    try:
        trace = _without_toolkit(error.__traceback__)
        told = traceback.TracebackException(type(error), error, trace, limit=-MOST_FRAMES)
        text = "".join(part[:LONGEST_PART] for part in told.format())
        with contextlib.suppress(FileNotFoundError):  # a deployment may have removed it behind our back
            text = text.replace(f'  File "{os.getcwd()}{os.sep}', '  File "')
        lines = text.splitlines()
    except BaseException as second:  # noqa: BLE001 - texts and attributes are the handler's code
        lines = [f"{class_name(error)} (its traceback cannot be shown: {class_name(second)})"]
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES // 2], "…", *lines[-MOST_LINES // 2 :]]
    return [line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…" for line in lines]


def _without_toolkit(trace: Optional[TracebackType]) -> Optional[TracebackType]:
    """Without the frames that lead to the handler."""
    while trace is not None and is_passed_over(trace.tb_frame):
        trace = trace.tb_next
    return trace
