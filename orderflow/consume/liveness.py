"""Where the loop is when it does not turn: in a handler call, waiting for Kafka, or hanging.

A handler call may take as long as HANDLER_TIMEOUT, and the watchdog ends the process after that. A request
to Kafka may take as long as Kafka is away. Neither is a reason to restart the process. So the stack of the
loop's thread is looked at, which costs the loop nothing and needs no mark in the many places where it waits.
"""

import enum
import gc
import os
import sys
import threading
from types import FrameType
from typing import Callable, List, Mapping, NamedTuple, Optional, Sequence, TypeVar

_Read = TypeVar("_Read")
PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Where(enum.Enum):
    """What the loop's thread is doing."""

    CALLING = "in a handler call"
    WAITING = "waiting for Kafka"
    ELSEWHERE = "in neither"


CALLING = (
    *("avro", "calls", "first_calls", "handler", "event_loop"),
    *("loop_calls", "loop_first_calls", "loop_workers"),
)
_OF_PARTS: Mapping[str, Where] = {
    **dict.fromkeys(CALLING, Where.CALLING),
    **dict.fromkeys(("kafka", "session", "source", "transaction", "dispatch", "reading_back"), Where.WAITING),
}
"""By folder, or by file of the engine. Whatever one of these calls that is not ours counts as its own."""
_NEUTRAL = ("workers",)
"""Waits on behalf of whoever called it."""


class Place(NamedTuple):
    """A frame of our own code."""

    part: str
    """Its file, or its folder if that is not the engine's."""
    line: str
    """As a person would look it up: `loop.py:84 in step`."""


class Found(NamedTuple):
    """Where a thread is."""

    where: Where
    at: str
    """The innermost of our own frames; empty if there is none."""


def find(thread: int) -> Found:
    """Where this thread is."""
    stack = stack_of(thread)
    return Found(where(stack), stack[0].line if stack else "")


def where(stack: Sequence[Place]) -> Where:
    """What a thread is doing that has this stack, the innermost frame first."""
    innermost = next((place.part for place in stack if place.part not in _NEUTRAL), "")
    return _OF_PARTS.get(innermost, Where.ELSEWHERE)


_asking = threading.Lock()


def read_frame(thread: int, read: Callable[[Optional[FrameType]], _Read]) -> _Read:
    """What `read` makes of the frame that this thread is running now; None is passed if it has ended.

    `read` must not keep the frame: only in here is it safe to go from a frame to those that called it. Python
    3.11 makes the object of a frame when it is asked for, and a garbage collection that begins amid that may
    let the thread run on: the object is then one of memory that has become something else. Where it is made
    for the innermost frames, Python also holds a lock that every thread takes at its beginning and its end,
    and the whole process may stand still for good. (Both seen with 3.11.7.) So none may begin.
    """
    with _asking:
        collects = gc.isenabled()
        gc.disable()
        try:
            return read(sys._current_frames().get(thread))
        finally:
            if collects:
                gc.enable()


def stack_of(thread: int) -> List[Place]:
    """The frames of a thread that are our own code, the innermost first; none if it has ended."""
    return read_frame(thread, _places)


def _places(frame: Optional[FrameType]) -> List[Place]:
    stack = []
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE + os.sep):
            folder, name = os.path.split(os.path.relpath(path, PACKAGE))
            part = name[: -len(".py")] if folder == "consume" else folder
            stack.append(Place(part, f"{name}:{frame.f_lineno} in {frame.f_code.co_name}"))
        frame = frame.f_back
    return stack
