"""Partitions come and go, logs and offsets change under the consumer: nothing is skipped or doubled unsaid.

Longer storms, and the three group protocols, are in tests/chaos/test_engine_rebalance.py.
"""

import signal
import time
from typing import Callable, Iterable, Tuple

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from tests.support.engine_tools import INSTANCE, MORTAL, Shop, encode, rows
from tests.support.pipeline import Running, eventually

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]
LONG = pytest.mark.chaos
"""Left to `make chaos`, so that `make test` stays short."""


def handled(shop: Shop) -> int:
    """How many orders were handled at least once."""
    return len({call.delivery for call in shop.calls()})


def test_a_zombie_can_neither_commit_nor_dead_letter(strict_shop: NewShop) -> None:
    """Stopped amid a call for longer than its session, it wakes when another has its work: no second fate."""
    shop = strict_shop(CALL_S="0.05").create()
    shop.put([(f"BAD{n}" if n % 5 == 0 else f"A{n}", "C") for n in range(100)])
    zombie = shop.consume("bad_ones_are_rejected", *MORTAL)
    eventually(lambda: handled(shop) > 20, why=zombie.describe)
    zombie.send(signal.SIGSTOP)
    heir = shop.consume("bad_ones_are_rejected", *MORTAL)
    eventually(lambda: len({call.pid for call in shop.calls()}) == 2, 30, heir.describe)
    zombie.send(signal.SIGCONT)
    eventually(lambda: handled(shop) == 80, 30, heir.describe)
    for each in (zombie, heir):
        assert each.stop().code == 143, each.describe()
    shop.drain("bad_ones_are_rejected", *MORTAL)

    taken = shop.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (80, 20)


def test_handlers_that_run_for_long_lose_neither_session_nor_partition(strict_shop: NewShop) -> None:
    """Calls three times as long as the session; a second member joins meanwhile and takes its share."""
    shop = strict_shop(WORKERS="4", SLOW_S="6").create(partitions=2)
    shop.put([("SLOW-0", "C"), *rows(50)], partition=0)
    shop.put([("SLOW-1", "C"), *rows(50, prefix="B")], partition=1)
    first = shop.consume("slow_ones_sleep", *MORTAL)
    eventually(lambda: handled(shop) == 102, why=first.describe)
    second = shop.consume("slow_ones_sleep", *MORTAL)
    eventually(lambda: "is ready" in second.err, why=second.describe)
    eventually(lambda: len(shop.results()) == 102, why=lambda: first.describe() + second.describe())
    for each in (first, second):
        assert each.stop().code == 143

    repeated = len(shop.calls()) - 102
    assert repeated <= 1, "no more than the call that ran when its partition was given away"
    assert shop.assert_account_closes().processed == 102


@LONG
def test_a_static_member_that_restarts_moves_no_partition(strict_shop: NewShop) -> None:
    """Its place is kept: the other member gets nothing, and nothing is repeated."""
    shop = strict_shop(CALL_S="0.002").create(partitions=2)
    slow_session = ("-X", "session.timeout.ms=20000")
    one = shop.consume("works", *slow_session, "-X", "group.instance.id=one")
    eventually(lambda: "is ready" in one.err, why=one.describe)
    two = shop.consume("works", *slow_session, "-X", "group.instance.id=two")
    eventually(lambda: "is ready" in two.err, why=two.describe)
    for partition in (0, 1):
        shop.put(rows(300, prefix=f"P{partition}"), partition=partition)
    eventually(lambda: len({call.pid for call in shop.calls()}) == 2, why=two.describe)
    assert one.stop().code == 143
    again = shop.consume("works", *slow_session, "-X", "group.instance.id=one")
    eventually(lambda: handled(shop) == 600, why=again.describe)
    for each in (again, two):
        assert each.stop().code == 143

    assert two.err.count("is ready") <= 2, "it was given the other's partition"
    assert shop.assert_account_closes().processed == 600


def test_partitions_that_are_added_are_consumed_too(shop: NewShop) -> None:
    grown = shop().create(partitions=1)
    grown.put(rows(50))
    running = grown.consume("works", "-X", "topic.metadata.refresh.interval.ms=500")
    eventually(lambda: handled(grown) == 50, why=running.describe)
    admin = AdminClient(grown.client)
    admin.create_partitions([NewPartitions(grown.orders_topic, 3)])[grown.orders_topic].result(20)
    time.sleep(0.5)
    for partition in (1, 2):
        grown.put(rows(25, prefix=f"P{partition}"), partition=partition)
    eventually(lambda: handled(grown) == 100, why=running.describe)
    assert running.stop().code == 143

    assert grown.assert_account_closes().processed == 100


def test_a_group_that_does_not_let_it_in_is_told_and_ends_with_1(strict_shop: NewShop) -> None:
    """A session time-out that the broker refuses: the client itself would silently retry forever."""
    refused = strict_shop().create()
    hasty = ("-X", "session.timeout.ms=500", "-X", "heartbeat.interval.ms=100")
    finished = refused.consume("works", *hasty).wait(20)

    assert finished.code == 1
    assert "session timeout" in finished.err.lower()


# --- offsets that somebody has moved


@LONG
def test_offsets_reset_to_earlier_do_that_work_again(shop: NewShop) -> None:
    """What the operator asked for, and no more."""
    reset = shop().create()
    reset.put(rows(100))
    reset.drain("works")
    reset.rewind({0: 40})
    reset.drain("works")

    assert len(reset.calls()) == 160


@LONG
def test_offsets_reset_to_later_skip_as_they_were_told(shop: NewShop) -> None:
    reset = shop().create()
    reset.put(rows(100))
    reset.drain("works")
    reset.put(rows(100, prefix="B"))
    reset.rewind({0: 150})
    reset.drain("works")

    assert len(reset.calls()) == 150


def test_offsets_before_the_log_start_are_told_as_lost(shop: NewShop) -> None:
    """Retention was faster than the consumer: an error names the offsets, and it continues."""
    late = shop().create()
    late.put(rows(100))
    late.rewind({0: 10})
    delete_records(late, 60)
    finished = late.drain("works")

    assert "retention deleted offsets 10 to 59 unprocessed" in finished.err
    assert len(late.calls()) == 40


def delete_records(shop: Shop, before: int) -> None:
    """Have retention take everything before an offset."""
    admin = AdminClient(shop.client)
    for done in admin.delete_records([TopicPartition(shop.orders_topic, 0, before)]).values():
        done.result(20)


def test_metadata_that_is_not_ours_skips_nothing(shop: NewShop) -> None:
    """Another program's text on the committed offset: a warning, and every record from there on."""
    foreign = shop().create()
    foreign.put(rows(50))
    foreign.rewind({0: 20}, metadata="of1;c;999;;0;;deadbeef")
    finished = foreign.drain("works")

    assert "is not ours" in finished.err
    assert len(foreign.calls()) == 30


@LONG
def test_a_commit_beyond_the_log_is_an_error_and_never_a_silent_skip(shop: NewShop) -> None:
    """As after a restore from a backup: it says what to do, ends with 1, and keeps the offset."""
    shrunk = shop().create()
    shrunk.put(rows(30))
    shrunk.rewind({0: 100})
    finished = shrunk.consume("works", "--until-drained").wait(60)

    assert finished.code == 1
    assert "deleted and recreated" in finished.err and "reset the group" in finished.err
    assert shrunk.calls() == [] and shrunk.told()[0].offset == 100
    shrunk.rewind({0: 0})
    shrunk.drain("works")
    assert len(shrunk.calls()) == 30


@pytest.mark.parametrize("more", [pytest.param(30, marks=LONG, id="shorter"), pytest.param(200, id="longer")])
def test_a_topic_made_anew_under_a_running_consumer_is_never_skipped_in_silence(
    shop: NewShop, more: int
) -> None:
    """Every new order is handled, or it ends with 1 and says how to handle them all."""
    remade = shop().create()
    remade.put(rows(100))
    running = remade.consume("works")
    eventually(lambda: handled(remade) == 100, why=running.describe)
    admin = AdminClient(remade.client)
    admin.delete_topics([remade.orders_topic])[remade.orders_topic].result(20)
    eventually(lambda: made(admin, NewTopic(remade.orders_topic, 1, -1)))
    remade.put(rows(more, prefix="B"))
    eventually(lambda: not running.running or len(remade.calls()) == 100 + more, 30, running.describe)
    ended = running.wait() if not running.running else running.stop()
    again = remade.consume("works", "--until-drained").wait()

    handled_all = {call.key for call in remade.calls()} >= {order_id for order_id, _ in rows(more, "B")}
    told = "deleted and recreated" in ended.err + again.err and 1 in (ended.code, again.code)
    assert handled_all or told, running.describe()


def made(admin: AdminClient, topic: NewTopic) -> bool:
    """Whether the topic could be made; a moment after its deletion it may still be known."""
    try:
        admin.create_topics([topic])[topic.topic].result(20)
    except Exception:  # noqa: BLE001 - whatever the client raises, it is tried again
        return False
    return True


# --- a source that is written in transactions


def test_markers_and_aborted_records_leave_no_lag(shop: NewShop) -> None:
    """Committed and aborted transactions, with markers at the end: drained, lag 0, aborted ones unseen."""
    source = shop().create()
    transact(source, "committed", rows(40), commit=True)
    transact(source, "aborted", rows(40, prefix="GONE"), commit=False)
    transact(source, "more", [*rows(10, prefix="B"), ("POISON-1", "C")], commit=True)
    transact(source, "last", rows(5, prefix="GONE"), commit=False)
    source.drain("poison_asks_to_wait")

    assert source.lag() == 0
    taken = source.assert_account_closes()
    assert (taken.published, taken.processed) == (51, 51)


def test_until_drained_waits_for_an_open_transaction(shop: NewShop) -> None:
    """Behind it stand orders; it is not drained, says what it waits for, and handles them when it ends."""
    source = shop().create()
    source.put(rows(10))
    producer = Producer({**source.client, "transactional.id": f"{source.group}-open"})
    producer.init_transactions(20)
    producer.begin_transaction()
    producer.produce(source.orders_topic, encode("OPEN"), b"OPEN")
    producer.flush(20)
    source.put(rows(5, prefix="BEHIND"))

    running = source.consume("works", "--until-drained")
    holds_back = "partition 0: a producer's open transaction holds back offsets 10 to 15"
    eventually(lambda: holds_back in running.err, why=running.describe)
    assert running.running
    producer.commit_transaction(20)
    assert running.wait().code == 0
    assert handled(source) == 16


def test_a_member_that_its_twin_has_fenced_ends(strict_shop: NewShop) -> None:
    """Two of one group.instance.id: the first one ends with the group's word, whatever form it comes in."""
    shop = strict_shop().create()
    shop.put(rows(5))
    first = shop.consume("works", *INSTANCE)
    eventually(lambda: "is ready" in first.err, why=first.describe)
    second = shop.consume("works", *INSTANCE)
    finished = first.wait(30)

    assert finished.code == 1
    assert "fenced by other consumer with same group.instance.id" in finished.err.splitlines()[-1]
    eventually(lambda: "is ready" in second.err, why=second.describe)


def transact(shop: Shop, name: str, orders: Iterable[Tuple[str, str]], commit: bool) -> None:
    """Write orders in one transaction, and commit or abort it."""
    producer = Producer({**shop.client, "transactional.id": f"{shop.group}-{name}"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for order_id, customer_id in orders:
        producer.produce(shop.orders_topic, encode(order_id, customer_id), order_id.encode())
    producer.flush(20)
    if commit:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


@LONG
def test_a_storm_of_rebalances_loses_and_doubles_nothing(strict_shop: NewShop) -> None:
    """One steady member, and guests that come and go while orders fail on their way."""
    assert_survives_storm(strict_shop, MORTAL, guests=3, orders=1500)


def assert_survives_storm(
    strict_shop: NewShop,
    protocol: Tuple[str, ...],
    guests: int,
    orders: int,
    handler: str = "unlucky_ones_fail",
) -> None:
    """Guests that stay for a second each; every second one is killed instead of stopped."""
    shop = strict_shop(CALL_S="0.001").create(partitions=4)
    shop.put(rows(orders, customers=97), key="customer_id")
    shop.begin_trouble()
    steady = shop.consume(handler, *protocol)
    for number in range(guests):
        guest = shop.consume(handler, *protocol)
        eventually(lambda guest=guest: "is ready" in guest.err, 30, guest.describe)  # type: ignore[misc]
        leave(guest, by_death=number % 2 == 1)
    shop.end_trouble()
    assert steady.stop().code == 143, steady.describe()
    shop.until_drained(handler, *protocol)

    shop.assert_account_closes()


def leave(guest: Running, by_death: bool) -> None:
    """Stop it, or kill it."""
    if by_death:
        guest.kill()
    else:
        assert guest.stop().code == 143, guest.describe()
