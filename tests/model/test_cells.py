"""How wide a text is on a screen: wide characters take two cells, marks take none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.model.cells import cells, fit, padded
from orderflow.model.text import escape

TEXTS = st.text(st.sampled_from("ab é漢字한ｆ😀e\u0301\u1112\u1161─█…⌚"), max_size=40)


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("plain", 5),
        ("Zoë", 3),
        ("e\u0301", 1),
        ("漢字", 4),
        ("한국어", 6),
        ("\u1112\u1161\u11ab", 2),
        ("ｆｕｌｌ", 8),
        ("😀", 2),
        ("▁█─…", 4),
        ("⌚", 2),
    ],
)
def test_a_text_is_as_wide_as_terminals_draw_it(text: str, width: int) -> None:
    """East Asian characters and emoji are two cells wide, combining marks draw on the one before."""
    assert cells(text) == width


@given(text=TEXTS, width=st.integers(1, 50))
def test_what_is_cut_fits_and_says_so(text: str, width: int) -> None:
    """It is the text itself if that fits, else its beginning and an ellipsis."""
    cut = fit(text, width)

    assert cells(cut) <= width
    assert cut == text if cells(text) <= width else cut[-1] == "…" and text.startswith(cut[:-1])


@given(text=TEXTS, width=st.integers(0, 50))
def test_what_is_padded_ends_where_its_column_does(text: str, width: int) -> None:
    """A longer text is left as it is."""
    assert cells(padded(text, width)) == max(width, cells(text))
    assert padded(text, width).rstrip() == text.rstrip()


@given(text=st.text(max_size=60))
def test_no_text_that_is_shown_breaks_its_line(text: str) -> None:
    """Whatever a record holds."""
    assert cells(fit(escape(text), 20)) <= 20
