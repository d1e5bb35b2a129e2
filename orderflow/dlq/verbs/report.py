"""The verb `report`: one page for the morning after, in a file that only its owner may read."""

import argparse
from collections import Counter
from typing import Counter as CounterOf
from typing import Dict, Iterator, List, Optional, Sequence

from orderflow.cli.private_file import require_new, write_private
from orderflow.dlq import sum_flags
from orderflow.dlq.audit_topic import History
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.grouping import Groups
from orderflow.dlq.letter import nothing_done
from orderflow.dlq.masking import MASKED
from orderflow.dlq.output.report import GroupStory, Incident, JobStory, report
from orderflow.dlq.replay.fates import Fates
from orderflow.dlq.retention import Retention
from orderflow.dlq.selection import Selection, names_in
from orderflow.dlq.selection_flags import order_fields, selected, wanted_of
from orderflow.dlq.sums import NOTHING, Sums
from orderflow.dlq.tally import Unresolved
from orderflow.dlq.timeline import Window
from orderflow.dlq.topic import Topic, history_now, warn_of_policies
from orderflow.dlq.where import conditions
from orderflow.exits import CommandError
from orderflow.model.text import plural

MOST_JOBS = 50


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of report, beside the selection."""
    parser.add_argument("file", metavar="FILE.html", help="the page; it must not exist yet")
    sum_flags.add_flags(parser)


def run(desk: Desk, args: argparse.Namespace) -> int:
    """Read everything that is selected, in whatever state it is, and write the page."""
    selection, sums = selected(desk, args), sum_flags.sums_of(desk, args)
    groups, totals = Groups(desk.mask), Unresolved()
    require_new(args.file)
    desk.require_kafka()
    warn_of_policies(desk)
    notes: List[str] = []
    history = _history(desk, notes)
    with Topic(desk, nothing_done if history is None else history.states.of) as topic:
        _count(topic, selection, groups, totals, sums)
        retention = Retention.of(topic.settings())
    if desk.signals.requested:
        return desk.signals.exit_code
    stories = [GroupStory(group, group.states) for group in groups.rows()]
    window = groups.window(1)
    incident = Incident(
        desk.dlq_topic,
        now_ms(),
        _filters(desk, args),
        stories,
        _all_states(stories),
        window,
        sums,
        list(_jobs(desk, window, history)),
        retention.first_expiry_ms(totals.oldest_ms),
        notes,
    )
    write_private(args.file, report(incident))
    desk.note(f"{plural(totals.count, 'dead letter')} in {args.file}")
    return desk.signals.exit_code


def _count(topic: Topic, selection: Selection, groups: Groups, totals: Unresolved, sums: Sums) -> None:
    for letters in topic.read_all(selection):
        for letter in letters:
            totals.add(letter)
            groups.add(letter, sums.add(letter) if sums.asked else NOTHING).add_state(letter.state)


def _all_states(stories: Sequence[GroupStory]) -> Dict[str, int]:
    found: CounterOf[str] = Counter()
    for story in stories:
        found.update(story.states)
    return dict(found)


QUOTE_ORDERS = ("keys", "headers", "errors")
"""Filters whose words are those of an order, or of what is said of it."""
QUOTED_NAMES = frozenset(("key", "error.message"))
"""The same of what a condition asks."""


def _filters(desk: Desk, args: argparse.Namespace) -> str:
    """What was typed to select, and nothing else of the command: it may hold passwords.

    The page is for others too, so where fields are hidden, no value that was typed to find them is in it.
    """
    typed = {**wanted_of(args)._asdict(), "limit": None if args.limit is None else str(args.limit)}
    if desk.mask.names:
        typed.update({name: (MASKED,) for name in QUOTE_ORDERS if typed[name]})
        typed["where"] = [_condition_without(desk, text) for text in typed["where"]]
    return "  ".join(
        f"{name.replace('_', ' ')} {value if isinstance(value, str) else ', '.join(map(str, value))}"
        for name, value in typed.items()
        if value
    )


def _condition_without(desk: Desk, text: str) -> str:
    """A condition, unless it asks for what is hidden, or for what may quote it."""
    names, _ = names_in(order_fields(desk))
    parts = {part for name in conditions.names_used(text, names) for part in (name, *name.split("."))}
    return text if parts.isdisjoint(desk.mask.names | QUOTED_NAMES) else MASKED


def _history(desk: Desk, notes: List[str]) -> Optional[History]:
    """What was done. The page must not fail because nobody may read that, but it says so."""
    try:
        return history_now(desk)
    except CommandError as error:
        desk.note(f"all are shown as new: {error}")
        notes.append(f"What was done cannot be told: {error}")
        return None


def _jobs(desk: Desk, window: Optional[Window], history: Optional[History]) -> Iterator[JobStory]:
    """The jobs since the incident began, the first one first."""
    if history is None:
        return
    begin_ms = 0 if window is None else window.begin_ms
    jobs = [job for job in history.jobs if job.changed_ms >= begin_ms][:MOST_JOBS]
    fates = Fates(desk, jobs, history)
    for job in reversed(jobs):
        became = [row for fate, back in fates.of(job) for row in fate.rows(back)]
        yield JobStory(job, became)
