"""The verb `import`: dead letters from a file of export, all of them or none."""

import argparse
import contextlib
import io
import shutil
import tempfile
from typing import Iterator, List, Optional, TextIO, Tuple

from orderflow.cli.run import standard_input
from orderflow.dlq.confirmation import confirm
from orderflow.dlq.desk import Desk
from orderflow.dlq.output import files
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.output.listing import plural
from orderflow.exits import CommandError, Refused, UsageError
from orderflow.kafka import topics
from orderflow.kafka.transactions import Transactions
from orderflow.model.records import Outgoing

STDIN = "-"
MOST_FAULTS_TOLD = 10
TRANSACTION_TIMEOUT_MS = 60_000
"""An import is one transaction: some million lines fit, and after a kill readers wait no longer than this."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of import."""
    parser.add_argument("file", metavar="FILE", help="JSON Lines that export wrote; - for stdin")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(desk: Desk, args: argparse.Namespace) -> int:
    """`import`: every line is checked before the first is sent."""
    if args.file == STDIN and not args.yes:
        raise UsageError("import from stdin leaves nobody to ask: say --yes")
    with _opened(args.file) as file:
        number = _check(file, args.file, desk.dlq_topic)
        if not number:
            desk.note("nothing to import")
            return 0
        desk.require_kafka()
        topics.ensure_topics(desk.client, [topics.dead_letters(desk.dlq_topic)])
        confirm(desk, f"import {plural(number, 'dead letter')} into {desk.dlq_topic}?", args.yes)
        file.seek(0)
        _send_all(desk, file)
    if desk.signals.requested:
        desk.note("stopped: nothing was sent")
        return desk.signals.exit_code
    told = f"{plural(number, 'dead letter')} imported into {desk.dlq_topic}"
    desk.result(to_json({"topic": desk.dlq_topic, "imported": number}) if desk.json else told)
    return 0


@contextlib.contextmanager
def _opened(path: str) -> Iterator[TextIO]:
    """The file, which can be read twice, also if it comes from stdin."""
    if path == STDIN:
        with tempfile.TemporaryFile() as copy:
            try:
                shutil.copyfileobj(standard_input().buffer, copy)
                copy.seek(0)
            except OSError as error:
                raise CommandError(f"cannot keep what comes from stdin: {error.strerror}") from error
            yield io.TextIOWrapper(copy, encoding="utf-8", newline="")
        return
    try:
        file = open(path, encoding="utf-8", newline="")  # noqa: SIM115 - closed below, once it could be opened
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}") from error
    with file:
        yield file


def _check(file: TextIO, name: str, topic: str) -> int:
    """How many lines there are. Raises Refused, with the first faults, unless every one of them is good."""
    number, faults = 0, 0
    told: List[str] = []
    for place, line, fault in _lines(file, topic):
        number += line is not None
        faults += fault is not None
        if fault is not None and len(told) < MOST_FAULTS_TOLD:
            told.append(f"  {name}:{place}: {fault}")
    if faults:
        raise Refused(f"nothing was sent: {plural(faults, 'line')} cannot be imported", *told)
    return number


def _lines(file: TextIO, topic: str) -> Iterator[Tuple[int, Optional[Outgoing], Optional[str]]]:
    """Line number, and the record or what is wrong."""
    try:
        for place, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield place, files.read_line(line, topic), None
            except files.NoDeadLetter as error:
                yield place, None, str(error)
    except UnicodeDecodeError as error:
        raise Refused("nothing was sent: the file is not UTF-8 text") from error


def _send_all(desk: Desk, file: TextIO) -> None:
    """All lines in one transaction, so that a broken import leaves nothing behind."""
    partitions = topics.partition_count(desk.client, desk.dlq_topic)
    name = f"{desk.dlq_topic}-import"
    transactions = Transactions(desk.client, name, desk.note, TRANSACTION_TIMEOUT_MS)
    transactions.open()
    for _, record, _ in _lines(file, desk.dlq_topic):
        if record is not None:
            transactions.send(record._replace(partition=(record.partition or 0) % partitions))
        if desk.signals.requested:
            return transactions.abort()
    transactions.commit()
