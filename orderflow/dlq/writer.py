"""The one writer of what becomes of dead letters: whoever replays, discards or restores."""

import time
from typing import Sequence

from orderflow.dlq.desk import Desk, now_ms
from orderflow.exits import CommandError
from orderflow.kafka.questions import Questions
from orderflow.kafka.reachable import admin_client
from orderflow.kafka.reader import Unreadable
from orderflow.kafka.topics_view import TopicsView
from orderflow.kafka.transactions import Transactions, transactional_id
from orderflow.model.open_transactions import Hidden, may_be_open

ANSWER_S = 5.0
SETTLED_S = 20.0
"""Far longer than the ends of transactions take to arrive everywhere."""
SETTLING_STEP_S = 0.05


def open_writer(desk: Desk, rooms: Sequence[int] = ()) -> Transactions:
    """Fence every other writer, and return once all that they wrote can be read.

    `rooms` is what the topics take that are written to. Raises CommandError.
    """
    transactions = Transactions(desk.client, transactional_id(desk.dlq_topic), desk.note, rooms=rooms)
    transactions.open()
    _await_settled(desk)
    return transactions


def _await_settled(desk: Desk) -> None:
    """Return once nothing of the audit topic is hidden. Raises CommandError where that does not come.

    One writer at a time was here, and its transactions are settled by now. But a lone broker that is killed
    may lose the end of one, even of one whose commit it has answered: what it did would be done again.
    """
    view = TopicsView(admin_client(desk.client), Questions(ANSWER_S))
    until_s = time.monotonic() + SETTLED_S
    while True:
        ends = view.ends_of(desk.audit_topic)
        if ends is None:
            raise Unreadable(f"cannot read the ends of topic {desk.audit_topic}")
        hidden = [Hidden(number, one.stable, one.high, None) for number, one in may_be_open(ends).items()]
        if not hidden:
            return
        if time.monotonic() >= until_s:
            told = hidden[0].told(desk.audit_topic, now_ms())
            raise CommandError(
                f"nothing more was done, as nobody can tell what was done before; hidden is {told}"
            )
        time.sleep(SETTLING_STEP_S)
