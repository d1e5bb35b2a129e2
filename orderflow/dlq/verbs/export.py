"""The verb `export`: dead letters to a file that only its owner may read, or to the output."""

import argparse
from typing import Callable, NamedTuple, Optional, Union

from orderflow.cli.output import Output
from orderflow.cli.private_file import PrivateFile, require_new
from orderflow.dlq import sum_flags
from orderflow.dlq.desk import Desk, Progress
from orderflow.dlq.letter import Letter
from orderflow.dlq.output import files, sum_lines
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.sums import Sums
from orderflow.dlq.topic import Topic
from orderflow.model.text import plural

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
    sum_flags.add_flags(parser)


def run(desk: Desk, args: argparse.Namespace) -> int:
    """`export`: the chosen dead letters, lossless or as CSV."""
    selection, sums = selected(desk, args), sum_flags.sums_of(desk, args)
    form = FORMS[args.format]
    if args.file == STDOUT:
        with Topic(desk) as topic:
            _write(desk, topic, selection, form, desk.out, sums)
    else:
        require_new(args.file)
        with Topic(desk) as topic, PrivateFile(args.file) as file:
            number = _write(desk, topic, selection, form, file, sums)
            if desk.signals.requested:
                file.discard()
                desk.note(f"stopped: {args.file} was not written")
                return desk.signals.exit_code
        desk.note(f"{plural(number, 'dead letter')} written to {args.file}")
    if desk.mask.names:
        hidden = ", ".join(sorted(desk.mask.names))
        desk.note(f"without {hidden}, so it cannot be imported: --unmask asks whether they may be seen")
    for line in sum_lines.lines(sums, None):  # beside the data, which is for machines
        desk.note(line)
    return desk.signals.exit_code


def _write(desk: Desk, topic: Topic, selection: Selection, form: Form, file: File, sums: Sums) -> int:
    number, progress = 0, Progress(desk.err)
    if form.heading:
        file.lines([form.heading()], form.end)
    for letters in topic.batches(selection, None if file is desk.out else progress):
        file.lines(map(form.line, desk.mask.letters(letters)), form.end)
        sums.add_all(letters)
        number += len(letters)
    progress.clear()
    return number
