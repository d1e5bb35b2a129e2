"""The failing frame: the innermost line of the application itself in a stack trace, of Python or of Java."""

import re
from typing import Iterator, List, Match, Optional, Tuple

LONGEST_STACK = 65_536
"""Characters of a stack trace that are looked at, from its end for Python and from its start for Java."""
LONGEST_FRAME = 200
CAUSED_BY = "\nCaused by: "

_PYTHON = re.compile(r'^  File "([^"\n]{1,500})", line ([0-9]{1,9}), in ([^\n]{1,200})$', re.MULTILINE)
_JAVA = re.compile(
    r"^\tat (?:[\w.@$-]{0,100}/){0,2}(?P<call>[\w.$<>-]{1,300})\((?P<place>[^()\n]{0,200})\)", re.MULTILINE
)
_NOT_OURS_IN_JAVA = re.compile(
    r"(?:java|javax|jakarta|jdk|sun|com\.sun|kotlin|kotlinx|scala|groovy|io\.smallrye|io\.quarkus|io\.vertx|"
    r"io\.netty|io\.confluent|com\.fasterxml|com\.google|reactor|org\.(?:springframework|apache|hibernate|slf4j|jboss|eclipse))\."
)
_NOT_OURS_IN_PYTHON = re.compile(r"<|.*/lib/python3[.0-9]*/(?!(?:site|dist)-packages/)|(?:.*/)?orderflow/")
_FROM_A_LIBRARY = re.compile(r"(?:site|dist)-packages")
_MADE_AT_RUN_TIME = re.compile(r"(?<=\$)(?:[0-9]+|0x[0-9a-f]+|[0-9a-f]{8})(?![0-9A-Za-z])|(?<=\$Proxy)[0-9]+")


def frame_of(stack: Optional[str]) -> Optional[str]:
    """`shop/prices.py:21 in total` or `com.shop.Pricing.total(Pricing.java:21)`; None if there is none."""
    if not stack:
        return None
    return _frame_in_python(stack[-LONGEST_STACK:]) or _frame_in_java(stack[:LONGEST_STACK])


def names_the_bug(frame: str) -> bool:
    """Whether the frame alone says what failed. One of a library does not: many callers fail in it."""
    return not _FROM_A_LIBRARY.search(frame) and not _NOT_OURS_IN_JAVA.match(frame)


def _frame_in_python(stack: str) -> Optional[str]:
    frames = [match.groups() for match in _PYTHON.finditer(stack)]
    ours = [frame for frame in frames if not _NOT_OURS_IN_PYTHON.match(frame[0])]
    if not ours:
        return None
    path, line, function = next(_outside_libraries(ours), ours[-1])
    return f"{_end_of(path)}:{line} in {function}"[:LONGEST_FRAME]


def _outside_libraries(frames: List[Tuple[str, ...]]) -> Iterator[Tuple[str, ...]]:
    """Those of the application, the innermost first."""
    return (frame for frame in reversed(frames) if not _FROM_A_LIBRARY.search(frame[0]))


def _end_of(path: str) -> str:
    """The file in its folder: where the program is installed says nothing about the failure."""
    parts = path.replace("\\", "/").split("/")
    library = next((at for at, part in enumerate(parts) if _FROM_A_LIBRARY.fullmatch(part)), None)
    return "/".join(parts[-2:] if library is None else parts[library:])


def _frame_in_java(stack: str) -> Optional[str]:
    """In the innermost cause, else in what wraps it, else the line where a library threw it."""
    at = stack.rfind(CAUSED_BY)
    innermost = stack[at:] if at >= 0 else stack
    ours = next(_of_the_application(innermost), None) or next(_of_the_application(stack), None)
    found = ours or _JAVA.search(innermost)
    if found is None:
        return None
    call = _MADE_AT_RUN_TIME.sub("", found["call"])
    return f"{call}({found['place']})"[:LONGEST_FRAME]


def _of_the_application(stack: str) -> Iterator[Match[str]]:
    return (match for match in _JAVA.finditer(stack) if not _NOT_OURS_IN_JAVA.match(match["call"]))
