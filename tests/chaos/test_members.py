"""Consumers come, go, freeze and come back: the account closes all the same."""

import signal
import time
from typing import Callable, Tuple

import pytest

from tests.support.pipeline import Pipeline, eventually
from tests.support.troublemaker import QUICK_SESSIONS

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewPipeline = Callable[..., Pipeline]
ORDERS = [(f"A{number:05}", f"C{number % 101}") for number in range(4000)]


@pytest.mark.parametrize(
    "protocol",
    [
        ("-X", "partition.assignment.strategy=range"),
        ("-X", "partition.assignment.strategy=cooperative-sticky"),
        ("-X", "group.protocol=consumer"),
    ],
    ids=lambda protocol: protocol[1].split("=")[1],
)
def test_a_storm_of_rebalances_loses_and_doubles_nothing(
    pipeline: NewPipeline, protocol: Tuple[str, ...]
) -> None:
    """One steady consumer, and one that joins and leaves every second, with orders that fail on their way."""
    shop = pipeline(ORDER_KEY="customer_id", CALL_S="0.002")
    shop.publish(ORDERS)
    shop.begin_trouble()
    steady = shop.consume("unlucky_ones_fail", *protocol)
    for _ in range(10):
        guest = shop.consume("unlucky_ones_fail", *protocol)
        time.sleep(1)
        guest.stop()
    shop.end_trouble()
    assert steady.stop().code == 143
    shop.drain("unlucky_ones_fail", *protocol)

    shop.assert_account_closes()


def test_a_frozen_consumer_that_comes_back_can_commit_nothing(pipeline: NewPipeline) -> None:
    """SIGSTOP for longer than its session, SIGCONT when another has its partitions: nothing is doubled."""
    shop = pipeline(CALL_S="0.002")
    shop.publish(ORDERS)
    frozen = shop.consume("works", *QUICK_SESSIONS)
    eventually(lambda: len(shop.calls()) > 200, why=frozen.describe)
    frozen.send(signal.SIGSTOP)
    heir = shop.consume("works", *QUICK_SESSIONS)
    eventually(lambda: len({call.pid for call in shop.calls()}) == 2, timeout_s=60, why=heir.describe)
    frozen.send(signal.SIGCONT)
    eventually(lambda: len({call.delivery for call in shop.calls()}) == len(ORDERS), 60, heir.describe)
    for each in (heir, frozen):
        each.stop()
    shop.drain("works")

    assert shop.assert_account_closes().processed == len(ORDERS)


def test_an_outage_with_a_kill_in_it_does_not_empty_the_topic_into_the_dead_letters(
    pipeline: NewPipeline,
) -> None:
    """Everything fails for 12 s, with a kill -9 amid it: dead letters are at most the probes."""
    shop = pipeline(OUTAGE_WINDOW="5", MAX_RETRIES="1")
    shop.begin_trouble()
    shop.publish(ORDERS[:1000])
    began_s = time.monotonic()
    first = shop.consume("everything_fails", *QUICK_SESSIONS)
    eventually(lambda: len(shop.calls()) > 60, why=first.describe)
    time.sleep(3)
    first.kill()
    second = shop.consume("everything_fails", *QUICK_SESSIONS)
    time.sleep(9)
    outage_s = time.monotonic() - began_s
    shop.end_trouble()
    eventually(lambda: len(shop.results()) > 900, 60, second.describe)
    second.stop()
    shop.drain("everything_fails")

    taken = shop.assert_account_closes()
    assert taken.dead_lettered <= outage_s / 5 + 2


def test_a_handler_that_hangs_is_ended_and_its_order_dead_lettered(pipeline: NewPipeline) -> None:
    """HANDLER_TIMEOUT ends the process; once the order's retries are used up, it continues without it."""
    shop = pipeline(HANDLER_TIMEOUT="2", MAX_RETRIES="1", RETRY_BACKOFF="0.1")
    shop.publish([*ORDERS[:100], ("POISON-1", "C1"), *ORDERS[100:200]])
    for _ in range(6):
        running = shop.consume("poison_hangs", "--until-drained", "-X", "group.instance.id=phoenix")
        if running.wait().code == 0:
            break

    taken = shop.assert_account_closes()
    assert (taken.processed, taken.dead_lettered) == (200, 1)
