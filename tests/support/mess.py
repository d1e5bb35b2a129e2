"""A bad night on one broker, and the truth about it: what the runbook's commands have to find out."""

import random
from decimal import Decimal
from typing import Dict, List, NamedTuple, Tuple

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from orderflow.errors import Failure
from orderflow.model.commit_metadata import Commit, Entry
from orderflow.model.dead_letter import Circumstances, dead_letter
from orderflow.model.records import Outgoing, Record
from tests.support.dlq_tools import make_topic, order, send
from tests.support.memory import write_metadata

MINUTE_MS = 60_000
EXPIRED = 7
"""Dead letters of last week that retention has taken before anybody looked."""
WAITING = 24
UNSEEN = 10


class Kind(NamedTuple):
    """One cause of the night's dead letters."""

    number: int
    reason: str
    error: str
    message: str
    frame: str
    began_m: int
    """Minutes before now."""
    lasted_m: int
    is_order: bool = True


KINDS = {
    "bad deploy": Kind(300, "process.failed", "KeyError", "'{sku}'", "shop/prices.py:21 in total", 90, 80),
    "payment outage": Kind(
        120,
        "process.retries_exhausted",
        "shop.PaymentTimeout",
        "no answer in charge of order {id}",
        "shop/payment.py:88 in charge",
        60,
        10,
    ),
    "refusing API": Kind(
        60,
        "process.rejected",
        "orderflow.errors.RejectOrder",
        'partner refuses account "{sku}"',
        "shop/partner.py:40 in book",
        45,
        30,
    ),
    "foreign records": Kind(
        25, "decode.framing", "orderflow.errors.Undecodable", "begins with {hex}", "", 40, 5, is_order=False
    ),
    "killer orders": Kind(
        3,
        "process.killed_consumer",
        "orderflow.errors.KilledConsumer",
        "its consumer died 3 times",
        "",
        30,
        20,
    ),
}


class Truth(NamedTuple):
    """What really happened."""

    counts: Dict[str, int]
    sums: Dict[str, Decimal]
    first_ms: Dict[str, int]
    by_customer: Dict[str, Decimal]

    @property
    def total(self) -> Decimal:
        """Of all orders that can be decoded."""
        return sum(self.sums.values(), Decimal(0))


def make_mess(bootstrap_servers: str, orders: str, dlq: str, group: str, now_ms: int) -> Truth:
    """Put it all on the broker, without a consumer: dead letters, orders that wait, and what expired."""
    make_topic(bootstrap_servers, orders, 3)
    make_topic(bootstrap_servers, dlq)
    chance, truth = random.Random(19), Truth({}, {}, {}, {})
    _expire(
        bootstrap_servers,
        dlq,
        [_letter(chance, KINDS["bad deploy"], orders, n, 0)[0] for n in range(EXPIRED)],
    )
    letters: List[Outgoing] = []
    for name, kind in KINDS.items():
        letters += _died(chance, name, kind, orders, now_ms, truth, len(letters))
    letters.sort(key=lambda letter: letter.timestamp_ms or 0)
    send(bootstrap_servers, dlq, letters)
    _leave_work(bootstrap_servers, orders, group, now_ms)
    return truth


def _expire(bootstrap_servers: str, dlq: str, letters: List[Outgoing]) -> None:
    """Dead letters that were there, and are gone."""
    send(bootstrap_servers, dlq, letters)
    admin, end = AdminClient({"bootstrap.servers": bootstrap_servers}), TopicPartition(dlq, 0, len(letters))
    for future in admin.delete_records([end]).values():
        future.result(10)


def _died(
    chance: random.Random, name: str, kind: Kind, orders: str, now_ms: int, truth: Truth, begin: int
) -> List[Outgoing]:
    found = []
    for number in range(kind.number):
        at_ms = now_ms - (kind.began_m * 60_000) + kind.lasted_m * 60_000 * number // kind.number
        letter, customer, worth = _letter(chance, kind, orders, begin + number, at_ms)
        found.append(letter)
        truth.counts[name] = truth.counts.get(name, 0) + 1
        truth.first_ms.setdefault(name, at_ms)
        if kind.is_order:
            truth.sums[name] = truth.sums.get(name, Decimal(0)) + worth
            truth.by_customer[customer] = truth.by_customer.get(customer, Decimal(0)) + worth
    return found


def _letter(
    chance: random.Random, kind: Kind, orders: str, number: int, at_ms: int
) -> Tuple[Outgoing, str, Decimal]:
    customer, cents = f"C-{chance.randrange(40)}", chance.randrange(100, 20_000)
    quantity = chance.randrange(1, 5)
    sku = "".join(chance.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in range(2))
    begin = chance.getrandbits(16).to_bytes(2, "big").hex(" ")
    text = kind.message.format(sku=sku, id=number, hex=begin)
    value = order(number, customer_id=customer, quantity=quantity, price=cents / 100)
    place = (orders, number % 3, number, at_ms, "CreateTime")
    source = Record(*place, f"O-{number}".encode(), value if kind.is_order else b"junk", [])
    stage = kind.reason.split(".")[0]
    failure = Failure(kind.reason, stage, kind.error, text, retryable=True, frame=kind.frame or None)
    about = Circumstances("shop", "host-1", 4, at_ms - 9_000, at_ms, None, 1)
    sent = dead_letter(source, failure, about, "")
    return sent._replace(timestamp_ms=at_ms), customer, Decimal(cents) / 100 * quantity


def _leave_work(bootstrap_servers: str, orders: str, group: str, now_ms: int) -> None:
    """In partition 0 all is seen and half of it waits; in partition 1 nothing is, and the brake holds."""
    for partition, number in ((0, WAITING * 2), (1, UNSEEN)):
        at_ms = now_ms - 20 * MINUTE_MS
        records = [Outgoing(orders, f"W-{n}".encode(), order(n), [], partition, at_ms) for n in range(number)]
        send(bootstrap_servers, orders, records)
    waiting = [Entry(offset, 1, 300) for offset in range(0, WAITING * 2, 2)]
    commit = Commit(WAITING * 2, waiting, False, False, None, now_ms // 1000)
    braked = Commit(0, [], False, True, None, now_ms // 1000 - 300)
    places = [
        TopicPartition(orders, 0, 0, write_metadata(commit, 0)),
        TopicPartition(orders, 1, 0, write_metadata(braked, 0)),
    ]
    commit_as(bootstrap_servers, group, places)


def commit_as(bootstrap_servers: str, group: str, places: List[TopicPartition]) -> None:
    """Commit for a group that has no members, as the engine would."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": group, "enable.auto.commit": False}
    )
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()
