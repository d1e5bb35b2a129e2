"""Time spans as people write and read them: `2h`, `1.5d`, `6d 5h`."""

import re
from typing import Optional

UNITS_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""Largest first."""
FORMS = "90s, 15m, 1.5h, 7d or 1d 12h"

_PART = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)(ms|[smhdw])"
_SPAN = re.compile(rf"{_PART}(?: ?{_PART}){{0,5}}")


def read_span(text: str) -> Optional[int]:
    """A span in milliseconds, as we write it or with fractions; None for anything else."""
    if not _SPAN.fullmatch(text):
        return None
    return round(sum(float(number) * UNITS_MS[unit] for number, unit in re.findall(_PART, text)))


def write_span(span_ms: int, most_units: int = 2) -> str:
    """A span in its largest units, such as `6d 5h`, `2m 3s` or `0s`."""
    parts, left_ms = [], span_ms
    for unit in "dhms":
        if left_ms >= UNITS_MS[unit]:
            parts.append(f"{left_ms // UNITS_MS[unit]}{unit}")
            left_ms %= UNITS_MS[unit]
    return " ".join(parts[:most_units]) or "0s"
