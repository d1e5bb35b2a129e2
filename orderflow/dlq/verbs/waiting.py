"""The verb `waiting`: orders that wait for a retry, as their group has committed; tried now, or given up.

To act on them it asks the consumers that own their partitions, and then looks whether they did.
"""

import argparse
from fnmatch import fnmatchcase
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from orderflow.cli.values import argument, seconds
from orderflow.dlq import acting, sum_flags
from orderflow.dlq.acting import Request
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.held import Commits, Held
from orderflow.dlq.letter import Letter
from orderflow.dlq.output import sum_lines
from orderflow.dlq.output.envelope import base64_or_none, plain, text_or_none, to_json
from orderflow.dlq.output.listing import columns
from orderflow.dlq.output.times import ago, until
from orderflow.dlq.output.waiting_lines import (
    UNTOLD,
    Due,
    error_row,
    reason_lines,
    reason_rows,
    summary_lines,
    summary_row,
)
from orderflow.dlq.replay.sending import who
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import POSITIONS, selected
from orderflow.dlq.sums import Sums
from orderflow.dlq.taken_up import Asked, Stated
from orderflow.dlq.waiting_reasons import reasons_of
from orderflow.exits import OK, UsageError
from orderflow.kafka.reader import Reader
from orderflow.model.command import GIVE_UP, RETRY_NOW, VALID_S
from orderflow.model.commit_metadata import Commit, Entry
from orderflow.model.reasons import Kind
from orderflow.model.records import Place, read_position
from orderflow.model.text import plural, shown_bytes


class Waiting(NamedTuple):
    """One order that waits, or is in flight."""

    partition: int
    entry: Entry
    due_ms: int
    """About when it is called again: the metadata keeps seconds, and further ahead less than that."""
    letter: Optional[Letter]
    """Its record; None where retention has taken it."""
    why: Optional[Kind] = None
    """What it failed of last, if its owner has told."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of waiting, beside the selection."""
    parser.add_argument("positions", nargs="*", metavar="POSITION", help=POSITIONS)
    parser.add_argument(
        "--summary", action="store_true", help="how many are due when, without a line for each"
    )
    sum_flags.add_flags(parser)
    acting = parser.add_argument_group("acting on them, by asking the consumers that own their partitions")
    what = acting.add_mutually_exclusive_group()
    what.add_argument(
        "--retry-now", dest="do", action="store_const", const=RETRY_NOW, help="call them now, not when due"
    )
    what.add_argument(
        "--give-up", dest="do", action="store_const", const=GIVE_UP, help="dead-letter them; replay can undo"
    )
    acting.add_argument("--all", action="store_true", help="really all of them, where nothing else selects")
    acting.add_argument("--dry-run", action="store_true", help="tell which, and do nothing")
    acting.add_argument("--reason", metavar="TEXT", help="why; with --give-up for the dead letters")
    acting.add_argument(
        "--wait",
        type=argument(seconds(0, VALID_S)),
        default=15.0,
        metavar="SECONDS",
        help="how long to wait for the consumers (default: 15)",
    )
    acting.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(desk: Desk, args: argparse.Namespace) -> int:
    """Orders that wait for a retry: which, since when, attempts so far, due about when."""
    # What orders failed of is known from elsewhere: their records do not tell.
    by_record = argparse.Namespace(**{**vars(args), "reason_codes": [], "errors": []})
    selection, sums = selected(desk, by_record), sum_flags.sums_of(desk, args)
    places = frozenset(_place_of(desk, text) for text in args.positions)
    _require_meaning(args, selection.is_everything and not (places or args.reason_codes or args.errors))
    desk.require_kafka()
    chosen = selection.range.partitions
    with _orders(desk) as reader, Commits(desk, reader) as commits:
        held = commits.read(chosen)
        needs_records = bool(selection.filters) or sums.asked or not args.summary
        found = _rows(desk, reader, held) if needs_records else _without_records(held)
        rows = [row for row in found if _is_chosen(row, selection) and _is_there(row, places)]
        rows = _with_reasons(desk, rows)
        _note_untold(desk, args, rows)
        rows = [row for row in rows if _failed_so(row, args)][: selection.limit]
        if args.do is None:
            return _show(desk, held, rows, sums, args.summary)
        return _act(desk, args, held, rows, lambda: _stated(commits.read(chosen)))


def _orders(desk: Desk) -> Reader:
    return desk.reader(desk.orders_topic)


def _show(desk: Desk, held: Sequence[Held], rows: List[Waiting], sums: Sums, is_summary: bool) -> int:
    sums.add_all([row.letter for row in rows if row.letter is not None])
    rows = [row._replace(letter=row.letter and desk.mask.letter(row.letter)) for row in rows]
    for line in (_json_lines if desk.json else _text_lines)(desk, held, rows, sums, is_summary):
        desk.say(line)
    return desk.signals.exit_code


# --- acting on them ---


MEANINGLESS = ("offsets", "groups", "source_topics", "states")
"""Of the selection: what tells dead letters apart, and not orders that wait."""
TIMES = ("since", "until")
"""Of an order that waits it is when it was published, not when it died: good enough to look, not to act."""


def _require_meaning(args: argparse.Namespace, is_everything: bool) -> None:
    """Raise UsageError for flags that mean nothing here, and where nothing says which orders are meant."""
    if args.do is None:
        for name in ("all", "dry_run", "reason", "yes"):
            if getattr(args, name):
                raise UsageError(f"--{name.replace('_', '-')} goes with --retry-now or --give-up")
    for name in MEANINGLESS if args.do is None else (*MEANINGLESS, *TIMES):
        if getattr(args, name):
            flag = name.rstrip("s").replace("_", "-")
            raise UsageError(
                f"--{flag} tells dead letters apart, not orders that wait: choose these by position, "
                "-p, --key, --header, --where, --reason-code or --error"
            )
    if args.do is not None and is_everything and not args.all:
        raise UsageError(
            f"--{args.do} which? Name positions, select with --key, -p and the like, or say --all"
        )


def _act(
    desk: Desk, args: argparse.Namespace, held: Sequence[Held], rows: List[Waiting], look: acting.Look
) -> int:
    if not rows:
        desk.note("nothing to do: none of the chosen orders waits")
        return OK
    if not desk.json:
        for line in (_overview(desk, held, len(rows)), *_remarks(held)):
            desk.premise(line)
        for line in summary_lines(_due(rows), now_ms(), desk.width):
            desk.premise(line)
        for line in reason_lines(_whys(rows), desk.width):
            desk.premise(line)
    if args.dry_run:
        return _dry_run(desk, args.do, held, rows)
    orders = [Asked(row.partition, row.entry.offset, row.entry.attempts) for row in rows]
    request = Request(args.do, who(), args.reason, args.wait, args.yes)
    return acting.act(desk, request, orders, _stated(held), look)


def _dry_run(desk: Desk, do: str, held: Sequence[Held], rows: List[Waiting]) -> int:
    if desk.json:
        braked = [one.partition for one in held if one.commit is not None and one.commit.braked]
        desk.say(to_json({"do": do, **summary_row(_due(rows), braked, now_ms())}))
    else:
        desk.note(f"nothing was done: {plural(len(rows), 'order')} would be {acting.DONE[do]}")
    return OK


def _stated(held: Sequence[Held]) -> Dict[int, Stated]:
    return {one.partition: Stated(one.committed, one.commit) for one in held}


def _place_of(desk: Desk, text: str) -> Place:
    try:
        topic, partition, offset = read_position(text)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if topic not in (None, desk.orders_topic):
        raise UsageError(
            f"{text} is not in {desk.orders_topic}: choose the topic with --orders-topic {topic}"
        )
    return partition, offset


def _is_there(row: Waiting, places: FrozenSet[Place]) -> bool:
    return not places or (row.partition, row.entry.offset) in places


# --- what waits ---


def _with_reasons(desk: Desk, rows: List[Waiting]) -> List[Waiting]:
    """The same, with what each failed of. Its message may hold what is to be hidden."""
    told = reasons_of(desk, sorted({row.partition for row in rows}))

    def why(row: Waiting) -> Optional[Kind]:
        reasons = told.get(row.partition)
        kind = None if reasons is None else reasons.of.get((row.entry.offset, row.entry.attempts))
        return kind._replace(text="") if kind is not None and desk.mask.names else kind

    return [row._replace(why=why(row)) for row in rows]


def _note_untold(desk: Desk, args: argparse.Namespace, rows: Sequence[Waiting]) -> None:
    """Say how many orders a choice by reason passes over because nobody has told theirs."""
    untold = sum(row.why is None for row in rows)
    if untold and (args.errors or args.reason_codes):
        orders = plural(untold, "order that waits is", "orders that wait are")
        desk.note(f"{orders} not chosen by --error and --reason-code, their reason is unknown: {UNTOLD}")


def _failed_so(row: Waiting, args: argparse.Namespace) -> bool:
    why = row.why or Kind("", "", None, "")
    reasons, errors = args.reason_codes, args.errors
    if reasons and not any(fnmatchcase(why.reason, glob) for glob in reasons):
        return False
    texts = (why.error_class, why.error_class.rpartition(".")[2], why.text)
    return not errors or any(fnmatchcase(text, glob) for glob in errors for text in texts if text)


def summary_of(desk: Desk, width: int) -> List[str]:
    """The summary alone, in lines, for a screen."""
    with _orders(desk) as reader, Commits(desk, reader) as commits:
        held = commits.read()
    rows = _with_reasons(desk, list(_without_records(held)))
    lines = (*summary_lines(_due(rows), now_ms(), width), *reason_lines(_whys(rows), width))
    return [_overview(desk, held, len(rows)), *_remarks(held), *lines]


def _rows(desk: Desk, reader: Reader, held: Sequence[Held]) -> Iterator[Waiting]:
    """The heads of all partitions, with their records, which are sought one by one."""
    for one in held:
        commit = one.commit
        if commit is None:
            continue
        records = reader.fetch_all(one.partition, [entry.offset for entry in commit.entries])
        for entry in commit.entries:
            record = records.get(entry.offset)
            letter = None if record is None else Letter(record, desk.decoder.decode)
            yield Waiting(one.partition, entry, _due_ms(one, entry), letter)


def _without_records(held: Sequence[Held]) -> Iterator[Waiting]:
    """The same without looking at the orders, which takes a seek for each."""
    for one in held:
        for entry in one.commit.entries if one.commit else ():
            yield Waiting(one.partition, entry, _due_ms(one, entry), None)


def _due_ms(one: Held, entry: Entry) -> int:
    return 0 if one.commit is None else (one.commit.written_at_s + entry.delay_s) * 1000


def _is_chosen(row: Waiting, selection: Selection) -> bool:
    """The filters that an order can meet are those on its key, headers, time and fields."""
    return not selection.filters if row.letter is None else selection.takes(row.letter)


def _json_lines(
    desk: Desk, held: Sequence[Held], rows: Sequence[Waiting], sums: Sums, is_summary: bool
) -> Iterator[str]:
    if is_summary:
        braked = [one.partition for one in held if one.commit is not None and one.commit.braked]
        reasons = {"reasons": reason_rows(_whys(rows))}
        yield to_json({**summary_row(_due(rows), braked, now_ms()), **reasons, **sum_lines.sums_row(sums)})
        return
    yield from (to_json(_object(desk, row)) for row in rows)
    if sums.asked:
        yield to_json({"total": sum_lines.sums_row(sums)})


def _due(rows: Sequence[Waiting]) -> List[Due]:
    return [Due(row.partition, row.entry.attempts, row.due_ms, row.entry.has_followers) for row in rows]


def _whys(rows: Sequence[Waiting]) -> List[Optional[Kind]]:
    return [row.why for row in rows]


def _object(desk: Desk, row: Waiting) -> Dict[str, Any]:
    record = None if row.letter is None else row.letter.record
    return {
        "topic": desk.orders_topic,
        "partition": row.partition,
        "offset": row.entry.offset,
        "consumer_group": desk.consumer_group,
        "attempts": row.entry.attempts,
        "due_ts": row.due_ms,
        "has_followers": row.entry.has_followers,
        "ts": record and record.timestamp_ms,
        "key": record and text_or_none(record.key),
        "key_b64": record and base64_or_none(record.key),
        "payload": plain(row.letter.order) if row.letter else None,
        "error": error_row(row.why),
    }


def _text_lines(
    desk: Desk, held: Sequence[Held], rows: Sequence[Waiting], sums: Sums, is_summary: bool
) -> Iterator[str]:
    yield _overview(desk, held, len(rows))
    yield from _remarks(held)
    yield from summary_lines(_due(rows), now_ms(), desk.width)
    yield from reason_lines(_whys(rows), desk.width)
    yield from sum_lines.lines(sums, desk.width)
    if not rows or is_summary:
        return
    table: List[Tuple[str, ...]] = [("POSITION", "ATTEMPTS", "DUE", "PUBLISHED", "KEY", "ORDER")]
    table += [_cells(row) for row in rows]
    yield from columns(table, desk.width)


def _overview(desk: Desk, held: Sequence[Held], waiting: int) -> str:
    unseen = sum(one.bounds.high - _next(one) for one in held)
    parts = (desk.orders_topic, f"group {desk.consumer_group}", plural(len(held), "partition"))
    return "  ".join([*parts, f"{waiting:,} waiting", f"{'about ' if unseen else ''}{unseen:,} not yet seen"])


def _next(one: Held) -> int:
    """The first offset that the group has not taken in."""
    if one.commit is not None:
        return one.commit.next
    return one.bounds.low if one.committed is None else one.committed


def _remarks(held: Sequence[Held]) -> Iterator[str]:
    for one in held:
        if one.committed is None:
            yield f"partition {one.partition}: the group has committed nothing"
        elif one.of_another:
            yield (
                f"partition {one.partition}: the list committed with offset {one.committed} was written for "
                "another topic of this name, deleted or in another cluster; its next owner ignores it, and "
                "calls everything from there on"
            )
        elif one.commit is None:
            yield f"partition {one.partition}: committed at {one.committed} without metadata of ours"
        else:
            yield from _remarks_on(one.partition, one.commit)


def _remarks_on(partition: int, commit: Commit) -> Iterator[str]:
    if commit.braked:
        yield f"partition {partition}: the outage brake holds: nothing is dead-lettered"
    if not commit.is_complete and commit.page is not None:
        yield (
            f"partition {partition}: the page of {commit.page.topic} that lists what waits is gone or "
            "damaged; its next owner calls everything from the committed offset on"
        )
    elif commit.page is not None:
        yield f"partition {partition}: {len(commit.entries):,} listed on a page of {commit.page.topic}"


def _cells(row: Waiting) -> Tuple[str, ...]:
    place = f"{row.partition}:{row.entry.offset}"
    due = until(row.due_ms, now_ms())
    if row.letter is None:
        return place, f"{row.entry.attempts}", due, "-", "-", "no longer in the topic"
    record, order = row.letter.record, row.letter.order
    shown = "not an order" if order is None else to_json(plain(order))
    followers = "  and more of its key behind it" if row.entry.has_followers else ""
    published = ago(record.timestamp_ms, now_ms())
    return place, f"{row.entry.attempts}", due, published, shown_bytes(record.key), shown + followers
