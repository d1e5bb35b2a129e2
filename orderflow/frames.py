"""Where an error began: the innermost causes of an error, and the one frame that is kept of it."""

import re
import traceback
from functools import lru_cache
from types import FrameType, TracebackType
from typing import Any, List, Optional, Sequence, Tuple

MOST_ROOTS = 5
MOST_LOOKED_AT = 50
"""Errors looked at in search of the innermost: chains may be long, and groups wide."""
LONGEST = 200
"""Characters of a frame's text."""

TOOLKIT, GENERATED, INSTALLED, OWN = range(4)
"""Whose code a frame runs, the least telling first. The toolkit's and the standard library's never count."""

_LINE = re.compile(r":[0-9]+(?= in [^<]|\)$)")


def place_of(frame: str) -> str:
    """The frame without its line, which moves with every change above it: file and function make a group.

    A function without a name of its own (`<lambda>`, `<module>`) keeps its line: nothing else tells it apart.
    """
    return _LINE.sub("", frame, count=1)


def roots_of(error: BaseException) -> List[BaseException]:
    """The errors that `error` began with: the last cause of `raise … from …`, the members of a group.

    The error itself where it has neither. In the order of the members, and no more than MOST_ROOTS.
    """
    left = [error]
    if not _inner(error):
        return left
    roots: List[BaseException] = []
    seen = {id(error)}
    while left and len(roots) < MOST_ROOTS and len(seen) < MOST_LOOKED_AT:
        one = left.pop()
        inner = [each for each in _inner(one) if id(each) not in seen][:MOST_LOOKED_AT]
        seen.update(map(id, inner))
        left.extend(reversed(inner))
        if not inner:
            roots.append(one)
    return roots or left[-1:] or [error]


def _inner(error: BaseException) -> Tuple[BaseException, ...]:
    """The members of a group, be it Python's own or the one that its backport brings to older versions."""
    try:
        members: Any = getattr(error, "exceptions", None)
        cause = error.__cause__
    except BaseException:  # noqa: BLE001 - the class is the handler's code
        return ()
    if members is not None and type(members) in (tuple, list):
        members = [member for member in members[:MOST_LOOKED_AT] if isinstance(member, BaseException)]
        if members:
            return tuple(members)
    return () if cause is None else (cause,)


def frame_of(error: BaseException, roots: Sequence[BaseException]) -> Optional[str]:
    """Where the first of these roots began, else the error itself.

    That is the innermost frame outside the toolkit and the standard library: `shop/prices.py:21 in total`.

    An installed package counts only where no frame of the handler's own code is left: of two failing calls
    of one database driver, it is the callers that tell them apart.
    """
    return next(filter(None, map(_innermost, (*roots, error))), None)


def frame_in(frame: FrameType) -> Optional[str]:
    """The same for code that is running: the innermost such frame of a thread's stack."""
    outer: Optional[FrameType] = frame
    best: Optional[FrameType] = None
    rank = TOOLKIT
    while outer is not None:
        its = _whose(outer.f_code.co_filename)
        if its > rank:
            best, rank = outer, its
        outer = outer.f_back
    return None if best is None else _told(best, best.f_lineno)


def _innermost(error: BaseException) -> Optional[str]:
    try:
        trace = error.__traceback__
    except BaseException:  # noqa: BLE001 - the class is the handler's code
        return None
    best: Optional[TracebackType] = None
    rank = TOOLKIT
    while trace is not None:
        its = _whose(trace.tb_frame.f_code.co_filename)
        if its and its >= rank:
            best, rank = trace, its
        trace = trace.tb_next
    return None if best is None else _told(best.tb_frame, best.tb_lineno)


def _told(frame: FrameType, line: Optional[int]) -> str:
    return f"{path_of(frame)}:{line or 0} in {frame.f_code.co_name}"[:LONGEST]


def is_passed_over(frame: FrameType) -> bool:
    """Whether a frame runs code of the toolkit or of the standard library."""
    return _whose(frame.f_code.co_filename) == TOOLKIT


def path_of(frame: FrameType) -> str:
    """The file of a frame from its top package on, which is the same on every machine."""
    return _path(frame.f_code.co_filename, frame.f_globals.get("__name__"))


@lru_cache(maxsize=1024)
def _path(file: str, module: object) -> str:
    parts = file.replace("\\", "/").split("/")
    names = module.split(".") if isinstance(module, str) else []
    if parts[-1] == "__init__.py":
        names.append("__init__")
    return "/".join(parts[-len(names) :]) if names and parts[-1] == f"{names[-1]}.py" else parts[-1]


_TOOLKIT = __file__.replace("\\", "/").rpartition("/")[0] + "/"
_LIBRARY = traceback.__file__.replace("\\", "/").rpartition("/")[0] + "/"


@lru_cache(maxsize=1024)
def _whose(file: str) -> int:
    file = file.replace("\\", "/")
    if file.startswith((_TOOLKIT, "<frozen ")):
        return TOOLKIT
    if "/site-packages/" in file or "/dist-packages/" in file:
        return INSTALLED
    if file.startswith(_LIBRARY):
        return TOOLKIT
    return GENERATED if file.startswith("<") else OWN
