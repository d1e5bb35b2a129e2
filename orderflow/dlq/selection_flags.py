"""The flags that choose dead letters, the same for every verb that can, and the selection they stand for."""

import argparse
from typing import List, Sequence, Tuple

from orderflow.cli.values import argument, whole
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.letter import STATES
from orderflow.dlq.selection import Selection, SelectionError, Wanted, at_places, selection
from orderflow.dlq.where import conditions
from orderflow.exits import UsageError
from orderflow.model.records import Place, read_position

POSITIONS = "single ones: PARTITION:OFFSET, TOPIC:PARTITION:OFFSET or TOPIC-PARTITION-OFFSET"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The filters: ANDed, and a repeated one ORed with itself."""
    group = parser.add_argument_group("selection (all must hold; a repeated one: any of them)")

    def many(*names: str, metavar: str, text: str, dest: str) -> None:
        group.add_argument(*names, dest=dest, action="append", metavar=metavar, default=[], help=text)

    group.add_argument(
        "-p",
        "--partition",
        dest="partitions",
        action="append",
        type=argument(whole(0, 2**31 - 1)),
        metavar="N",
        default=[],
        help="partition of the dead letter topic",
    )
    many(
        "-o",
        "--offset",
        dest="offsets",
        metavar="POS",
        text="beginning, end, N, -N (last N), s@TIME or e@TIME",
    )
    group.add_argument(
        "-c", "--limit", type=argument(whole(0, 10**18)), metavar="N", help="take at most so many"
    )
    group.add_argument(
        "--since", metavar="TIME", help="died at or after: 2h, 2026-11-24T10:30 or epoch milliseconds"
    )
    group.add_argument("--until", metavar="TIME", help="died before")
    many("-g", "--group", dest="groups", metavar="FP", text="group, by the first digits that `groups` shows")
    many("--reason-code", dest="reason_codes", metavar="GLOB", text="reason code, as decode.*")
    many(
        "--error", dest="errors", metavar="GLOB", text="class, cause or message of the error, as '*Timeout*'"
    )
    many("--key", dest="keys", metavar="KEY", text="key of the record")
    many("--header", dest="headers", metavar="NAME[=VALUE]", text="a header that is there, or has this value")
    many("--source-topic", dest="source_topics", metavar="TOPIC", text="topic that it came from")
    many("--state", dest="states", metavar="STATE", text=f"{', '.join(STATES)}; several with commas")
    many(
        "--where",
        dest="where",
        metavar="COND",
        text="on the order, as 'price * quantity > 400 and not customer_id ~ \"TEST-*\"'; see below",
    )
    parser.add_argument_group("conditions and sums", conditions.GRAMMAR)


def wanted_of(args: argparse.Namespace) -> Wanted:
    """The filters that were typed."""
    return Wanted(**{name: getattr(args, name) for name in Wanted._fields})


def selected(desk: Desk, args: argparse.Namespace, places: Sequence[Place] = ()) -> Selection:
    """The selection that was typed, narrowed to `places` where there are any. Raises UsageError."""
    try:
        return at_places(selection(wanted_of(args), order_fields(desk), now_ms()), places)
    except SelectionError as error:
        raise UsageError(str(error)) from error


def order_fields(desk: Desk) -> List[str]:
    """The fields of an order, by today's schema."""
    return [str(field["name"]) for field in desk.decoder.reader.parsed["fields"]]


def refuse_everything(chosen: Selection, args: argparse.Namespace, verb: str) -> None:
    """Raise UsageError where nothing was selected and `--all` was not said."""
    if chosen.is_everything and not args.all:
        raise UsageError(f"{verb} which? Select with -g, --key, -p and the like, or say --all")


def places_of(desk: Desk, texts: Sequence[str]) -> Tuple[Place, ...]:
    """Positions in the dead letter topic, as (partition, offset). Raises UsageError."""
    return tuple(_place_of(desk, text) for text in texts)


def _place_of(desk: Desk, text: str) -> Place:
    try:
        topic, partition, offset = read_position(text)
    except ValueError as error:
        raise UsageError(f"{error}, as `list` and `show` print it") from None
    if topic not in (None, desk.dlq_topic):
        where = f"source.partition = {partition} and source.offset = {offset}"
        raise UsageError(
            f"{text} is not in {desk.dlq_topic}: choose the topic with --dlq-topic {topic}, or find the dead "
            f"letter of an order with --where '{where}'"
        )
    return partition, offset
