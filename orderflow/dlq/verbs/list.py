"""The verb `list`: a line for each dead letter."""

import argparse

from orderflow.dlq.desk import Desk
from orderflow.dlq.output.printer import printer
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.topic import Topic


def add_flags(parser: argparse.ArgumentParser) -> None:
    """None but the selection."""


def run(desk: Desk, args: argparse.Namespace) -> int:
    """One line, or one object, for each dead letter that is there."""
    selection = selected(desk, args)
    show = printer(desk)
    with Topic(desk) as topic:
        for letters in topic.batches(selection):
            show(letters)
    return desk.signals.exit_code
