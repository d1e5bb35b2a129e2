#!/usr/bin/env python3
"""Dead letters of any origin: watch them, list them, group them, show one, and put them right.

Owns: the verbs and their flags, and how settings become what the verbs work with.
Does not know: how dead letters are read, explained, chosen or shown (browse, dialects, selection, render).
Used by: people; without a verb it tails: the last ten first, then each new one as it comes.
"""

import argparse
import difflib
import shutil
import sys
from typing import Callable, List, NamedTuple, Sequence, TextIO, Tuple

import config
from orderflow.avro.codec import OrderDecoder, OrderEncoder
from orderflow.avro.schema import SchemaRefused
from orderflow.avro.schema_store import RegistryConfig, RegistryMisconfigured, SchemaRejected, SchemaStore
from orderflow.cli.run import arguments, run
from orderflow.cli.signals import StopSignals
from orderflow.cli.terminal import has_colour
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.letter import STATES
from orderflow.dlq.replay import flags as replay_flags
from orderflow.dlq.selection import Selection, SelectionError, Wanted, selection
from orderflow.dlq.verbs import discard, export_and_import, groups_and_stats, jobs, replay, tail, waiting
from orderflow.dlq.verbs.list_and_show import Show, list_letters, show
from orderflow.dlq.verbs.tail import Tail
from orderflow.errors import RegistryUnavailable
from orderflow.exits import CommandError, UsageError

EXAMPLES = (
    "python dlq_handler.py                                   the last ten, then follow",
    "python dlq_handler.py groups --since 24h                what fails, how often, since when",
    "python dlq_handler.py list -g 7f3a -c 20                twenty of one group",
    "python dlq_handler.py show 0:1234 --stack               one in full",
    "python dlq_handler.py list --where 'price > 100' --json | jq .payload",
    "python dlq_handler.py tail --new-groups --exec 'mail -s new-failure oncall'",
    "python dlq_handler.py stats -o s@2026-11-24T08:00 -o e@2026-11-24T09:00",
)
SETTINGS = (
    *("dlq_topic", "audit_topic", "orders_topic", "consumer_group"),
    *("max_order_bytes", "schema_registry_url"),
)


class Verb(NamedTuple):
    """One thing to do: its names, what it is, its own flags, and the function that does it."""

    names: Sequence[str]
    meaning: str
    add_flags: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Desk, argparse.Namespace], int]


def main(argv: Sequence[str], out: TextIO, err: TextIO) -> int:
    """Parse, open, do what was asked; the result is the exit code."""
    args = build_parser().parse_args(with_verb(argv))
    settings = config.load(args)
    with StopSignals(err) as signals:
        return int(args.run(open_desk(args, settings, out, err, signals), args))


def with_verb(argv: Sequence[str]) -> List[str]:
    """The arguments, with `tail` in front where there is no verb. A misspelt verb is refused."""
    names = [name for verb in VERBS for name in verb.names]
    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        return ["tail", *argv]
    if argv[0] not in names and argv[0] not in ("-h", "--help"):
        near = difflib.get_close_matches(argv[0], names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise UsageError(f"no verb {argv[0]!r}; {hint}")
    return list(argv)


def open_desk(
    args: argparse.Namespace, settings: config.Settings, out: TextIO, err: TextIO, signals: StopSignals
) -> Desk:
    """What the verbs work with, from the settings."""
    try:
        store = SchemaStore(config.ORDER_SCHEMA, config.SCHEMA_VERSIONS, RegistryConfig.of(settings))
    except (SchemaRefused, RegistryMisconfigured) as error:
        raise UsageError(str(error)) from error
    return Desk(
        client=config.client_config(settings),
        dlq_topic=settings.dlq_topic,
        audit_topic=settings.audit_topic,
        orders_topic=settings.orders_topic,
        consumer_group=settings.consumer_group,
        decoder=OrderDecoder(store.reader, store.find_writer, settings.max_order_bytes),
        encoder=lambda: _encoder(store, settings),
        out=out,
        err=err,
        signals=signals,
        json=args.json,
        width=shutil.get_terminal_size().columns if out.isatty() else None,
        colour=has_colour(out),
    )


def _encoder(store: SchemaStore, settings: config.Settings) -> OrderEncoder:
    try:
        return store.producer_encoder(settings.orders_topic, settings.schema_registry_register)
    except (SchemaRejected, RegistryUnavailable) as error:
        raise CommandError(f"nothing was sent: {error}") from error


# --- Flags ---


def build_parser() -> argparse.ArgumentParser:
    """The parser: one subparser a verb, the same selection and settings on each."""
    parser = arguments(__doc__ or "", EXAMPLES)
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        name, *aliases = verb.names
        sub = verbs.add_parser(
            name,
            aliases=aliases,
            help=verb.meaning,
            description=verb.meaning,
            allow_abbrev=False,
            formatter_class=parser.formatter_class,
        )
        verb.add_flags(sub)
        add_selection(sub)
        sub.add_argument("-J", "--json", action="store_true", help="one JSON object a line")
        config.add_flags(sub, SETTINGS)
        sub.set_defaults(run=verb.run)
    return parser


def add_selection(parser: argparse.ArgumentParser) -> None:
    """The filters: ANDed, and a repeated one ORed with itself."""
    group = parser.add_argument_group("selection (all must hold; a repeated one: any of them)")

    def many(*names: str, metavar: str, text: str, dest: str) -> None:
        group.add_argument(*names, dest=dest, action="append", metavar=metavar, default=[], help=text)

    group.add_argument(
        "-p",
        "--partition",
        dest="partitions",
        action="append",
        type=int,
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
    group.add_argument("-c", "--limit", type=int, metavar="N", help="take at most so many")
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
        text="on the order, as 'price * quantity > 400 and not customer_id ~ \"TEST-*\"': = <> < <= > >=, "
        "~ and !~ (glob), in (…), is null, and, or, not, + - * / %%",
    )


def selected(desk: Desk, args: argparse.Namespace) -> Selection:
    """The selection that was typed. Raises UsageError for one that cannot be read."""
    wanted = Wanted(**{name: getattr(args, name) for name in Wanted._fields})
    try:
        return selection(wanted, order_fields(desk), now_ms())
    except SelectionError as error:
        raise UsageError(str(error)) from error


def order_fields(desk: Desk) -> List[str]:
    """The fields of an order, by today's schema."""
    return [str(field["name"]) for field in desk.decoder.reader.parsed["fields"]]


def tail_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `tail`."""
    parser.add_argument("-e", "--exit", action="store_true", help="end instead of following")
    parser.add_argument(
        "--new-groups",
        action="store_true",
        help="only failures of a kind never seen before; ends with 5 at the first, unless --exec",
    )
    parser.add_argument(
        "--exec", metavar="CMD", help="run for each new one, which it reads as JSON from its input"
    )


def show_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of `show`."""
    parser.add_argument("positions", nargs="*", metavar="POSITION", help=replay_flags.POSITIONS)
    parser.add_argument("--stack", action="store_true", help="with the stack trace, if it carries one")
    parser.add_argument("--history", action="store_true", help="with its earlier deaths, if it was replayed")
    parser.add_argument(
        "--raw", action="store_true", help="the bytes of its value, nothing else; not to a terminal"
    )


def no_flags(parser: argparse.ArgumentParser) -> None:
    """For verbs with no flags of their own."""


# --- Verbs ---


def run_tail(desk: Desk, args: argparse.Namespace) -> int:
    """`tail`."""
    return tail.tail(desk, Tail(selected(desk, args), args.exit, args.new_groups, args.exec))


def run_list(desk: Desk, args: argparse.Namespace) -> int:
    """`list`."""
    return list_letters(desk, selected(desk, args))


def run_groups(desk: Desk, args: argparse.Namespace) -> int:
    """`groups`."""
    return groups_and_stats.show_groups(desk, selected(desk, args), all_states=bool(args.states))


def run_stats(desk: Desk, args: argparse.Namespace) -> int:
    """`stats`."""
    return groups_and_stats.show_stats(desk, selected(desk, args))


def run_waiting(desk: Desk, args: argparse.Namespace) -> int:
    """`waiting`."""
    return waiting.show_waiting(desk, selected(desk, args))


def run_show(desk: Desk, args: argparse.Namespace) -> int:
    """`show`."""
    chosen = selected(desk, args)
    places = replay_flags.places_of(desk, args.positions)
    if not places and chosen.is_everything:
        raise UsageError("show what? Give PARTITION:OFFSET, or choose with -g, --key and the like")
    return show(desk, Show(places, chosen, args.stack, args.history, args.raw))


VERBS: Tuple[Verb, ...] = (
    Verb(("tail",), "follow new failures, the last ten first", tail_flags, run_tail),
    Verb(("list", "ls"), "one line for each dead letter", no_flags, run_list),
    Verb(("groups",), "kinds of failure: how often, when, an example", no_flags, run_groups),
    Verb(("show",), "one dead letter in full", show_flags, run_show),
    Verb(("stats",), "totals, failures by hour, retention", no_flags, run_stats),
    Verb(("waiting",), "orders that wait for a retry now", no_flags, run_waiting),
    Verb(
        ("replay", "redrive", "retry"),
        "send them again, exactly once",
        replay_flags.add_flags,
        replay.run,
    ),
    Verb(("discard",), "mark as resolved, or take that back", discard.add_flags, discard.run),
    Verb(
        ("export",),
        "lossless to a file, or CSV",
        export_and_import.add_export_flags,
        export_and_import.run_export,
    ),
    Verb(
        ("import",), "from a file of export", export_and_import.add_import_flags, export_and_import.run_import
    ),
    Verb(("jobs",), "past replays: list, show, resume", jobs.add_flags, jobs.run),
)

if __name__ == "__main__":
    sys.exit(run(main))
