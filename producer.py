#!/usr/bin/env python3
"""Publish orders to Kafka: made up, or from a file."""

if __name__ == "__main__":  # before the imports that take their time
    from orderflow.cli.signals import end_at_once

    end_at_once()

import argparse
import contextlib
import math
import sys
from typing import Iterator, Optional, Sequence

import config
from orderflow.avro.codec import OrderDecoder, Schema, SchemaRefused
from orderflow.avro.order_fields import fields_of
from orderflow.avro.schema_store import RegistryConfig, RegistryMisconfigured, SchemaRejected, SchemaStore
from orderflow.cli.arguments import arguments
from orderflow.cli.given_file import open_given
from orderflow.cli.outage import Outage
from orderflow.cli.output import Notes, Output
from orderflow.cli.quick_end import QuickEnd
from orderflow.cli.run import run, standard_input
from orderflow.cli.signals import StopSignals
from orderflow.cli.status import StatusLine
from orderflow.cli.terminal import count
from orderflow.cli.values import RATE, SHARE, ValueType, argument, whole
from orderflow.errors import RegistryUnavailable
from orderflow.exits import CommandError, UsageError
from orderflow.kafka import topics
from orderflow.kafka.reachable import require_kafka
from orderflow.kafka.sizes import fitted
from orderflow.model.text import plural
from orderflow.produce.order_file import JsonLine, OrderFile
from orderflow.produce.publication import Publication, RunLimits
from orderflow.produce.publisher import CLIENT_PROFILE, Publisher
from orderflow.produce.record_key import KeyOf, key_reader
from orderflow.produce.record_source import RecordSource, Wire
from orderflow.produce.undelivered import Undelivered

EXAMPLES = (
    "python producer.py                             made-up orders until Ctrl-C",
    "python producer.py --rate 10/s --invalid 5%    slowly, some of them broken",
    "python producer.py --count 1000 --seed 7       the same thousand orders each time",
    "python producer.py --input orders.csv          the orders of a CSV or JSON Lines file",
    "zcat orders.csv.gz | python producer.py --input -",
    "python producer.py --input undelivered.jsonl   what could not be delivered last time",
    "python producer.py -b kafka:9093 -X security.protocol=SSL -X ssl.ca.location=ca.pem",
)
SETTINGS = (
    *("orders_topic", "order_key", "order_schema", "schema_versions", "shutdown_timeout_s"),
    *("schema_registry_url", "schema_registry_register", "log_format"),
)


def main(argv: Sequence[str], out: Output, err: Notes) -> int:
    """Publish as the arguments say; returns the exit code."""
    flags = _parser().parse_args(argv)
    settings = config.load(flags)
    store = _schema_store(settings)
    key_of = key_reader(store.reader, settings.order_key)
    with _opened(flags.input, store.reader) as file:
        conf = config.client_config(settings)
        require_kafka(conf)
        topics.ensure_topics(conf, [topics.orders(settings.orders_topic)])
        wire = _wire(store, key_of, settings)
        source = RecordSource(wire, file, flags.invalid or 0.0, flags.seed)
        with StopSignals(err) as stop:
            return _publish(flags, settings, source, wire, stop, err)


def _publish(
    flags: argparse.Namespace,
    settings: config.Settings,
    source: RecordSource,
    wire: Wire,
    stop: StopSignals,
    err: Notes,
) -> int:
    status = StatusLine(err)
    outage = Outage(status.tell, settings.bootstrap_servers)
    read = JsonLine(fields_of(wire.schema.parsed))
    undelivered = Undelivered(wire.decode, wire.encode, wire.key_of, read)
    client = config.client_config(settings)
    accepted_bytes = topics.max_message_bytes(client, settings.orders_topic)
    profile = config.client_config(settings, **CLIENT_PROFILE)
    conf = profile if accepted_bytes is None else fitted(profile, [accepted_bytes])
    publisher = Publisher(conf, settings.orders_topic, outage, undelivered.keep)
    publication = Publication(publisher, source, _limits(flags, settings), stop, status)
    publication.run()
    undelivered.close()
    for trouble in (*publication.troubles(), *_failed(publisher, undelivered)):
        err.tell("trouble", detail=trouble)
    if undelivered.kept:
        again = f"python producer.py --input {undelivered.path}{config.typed_again(flags)}"
        err.tell("undelivered", path=str(undelivered.path), orders=undelivered.kept, command=again)
    err.tell("ended", **publication.account._asdict())
    return publication.exit_code


def _failed(publisher: Publisher, undelivered: Undelivered) -> Iterator[str]:
    """How many orders were not published, and why."""
    if not publisher.failed:
        return
    why = "; ".join(sorted(publisher.reasons - {publisher.hopeless}))
    doubt = "; some may have arrived after all" if publisher.doubtful else ""
    yield f"{plural(publisher.failed, 'order was', 'orders were')} not published{why and f' ({why})'}{doubt}"
    if undelivered.lost is not None:
        yield f"{count(publisher.failed - undelivered.kept)} of them could not be kept: {undelivered.lost}"


def _schema_store(settings: config.Settings) -> SchemaStore:
    try:
        return SchemaStore(settings.order_schema, settings.schema_versions, RegistryConfig.of(settings))
    except (SchemaRefused, RegistryMisconfigured) as error:
        raise UsageError(str(error)) from error


def _wire(store: SchemaStore, key_of: KeyOf, settings: config.Settings) -> Wire:
    try:
        encoder = store.producer_encoder(settings.orders_topic, settings.schema_registry_register)
    except (SchemaRejected, RegistryUnavailable) as error:
        raise CommandError.because("nothing was sent", error) from error
    decoder = OrderDecoder(store.reader, lambda ref: store.reader, settings.max_order_bytes)
    return Wire(encoder, decoder, key_of, own_rules=settings.rules is not None)


# --- Arguments ---


def _parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__, EXAMPLES)
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="publish the orders of this CSV or JSON Lines file, - for stdin; each must have "
        "every field with the right type; the consumer checks the rules",
    )
    _add(parser, "--count", whole(0, 10**18), "stop after N records (default: at the end)")
    _add(parser, "--rate", RATE, "send at most this many: 10/s, 500/min or 90/h")
    _add(
        parser,
        "--invalid",
        SHARE,
        "mix in this share of records that cannot be processed, of every kind that the schema allows: "
        "negative price, zero quantity, empty id, truncated bytes, unknown schema, foreign framing",
    )
    _add(parser, "--seed", whole(0, 10**18), "make up the same orders each time, including ids and times")
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first bad line of the input, with exit code 1"
    )
    config.add_flags(parser, SETTINGS)
    return parser


def _add(parser: argparse.ArgumentParser, flag: str, kind: ValueType, meaning: str) -> None:
    parser.add_argument(flag, metavar=kind.metavar, type=argument(kind), help=meaning)


def _limits(flags: argparse.Namespace, settings: config.Settings) -> RunLimits:
    records = math.inf if flags.count is None else flags.count
    return RunLimits(
        records, 1 / flags.rate if flags.rate else 0.0, flags.strict, settings.shutdown_timeout_s
    )


@contextlib.contextmanager
def _opened(path: Optional[str], schema: Schema) -> Iterator[Optional[OrderFile]]:
    """The input file, stdin for `-`, None if orders are made up."""
    if path is None:
        yield None
    elif path == "-":
        yield OrderFile(standard_input().buffer, "stdin", fields_of(schema.parsed))
    else:
        with open_given(path) as stream:
            yield OrderFile(stream, path, fields_of(schema.parsed))


if __name__ == "__main__":
    quick_end = QuickEnd()
    sys.exit(quick_end.coded(run(main, log_format=config.log_format)))
