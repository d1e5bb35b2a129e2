"""The verb `groups`: kinds of failure, counted while they are read, in bounded memory."""

import argparse

from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.output.listing import Overview, Retention, fit, group_lines, group_row, overview
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.tally import Groups, Unresolved, short_length, window_of
from orderflow.dlq.topic import Topic

SPARKS = 8
"""Bars of a group's chart."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """None but the selection."""


def run(desk: Desk, args: argparse.Namespace) -> int:
    """Kinds of failure: how often, when, and an example of each. Only what is unresolved, unless asked."""
    selection, all_states = selected(desk, args), bool(args.states)
    groups, totals = Groups(window_of(selection.range, SPARKS, now_ms())), Unresolved()
    with Topic(desk) as topic:
        partitions = len(topic.reader.partitions())
        for letters in topic.read_all(selection):
            for letter in letters:
                if totals.add(letter) or all_states:
                    groups.add(letter)
        retention = Retention.of(topic.settings())
    if desk.json:
        for group in groups.rows():
            desk.say(to_json(group_row(group, groups)))
        return desk.signals.exit_code
    about = Overview(desk.dlq_topic, partitions, totals.unresolved, totals.count, totals.oldest_ms, retention)
    _print_groups(desk, groups, about)
    return desk.signals.exit_code


def _print_groups(desk: Desk, groups: Groups, about: Overview) -> None:
    desk.say(fit(overview(about, now_ms()), desk.width))
    rows = groups.rows()
    if not rows:
        return
    for line in group_lines(groups, now_ms(), desk.width, desk.colour):
        desk.say(line)
    if desk.width is not None:
        digits = short_length(group.kind.fingerprint for group in rows)
        desk.say(f"next: python dlq_handler.py replay -g {rows[0].kind.fingerprint[:digits]} --dry-run")
