"""Sums over orders, and whose they are."""

from collections import Counter
from datetime import date, datetime, time, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any, Dict, Optional, Tuple
from typing import Counter as CounterOf
from uuid import UUID

import pytest

from orderflow.dlq import sums
from orderflow.dlq.letter import Letter
from orderflow.dlq.output import sum_lines
from orderflow.dlq.output.envelope import plain
from orderflow.dlq.selection import SelectionError
from orderflow.dlq.sums import Sums, Wanted
from orderflow.errors import Undecodable
from orderflow.model.moments import TimestampNanos
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


@pytest.mark.parametrize(
    ("values", "counted"),
    [
        ((True, 1, 1.0, "1", False, 0), {"true": 1, "1": 3, "false": 1, "0": 1}),
        ((float("nan"), float("nan")), {"NaN": 2}),
        (([8], [8], "[8]"), {"[8]": 3}),
        ((None, "null"), {"(not carried)": 1, "null": 1}),
    ],
    ids=str,
)
def test_owners_are_told_apart_as_conditions_tell_values(
    values: Tuple[Any, ...], counted: Dict[str, int]
) -> None:
    """To Python, true is 1, and no NaN is another. Lines that read the same count as one here."""
    rows = [line.rsplit(None, 1) for line in sum_lines.owner_lines(by_customer(*values), None)][1:]
    told: CounterOf[str] = Counter()
    for name, count in rows:
        told[name.strip()] += int(count)

    assert told == counted


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (datetime(2026, 3, 29, 1, 0, 0, 250_000, timezone.utc), "2026-03-29T01:00:00.250Z"),
        (datetime(2026, 3, 29, 2, 30), "2026-03-29T02:30:00"),
        (date(2026, 3, 29), "2026-03-29"),
        (time(10, 46, 27, 70_000), "10:46:27.070"),
        (TimestampNanos(1), "1970-01-01T00:00:00.000000001Z"),
        (Decimal("8384.9900"), "8384.9900"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"T", '{"b64":"VA=="}'),
        ({"city": "Berlin", "zip": None}, '{"city":"Berlin","zip":null}'),
        ([6, 7], "[6,7]"),
    ],
    ids=str,
)
def test_owners_are_spelt_as_list_spells_values(value: Any, shown: str) -> None:
    """So that what stands there can be looked for with `--where`, and joined with `list --json`."""
    found = by_customer(value)

    assert list(sum_lines.owner_lines(found, None))[1].rsplit(None, 1)[0].strip() == shown
    assert sum_lines.sums_row(found)["by"]["rows"] == [{"value": plain(value), "count": 1}]


def by_customer(*values: Any) -> Sums:
    return added(Wanted(None, "customer_id"), *({**ORDER, "customer_id": value} for value in values))


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
