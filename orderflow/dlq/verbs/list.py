"""The verb `list`: a line for each dead letter."""

import argparse

from orderflow.dlq import sum_flags
from orderflow.dlq.desk import Desk
from orderflow.dlq.output import sum_lines
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.output.printer import printer
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.sums import Sums
from orderflow.dlq.topic import Topic


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of list, beside the selection."""
    sum_flags.add_flags(parser)


def run(desk: Desk, args: argparse.Namespace) -> int:
    """One line, or one object, for each dead letter that is there."""
    selection, sums = selected(desk, args), sum_flags.sums_of(desk, args)
    show = printer(desk)
    with Topic(desk) as topic:
        for letters in topic.batches(selection):
            show(letters)
            sums.add_all(letters)
    say_sums(desk, sums)
    return desk.signals.exit_code


def say_sums(desk: Desk, sums: Sums) -> None:
    """What was added up, after the rows; nothing where nothing was to be."""
    if not sums.asked:
        return
    is_json = desk.json
    told = sum_lines.lines(sums, desk.width)
    for line in [to_json({"total": sum_lines.sums_row(sums)})] if is_json else told:
        desk.say(line)
