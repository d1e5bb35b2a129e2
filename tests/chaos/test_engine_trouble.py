"""Handlers that fail, at the length and size that the promises name."""

import time
from pathlib import Path
from typing import Callable, Iterator, Optional

import pytest

from tests.broker.test_engine_trouble import (
    assert_full_ledger_drains,
    assert_one_bad_key_stops_no_other,
    assert_outage_is_survived,
)
from tests.conftest import shops_on
from tests.support.engine_tools import INSTANCE, MORTAL, STRICT, Shop, rows
from tests.support.pipeline import eventually
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
NewShop = Callable[..., Shop]


def test_one_bad_key_stops_no_other_for_twenty_seconds(shop: NewShop) -> None:
    """One of ten customers, 20,000 orders: 17,900 of the other 18,000 meanwhile, its 2,000 within 1 s."""
    assert_one_bad_key_stops_no_other(shop, orders=20_000, outage_s=20)


def test_an_outage_of_minutes_dead_letters_next_to_nothing(strict_shop: NewShop) -> None:
    """Two minutes with a kill -9 in the middle, a window of 10 s, 20,000 orders."""
    assert_outage_is_survived(strict_shop, orders=20_000, outage_s=120, window_s=10)


@pytest.mark.parametrize("outage_s", [round(3.0 + step * 0.1, 1) for step in range(30)])
def test_a_short_outage_from_the_start_doubles_no_order(shop: NewShop, outage_s: float) -> None:
    """The client repeats records it delivered before the brake's pause, about once in fifty times."""
    started = shop(MAX_RETRIES="30").create(partitions=3)
    started.put(rows(3_000))
    started.begin_trouble()
    running = started.consume("everything_fails", "--until-drained")
    eventually(started.calls, why=running.describe)
    time.sleep(outage_s)  # how long it lasts is what is tried
    started.end_trouble()
    finished = running.wait(120)

    assert finished.code == 0, finished.err[-2000:]
    assert started.assert_account_closes().processed == 3_000


@pytest.mark.parametrize("key", ["order_id", "customer_id", None])
def test_a_full_ledger_of_twenty_thousand_loses_nothing(shop: NewShop, key: Optional[str]) -> None:
    """20,000 orders in a row, three of five failing for a while, on one partition."""
    assert_full_ledger_drains(shop, key, orders=20_000, outage_s=12)


@pytest.fixture(scope="module")
def stingy_kafka() -> Iterator[LocalKafka]:
    """A broker that takes a tenth of the usual metadata."""
    with LocalKafka(settings={**STRICT, "offset.metadata.max.bytes": "400"}) as kafka:
        yield kafka


@pytest.fixture
def stingy_shop(stingy_kafka: LocalKafka, topic: Callable[..., str], tmp_path: Path) -> Iterator[NewShop]:
    """Make shops on that broker."""
    yield from shops_on(stingy_kafka, topic, tmp_path)


def full_of_trouble(new: NewShop, guarantee: str) -> Shop:
    """A shop with 2,000 orders, most of them failing for a while."""
    made = new(GUARANTEE=guarantee, MAX_RETRIES="30").create()
    made.put(rows(2000))
    made.begin_trouble()
    return made


@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_broker_that_takes_less_metadata_is_survived(stingy_shop: NewShop, guarantee: str) -> None:
    """OFFSET_METADATA_TOO_LARGE: they are listed on a page, none is lost; also after a kill, with care."""
    shop = full_of_trouble(stingy_shop, guarantee)
    first = shop.consume("most_fail", *MORTAL, *INSTANCE)
    eventually(lambda: "is listed in topic" in first.err, 60, first.describe)
    first.kill()
    second = shop.consume("most_fail", "--until-drained", *MORTAL, *INSTANCE)
    eventually(lambda: "is ready" in second.err, 60, second.describe)
    shop.end_trouble()
    assert second.wait(120).code == 0, second.describe()

    taken = shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert taken.processed == 2000


@pytest.mark.parametrize("gap", ["before abort_transaction", "after abort_transaction"])
def test_a_death_around_an_abort_loses_nothing(stingy_shop: NewShop, gap: str) -> None:
    """A transaction that this broker refused is open or just ended: its records are nobody's either way."""
    shop = full_of_trouble(stingy_shop, "exactly-once")
    dying = shop.die_at(gap, 1, "most_fail", *MORTAL, *INSTANCE)
    assert dying.wait(60).code == -9, f"never passed {gap}: {dying.describe()}"
    shop.end_trouble()
    shop.drain("most_fail", *MORTAL, *INSTANCE)

    assert shop.assert_account_closes().processed == 2000
