"""kill -9, again and again, at random moments: the account closes all the same.

ORDERFLOW_ORDERS=cdnow-orders.csv uses a larger file than the shipped sample; CHAOS_SEED repeats a run.
"""

from typing import Callable

import pytest

from tests.support.account import missing_from_topic
from tests.support.pipeline import Pipeline
from tests.support.troublemaker import ORDERS, crash_consumers, order_ids

pytestmark = [pytest.mark.chaos, pytest.mark.broker]


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
@pytest.mark.parametrize("workers", ["1", "16"])
def test_every_order_has_its_fate_after_five_kills(
    pipeline: Callable[..., Pipeline], guarantee: str, workers: str
) -> None:
    """Two consumers, 2 % of orders failing for a while, five kills: each order is found exactly once."""
    shop = pipeline(GUARANTEE=guarantee, WORKERS=workers, CALL_S="0.001")
    shop.succeed("producer.py", "--input", str(ORDERS))
    shop.begin_trouble()
    crash_consumers(shop, "unlucky_ones_fail", consumers=2, kills=5, orders=len(order_ids()))
    shop.end_trouble()
    shop.drain("unlucky_ones_fail", timeout_s=300)

    shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert missing_from_topic(order_ids(), shop.orders()) == []


def test_kills_keep_the_order_of_each_key(pipeline: Callable[..., Pipeline]) -> None:
    """Keyed by customer, some of whom have dozens of orders: results and dead letters keep their order."""
    shop = pipeline(ORDER_KEY="customer_id", CALL_S="0.0005", WORKERS="4")
    shop.succeed("producer.py", "--input", str(ORDERS))
    shop.begin_trouble()
    crash_consumers(shop, "unlucky_ones_fail", consumers=3, kills=5, orders=len(order_ids()))
    shop.end_trouble()
    shop.drain("unlucky_ones_fail", timeout_s=300)

    shop.assert_account_closes()


def test_a_crash_repeats_few_calls(pipeline: Callable[..., Pipeline]) -> None:
    """Three kills in 20,000 orders repeat at most a hundred calls in all."""
    shop = pipeline(CALL_S="0.0005")
    shop.publish((f"A{number:05}", f"C{number % 997}") for number in range(20_000))
    crash_consumers(shop, "works", consumers=1, kills=3, orders=20_000)
    shop.drain("works", timeout_s=300)

    assert len(shop.calls()) - 20_000 <= 100
    assert shop.assert_account_closes().processed == 20_000
