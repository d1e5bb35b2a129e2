"""The test kit and a consumer on a real broker make the same of every order."""

from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.model import dead_letter
from orderflow.model.records import Header
from orderflow.testing import Fate, deliver
from tests.support import many_results
from tests.support.account import Line, read_topic
from tests.support.pipeline import Pipeline

NewPipeline = Callable[..., Pipeline]
NewTopicName = Callable[..., str]

TOLD = (
    dead_letter.REASON,
    dead_letter.CLASS,
    dead_letter.MESSAGE,
    dead_letter.DELIVERY_COUNT,
)
GOOD_BETWEEN = 3
"""Orders that succeed between two others: no way of failing is to look like an outage."""
Sent = Tuple[str, Optional[bytes], Tuple[Header, ...]]


class Ending(NamedTuple):
    """What became of an order."""

    results: Tuple[Sent, ...]
    dead_letter: Tuple[bytes, ...]


def ending_of(fate: Fate) -> Ending:
    """By the test kit."""
    results = tuple((result.topic, result.value, tuple(result.headers)) for result in fate.results)
    return Ending(results, () if fate.dead_letter is None else told(fate.dead_letter.record.headers))


def told(headers: Sequence[Header]) -> Tuple[bytes, ...]:
    """What a dead letter says. A consumer knows the handler by its file, outside of any package."""
    found: Dict[str, Optional[bytes]] = dict(headers)
    package = many_results.__name__.rpartition("many_results")[0].encode()
    return tuple((found.get(name) or b"").replace(package, b"") for name in TOLD)


def endings_in(shop: Pipeline, topics: Sequence[str]) -> Dict[str, Ending]:
    """By the topics of a pipeline."""
    results: Dict[str, List[Sent]] = {}
    for topic in topics:
        for line in read_topic(shop.client, topic):
            results.setdefault(order_of(line), []).append((topic, line.value, line.headers))
    dead = {order_of(line): told(line.headers) for line in shop.dead_letters()}
    return {way: Ending(tuple(results.get(way, ())), dead.get(way, ())) for way in many_results.WAYS}


def order_of(line: Line) -> str:
    return (line.key or b"").decode()


def order(way: str) -> Dict[str, Any]:
    return {
        "order_id": way,
        "customer_id": way,
        "product_id": "CD",
        "quantity": 1,
        "price": 9.99,
        "timestamp": 852076800000,
    }


@pytest.mark.broker
@pytest.mark.parametrize("publishes", [True, False], ids=["published", "dropped"])
@pytest.mark.parametrize(
    ("handler", "workers"),
    [("handle", "1"), ("handle", "8"), ("handle_at_once", "8"), ("handle_later", "8")],
)
def test_the_test_kit_says_what_a_consumer_does(
    pipeline: NewPipeline,
    topic: NewTopicName,
    monkeypatch: pytest.MonkeyPatch,
    handler: str,
    workers: str,
    publishes: bool,
) -> None:
    """Whichever way the calls are made, and whether plain results are published or not."""
    mail = topic("mail")
    monkeypatch.setenv("MAIL", mail)
    shop = pipeline(MAIL=mail, WORKERS=workers, MAX_RETRIES="1", RETRY_BACKOFF="0.05")
    admin = AdminClient(shop.client)
    admin.create_topics([NewTopic(mail, 1, -1)])[mail].result(20)
    shop.publish(rows())
    processed_topic = shop.processed_topic if publishes else None

    name = f"{many_results.__file__}:{handler}"
    shop.succeed("consumer.py", "--handler", name, "--until-drained", PROCESSED_TOPIC=processed_topic or "")

    topics = [mail, *([processed_topic] if processed_topic else [])]
    found = endings_in(shop, topics)
    kit = {way: ending_of(fate) for way, fate in fates(handler, processed_topic)}
    assert kit == found


def rows() -> List[Tuple[str, str]]:
    """An order of each way, with good ones in between."""
    found: List[Tuple[str, str]] = []
    for way in many_results.WAYS:
        found += [(f"good {number} before {way}", "good") for number in range(GOOD_BETWEEN)]
        found.append((way, way))
    return found


def fates(handler: str, processed_topic: Optional[str]) -> List[Tuple[str, Fate]]:
    """Of each way, by the test kit."""
    ways = list(many_results.WAYS)
    made = deliver(
        getattr(many_results, handler),
        map(order, ways),
        max_retries=1,
        retry_backoff_s=0.05,
        processed_topic=processed_topic,
    )
    return list(zip(ways, made))
