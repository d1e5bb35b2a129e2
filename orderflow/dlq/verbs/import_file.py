"""The verb `import`: dead letters from a file of export, all of them or none."""

import argparse
import contextlib
import hashlib
import io
import shutil
import tempfile
from array import array
from typing import Callable, Iterator, List, NamedTuple, Optional, TextIO, Tuple

from orderflow.cli.given_file import open_given
from orderflow.cli.run import standard_input
from orderflow.dlq.confirmation import confirm
from orderflow.dlq.dating import Dating, dating_of
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.output import files
from orderflow.dlq.output.envelope import to_json
from orderflow.exits import CommandError, Refused, UsageError
from orderflow.kafka import topics
from orderflow.kafka.transactions import RecordsRefused, Transactions
from orderflow.model.records import NO_TIME_MS, Outgoing
from orderflow.model.text import plural
from orderflow.model.time_spans import write_span

STDIN = "-"
MOST_FAULTS_TOLD = 10
USUALLY_KEPT_MS = 86_400_000
"""Of what is older, it is said where nobody can know how long the topic keeps it."""
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
        checked = _check(file, args.file, desk.dlq_topic)
        number = len(checked.times)
        if not number:
            desk.note("nothing to import")
            return 0
        desk.require_kafka()
        topics.ensure_topics(desk.client, [topics.dead_letters(desk.dlq_topic)])
        dated = _dated(desk, checked.times)
        confirm(desk, f"import {plural(number, 'dead letter')} into {desk.dlq_topic}?", args.yes)
        file.seek(0)
        try:
            _send_all(desk, file, dated, checked)
        except RecordsRefused as refusal:
            raise Refused(*_refused_lines(args.file, refusal)) from refusal
    if desk.signals.requested:
        desk.note("stopped: nothing was sent")
        return desk.signals.exit_code
    told = f"{plural(number, 'dead letter')} imported into {desk.dlq_topic}"
    row = {"topic": desk.dlq_topic, "imported": number, "dated_anew": dated.anew}
    desk.result(to_json(row) if desk.json else told)
    return 0


def _refused_lines(name: str, refusal: RecordsRefused) -> List[str]:
    """Kafka may refuse a whole batch for one, so these are the lines among which it is."""
    lines = list(refusal.reasons.items())
    told = [f"  {name}:{line}: {reason}" for line, reason in lines[:MOST_FAULTS_TOLD]]
    return [f"nothing was sent: Kafka refuses {plural(len(lines), 'line')}", *told]


class Dated(NamedTuple):
    """How the times of a file are sent."""

    dating: Dating
    now_ms: int
    anew: int
    """How many get the time of the import."""


def _dated(desk: Desk, times: "array[int]") -> Dated:
    """Say which are dated anew, since the topic would delete or refuse them; or that nobody can know."""
    settings, now = topics.settings_of(desk.client, desk.dlq_topic), now_ms()
    known = [None if at_ms == NO_TIME_MS else at_ms for at_ms in times]
    dating = dating_of(settings)
    anew = sum(dating.time_for(at_ms, now) not in (at_ms, NO_TIME_MS) for at_ms in known)
    if anew:
        kept = "" if dating.keeps_ms is None else f", as it keeps records for {write_span(dating.keeps_ms)}"
        desk.note(
            f"{anew:,} get the time of this import: with their own, {desk.dlq_topic} would refuse them "
            f"or delete them soon{kept}"
        )
    oldest = min((at_ms for at_ms in known if at_ms is not None), default=now)
    if not settings and now - oldest > USUALLY_KEPT_MS:
        desk.note(
            f"the settings of {desk.dlq_topic} cannot be read: if it keeps records for less than "
            f"{write_span(now - oldest)}, it deletes the oldest of these soon"
        )
    return Dated(dating, now, anew)


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
    with io.TextIOWrapper(open_given(path), encoding="utf-8", newline="") as file:
        yield file


class Checked(NamedTuple):
    """A file whose every line is good."""

    name: str
    times: "array[int]"
    """Of each line, in epoch milliseconds."""
    sha256: str
    """Of all its lines: while somebody is asked, a file can be changed."""


def _check(file: TextIO, name: str, topic: str) -> Checked:
    """Raises Refused, with the first faults, unless every line is good."""
    times, faults = array("q"), 0
    told: List[str] = []
    hashed = hashlib.sha256()
    for place, line, fault in _lines(file, topic, hashed.update):
        if line is not None:
            times.append(NO_TIME_MS if line.timestamp_ms is None else line.timestamp_ms)
        faults += fault is not None
        if fault is not None and len(told) < MOST_FAULTS_TOLD:
            told.append(f"  {name}:{place}: {fault}")
    if faults:
        raise Refused(f"nothing was sent: {plural(faults, 'line')} cannot be imported", *told)
    return Checked(name, times, hashed.hexdigest())


def _lines(
    file: TextIO, topic: str, see: Callable[[bytes], object]
) -> Iterator[Tuple[int, Optional[Outgoing], Optional[str]]]:
    """Line number, and the record or what is wrong. `see` gets every line as it is read."""
    try:
        for place, line in enumerate(file, 1):
            see(line.encode())
            if not line.strip():
                continue
            try:
                yield place, files.read_line(line, topic), None
            except files.NoDeadLetter as error:
                yield place, None, str(error)
    except UnicodeDecodeError as error:
        raise Refused("nothing was sent: the file is not UTF-8 text") from error


def _send_all(desk: Desk, file: TextIO, dated: Dated, checked: Checked) -> None:
    """All lines in one transaction, so that a broken import leaves nothing behind.

    Raises Refused where they are not those that were checked.
    """
    partitions = topics.partition_count(desk.client, desk.dlq_topic)
    name = f"{desk.dlq_topic}-import"
    rooms = [topics.max_message_bytes(desk.client, desk.dlq_topic) or topics.DEFAULT_MAX_BYTES]
    transactions = Transactions(desk.client, name, desk.note, TRANSACTION_TIMEOUT_MS, rooms)
    transactions.open()
    hashed = hashlib.sha256()
    for line, record, _ in _lines(file, desk.dlq_topic, hashed.update):
        if record is not None:
            at_ms = dated.dating.time_for(record.timestamp_ms, dated.now_ms)
            partition = (record.partition or 0) % partitions
            transactions.send(record._replace(partition=partition, timestamp_ms=at_ms), line)
        if desk.signals.requested:
            return transactions.abort()
    if hashed.hexdigest() != checked.sha256:
        transactions.abort()
        raise Refused(f"nothing was sent: {checked.name} was changed after it was checked; import it again")
    transactions.commit()
