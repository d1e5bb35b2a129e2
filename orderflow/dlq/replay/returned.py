"""Why replayed orders came back: the kinds of failure among them, and what to type to look at them."""

from typing import Callable, Iterator, List, Sequence

from orderflow.dlq.grouping import Groups
from orderflow.dlq.letter import Decode, Letter
from orderflow.dlq.masking import Mask
from orderflow.dlq.output.group_table import digits_of, frame_text
from orderflow.dlq.output.listing import summary
from orderflow.model.records import Record
from orderflow.model.text import escape, plural

MOST_SHOWN = 5


def returned_lines(
    records: Sequence[Record], decode: Decode, mask: Mask, command: Callable[..., str]
) -> Iterator[str]:
    """The kinds of failure, the most frequent first, to follow a message."""
    groups = Groups(mask)
    for record in records:
        groups.add(Letter(record, decode))
    rows = groups.rows()
    if not rows:
        return
    digits = digits_of(rows)
    for group in rows[:MOST_SHOWN]:
        where = "" if group.kind.frame is None else f" at {escape(frame_text(group.kind.frame))}"
        error = summary(group.kind.error_class, group.message) or escape(group.kind.reason or "-")
        yield f"  {group.count:,} of group {group.kind.fingerprint[:digits]}{where}: {error}"
    if len(rows) > MOST_SHOWN:
        yield f"  and of {plural(len(rows) - MOST_SHOWN, 'more group')}"
    yield f"look: {command('show', rows[0].position, '--stack')}"


def some_of(records: List[Record], kept: List[Record], most: int = 10_000) -> None:
    """Keep these too, up to a bound."""
    kept.extend(records[: max(0, most - len(kept))])
