"""The flags that add orders up, the same for every verb that shows many, and what they stand for."""

import argparse

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
    """What is to be added up. Raises UsageError."""
    if args.by in desk.mask.names:
        raise UsageError(f"--by {args.by}: it is hidden (MASKED_FIELDS); --unmask asks")
    try:
        return Sums(Wanted(args.sum, args.by), order_fields(desk))
    except SelectionError as error:
        raise UsageError(str(error)) from error
