"""Sums, and who they belong to, for people and for machines."""

from decimal import Decimal
from typing import Any, List, Optional, Tuple

from orderflow.dlq.output.envelope import Json, plain, to_json
from orderflow.dlq.output.listing import Lines, columns
from orderflow.dlq.sums import Sum, Sums
from orderflow.dlq.tally import NOT_CARRIED
from orderflow.model.text import escape, plural

MOST_OWNERS = 10
"""Shown one by one; the others are counted together."""
MOST_IN_JSON = 1_000
MOST_PLACES = 6
"""Digits behind the point that people are shown; a machine gets all."""


def decimal_text(number: Decimal) -> str:
    """`12,345.50`: all of its digits, but for a fraction that does not end soon."""
    exponent = number.as_tuple().exponent
    is_long = isinstance(exponent, int) and exponent < -MOST_PLACES
    return f"{number:,.{MOST_PLACES}f}" if is_long else f"{number:,f}"


def sum_row(one: Sum) -> Json:
    """A sum as an object; the total is text, since not every reader of JSON keeps all digits of a number."""
    return {
        "total": f"{one.total:f}",
        "of": one.count - one.left_out,
        "undecodable": one.undecodable,
        "no_number": one.no_number,
    }


def sums_row(sums: Sums) -> Json:
    """All that was added up, as an object."""
    row: Json = {}
    if sums.wanted.sum is not None:
        row["sum"] = {"expression": sums.wanted.sum, **sum_row(sums.all)}
    if sums.wanted.by is not None:
        owners = sums.owners(MOST_IN_JSON)
        row["by"] = {
            "name": sums.wanted.by,
            "rows": [_owner_row(sums, owner, one) for owner, one in owners.first],
            "others": None if owners.others is None else _others_row(sums, owners.others),
            "number_of_others": owners.number_of_others,
        }
    return row


def _owner_row(sums: Sums, owner: Any, one: Sum) -> Json:
    return {"value": plain(owner), **_others_row(sums, one)}


def _others_row(sums: Sums, one: Sum) -> Json:
    return {"count": one.count, **({} if sums.wanted.sum is None else {"sum": sum_row(one)})}


def total_text(sums: Sums) -> Optional[str]:
    """The total, where one was asked for."""
    return None if sums.wanted.sum is None else decimal_text(sums.all.total)


def total_line(sums: Sums) -> Lines:
    """`sum 12,345.50 of price * quantity over 1,200 orders`."""
    if sums.wanted.sum is None:
        return
    added = plural(sums.all.count - sums.all.left_out, "order")
    yield f"sum {decimal_text(sums.all.total)} of {escape(sums.wanted.sum)} over {added}"


def left_out_line(sums: Sums) -> Lines:
    """What the total does not hold, and why."""
    if not sums.all.left_out:
        return
    parts = [
        f"{number:,} {why}"
        for number, why in (
            (sums.all.undecodable, "cannot be decoded"),
            (sums.all.no_number, f"have no number for {escape(sums.wanted.sum or '')}"),
        )
        if number
    ]
    yield f"not in the sum: {', '.join(parts)}"


def owner_lines(sums: Sums, width: Optional[int]) -> Lines:
    """Whose they are: the largest, and the others together."""
    if sums.wanted.by is None:
        return
    owners, with_sums = sums.owners(MOST_OWNERS), sums.wanted.sum is not None
    heading = (escape(sums.wanted.by).upper(), "COUNT", *(("SUM",) if with_sums else ()))
    table: List[Tuple[str, ...]] = [heading]
    table += [_owner_cells(owner_text(owner), one, with_sums) for owner, one in owners.first]
    if owners.others is not None:
        about = "" if owners.is_complete else "about "
        name = f"{about}{plural(owners.number_of_others, 'other')}"
        table.append(_owner_cells(name, owners.others, with_sums))
    yield from columns(table, width, right=(1, 2))


def owner_text(owner: Any) -> str:
    """The name of an owner."""
    if owner is None:
        return NOT_CARRIED
    shown = plain(owner)
    return escape(shown) if isinstance(shown, str) else to_json(shown)


def _owner_cells(name: str, one: Sum, with_sums: bool) -> Tuple[str, ...]:
    return (name, f"{one.count:,}", *((decimal_text(one.total),) if with_sums else ()))


def lines(sums: Sums, width: Optional[int]) -> Lines:
    """All of it, for the end of an output that has no head line."""
    yield from total_line(sums)
    yield from left_out_line(sums)
    yield from owner_lines(sums, width)
