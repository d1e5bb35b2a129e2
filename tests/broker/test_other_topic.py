"""A list of waiting orders beside the offset of another topic of the same name, on a real Kafka."""

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.conftest import NewShop
from tests.support.engine_tools import Shop, rows
from tests.support.pipeline import eventually

pytestmark = pytest.mark.broker


def listed(made: Shop) -> bool:
    """Whether every order was called, and some of them wait."""
    told = made.told().get(0)
    commit = None if told is None else told.commit
    return commit is not None and commit.next == 10 and bool(commit.entries)


def create_again(made: Shop) -> None:
    """Delete the orders topic, and create it again; a moment later it may still be known."""
    admin, name = AdminClient(made.client), made.orders_topic
    admin.delete_topics([name])[name].result(20)
    eventually(lambda: name not in admin.list_topics(timeout=10).topics)
    # Kafka 2.8 deletes a topic some time after it has said so.
    eventually(lambda: admin.create_topics([NewTopic(name, 1, -1)])[name].exception(20) is None)


def test_the_list_of_a_topic_that_was_deleted_loses_no_order_of_the_new_one(shop: NewShop) -> None:
    """Its offset and metadata were committed once more, as by a consumer that had not noticed yet."""
    made = shop(RETRY_BACKOFF="25", RETRY_BACKOFF_MAX="25").create()  # short enough for metadata
    made.begin_trouble()
    made.put(rows(10))
    running = made.consume("most_fail")
    eventually(lambda: listed(made), why=running.describe)
    running.stop()
    left = made.told()[0]
    create_again(made)
    made.put(rows(12, prefix="B"))
    made.rewind({0: left.offset}, left.text)

    waiting = made.succeed("dlq_handler.py", "waiting")
    finished = made.consume("works", "--until-drained").wait()

    assert left.text.startswith("of1@")
    assert "was written for another topic of this name" in waiting.out
    assert finished.code == 0
    assert "every order from offset 0 to the end is called (12 offsets)" in finished.err
    assert {call.key for call in made.calls()} >= {order_id for order_id, _ in rows(12, prefix="B")}
