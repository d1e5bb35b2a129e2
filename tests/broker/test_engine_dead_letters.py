"""Dead letters that do not fit or may not be written: stop loudly, keep the offset, resume once fixed."""

from typing import Callable, List, Optional, Tuple

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.kafka.topics import numbers_set
from tests.support.acls import allow_writing, deny_writing
from tests.support.engine_tools import Shop, attempts, encode, rows
from tests.support.fault_proxy import FaultProxy
from tests.support.pipeline import Running, eventually

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]
LONG = pytest.mark.chaos
"""Left to `make chaos`, so that `make test` stays short."""
GUARANTEES = pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
FIRST = pytest.mark.parametrize("guarantee", ["exactly-once", pytest.param("at-least-once", marks=LONG)])
SECOND = pytest.mark.parametrize("guarantee", [pytest.param("exactly-once", marks=LONG), "at-least-once"])

LARGE = b"no order " + b"x" * 5000
BAD: List[Optional[bytes]] = [LARGE, b"short", None, b"", LARGE] * 4


def fill(shop: Shop) -> None:
    """Good orders with and without a key, undecodable ones, tombstones."""
    shop.put(rows(100))
    shop.put(rows(50, prefix="N"), key=None)
    shop.publish_bytes(BAD)
    shop.publish_bytes([b"keyed garbage", encode("K1"), None], key=b"key")
    shop.put(rows(100, prefix="Z"))


def assert_all_accounted_for(shop: Shop, guarantee: str) -> None:
    """Good + undecodable + keyless + tombstones in = handled + dead-lettered out."""
    taken = shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert taken.published == 250 + len(BAD) + 3
    assert (taken.processed, taken.dead_lettered) == (251, len(BAD) + 2)


def blocked(shop: Shop) -> Tuple[Running, int]:
    """Run a consumer until it says that it is blocked; it, and the offset that it keeps."""
    running = shop.consume("works", "--until-drained")
    eventually(lambda: "cannot forward dead letters" in running.err, 30, running.describe)
    return running, shop.told()[0].offset


@FIRST
def test_a_dead_letter_that_does_not_fit_is_shrunk(shop: NewShop, guarantee: str) -> None:
    """A topic that takes 2,000 bytes: large ones become pointers to their source, small ones stay whole."""
    small = shop(GUARANTEE=guarantee).create(max_message_bytes="2000")
    fill(small)
    small.drain("works")

    assert_all_accounted_for(small, guarantee)
    pointers = [letter for letter in small.dead_letters() if letter.header("orders.dlq.left-out")]
    assert len(pointers) == BAD.count(LARGE)


@FIRST
def test_topics_without_a_limit_are_written_to(shop: NewShop, guarantee: str) -> None:
    """2147483647 is how people write that there is none; the client itself takes less than half of it."""
    unlimited = shop(GUARANTEE=guarantee).create(max_message_bytes=str(2**31 - 1))
    fill(unlimited)
    unlimited.drain("works")

    assert_all_accounted_for(unlimited, guarantee)


@SECOND
def test_a_topic_too_small_for_a_pointer_stops_loudly_and_recovers(shop: NewShop, guarantee: str) -> None:
    tiny = shop(GUARANTEE=guarantee).create(max_message_bytes="200")
    fill(tiny)
    running, kept = blocked(tiny)
    assert kept <= 150 and running.running
    tiny.set_dlq("max.message.bytes", "100000")

    assert running.wait(60).code == 0, running.describe()
    assert "forwarding works again" in running.err
    assert_all_accounted_for(tiny, guarantee)


@LONG
@GUARANTEES
def test_a_deleted_topic_stops_loudly_and_recovers(shop: NewShop, guarantee: str) -> None:
    """Deleted while the consumer runs, and made again later by somebody."""
    gone = shop(GUARANTEE=guarantee).create()
    running = gone.consume("works")
    eventually(lambda: "is ready" in running.err, why=running.describe)
    admin = AdminClient(gone.client)
    admin.delete_topics([gone.dlq_topic])[gone.dlq_topic].result(20)
    fill(gone)
    eventually(lambda: "cannot forward dead letters" in running.err, 60, running.describe)
    assert gone.told()[0].offset <= 150
    admin.create_topics([NewTopic(gone.dlq_topic, 1, -1)])[gone.dlq_topic].result(20)

    eventually(lambda: len(gone.dead_letters()) == len(BAD) + 2, 60, running.describe)
    assert running.stop().code == 143
    gone.drain("works")
    assert_all_accounted_for(gone, guarantee)


@FIRST
def test_a_denied_topic_stops_loudly_and_recovers(strict_shop: NewShop, guarantee: str) -> None:
    denied = strict_shop(GUARANTEE=guarantee).create()
    fill(denied)
    deny_writing(denied.client, denied.dlq_topic)
    running, kept = blocked(denied)
    assert kept <= 150 and running.running
    allow_writing(denied.client, denied.dlq_topic)

    assert running.wait(60).code == 0, running.describe()
    assert_all_accounted_for(denied, guarantee)


@LONG
@GUARANTEES
def test_a_broker_that_is_gone_while_dead_letters_are_sent_delays_them(shop: NewShop, guarantee: str) -> None:
    """Every connection cut in the middle, and for seconds none let in."""
    far = shop(GUARANTEE=guarantee, CALL_S="0.005").create()
    fill(far)
    with FaultProxy(far.client["bootstrap.servers"]) as between:
        running = far.consume("works", "--until-drained", KAFKA_BOOTSTRAP_SERVERS=between.bootstrap_servers)
        eventually(lambda: len(far.calls()) > 20, why=running.describe)
        between.cut()
        eventually(lambda: "is lost" in running.err, 30, running.describe)
        between.restore()
        assert running.wait(90).code == 0, running.describe()

    assert_all_accounted_for(far, guarantee)


def _accept_an_hour_ahead(tested: Shop) -> None:
    """As Kafka 4 does by itself. Before Kafka 3.6 the setting had another name."""
    new_name = "message.timestamp.after.max.ms"
    has_it = new_name in numbers_set(tested.client, tested.dlq_topic)
    tested.set_dlq(new_name if has_it else "message.timestamp.difference.max.ms", "3600000")


@SECOND
def test_a_clock_two_hours_ahead_calls_no_order_again(shop: NewShop, guarantee: str) -> None:
    """Kafka refuses a dead letter of the future; it gets its order's time, and its headers keep ours."""
    ahead = shop(GUARANTEE=guarantee).create()
    _accept_an_hour_ahead(ahead)
    shift = "import time; now = time.time; time.time = lambda: now() + 7200"
    (ahead.folder / "sitecustomize.py").write_text(shift, "utf-8")
    ahead.put([*rows(20), *rows(3, prefix="POISON")])
    finished = ahead.drain("poison_is_rejected", PYTHONPATH=str(ahead.folder))

    assert "check this machine's clock and the broker's" in finished.err
    taken = ahead.assert_account_closes(repeats_allowed=guarantee == "at-least-once")
    assert (taken.processed, taken.dead_lettered) == (20, 3)
    assert set(map(len, attempts(ahead).values())) == {1}
