"""A storm of members that come, go and die, under each of the three group protocols."""

from typing import Callable, Tuple

import pytest

from tests.broker.test_engine_rebalance import assert_survives_storm
from tests.support.engine_tools import MORTAL, Shop

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewShop = Callable[..., Shop]
PROTOCOLS = {
    "eager": (*MORTAL, "-X", "partition.assignment.strategy=range"),
    "cooperative": MORTAL,
    "consumer": ("-X", "group.protocol=consumer", "-X", "transaction.timeout.ms=2000"),
}


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())
def test_a_long_storm_loses_and_doubles_nothing(strict_shop: NewShop, protocol: Tuple[str, ...]) -> None:
    """Ten guests, every second one killed, while 2 % of the orders fail."""
    assert_survives_storm(strict_shop, protocol, guests=10, orders=5000)
