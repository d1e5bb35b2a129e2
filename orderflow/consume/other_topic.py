"""Where to begin if the list that is committed with an offset was written for another topic of this name.

Two things bring such a commit about. A consumer may commit once more after its topic was deleted and created
again, before it notices: the offset means nothing then, and the new orders before it were never called. Or a
tool copied the offset, with its metadata, into another cluster: the offset is right there. What tells them
apart is time: an order that was published after the list was written cannot have been done by then.
"""

from typing import NamedTuple, Tuple

from orderflow.consume.session import Session
from orderflow.consume.world import World
from orderflow.model.commit_metadata import Commit

SLACK_S = 60
"""Clocks differ, and it takes a consumer some seconds to notice that its topic is another one."""
TIMEOUT_S = 2.0


class Committed(NamedTuple):
    """What the group has committed."""

    offset: int
    commit: Commit


def first_to_call(
    session: Session, number: int, committed: Committed, bounds: Tuple[int, int], world: World
) -> int:
    """The first offset to take for unfinished: the committed one, or an earlier one; reported.

    Raises KafkaException.
    """
    low, high = bounds
    offset, commit = committed
    since_ms = max(0, commit.written_at_s - SLACK_S) * 1000
    first_since = session.first_since(number, since_ms, TIMEOUT_S)
    begin = offset if first_since is None else max(low, min(offset, first_since))
    world.report("list_of_another_topic", partition=number, committed=offset, offset=begin, until=high)
    return begin
