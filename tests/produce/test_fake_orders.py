"""Orders that nobody placed: plausible and reproducible."""

import itertools
import json
import random
from typing import Any, Dict, List

from orderflow.model.orders import validate
from orderflow.produce.fake_orders import FakeOrders, steady_clock_ms


def first(number: int, seed: int = 1) -> List[Dict[str, Any]]:
    return list(itertools.islice(FakeOrders(random.Random(seed), steady_clock_ms()), number))


def test_made_up_orders_keep_every_rule() -> None:
    for order in first(1000):
        validate(order)


def test_made_up_orders_differ_as_real_ones_do() -> None:
    orders = first(1000)

    assert len({order["order_id"] for order in orders}) == 1000
    assert len({order["customer_id"] for order in orders}) > 500
    assert {order["quantity"] for order in orders} >= {1, 2, 3}
    prices: Dict[str, float] = {}
    for order in orders:
        assert prices.setdefault(order["product_id"], order["price"]) == order["price"]


def test_the_same_seed_makes_the_same_orders_and_another_seed_others() -> None:
    assert json.dumps(first(100)) == json.dumps(first(100))
    assert first(1)[0]["order_id"] != first(1, seed=2)[0]["order_id"]


def test_two_runs_without_a_seed_share_no_order_id() -> None:
    one, other = (itertools.islice(FakeOrders(random.Random()), 50) for _ in range(2))

    assert not {order["order_id"] for order in one} & {order["order_id"] for order in other}
