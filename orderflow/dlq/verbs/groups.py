"""The verb `groups`: kinds of failure, counted while they are read, in bounded memory."""

import argparse
from typing import Callable, Iterator, List, Optional

from orderflow.dlq import sum_flags
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.grouping import Group, Groups
from orderflow.dlq.output import sum_lines
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.output.group_table import SPARKS, Look, digits_of, group_lines, group_row
from orderflow.dlq.output.listing import Overview, overview
from orderflow.dlq.retention import Retention
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.sums import NOTHING, Sums
from orderflow.dlq.tally import OTHERS, Unresolved, window_of
from orderflow.dlq.timeline import Window
from orderflow.dlq.topic import Topic


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of groups, beside the selection."""
    sum_flags.add_flags(parser)
    parser.add_argument("--all-groups", action="store_true", help="on a terminal too, a row for each group")


def run(desk: Desk, args: argparse.Namespace) -> int:
    """Kinds of failure: how often, when, and an example of each. Only what is unresolved, unless asked."""
    selection, sums = selected(desk, args), sum_flags.sums_of(desk, args)
    groups, totals = Groups(desk.mask), Unresolved()
    with Topic(desk) as topic:
        partitions = len(topic.reader.partitions())
        _count(topic, selection, groups, totals, sums, all_states=bool(args.states))
        retention = Retention.of(topic.settings())
    rows, window = groups.rows(), _window(selection, groups)
    if desk.json:
        for line in _json_lines(rows, window, sums):
            desk.say(line)
        return desk.signals.exit_code
    counts = (partitions, totals.unresolved, totals.count, totals.oldest_ms)
    about = Overview(desk.dlq_topic, *counts, retention, sum_lines.total_text(sums))
    look = Look(
        window,
        desk.width,
        with_sums=sums.wanted.sum is not None,
        folded=desk.width is not None and not args.all_groups,
    )
    for line in _lines(rows, about, look, sums, desk.command):
        desk.say(line)
    return desk.signals.exit_code


def _count(
    topic: Topic, selection: Selection, groups: Groups, totals: Unresolved, sums: Sums, all_states: bool
) -> None:
    for letters in topic.read_all(selection):
        for letter in letters:
            if totals.add(letter) or all_states:
                groups.add(letter, sums.add(letter) if sums.asked else NOTHING)


def _window(selection: Selection, groups: Groups) -> Optional[Window]:
    """What the charts span: what was asked for, else what the incident does."""
    if selection.range.since_ms is not None or selection.range.until_ms is not None:
        return window_of(selection.range, SPARKS, now_ms())
    return groups.window(SPARKS)


def _json_lines(rows: List[Group], window: Optional[Window], sums: Sums) -> Iterator[str]:
    for group in rows:
        yield to_json(group_row(group, window, sums.wanted.sum is not None))
    if sums.asked:
        yield to_json({"total": sum_lines.sums_row(sums)})


def _lines(
    rows: List[Group], about: Overview, look: Look, sums: Sums, command: Callable[..., str]
) -> Iterator[str]:
    yield overview(about, now_ms(), look.width)
    if not rows:
        return
    yield from sum_lines.left_out_line(sums)
    yield from group_lines(rows, look, now_ms())
    yield from sum_lines.owner_lines(sums, look.width)
    first = rows[0]
    if look.width is not None and first.kind.fingerprint != OTHERS:
        mark = first.kind.fingerprint[: digits_of(rows)]
        yield f"next: {command('show', first.position)}"
        yield f"then: {command('replay', '-g', mark, '--dry-run')}"
