"""The flags that add orders up, the same for every verb that shows many, and what they stand for."""

import argparse
from typing import FrozenSet

from orderflow.dlq.desk import Desk
from orderflow.dlq.selection import SelectionError
from orderflow.dlq.selection_flags import order_fields
from orderflow.dlq.sums import Sums, Wanted
from orderflow.exits import UsageError


def add_flags(parser: argparse.ArgumentParser) -> None:
    """`--sum` and `--by`."""
    parser.add_argument(
        "--sum", metavar="EXPR", help="add up over the orders, exactly, in decimal: 'price * quantity'"
    )
    parser.add_argument("--by", metavar="NAME", help="whose they are: a field as customer_id, or key")


def sums_of(desk: Desk, args: argparse.Namespace) -> Sums:
    """What is to be added up. Raises UsageError.

    A sum over one order is its value, so nothing hidden is added up either.
    """
    try:
        sums = Sums(Wanted(args.sum, args.by), order_fields(desk), desk.mask)
        for flag, text in (("--sum", args.sum), ("--by", args.by)):
            hidden = desk.mask.names & parts_of(sums.names_in(text))
            if hidden:
                names = ", ".join(sorted(hidden))
                raise UsageError(f"{flag} {text}: {names} is hidden (MASKED_FIELDS); --unmask asks")
        return sums
    except SelectionError as error:
        raise UsageError(str(error)) from error


def parts_of(names: FrozenSet[str]) -> FrozenSet[str]:
    """The names of fields in paths as `to.email`."""
    return frozenset(part for name in names for part in name.split("."))
