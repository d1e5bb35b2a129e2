"""The report of an incident as one page: what failed, when, whose orders, and what was done about it."""

from typing import Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from orderflow.dlq.audit import Job
from orderflow.dlq.grouping import Group
from orderflow.dlq.letter import STATES
from orderflow.dlq.output.group_table import digits_of
from orderflow.dlq.output.listing import summary
from orderflow.dlq.output.page import Html, bars, element, figures, page, table
from orderflow.dlq.output.sum_lines import decimal_text, left_out_line, owner_text
from orderflow.dlq.output.times import clock, countdown, minute_of
from orderflow.dlq.sums import Sums
from orderflow.dlq.tally import OTHERS
from orderflow.dlq.timeline import Timeline, Window
from orderflow.model.text import plural

BARS, SPARKS = 72, 24
MOST_GROUPS = 200
MOST_OWNERS = 100


class GroupStory(NamedTuple):
    """A kind of failure, and what became of its dead letters: how many are in each state."""

    group: Group
    states: Mapping[str, int]


class JobStory(NamedTuple):
    """What was done at once, and what became of it."""

    job: Job
    became: Sequence[Tuple[str, str]]


class Incident(NamedTuple):
    """All that the report tells."""

    topic: str
    written_at_ms: int
    selected: str
    """The filters that were typed; "" where all dead letters are in it."""
    groups: Sequence[GroupStory]
    states: Mapping[str, int]
    """How many dead letters are in each state."""
    window: Optional[Window]
    sums: Sums
    jobs: Sequence[JobStory]
    first_expiry_ms: Optional[int] = None
    notes: Sequence[str] = ()


def report(incident: Incident) -> str:
    """The page."""
    title = f"Dead letters of {incident.topic}"
    return page(title, _body(title, incident))


def _body(title: str, incident: Incident) -> Iterator[Html]:
    yield element("h1", title)
    span = ""
    if incident.window is not None:
        begin, end = incident.window.begin_ms, incident.window.end_ms
        span = f"{_span(incident.window)} ({countdown(max(0, end - begin))}). "
    parts: List[str] = [f"{span}Written at {clock(incident.written_at_ms)} UTC"]
    if incident.selected:
        parts += [", of those selected by ", element("code", incident.selected)]
    yield element("p", *parts, classes="faint")
    yield figures(_figures(incident))
    yield from _chart(incident)
    yield from _groups(incident)
    yield from _owners(incident)
    yield from _jobs(incident)
    yield from _notes(incident)


def _figures(incident: Incident) -> List[Tuple[str, str]]:
    told = [("dead letters", f"{sum(incident.states.values()):,}")]
    if incident.sums.wanted.sum is not None:
        told.append((f"sum of {incident.sums.wanted.sum}", decimal_text(incident.sums.all.total)))
    names = {"new": "not decided about", "replayed": "replayed", "failed-again": "failed again"}
    told += [(names.get(state, state), f"{incident.states.get(state, 0):,}") for state in STATES]
    return told


def _chart(incident: Incident) -> Iterator[Html]:
    if incident.window is None:
        return
    window, whole = incident.window._replace(parts=BARS), Timeline()
    for story in incident.groups:
        whole.take(story.group.timeline)
    yield element("h2", "When")
    counts = whole.parts(window)
    yield bars(counts, _titles(window, counts), 1080, 120)
    highest = plural(max(counts), "dead letter")
    yield element("p", f"{_span(window)}; the highest bar is {highest}", classes="faint")


def _span(window: Window) -> str:
    return f"{minute_of(window.begin_ms)} to {minute_of(window.end_ms)} UTC"


def _titles(window: Window, counts: Sequence[int]) -> List[str]:
    step_ms = (window.end_ms - window.begin_ms) / window.parts
    times = (clock(int(window.begin_ms + place * step_ms)) for place in range(len(counts)))
    return [f"{at}: {count:,}" for at, count in zip(times, counts)]


def _groups(incident: Incident) -> Iterator[Html]:
    yield element("h2", "What failed")
    stories = incident.groups[:MOST_GROUPS]
    digits = digits_of([story.group for story in stories]) if stories else 0
    with_sums = incident.sums.wanted.sum is not None
    counts = ["Count", "Sum"] if with_sums else ["Count"]
    heading = ["Group", *counts, "First (UTC)", "Last (UTC)", "When", "What", "Became"]
    rows = [_group_cells(story, digits, incident.window, with_sums) for story in stories]
    yield table(heading, rows, (1, 2) if with_sums else (1,))
    if len(incident.groups) > len(stories):
        yield element(
            "p", f"and {plural(len(incident.groups) - len(stories), 'smaller group')}", classes="faint"
        )


def _group_cells(story: GroupStory, digits: int, window: Optional[Window], with_sums: bool) -> List[str]:
    group, kind = story.group, story.group.kind
    chart: str = ""
    if window is not None:
        small = window._replace(parts=SPARKS)
        counts = group.timeline.parts(small)
        chart = bars(counts, _titles(small, counts), 144, 24)
    name = kind.fingerprint if kind.fingerprint == OTHERS else kind.fingerprint[:digits]
    became = ", ".join(f"{number:,} {state}" for state, number in story.states.items() if number)
    return [
        element("code", name),
        f"{group.count:,}",
        *([decimal_text(group.sum.total)] if with_sums else []),
        clock(group.first_ms),
        clock(group.last_ms),
        chart,
        _what(group),
        became,
    ]


def _what(group: Group) -> Html:
    kind = group.kind
    parts: List[str] = [element("div", summary(kind.error_class, group.message))]
    if kind.frame is not None:
        parts.append(element("div", element("code", kind.frame)))
    told = " · ".join(part for part in (kind.reason or kind.stage, kind.topic) if part)
    if told:
        parts.append(element("div", told, classes="faint"))
    return element("div", *parts)


def _owners(incident: Incident) -> Iterator[Html]:
    sums = incident.sums
    if sums.wanted.by is None:
        return
    owners, with_sums = sums.owners(MOST_OWNERS), sums.wanted.sum is not None
    yield element("h2", f"By {sums.wanted.by}")
    rows = [(owner_text(owner), one) for owner, one in owners.first]
    if owners.others is not None:
        about = "" if owners.is_complete else "about "
        rows.append((f"{about}{plural(owners.number_of_others, 'other')}", owners.others))
    heading = [sums.wanted.by, "Orders", *(["Sum"] if with_sums else [])]
    cells = [
        [name, f"{one.count:,}", *([decimal_text(one.total)] if with_sums else [])] for name, one in rows
    ]
    yield table(heading, cells, (1, 2))


def _jobs(incident: Incident) -> Iterator[Html]:
    yield element("h2", "What was done")
    if not incident.jobs:
        yield element("p", "Nothing was replayed or discarded.")
        return
    heading = ["Job", "Started (UTC)", "Action", "Status", "Done", "Of", "By", "What became of it"]
    yield table(heading, [_job_cells(story) for story in incident.jobs], (4, 5))


def _job_cells(story: JobStory) -> List[str]:
    job = story.job
    became = [element("div", f"{name}: {text}") for name, text in story.became]
    if job.reason:
        became.append(element("div", job.reason, classes="faint"))
    return [
        element("code", job.id),
        clock(job.at_ms),
        job.action,
        job.status,
        f"{job.done:,}",
        f"{job.total:,}",
        job.by,
        element("div", *became),
    ]


def _notes(incident: Incident) -> Iterator[Html]:
    notes = [*left_out_line(incident.sums), *incident.notes]
    if incident.first_expiry_ms is not None:
        at = clock(incident.first_expiry_ms)
        notes.append(f"The first dead letter without a decision may be deleted at {at} UTC.")
    if notes:
        yield element("h2", "Notes")
        yield element("ul", *(element("li", note) for note in notes))
