"""Dead letters on a narrow screen: time, position, group, key and what happened; the day once, above."""

from functools import lru_cache
from typing import List, Optional, Sequence

from orderflow.dlq.letter import NEW, FailureKind, Letter
from orderflow.dlq.output.group_table import frame_text
from orderflow.dlq.output.listing import summary
from orderflow.dlq.output.times import day_of, time_of_day
from orderflow.dlq.tally import DAY_MS, NOT_CARRIED, Shortener
from orderflow.model.cells import fit, padded
from orderflow.model.text import escape, shown_bytes

LONGEST_KEY = 14


class NarrowLines:
    """Dead letters one by one, with a line before the first of each day."""

    HEADING = f"{'TIME':<8}  {'POSITION':<8}  {'GROUP':<5}  {'KEY':<10}  WHAT"

    def __init__(self) -> None:
        self._shortener = Shortener()
        self._day: Optional[int] = -1
        self._group = lru_cache(2_000)(self._new_group)

    def lines(self, letters: Sequence[Letter], width: Optional[int]) -> List[str]:
        """A line for each, and one for each day that begins with it."""
        told: List[str] = []
        for letter in letters:
            at_ms = letter.record.timestamp_ms
            day = None if at_ms is None else at_ms // DAY_MS
            if day != self._day:
                self._day = day
                told.append(_divider(at_ms, width))
            told.append(fit(self._line(letter), width))
        return told

    def _line(self, letter: Letter) -> str:
        at_ms, kind = letter.record.timestamp_ms, letter.kind
        message = letter.detail[0]
        cells = (
            "-".ljust(8) if at_ms is None else time_of_day(at_ms),
            letter.position.ljust(8),
            self._group(kind),
            padded(fit(shown_bytes(letter.record.key), LONGEST_KEY), 10),
            _what(letter, kind, message),
        )
        return "  ".join(cells)

    def _new_group(self, kind: FailureKind) -> str:
        return self._shortener.short(kind.fingerprint).ljust(5)


def _what(letter: Letter, kind: FailureKind, message: Optional[str]) -> str:
    state = "" if letter.state == NEW else f"[{letter.state}] "
    left_out = "[headers left out] " if letter.headers_left_out else ""
    frame = "" if kind.frame is None else f"{escape(frame_text(kind.frame))}  "
    error = summary(kind.error_class, message) or escape(kind.reason or kind.stage or NOT_CARRIED)
    return f"{state}{left_out}{frame}{error}"


def _divider(at_ms: Optional[int], width: Optional[int]) -> str:
    day = "without a time" if at_ms is None else f"{day_of(at_ms)} UTC"
    return fit(f"── {day} ".ljust(width or 0, "─"), width)
