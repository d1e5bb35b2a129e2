"""The grammar of `--where`: what it means, and that it is never more than it says."""

from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.where import WhereError, condition, field

ORDER: Dict[str, Any] = {
    "quantity": 7,
    "price": 2.5,
    "customer": "C-1",
    "gift": True,
    "note": None,
    "to": {"zip": "8000"},
}
NAMES = [*ORDER, "to."]


def holds(text: str) -> bool:
    return condition(text, NAMES)(lambda name: field(ORDER, name))


@pytest.mark.parametrize(
    "text",
    [
        "quantity > 5",
        "quantity >= 7 and price < 3",
        "quantity = 7",
        "quantity == 7.0",
        "quantity != 8",
        "quantity <> 8",
        "customer = 'C-1'",
        'customer = "C-1"',
        "customer ~ 'C-*'",
        "customer !~ 'D-*'",
        "customer in ('C-0', 'C-1')",
        "quantity not in (1, 2)",
        "note is null",
        "quantity is not null",
        "gift",
        "gift = true",
        "not quantity < 5",
        "(quantity < 5 or price > 2) and gift",
        "quantity<5 or quantity>5",
        "to.zip = '8000'",
        "price > -1.5e0",
        "NOT customer = 'x' AND gift",
        "customer = 'and' or customer = 'C-1'",
    ],
)
def test_conditions_that_hold(text: str) -> None:
    """Comparisons, sets, globs, null tests and their combinations mean what they mean in SQL."""
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "quantity > 7",
        "note = null",
        "note != 1",
        "note in (1, null)",
        "note not in (1, 2)",
        "quantity = '7'",
        "quantity < 'x'",
        "gift = 1",
        "quantity",
        "to.street = 'x'",
        "customer > 5",
        "quantity < 5 or price > 3 and gift",
    ],
)
def test_conditions_that_do_not_hold(text: str) -> None:
    """Null equals nothing, types are never mixed, and `and` binds closer than `or`."""
    assert not holds(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("quantty > 5", "did you mean quantity?"),
        ("quantity >", "expected a name, a number or a quoted text, found the end"),
        ("quantity > 5 6", "expected and, or, or the end, found '6' at character 14"),
        ("(quantity > 5", "expected ')'"),
        ("quantity @ 5", "cannot read '@ 5' at character"),
        ("", "found the end"),
        ("quantity in ()", "found ')'"),
        ("customer = 'open", "cannot read"),
        ("__import__('os')", "unknown name '__import__'"),
        ("(" * 60 + "gift" + ")" * 60, "nested too deeply"),
        ("not " * 200 + "gift", "nested too deeply"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, told: str) -> None:
    """A condition that makes no sense is refused with what is wrong and where."""
    with pytest.raises(WhereError) as error:
        condition(text, NAMES)

    assert told in str(error.value)


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    """Nothing that can be typed ends in anything but a condition or a `WhereError`."""
    try:
        test = condition(text, NAMES)
    except WhereError:
        return
    test(lambda name: field(ORDER, name))
