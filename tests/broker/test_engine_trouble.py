"""Handlers that fail: one bad key, everything at once, more than the ledger holds, and forever.

The long forms, with the issue's own figures, are in tests/chaos/test_engine_trouble.py.
"""

import os
import time
from pathlib import Path
from typing import Callable, Iterator, Optional

import pytest

from tests.conftest import Kafka, shops_on
from tests.support.engine_tools import MORTAL, Shop, rows
from tests.support.fault_proxy import HELD_ANSWER, OFFSET_COMMIT, FaultProxy
from tests.support.pipeline import Running, eventually, reason
from tools.local_kafka import LocalKafka

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]
LONG = pytest.mark.chaos
"""Left to `make chaos`, so that `make test` stays short."""


# --- one bad key


@pytest.mark.clock
def test_one_bad_key_stops_no_other_and_catches_up_at_once(shop: NewShop) -> None:
    """While a tenth of the traffic waits behind one order, the rest is handled; then that tenth, in order."""
    assert_one_bad_key_stops_no_other(shop, orders=3000, outage_s=3.0)


def assert_one_bad_key_stops_no_other(shop: NewShop, orders: int, outage_s: float) -> None:
    """One of ten customers fails for `outage_s`: all others are done before, its queue within 1 s after."""
    blocked = shop(RETRY_BACKOFF="0.5", RETRY_BACKOFF_MAX="1", MAX_RETRIES="30").create()
    blocked.put(rows(orders, customers=10), key="customer_id")
    blocked.begin_trouble()
    running = blocked.consume("bad_customer_hurts", "--until-drained")
    eventually(blocked.calls, why=running.describe)
    time.sleep(outage_s)
    ended_s = time.monotonic()
    blocked.end_trouble()
    assert running.wait().code == 0

    calls = blocked.calls()
    before = sum(call.at_s < ended_s for call in calls if call.key != "C0")
    assert before >= orders * 0.9 * 17_900 / 18_000
    own = [call for call in calls if call.key == "C0"]
    assert len(own) == orders // 10
    assert own[-1].at_s - own[0].at_s < 1
    assert blocked.assert_account_closes().processed == orders


def test_a_key_that_fails_for_ever_drains_at_the_handlers_speed(shop: NewShop) -> None:
    """Three orders use their budgets up, the others get one call each; the other keys lose no time."""
    blocked = shop(RETRY_BACKOFF="0.3", RETRY_BACKOFF_MAX="0.5", MAX_RETRIES="2").create()
    blocked.put(rows(3000, customers=10), key="customer_id")
    finished = blocked.drain("customer_never_works")

    assert finished.took_s < 60, "240 s, if each of the 297 waited for its own retries"
    reasons = [reason(letter) for letter in blocked.dead_letters()]
    assert reasons == ["process.retries_exhausted"] * 3 + ["process.key_failing"] * 297
    assert blocked.assert_account_closes().processed == 2700


# --- an outage


def test_an_outage_with_a_kill_in_it_dead_letters_next_to_nothing(strict_shop: NewShop) -> None:
    """Everything fails for some seconds, with a kill -9 in the middle; then all of it is processed."""
    assert_outage_is_survived(strict_shop, orders=1000, outage_s=4, window_s=60)


def assert_outage_is_survived(strict_shop: NewShop, orders: int, outage_s: float, window_s: float) -> None:
    """At most the probes are dead-lettered; what waited through it had its full budget afterwards."""
    down = strict_shop(OUTAGE_WINDOW=str(window_s), MAX_RETRIES="1").create(partitions=2)
    down.put(rows(orders, customers=101), key="customer_id")
    down.begin_trouble()
    began_s = time.monotonic()
    first = down.consume("everything_fails", *MORTAL)
    eventually(lambda: "ERROR nearly every order fails" in first.err, why=first.describe)
    time.sleep(outage_s / 2)
    first.kill()
    second = down.consume("everything_fails", *MORTAL)  # a drain ends once all orders wait
    eventually(lambda: "is ready" in second.err, why=second.describe)
    time.sleep(outage_s / 2)
    letters = len(down.dead_letters())
    took_s = time.monotonic() - began_s
    down.end_trouble()
    eventually(lambda: down.lag() == 0, 120, second.describe)
    assert second.stop().code == 143, second.describe()

    assert "orders succeed again" in second.err
    assert letters <= 50 + took_s / window_s, "the evidence for an outage, and one a window"
    assert len(down.dead_letters()) == letters, "an order was given up after the outage"
    down.assert_account_closes()


def test_a_healthy_partition_flows_while_another_one_is_held(shop: NewShop) -> None:
    """Everything fails in partition 0; the orders of partition 1 are processed at once; then all are."""
    half = shop(RETRY_BACKOFF="0.5", RETRY_BACKOFF_MAX="1", MAX_RETRIES="1").create(partitions=2)
    half.put(rows(300, "BAD", customers=101), key="customer_id", partition=0)
    half.begin_trouble()
    running = half.consume("bad_ones_fail", "--until-drained")
    eventually(lambda: "nearly every order fails in partition 0:" in running.err, why=running.describe)
    half.put(rows(3000, customers=101), key="customer_id", partition=1)
    eventually(lambda: sum(call.position[1] == 1 for call in half.calls()) == 3000, why=running.describe)
    half.end_trouble()
    assert running.wait().code == 0

    assert "orders succeed again in partition 0:" in running.err
    assert half.assert_account_closes().dead_lettered == 0


@LONG
def test_some_poison_at_the_end_of_a_healthy_topic_does_not_trip_the_brake(shop: NewShop) -> None:
    """Retries are no evidence of an outage."""
    healthy = shop(MAX_RETRIES="2").create()
    healthy.put([*rows(500), *((f"POISON-{number}", "C") for number in range(20))])
    finished = healthy.drain("poison_fails")

    assert "nearly every order fails" not in finished.err
    taken = healthy.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (500, 20)


@LONG
def test_a_topic_of_nothing_but_failing_orders_still_drains(shop: NewShop) -> None:
    """It looks like an outage, so they leave one per window; none stays forever."""
    poisoned = shop(MAX_RETRIES="0", OUTAGE_WINDOW="1").create()
    poisoned.put([(f"POISON-{number}", "C") for number in range(55)])
    running = poisoned.consume("poison_fails")
    eventually(lambda: running.err.count("dead-lettered after") == 55, 60, running.describe)
    running.stop()

    assert "nearly every order fails" in running.err
    assert poisoned.assert_account_closes().dead_lettered == 55


@LONG
def test_a_batch_job_ends_with_5_when_only_held_orders_are_left(shop: NewShop) -> None:
    """They stay waiting, and the next run continues with them."""
    down = shop(OUTAGE_WINDOW="3600", MAX_RETRIES="1").create()
    down.put(rows(60, customers=60))
    down.begin_trouble()
    tripped = down.consume("everything_fails", "--until-drained").wait()
    down.end_trouble()
    down.drain("everything_fails")

    assert tripped.code == 5
    assert down.assert_account_closes().processed >= 10


# --- more than the ledger holds


@pytest.mark.parametrize(
    "key", [pytest.param("order_id", marks=LONG), pytest.param("customer_id", marks=LONG), None]
)
def test_a_full_ledger_pauses_and_loses_nothing(shop: NewShop, key: Optional[str]) -> None:
    """Three of five orders fail: with distinct keys, with few, and without; intake pauses, then all drain."""
    assert_full_ledger_drains(shop, key, orders=3000, outage_s=2)


def assert_full_ledger_drains(shop: NewShop, key: Optional[str], orders: int, outage_s: float) -> None:
    """More orders wait than there is memory for: nothing is dropped, and nothing repeated."""
    # A budget that outlasts the outage: 30 retries of up to 2 s, give or take a quarter.
    limits = {"MAX_QUEUED": str(orders // 10), "MAX_WAITING_BYTES": str(orders * 150)}
    full = shop(MAX_RETRIES="30", RETRY_BACKOFF_MAX="2", **limits).create()
    full.put(rows(orders, customers=1), key=key)
    full.begin_trouble()
    running = full.consume("most_fail", "--until-drained")
    eventually(lambda: "admitting no more" in running.err, why=running.describe)
    time.sleep(outage_s)
    full.end_trouble()
    assert running.wait().code == 0, running.describe()

    assert full.assert_account_closes().processed == orders
    assert len(full.calls()) == orders, "an order was handled twice"


# --- Kafka is away


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """A broker that may be killed."""
    with LocalKafka() as kafka:
        yield kafka


@pytest.fixture
def own_shop(own_kafka: LocalKafka, topic: Callable[..., str], tmp_path: Path) -> Iterator[NewShop]:
    """Make shops on that broker."""
    yield from shops_on(own_kafka, topic, tmp_path)


def test_that_kafka_is_lost_is_told_while_a_commit_waits_for_it(kafka: Kafka, shop: NewShop) -> None:
    """A plain commit has no time-out; nothing else may wait for it."""
    waiting = shop(GUARANTEE="at-least-once").create()
    waiting.put(rows(20))
    with FaultProxy(kafka.bootstrap_servers) as wire:
        wire.break_next(OFFSET_COMMIT, HELD_ANSWER, after=1)  # the first says that the partition is open
        running = waiting.consume("works", KAFKA_BOOTSTRAP_SERVERS=wire.bootstrap_servers)
        eventually(lambda: wire.happened, why=running.describe)
        wire.cut()
        eventually(lambda: "is lost" in running.err, 15, running.describe)
        wire.restore()
        eventually(lambda: "is back after" in running.err, 60, running.describe)
        eventually(lambda: waiting.lag() == 0, 60, running.describe)
        assert running.stop().code == 143

    waiting.assert_account_closes(repeats_allowed=True)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads a process's time from /proc")
def test_waiting_for_a_lost_kafka_costs_next_to_nothing(own_kafka: LocalKafka, own_shop: NewShop) -> None:
    """A request that waits for a broker costs the client a whole processor, so none is left waiting."""
    waiting = own_shop().create()
    waiting.put(rows(20))
    running = waiting.consume("works")
    eventually(lambda: len(waiting.calls()) == 20, why=running.describe)
    own_kafka.kill()
    eventually(lambda: "is lost" in running.err, 30, running.describe)
    time.sleep(3)  # what was asked before is given up after 2 s
    before_s = processor_time_s(running)
    time.sleep(6)  # longer than the 5 s between two looks at the topics
    spent_s = processor_time_s(running) - before_s

    assert spent_s < 0.5, f"{spent_s:.1f} s of 6"


def processor_time_s(running: Running) -> float:
    """What a process has used so far."""
    stat = Path(f"/proc/{running.process.pid}/stat").read_text(encoding="ascii")
    user, system = stat.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
