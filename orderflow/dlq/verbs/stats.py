"""The verb `stats`: totals of everything that dead letters tell, by the hour, and how long they are kept."""

import argparse

from orderflow.dlq import sum_flags
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.output import sum_lines
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.output.listing import totals_lines, totals_row
from orderflow.dlq.retention import Retention
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.tally import HOUR_MS, Totals, Unresolved, window_of
from orderflow.dlq.timeline import Window
from orderflow.dlq.topic import Topic
from orderflow.kafka.positions import Range

MOST_HOURS = 168


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of stats, beside the selection."""
    sum_flags.add_flags(parser)


def run(desk: Desk, args: argparse.Namespace) -> int:
    """Totals by everything that dead letters tell, a histogram by hours, and how long they are kept."""
    selection, sums = selected(desk, args), sum_flags.sums_of(desk, args)
    totals, unresolved = Totals(_hours(selection.range)), Unresolved()
    with Topic(desk) as topic:
        for letters in topic.read_all(selection):
            for letter in letters:
                totals.add(desk.mask.letter(letter))
                unresolved.add(letter)
            sums.add_all(letters)
        row = totals_row(desk.dlq_topic, totals, unresolved.oldest_ms, Retention.of(topic.settings()))
    if desk.json:
        desk.say(to_json({**row, **sum_lines.sums_row(sums)}))
        return desk.signals.exit_code
    added = sum_lines.lines(sums, desk.width)
    for line in (*totals_lines(row, now_ms(), desk.width), *added):
        desk.say(line)
    return desk.signals.exit_code


def _hours(wanted: Range) -> Window:
    """Whole hours: those that were asked for, a week at most, else the last 24."""
    window = window_of(wanted, 1, now_ms())
    last = window.end_ms // HOUR_MS + 1
    hours = min(MOST_HOURS, max(1, last - window.begin_ms // HOUR_MS))
    hours = min(hours, 24) if wanted.since_ms is None else hours
    return Window((last - hours) * HOUR_MS, last * HOUR_MS, hours)
