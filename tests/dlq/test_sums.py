"""Sums over orders, and whose they are."""

from decimal import Decimal
from fractions import Fraction
from typing import Any, Dict, Optional, Tuple

import pytest

from orderflow.dlq import sums
from orderflow.dlq.letter import Letter
from orderflow.dlq.output import sum_lines
from orderflow.dlq.selection import SelectionError
from orderflow.dlq.sums import Sums, Wanted
from orderflow.errors import Undecodable
from orderflow.model.records import Record

FIELDS = ["customer_id", "price", "quantity", "note"]
ORDER = {"customer_id": "C-1", "price": 0.1, "quantity": 3, "note": None}


def letter(order: Optional[Dict[str, Any]]) -> Letter:
    def decode(value: Optional[bytes]) -> Any:
        if order is None:
            raise Undecodable("not an order", "decode.framing")
        return order

    return Letter(Record("dlq", 2, 0, 0, "CreateTime", b"key", b"v", []), decode)


def added(wanted: Wanted, *orders: Optional[Dict[str, Any]]) -> Sums:
    found = Sums(wanted, FIELDS)
    found.add_all([letter(order) for order in orders])
    return found


def test_money_is_added_exactly() -> None:
    """A million times ten cents is a hundred thousand, not about that."""
    found = added(Wanted("price * quantity"), *[ORDER] * 1_000)

    assert found.all.total == Decimal("300.0")
    assert list(sum_lines.total_line(found)) == ["sum 300.0 of price * quantity over 1,000 orders"]


@pytest.mark.parametrize(
    "prices",
    [
        (1e27, 0.01, 0.02, -1e27),
        (1e300, 1e-300, -1e300),
        (Decimal("12345678906.123456789012345678"), Decimal("0.000000000000000004"), -12345678906),
    ],
)
def test_no_digit_of_a_sum_is_lost(prices: Tuple[Any, ...]) -> None:
    """Amounts of very different size, and decimals with more digits than Python calculates with by itself."""
    orders = [{"price": price, "quantity": 3} for price in prices]
    expected = 3 * sum(Fraction(repr(price) if type(price) is float else price) for price in prices)

    for expression in ("price * quantity", "price + price - -price", "-price * -quantity"):
        assert Fraction(added(Wanted(expression), *orders).all.total) == expected


def test_what_is_not_in_a_sum_is_told() -> None:
    """A total without a word on what is missing would be believed."""
    found = added(Wanted("price * note"), None, None, ORDER)
    told = list(sum_lines.left_out_line(found))

    assert told == ["not in the sum: 2 cannot be decoded, 1 have no number for price * note"]


def test_the_largest_first_and_the_rest_together() -> None:
    """By sum where there is one."""
    orders = [{**ORDER, "customer_id": f"C-{n}", "price": float(n)} for n in range(15)]
    found = added(Wanted("price", "customer_id"), *orders, ORDER)
    lines = list(sum_lines.owner_lines(found, None))

    assert lines[0].split() == ["CUSTOMER_ID", "COUNT", "SUM"]
    assert lines[1].split() == ["C-14", "1", "14.0"]
    assert lines[-1].split() == ["5", "others", "6", "10.1"]
    assert len(lines) == 12


@pytest.mark.parametrize(
    ("by", "label"), [("key", "key"), ("partition", 2), ("note", None), ("customer_id", "C-1")]
)
def test_by_anything_that_has_a_name(by: str, label: Any) -> None:
    """A field of the order, or what the dead letter tells; without a sum they are counted."""
    ((owner, one),) = added(Wanted(None, by), ORDER, ORDER).owners(10).first

    assert (owner, one.count) == (label, 2)


def test_hostile_names_are_safe_to_show() -> None:
    """A customer may call himself anything."""
    found = added(
        Wanted(None, "customer_id"), {**ORDER, "customer_id": "\x1b[2J"}, {**ORDER, "customer_id": [1]}
    )

    assert all(line.isprintable() for line in sum_lines.lines(found, 80))


@pytest.mark.parametrize(
    "wanted", [Wanted("prise"), Wanted("price >"), Wanted(None, "price + 1"), Wanted(None, "who")]
)
def test_what_cannot_be_added_is_refused_at_once(wanted: Wanted) -> None:
    """Before anything is read, with the flag that it is about."""
    with pytest.raises(SelectionError, match=r"--sum|--by"):
        Sums(wanted, FIELDS)


def test_memory_is_bounded_and_nothing_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """More customers than are told apart are still in the total, and the large ones are still there."""
    monkeypatch.setattr(sums, "MOST_OWNERS", 10)
    large = {**ORDER, "customer_id": "large", "price": 1_000.0}
    found = added(
        Wanted("price", "customer_id"), large, *({**ORDER, "customer_id": str(n)} for n in range(50))
    )
    owners = found.owners(3)

    assert owners.first[0][0] == "large"
    assert owners.others is not None
    assert sum(one.count for _, one in owners.first) + owners.others.count == 51
    assert not owners.is_complete
    assert found.all.total == Decimal("1005.0")
