"""A broker that soon forgets who has sent nothing for a while."""

import time
from typing import Callable, Iterator

import pytest

from tests.conftest import start_kafka
from tests.support.engine_tools import Shop
from tests.support.pipeline import eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewShop = Callable[..., Shop]
FORGETS = {
    "transactional.id.expiration.ms": "4000",
    "transaction.remove.expired.transaction.cleanup.interval.ms": "1000",
    "producer.id.expiration.ms": "4000",
    "producer.id.expiration.check.interval.ms": "1000",
}
FORGOTTEN_S = 8.0


@pytest.fixture
def kafka() -> Iterator[LocalKafka]:
    """It forgets after seconds what it usually keeps for a week."""
    with start_kafka(settings=FORGETS) as forgetful:
        yield forgetful


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_consumer_goes_on_after_kafka_has_forgotten_its_id(shop: NewShop, guarantee: str) -> None:
    """A week without a dead letter is enough by default; the first one after it must not stop everything."""
    tested = shop(GUARANTEE=guarantee).create()
    running = tested.consume("works")
    for dead in (1, 2, 3):
        tested.publish_bytes([b"no order"])
        eventually(lambda dead=dead: len(tested.dead_letters()) == dead, 30, running.describe)  # type: ignore[misc]
        time.sleep(FORGOTTEN_S)  # the time is what is tested: nothing tells that Kafka has forgotten

    assert running.stop().code == 143
    assert "ERROR" not in running.err
