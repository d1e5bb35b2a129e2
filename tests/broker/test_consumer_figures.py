"""The figures of a running consumer, as Prometheus and the probes see them, on a real broker."""

import re
import socket
import urllib.error
import urllib.request
from typing import Callable, Dict, List, Tuple

import pytest
from confluent_kafka.admin import AdminClient

from tests.support.engine_tools import Shop
from tests.support.pipeline import Running, eventually

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]


def free_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def asked(port: int, path: str) -> Tuple[int, str]:
    """Status and text of an answer; 0 while nobody listens."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()
    except OSError:
        return 0, ""


def scraped(port: int) -> Dict[str, float]:
    """The sum of each metric over its labels."""
    sums: Dict[str, float] = {}
    for name, value in re.findall(r"^(\w+)(?:{.*})? (\S+)$", asked(port, "/metrics")[1], re.MULTILINE):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def when(port: int, running: Running, **expected: float) -> Dict[str, float]:
    """The figures, as soon as these have these values."""

    def has_come() -> bool:
        found = scraped(port)
        return all(found.get(f"orders_{name}") == value for name, value in expected.items())

    eventually(has_come, timeout_s=20, why=lambda: f"{expected}: {scraped(port)} {running.describe()}")
    return scraped(port)


def good(count: int) -> List[Tuple[str, str]]:
    """So many orders of a customer who does not hurt."""
    return [(f"G{number}", "C1") for number in range(count)]


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_consumer_whose_topic_was_deleted_says_so_and_is_not_ready(shop: NewShop, protocol: str) -> None:
    """With either protocol, whether or not the group has noticed."""
    port = free_port()
    place = shop(METRICS_PORT=str(port)).create()
    running = place.consume("works", "-X", f"group.protocol={protocol}")
    eventually(lambda: asked(port, "/readyz") == (200, "ready\n"), why=running.describe)
    admin = AdminClient(place.client)
    admin.delete_topics([place.orders_topic])[place.orders_topic].result(20)

    expected = f"ERROR topic {place.orders_topic} does not exist any more"
    eventually(lambda: expected in running.err, 30, running.describe)
    eventually(lambda: asked(port, "/readyz")[0] == 503, 5, running.describe)
    assert "the topic of the orders does not exist any more" in asked(port, "/readyz")[1]
    assert "it stands by" not in running.err
    running.stop()


@pytest.mark.chaos
def test_what_is_unseen_is_true_while_nothing_is_fetched(shop: NewShop) -> None:
    """A full ledger pauses the partition; what is published then is unseen, and is processed in the end."""
    port = free_port()
    full = shop(METRICS_PORT=str(port), MAX_QUEUED="10", MAX_RETRIES="30", RETRY_BACKOFF_MAX="1").create()
    full.put(good(20), key=None, partition=0)
    full.put([("A", "C0")] * 20, key="customer_id", partition=0)
    full.begin_trouble()
    running = full.consume("bad_customer_hurts")
    when(port, running, intake_stopped=1.0)
    full.put(good(4_000), key=None, partition=0)
    figures = when(port, running, unseen=4_040 - 20 - 11)

    assert figures["orders_queued"] == figures["orders_queued_limit"] == 10
    assert figures["orders_waiting"] == 1
    assert figures["orders_oldest_unseen_age_seconds"] > 0
    assert asked(port, "/livez") == (200, "alive\n")
    assert asked(port, "/readyz") == (200, "ready\npartition 0: its ledger is full of waiting orders\n")

    full.end_trouble()
    figures = when(port, running, unseen=0.0, processed_total=4_040)
    assert figures["orders_handler_seconds_count"] > 4_040
    assert asked(port, "/readyz") == (200, "ready\n")
    assert running.stop().code == 143
