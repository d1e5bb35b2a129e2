"""Acts on waiting orders: asks the owners of their partitions, and waits until they have done it."""

import time
from itertools import groupby
from typing import Callable, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence

from orderflow.cli.terminal import duration
from orderflow.dlq.confirmation import confirm
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.output.times import clock
from orderflow.dlq.taken_up import Account, Asked, Stated, accounts, total
from orderflow.exits import INCOMPLETE, OK, CommandError
from orderflow.kafka import topics
from orderflow.kafka.group_view import GroupView, View
from orderflow.kafka.plain_sending import send_all
from orderflow.model.command import (
    GIVE_UP,
    LONGEST_TEXT,
    MOST_ORDERS,
    RETRY_NOW,
    VALID_S,
    Command,
    command_key,
    write_command,
)
from orderflow.model.records import Outgoing
from orderflow.model.text import escape, plural

LOOK_EVERY_S = 0.5
ANSWER_S = 3.0
QUESTIONS = {
    RETRY_NOW: "try {} of topic {} now?",
    GIVE_UP: "give up {} of topic {}, so that they are dead-lettered?",
}
DONE = {RETRY_NOW: "tried now", GIVE_UP: "given up"}


class Request(NamedTuple):
    """What is to be done, and on whose word."""

    do: str
    by: str
    why: Optional[str]
    wait_s: float
    """How long to wait for the owners."""
    yes: bool
    """Nobody is asked."""


Look = Callable[[], Mapping[int, Stated]]
"""What the group has committed by now."""


def act(
    desk: Desk, request: Request, orders: Sequence[Asked], before: Mapping[int, Stated], look: Look
) -> int:
    """Ask, send, wait and tell; returns the exit code. `before`: as of when the orders were chosen."""
    what = plural(len(orders), "waiting order")
    confirm(desk, QUESTIONS[request.do].format(what, desk.orders_topic), request.yes)
    partitions = topics.partition_count(desk.client, desk.orders_topic)
    topics.ensure_topics(desk.client, [topics.ledger(desk.ledger_topic, partitions)])
    count = topics.partition_count(desk.client, desk.ledger_topic)
    sent_ms, began_s = now_ms(), time.monotonic()
    send_all(desk.client, list(_records(desk, request, orders, count, sent_ms)))
    found = _wait(desk, request, orders, before, look)
    took_s = time.monotonic() - began_s
    _tell(desk, request, found, took_s)
    if desk.signals.requested:
        return desk.signals.exit_code
    if not total(found.values()).left:
        return OK if not total(found.values()).called else INCOMPLETE
    for line in _advice(desk, found, before, sent_ms):
        desk.note(line)
    return INCOMPLETE


def _records(
    desk: Desk, request: Request, orders: Sequence[Asked], count: int, at_ms: int
) -> Iterator[Outgoing]:
    """The commands: as many for a partition as its orders take."""
    why = None if request.why is None else request.why[:LONGEST_TEXT]
    for number, some in groupby(sorted(orders), key=_partition):
        named = [(order.offset, order.attempts) for order in some]
        for place, first in enumerate(range(0, len(named), MOST_ORDERS)):
            part = tuple(named[first : first + MOST_ORDERS])
            command = Command(number, request.do, part, request.by[:LONGEST_TEXT], at_ms, why)
            key = command_key(desk.consumer_group, desk.orders_topic, number, place)
            yield Outgoing(desk.ledger_topic, key, write_command(command), [], number % count)


def _partition(order: Asked) -> int:
    return order.partition


def _wait(
    desk: Desk, request: Request, orders: Sequence[Asked], before: Mapping[int, Stated], look: Look
) -> Dict[int, Account]:
    """Look until nothing is left to be taken up, or the time is."""
    until_s = time.monotonic() + request.wait_s
    while True:
        try:
            now = look()
        except CommandError as error:  # it has been sent, so what can be told is told
            desk.note(f"cannot see what became of it: {error}")
            now = before
        found = accounts(request.do, orders, before, now, now_ms())
        left_s = until_s - time.monotonic()
        if not total(found.values()).left or left_s <= 0 or desk.signals.requested:
            return found
        time.sleep(min(LOOK_EVERY_S, left_s))


def _tell(desk: Desk, request: Request, found: Mapping[int, Account], took_s: float) -> None:
    every = total(found.values())
    if desk.json:
        return desk.result(to_json(_row(request, found, every)))
    words = f"{every.done:,} of {plural(every.asked, 'waiting order')} {DONE[request.do]}"
    parts = [f"{words}, after {duration(took_s)}"]
    if every.called:
        parts.append(f"{plural(every.called, 'was', 'were')} called meanwhile, failed again and left alone")
    if every.left:
        parts.append(f"{every.left:,} not taken up yet")
    return desk.result("; ".join(parts))


def _row(request: Request, found: Mapping[int, Account], every: Account) -> Dict[str, object]:
    return {
        "do": request.do,
        **_numbers(every),
        "partitions": [{"partition": number, **_numbers(one)} for number, one in sorted(found.items())],
    }


def _numbers(account: Account) -> Dict[str, int]:
    return {"asked": account.asked, "done": account.done, "called": account.called, "left": account.left}


def _advice(
    desk: Desk, found: Mapping[int, Account], before: Mapping[int, Stated], sent_ms: int
) -> List[str]:
    """What keeps the orders that are left, and what to do."""
    view = GroupView(desk.client, desk.consumer_group, desk.orders_topic, ANSWER_S).look()
    holds = f"it holds until {clock(sent_ms + int(VALID_S * 1000))} UTC for consumers that come by then"
    if view.members is not None and not view.members:
        return [f"no consumer of group {desk.consumer_group} is running: start one; {holds}"]
    reasons: Dict[str, List[int]] = {}
    for number, one in sorted(found.items()):
        if one.left:
            why = _in_another_topic(desk, before[number]) or _why(view, number)
            reasons.setdefault(why, []).append(number)
    lines = [
        f"{'partition' if len(numbers) == 1 else 'partitions'} {', '.join(map(str, numbers))}: {why}"
        for why, numbers in reasons.items()
    ]
    return [*lines, f"{holds}; dlq_handler.py waiting shows what still waits"]


def _in_another_topic(desk: Desk, before: Stated) -> Optional[str]:
    """Where the consumers do not read what was written; None if nothing shows that."""
    page = None if before.commit is None else before.commit.page
    if page is None or page.topic == desk.ledger_topic:
        return None
    return (
        f"the list is in {page.topic}, and this was written into {desk.ledger_topic}: name {page.topic} with "
        "--ledger-topic, unless the consumers' LEDGER_TOPIC was changed since"
    )


def _why(view: View, number: int) -> str:
    if view.members is None:
        return "whose it is cannot be found out: that needs the right DESCRIBE on the group"
    owner = next((one for one in view.members if number in one.partitions), None)
    if owner is None:
        return "nobody owns it now: the group may be amid a rebalance"
    return (
        f"{escape(owner.client_id)} at {escape(owner.host)} has not done it. It may be in a call that takes "
        "long, or of an older version, or may not read the ledger topic, which its log says"
    )
