"""What a transaction holds while it is open."""

import time

from orderflow.kafka.transactions import SERVED_EVERY, Transactions
from orderflow.model.records import Outgoing

RECORD = Outgoing("orders", b"K1", b"x" * 100, [])
MOST = 100_000
"""Fewer than the client takes: once it is full, it drops what was delivered anyway."""


def test_what_was_delivered_is_dropped_while_the_transaction_is_open() -> None:
    """Else the client keeps all of it until the commit, and memory grows with the rate."""
    transactions = Transactions({"test.mock.num.brokers": 1}, "orders-dlq-replayer", print)
    transactions.open()
    sent = 0
    while sent < MOST and (sent <= SERVED_EVERY or len(transactions._producer) > sent // 2):
        transactions.send(RECORD, sent)
        sent += 1
        if not sent % SERVED_EVERY:
            time.sleep(0.05)  # the client's own threads deliver
    assert len(transactions._producer) <= sent // 2
    transactions.commit()
