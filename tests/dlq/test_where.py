"""The grammar of `--where`: what it means, and that it is never more than it says."""

from datetime import date, datetime, time, timezone
from decimal import Decimal
from typing import Any, Dict, List, Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.dlq.where.conditions import condition, expression, field
from orderflow.dlq.where.terms import WhereError
from orderflow.dlq.where.words import MOST_CHARACTERS, MOST_DIGITS
from orderflow.model.moments import TimestampNanos

ORDER: Dict[str, Any] = {
    "quantity": 7,
    "price": 2.5,
    "customer": "C-1",
    "gift": True,
    "note": None,
    "to": {"zip": "8000", "zip-code": "CH-8000"},
    "huge": 1e308,
    "none": 0,
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
        "to.zip-code = 'CH-8000'",
        "price * quantity > 17",
        "price*quantity=17.5",
        "quantity-1 = 6",
        "quantity -1 = 6",
        "-quantity = -7",
        "1 + 2 * 3 = quantity",
        "(1 + 2) * 3 = 9",
        "8 - 2 - 1 = 5",
        "quantity / 2 = 3.5",
        "quantity % 4 = 3",
        "-7 % 4 = -3 and -7.5 % 4 = -3.5",
        "quantity + 1 in (8, -8)",
        "quantity * 2 not in (7)",
        "(price + 1) * 2 >= quantity and not (quantity * 2 < 14)",
        "price / none is null",
        "quantity % none is null",
        "note * 2 is null",
        "customer + 1 is null",
        "huge * 10 is null",
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
        "price / none > 0",
        "price / none <= 0",
        "quantity % 0 = 0",
        "1.5 % 0 = 0",
        "huge * 10 > 1",
        "huge * huge > 1",
        "1e999 % 2 = 0",
        "note + 1 > 0",
        "gift + 1 = 2",
        "customer * 2 = 'C-1C-1'",
        "to + 1 = 1",
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
        ("price * > 5", "expected a name, a number or a quoted text, found '>' at character 9"),
        ("price ** 2 > 5", "found '*' at character 8"),
        ("price * not gift = 1", "found 'not' at character 9"),
        ("price > 1 > 0", "expected and, or, or the end, found '>' at character 11"),
        ("gift is null is null", "found 'is' at character 14"),
        ("(gift)) and gift", "found ')' at character 7"),
        ("gift is 'x'", "expected 'null', found \"'x'\" at character 9"),
        ("quantity not 5", "expected 'in', found '5' at character 14"),
        ("quantity in (price)", "expected a number or a quoted text, found 'price' at character 14"),
        ("price * quantity", "expected a condition, found a number at character 1"),
        ("gift and -(price)", "expected a condition, found a number at character 10"),
        ("(price > 1) * 2 > 1", "expected a value, found a condition at character 2"),
        ("gift = (not gift)", "expected a value, found a condition at character 9"),
        ("price-quantty > 5", "unknown name 'quantty' at character 7; did you mean quantity?"),
        ("quantity > " + "9" * 5000, f"the number at character 12 has more than {MOST_DIGITS} digits"),
        ("quantity in (1, " + "9" * 5000 + ")", "the number at character 17 has more than"),
        ("gift or " * MOST_CHARACTERS, f"800,000 characters are too many; the most are {MOST_CHARACTERS:,}"),
        ("+".join(["price"] * 60) + " > 1", "nested too deeply at character"),
        ("-" * 60 + "price > 1", "nested too deeply at character 51"),
        ("(" * 40 + "-" * 20 + "1" + ")" * 40 + " > 1", "nested too deeply at character 51"),
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


WORDS = (*NAMES, *"()+-*/%=<>~,", "!~", "and", "or", "not", "is null", "in (1, 'x')", "5", "1e308", "'C'")


@given(st.lists(st.sampled_from(WORDS), max_size=14), st.sampled_from(["", " "]))
def test_any_words_are_a_condition_or_an_error(words: List[str], between: str) -> None:
    """Whatever is made of the words of the grammar is refused in our words, or is applied without a fault."""
    for reading in (condition, expression):
        try:
            test = reading(between.join(words), NAMES)
        except WhereError:
            continue
        test(lambda name: field(ORDER, name))


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("price * quantity", 17.5),
        ("quantity", 7),
        ("-(quantity - 10) * 2", 6),
        ("5", 5),
        ("note", None),
        ("note + 1", None),
        ("customer", None),
        ("gift", None),
        ("quantity / none", None),
    ],
)
def test_an_expression_gives_a_number_or_nothing(text: str, result: Optional[float]) -> None:
    """What is added up over orders: the result of a calculation, None where an order has none."""
    assert expression(text, NAMES)(lambda name: field(ORDER, name)) == result


@pytest.mark.parametrize(
    ("text", "price", "result"),
    [
        ("price * 3", 0.1, "0.3"),
        ("price + 0.2", 0.1, "0.3"),
        ("price", 19.99, "19.99"),
        ("-price", 19.99, "-19.99"),
        ("price % 5", -7, "-2"),
        ("price * 10", 1e308, "1E+309"),
        ("price", Decimal("1.10"), "1.10"),
    ],
)
def test_what_is_added_up_is_calculated_in_decimal(text: str, price: Any, result: str) -> None:
    """Money comes out as on paper: a float is what it prints as."""
    assert expression(text, ["price"])({"price": price}.get) == Decimal(result)


@pytest.mark.parametrize("price", [float("nan"), float("inf"), Decimal("NaN"), True, None, "1", [1]])
def test_what_is_no_finite_number_is_not_calculated_with(price: Any) -> None:
    """A single NaN must not make a sum meaningless."""
    assert expression("price", ["price"])({"price": price}.get) is None
    assert expression("price * 2", ["price"])({"price": price}.get) is None


@pytest.mark.parametrize("text", ["price > 1", "not gift", "gift and gift", "note is null", "price +", ""])
def test_a_condition_is_no_expression(text: str) -> None:
    """A question has no sum."""
    with pytest.raises(WhereError):
        expression(text, NAMES)


def test_long_lists_and_chains_are_read() -> None:
    """What a script pastes together is long, not deep: thousands of ids, and hundreds of parts."""
    assert holds(f"quantity in ({', '.join(map(str, range(10_000)))})")
    assert holds(" and ".join(["(quantity + 1) * 2 > 3"] * 1_000))


# --- Times, decimals and UUIDs, which a text or a number spells

NANOS = TimestampNanos(1_795_564_800_000_000_001)
RICH = {
    "at": datetime(2026, 11, 25, 0, 0, 0, 250_000, timezone.utc),
    "nanos": NANOS,
    "day": date(2026, 11, 25),
    "clock": time(12, 30, 0, 1),
    "local": datetime(2026, 11, 25, 12, 30),
    "amount": Decimal("19.99"),
    "tip": Decimal("1.10"),
    "large": Decimal("12345678901234567890.10"),
    "debt": Decimal("-123456789012345678901234567890.1"),
    "none": None,
    "id": UUID("0f8fad5b-d9cb-469f-a165-70867728950e"),
}


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("at > '2026-11-25'", True),
        ("at = '2026-11-25T01:00:00.25+01:00'", True),
        ("at < '2026-11-25T00:00:00.250Z'", False),
        ("at ~ '2026-11-25T00*'", True),
        ("at = 'yesterday' or at > 'yesterday'", False),
        ("nanos = '2026-11-25T00:00:00.000000001Z'", True),
        ("nanos = '2026-11-25T00:00:00.000000002Z'", False),
        ("nanos in ('2026-11-25T00:00:00.000000001Z')", True),
        ("nanos > 1795564800000000000", True),
        ("at > nanos", True),
        ("day >= '2026-11-25' and day < '2026-11-26'", True),
        ("day in ('2026-11-24', '2026-11-25')", True),
        ("day not in ('2026-11-24')", True),
        ("clock > '12:30'", True),
        ("local = '2026-11-25T12:30'", True),
        ("local = '2026-11-25T12:30Z'", False),
        ("amount = 19.99", True),
        ("amount > 19.98 and amount < 20", True),
        ("amount in (19.99)", True),
        ("amount * 2 > 39.9", True),
        ("amount + amount + amount = 59.97 and amount * 3 = 59.97", True),
        ("tip * 3 > 3.3 or tip * 3 < 3.3", False),
        ("-tip + 3.3 = 2.2 and tip - 0.1 = 1 and tip % 1 = 0.1 and tip / 2 = 0.55", True),
        ("large - 0.01 < large and large + tip - large = 1.1", True),
        ("large = 12345678901234567890.10 and large in (1, 12345678901234567890.1)", True),
        ("large < 12345678901234567890.11 and large > 12345678901234567890.09", True),
        ("-large = -12345678901234567890.1 and debt in (-123456789012345678901234567890.1)", True),
        ("large < 1e400 and tip < 1e99999999999999999999 and tip > 1e-99999999999999999999", True),
        ("tip / 0 is null and tip % 0 is null and tip * id is null and tip + none is null", True),
        ("amount = '19.99'", False),
        ("id = '0f8fad5b-d9cb-469f-a165-70867728950e'", True),
        ("id ~ '0f8fad5b-*'", True),
        ("at = null or at > null or null < at", False),
        ("at is not null", True),
    ],
)
def test_a_text_in_iso_8601_is_compared_with_times(text: str, holds: bool) -> None:
    """With every digit that they have; decimals with numbers, calculated or not, and a UUID with its text."""
    assert condition(text, list(RICH))(RICH.__getitem__) is holds
