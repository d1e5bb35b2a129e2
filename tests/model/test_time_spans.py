"""Lengths of time: read as people write them, and as we do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.model.time_spans import read_span, write_span


@pytest.mark.parametrize(
    ("text", "span_ms"),
    [
        ("0s", 0),
        ("250ms", 250),
        ("90s", 90_000),
        ("30m", 1_800_000),
        ("2h", 7_200_000),
        ("1.5d", 129_600_000),
        ("1w", 604_800_000),
        ("1d12h", 129_600_000),
        ("6d 5h", 536_400_000),
    ],
)
def test_a_span_is_read(text: str, span_ms: int) -> None:
    """Any unit, with a fraction, and several units with or without a space."""
    assert read_span(text) == span_ms


@pytest.mark.parametrize(
    "text", ["", "2", "h", "-2h", "2 h", "2H", "1.h", ".5h", "2h ", "\u0662h", "9" * 5000 + "s", "1h" * 50]
)
def test_what_is_no_span(text: str) -> None:
    """No unit, another unit, a sign, or numbers without end: none of it breaks."""
    assert read_span(text) is None


@given(st.integers(0, 10**12), st.integers(1, 4))
def test_a_span_that_was_written_is_read_back(span_ms: int, most_units: int) -> None:
    """What we print can be typed. It is cut after the largest units, never rounded up."""
    back_ms = read_span(write_span(span_ms, most_units))

    assert back_ms is not None
    assert 0 <= span_ms - back_ms < (1_000 if most_units == 4 else 86_400_000)
