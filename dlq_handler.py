#!/usr/bin/env python3
"""Dead letters of any origin: watch them, list them, group them, show one, and put them right.

Here are the verbs by name, and how settings become what a verb works with. Without a verb it tails. What is
imported in functions is slow to import, and `--help` does without it.
"""

if __name__ == "__main__":  # before the imports that take their time
    from orderflow.cli.signals import end_at_once

    end_at_once()

import argparse
import difflib
import importlib
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from orderflow.cli.arguments import WrongArguments, arguments
from orderflow.cli.log import TEXT
from orderflow.cli.output import Notes, Output
from orderflow.cli.pager import paged, pager_of
from orderflow.cli.quick_end import QuickEnd
from orderflow.cli.run import run
from orderflow.cli.signals import StopSignals
from orderflow.exits import CodeUnusable, CommandError, UsageError

if TYPE_CHECKING:
    import config
    from orderflow.avro.codec import OrderEncoder
    from orderflow.avro.schema import Schema
    from orderflow.avro.schema_store import SchemaStore
    from orderflow.dlq.desk import Desk
    from orderflow.dlq.masking import Mask
    from orderflow.model.orders import OrderRules

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
    *("dlq_topic", "audit_topic", "orders_topic", "ledger_topic", "consumer_group"),
    *("order_schema", "schema_versions", "rules", "max_order_bytes", "schema_registry_url", "log_format"),
)


ABOUT = ("-h", "--help", "--version")
"""Flags that need no verb."""


class Verb(NamedTuple):
    """One thing to do: its names, what it is, and the file in orderflow/dlq/verbs that does it."""

    names: Tuple[str, ...]
    meaning: str
    file: str
    paged: bool = False
    """Whether long output goes through the user's pager."""
    selects: bool = True
    """Whether it has the flags that choose dead letters: what it cannot heed, it does not take."""

    def load(self) -> Any:
        """Its module, with `add_flags` and `run`."""
        return importlib.import_module(f"orderflow.dlq.verbs.{self.file}")


VERBS: Tuple[Verb, ...] = (
    Verb(("tail",), "follow new failures, the last ten first", "tail"),
    Verb(("list", "ls"), "one line for each dead letter", "list", paged=True),
    Verb(("groups",), "kinds of failure: how often, when, an example", "groups", paged=True),
    Verb(("show",), "one dead letter in full", "show", paged=True),
    Verb(("stats",), "totals, failures by hour, retention", "stats", paged=True),
    Verb(("health",), "is all well? one verdict, 0, 1 or 5", "health", paged=True, selects=False),
    Verb(("report",), "one page of it all, as a file", "report"),
    Verb(("watch",), "one live screen over all of it", "watch"),
    Verb(("waiting",), "orders that wait for a retry: list, try now, give up", "waiting", paged=True),
    Verb(("replay", "redrive", "retry"), "send them again, exactly once", "replay"),
    Verb(("discard",), "mark as resolved, or take that back", "discard"),
    Verb(("export",), "lossless to a file, or CSV", "export"),
    Verb(("import",), "from a file of export", "import_file", selects=False),
    Verb(("erase",), "what Kafka holds of a key, deleted as far as it can", "erase", selects=False),
    Verb(("jobs",), "past replays: list, show, resume", "jobs", selects=False),
    Verb(("serve",), "dead letters as a stock, for Prometheus", "serve"),
)


def main(argv: Sequence[str], out: Output, err: Notes) -> int:
    """Parse, open, do what was asked; the result is the exit code."""
    args = parse(argv)
    may_ask = getattr(args, "do", None)  # a pager would hide the question
    pager = pager_of(out) if args.paged and not may_ask else None
    import config

    settings = config.load(args)
    from orderflow.dlq.unmasking import unmasked

    with StopSignals(err) as signals, paged(out, pager) as shown:
        desk = open_desk(args, settings, shown, err, signals)
        return int(args.run(unmasked(desk) if args.unmask else desk, args))


def log_format(argv: Sequence[str]) -> str:
    """How to write on stderr: as LOG_FORMAT says, unless only the help is wanted."""
    if argv and argv[0] in ABOUT:
        return TEXT
    import config

    return config.log_format(argv)


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """What was typed, with `run` of the verb. Raises UsageError for a misspelt verb."""
    words = with_verb(argv)
    try:
        return build_parser(words[0]).parse_args(words)
    except WrongArguments as wrong:
        late = [word for word in wrong.unknown if word in _names()]
        if late and argv[0].startswith("-"):
            raise UsageError(f"the verb comes first: dlq_handler.py {late[0]} …") from None
        raise


def with_verb(argv: Sequence[str]) -> List[str]:
    """The arguments, with `tail` in front where there is no verb. A misspelt verb is refused."""
    names = _names()
    if argv and argv[0] in ABOUT:
        return list(argv)
    if not argv or argv[0].startswith("-"):
        return ["tail", *argv]
    if argv[0] not in names:
        near = difflib.get_close_matches(argv[0], names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
        raise UsageError(f"no verb {argv[0]!r}; {hint}")
    return list(argv)


def _names() -> List[str]:
    return [name for verb in VERBS for name in verb.names]


def build_parser(asked: Optional[str] = None) -> argparse.ArgumentParser:
    """The parser: all verbs by name, and the flags of the one that was asked for."""
    parser = arguments(__doc__, EXAMPLES)
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
        if asked in verb.names:
            _add_flags(sub, verb)
    return parser


def _add_flags(parser: argparse.ArgumentParser, verb: Verb) -> None:
    """Its own flags, then the selection, if it selects, and the settings: they are the same for each."""
    import config
    from orderflow.dlq import selection_flags

    module = verb.load()
    module.add_flags(parser)
    if verb.selects:
        selection_flags.add_flags(parser)
    parser.add_argument("-J", "--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--unmask", action="store_true", help="show what MASKED_FIELDS hides, after asking")
    config.add_flags(parser, SETTINGS, topic="dlq_topic")
    parser.set_defaults(run=module.run, paged=verb.paged)


def open_desk(
    args: argparse.Namespace, settings: "config.Settings", out: Output, err: Notes, signals: StopSignals
) -> "Desk":
    """What the verbs work with, from the settings."""
    import config
    from orderflow.avro.codec import OrderDecoder
    from orderflow.dlq.desk import Desk

    store = _schemas(settings)
    return Desk(
        client=config.client_config(settings),
        dlq_topic=settings.dlq_topic,
        audit_topic=settings.audit_topic,
        orders_topic=settings.orders_topic,
        consumer_group=settings.consumer_group,
        decoder=OrderDecoder(
            store.reader, store.find_writer, settings.max_order_bytes, _find_rules(settings.rules)
        ),
        encoder=lambda: _encoder(store, settings),
        field_values=lambda fields: _field_values(store.reader, fields),
        out=out,
        err=err,
        signals=signals,
        json=args.json,
        mask=_mask(settings, store.reader),
        ledger_topic=settings.ledger_topic,
        typed=config.typed_again(args),
    )


def _mask(settings: "config.Settings", schema: "Schema") -> "Mask":
    """What is hidden. The key is a field of the order, so it is hidden with that field."""
    from orderflow.dlq.masking import Mask
    from orderflow.model.hidden import hidden_names

    fields = [field["name"] for field in schema.parsed["fields"]]
    try:
        return Mask(hidden_names(settings.masked_fields or (), fields, settings.order_key))
    except ValueError as error:
        raise UsageError(f"MASKED_FIELDS: {error}") from error


def _field_values(schema: "Schema", fields: Mapping[str, Any]) -> Dict[str, Any]:
    from orderflow.avro.order_fields import fields_of

    readers = {field.name: field.spelling.from_json for field in fields_of(schema.parsed)}
    values = {}
    for name, value in fields.items():
        try:
            values[name] = readers[name](value)
        except KeyError:
            raise ValueError(f"{name}: is no field of an order") from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{name}: {error}") from None
    return values


def _schemas(settings: "config.Settings") -> "SchemaStore":
    from orderflow.avro.schema import SchemaRefused
    from orderflow.avro.schema_store import RegistryConfig, RegistryMisconfigured, SchemaStore

    try:
        return SchemaStore(settings.order_schema, settings.schema_versions, RegistryConfig.of(settings))
    except (SchemaRefused, RegistryMisconfigured) as error:
        raise UsageError(str(error)) from error


def _find_rules(name: Optional[str]) -> "Optional[Callable[[], OrderRules]]":
    """Loads the rules of RULES when a verb is about to judge orders: most verbs never do."""

    def find_rules() -> "OrderRules":
        from orderflow.consume.handler import HandlerUnusable
        from orderflow.consume.own_rules import load_rules

        try:
            return load_rules(str(name))
        except HandlerUnusable as error:
            raise CodeUnusable(str(error), error.traceback) from error

    return None if name is None else find_rules


def _encoder(store: "SchemaStore", settings: "config.Settings") -> "OrderEncoder":
    from orderflow.avro.schema_store import SchemaRejected
    from orderflow.errors import RegistryUnavailable

    try:
        return store.producer_encoder(settings.orders_topic, settings.schema_registry_register)
    except (SchemaRejected, RegistryUnavailable) as error:
        raise CommandError.because("nothing was sent", error) from error


if __name__ == "__main__":
    quick_end = QuickEnd()
    sys.exit(quick_end.coded(run(main, log_format=log_format)))
