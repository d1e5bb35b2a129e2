"""The verbs `groups` and `stats`: dead letters counted while they are read, in bounded memory."""

from typing import Iterator, List, Optional

from orderflow.dlq.desk import Desk, Progress, now_ms
from orderflow.dlq.letter import NEW, Letter
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.output.listing import (
    Overview,
    Retention,
    fit,
    group_lines,
    group_row,
    overview,
    totals_lines,
    totals_row,
)
from orderflow.dlq.selection import Selection
from orderflow.dlq.tally import HOUR_MS, Groups, Totals, Window, short_length
from orderflow.dlq.topic import Topic
from orderflow.kafka import topics
from orderflow.kafka.positions import Range

DAY_MS = 86_400_000


def show_groups(desk: Desk, selection: Selection, all_states: bool) -> int:
    """Kinds of failure: how often, when, and an example of each. Only what is unresolved, unless asked."""
    groups, totals = Groups(_window(selection.range, 8, DAY_MS)), _Unresolved()
    with Topic(desk) as topic:
        partitions = len(topic.reader.partitions())
        for letters in _all(desk, topic, selection):
            for letter in letters:
                if totals.add(letter) or all_states:
                    groups.add(letter)
        retention = retention_of(desk)
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


class _Unresolved:
    """How many there are, how many of them still wait for someone, and since when."""

    def __init__(self) -> None:
        self.count = 0
        self.unresolved = 0
        self.oldest_ms: Optional[int] = None

    def add(self, letter: Letter) -> bool:
        """Count one; whether it is unresolved."""
        self.count += 1
        if letter.state != NEW:
            return False
        self.unresolved += 1
        at_ms = letter.record.timestamp_ms
        if at_ms is not None and (self.oldest_ms is None or at_ms < self.oldest_ms):
            self.oldest_ms = at_ms
        return True


def show_stats(desk: Desk, selection: Selection) -> int:
    """Totals by everything that dead letters tell, a histogram by hours, and how long they are kept."""
    totals, unresolved = Totals(_hours(selection.range)), _Unresolved()
    with Topic(desk) as topic:
        for letters in _all(desk, topic, selection):
            for letter in letters:
                totals.add(letter)
                unresolved.add(letter)
        row = totals_row(desk.dlq_topic, totals, unresolved.oldest_ms, retention_of(desk))
    lines = [to_json(row)] if desk.json else totals_lines(row, now_ms(), desk.width)
    for line in lines:
        desk.say(line)
    return desk.signals.exit_code


def _all(desk: Desk, topic: Topic, selection: Selection) -> Iterator[List[Letter]]:
    """What the selection takes, with progress; if it is stopped half-way, that is said."""
    progress = Progress(desk.err)
    yield from topic.batches(selection, progress)
    progress.clear()
    if desk.signals.requested:
        desk.note("stopped before the end: this is a part only")


def _window(wanted: Range, parts: int, default_ms: int) -> Window:
    """What a sparkline spans: what was asked for, else the last day."""
    end_ms = now_ms() if wanted.until_ms is None else wanted.until_ms
    begin_ms = end_ms - default_ms if wanted.since_ms is None else min(wanted.since_ms, end_ms - 1)
    return Window(begin_ms, end_ms + 1, parts)


MOST_HOURS = 168


def _hours(wanted: Range) -> Window:
    """Whole hours: those that were asked for, a week at most, else the last 24."""
    window = _window(wanted, 1, DAY_MS)
    last = window.end_ms // HOUR_MS + 1
    hours = min(MOST_HOURS, max(1, last - window.begin_ms // HOUR_MS))
    hours = min(hours, 24) if wanted.since_ms is None else hours
    return Window((last - hours) * HOUR_MS, last * HOUR_MS, hours)


def retention_of(desk: Desk) -> Retention:
    """How long the dead letter topic keeps records, as far as its settings may be read."""
    found = topics.numbers_set(desk.client, desk.dlq_topic)
    return Retention(found.get("retention.ms"), found.get("retention.bytes"))
