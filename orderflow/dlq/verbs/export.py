"""The verb `export`: dead letters to a file that only its owner may read, or to the output."""

import argparse
from typing import Callable, NamedTuple, Optional, Union

from orderflow.cli.output import Output
from orderflow.cli.private_file import PrivateFile
from orderflow.dlq.desk import Desk, Progress
from orderflow.dlq.letter import Letter
from orderflow.dlq.output import files
from orderflow.dlq.output.listing import plural
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.topic import Topic

STDOUT = "-"


class Form(NamedTuple):
    """How dead letters are written."""

    heading: Optional[Callable[[], str]]
    line: Callable[[Letter], str]
    end: str
    """Of a line."""


FORMS = {
    "jsonl": Form(None, files.json_line, "\n"),
    "csv": Form(files.csv_heading, files.csv_line, "\r\n"),  # as RFC 4180 has it
}
File = Union[Output, PrivateFile]


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of export, beside the selection."""
    parser.add_argument("file", nargs="?", default=STDOUT, metavar="FILE", help="- is stdout, the default")
    parser.add_argument(
        "--format", choices=sorted(FORMS), default="jsonl", help="jsonl (default, lossless) or csv"
    )


def run(desk: Desk, args: argparse.Namespace) -> int:
    """`export`: the chosen dead letters, lossless or as CSV."""
    selection = selected(desk, args)
    if args.file == STDOUT:
        _write(desk, selection, FORMS[args.format], desk.out)
        return desk.signals.exit_code
    with Topic(desk) as topic, PrivateFile(args.file) as file:
        number = _write_from(desk, topic, selection, FORMS[args.format], file)
        if desk.signals.requested:
            file.discard()
            desk.note(f"stopped: {args.file} was not written")
            return desk.signals.exit_code
    desk.note(f"{plural(number, 'dead letter')} written to {args.file}")
    return desk.signals.exit_code


def _write(desk: Desk, selection: Selection, form: Form, file: File) -> int:
    with Topic(desk) as topic:
        return _write_from(desk, topic, selection, form, file)


def _write_from(desk: Desk, topic: Topic, selection: Selection, form: Form, file: File) -> int:
    number, progress = 0, Progress(desk.err)
    if form.heading:
        file.lines([form.heading()], form.end)
    for letters in topic.batches(selection, None if file is desk.out else progress):
        file.lines(map(form.line, letters), form.end)
        number += len(letters)
    progress.clear()
    return number
