"""Handlers as a team writes them, against a real broker: factories, async, results to several topics."""

import signal
from pathlib import Path
from typing import Callable, List, Tuple, Union

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.account import read_topic
from tests.support.engine_tools import encode
from tests.support.pipeline import Pipeline, eventually, reason
from tools.kafka_cluster import free_ports

NewPipeline = Callable[..., Pipeline]
NewTopicName = Callable[..., str]

SHOP = """
import asyncio, contextlib, os, threading, time
from orderflow import Publish

MAIL = os.environ["MAIL"]

def note(text):
    with open("log", "a") as log:
        log.write(text + "\\n")

@contextlib.asynccontextmanager
async def billing():
    note("open")
    slots = asyncio.Semaphore(100)

    async def charge(order, delivery):
        async with slots:
            await asyncio.sleep(0.001)
        paid = {"order_id": order["order_id"], "delivery": delivery.id}
        return [Publish(paid), Publish(b"mail", topic=MAIL, headers={"kind": "receipt"})]

    yield charge
    note("close")

@contextlib.contextmanager
def leaving():
    note("open")
    def charge(order):
        raise SystemExit("enough")
    yield charge
    note("close")

@contextlib.contextmanager
def closing_badly():
    yield lambda order: None
    raise OSError("the database is gone")

@contextlib.contextmanager
def billing_at(path="log"):
    note("open")
    yield lambda order: note(order["order_id"])
    note("close")

@contextlib.contextmanager
def billing_of(path):
    yield lambda order: note(order["order_id"])

def broken():
    return {}["DATABASE_URL"]

def misdirected(order, delivery):
    return Publish(b"x", topic=MAIL + "-missing")

def leaving_a_thread(order):
    threading.Thread(target=time.sleep, args=(100_000,), name="poller").start()

def charge_plainly(order, delivery):
    return {"order_id": order["order_id"], "delivery": delivery.id}
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The shop's file."""
    path = tmp_path / "shop.py"
    path.write_text(SHOP, encoding="utf-8")
    return str(path)


def log(shop: Pipeline) -> List[str]:
    """What the shop's handler wrote to its own file."""
    path = shop.folder / "log"
    return path.read_text("ascii").split() if path.exists() else []


@pytest.mark.broker
@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_an_async_handler_with_a_life_cycle_and_several_results(
    pipeline: NewPipeline, topic: NewTopicName, file: str, guarantee: str
) -> None:
    """Each order's results are in both topics, with its key and trace; what was opened is closed."""
    mail = topic("mail")
    shop = pipeline(MAIL=mail, WORKERS="50", GUARANTEE=guarantee)
    admin = AdminClient(shop.client)
    admin.create_topics([NewTopic(mail, 3, -1)])[mail].result(20)
    shop.publish([(f"A{number:03}", "C") for number in range(200)])
    producer = Producer(shop.client)
    trace: List[Tuple[str, Union[str, bytes, None]]] = [("traceparent", b"00-abc"), ("other", b"x")]
    producer.produce(shop.orders_topic, encode("TRACED"), b"TRACED", headers=trace)
    assert producer.flush(20) == 0

    finished = shop.run("consumer.py", "--handler", f"{file}:billing", "--until-drained", timeout_s=60)

    assert finished.code == 0, finished.err
    assert ["open", "close"] == log(shop)
    assert 201 == shop.assert_account_closes().processed
    mails = read_topic(shop.client, mail)
    assert 201 == len(mails)
    assert {line.key for line in mails} == {line.key for line in shop.orders()}
    assert {line.header("kind") for line in mails} == {"receipt"}
    (traced,) = [line for line in mails if line.key == b"TRACED"]
    assert ("00-abc", None) == (traced.header("traceparent"), traced.header("other"))


@pytest.mark.broker
def test_what_was_opened_is_closed_whatever_ends_the_consumer(pipeline: NewPipeline, file: str) -> None:
    """A closed terminal, and a handler that ends the process. SIGTERM and Ctrl-C take the same way."""
    shop = pipeline(MAIL="x")
    running = shop.start("consumer.py", "--handler", f"{file}:billing")
    eventually(lambda: "is ready" in running.err or not running.running, why=running.describe)
    hung_up = running.stop(signal.SIGHUP)
    shop.publish([("A", "C")])
    left = shop.run("consumer.py", "--handler", f"{file}:leaving", timeout_s=40)

    assert (129, 1) == (hung_up.code, left.code), (hung_up.err, left.err)
    assert ["open", "close"] * 2 == log(shop)


@pytest.mark.broker
@pytest.mark.parametrize("processes", [(), ("--processes", "2")], ids=["one", "two processes"])
def test_a_thread_that_a_handler_leaves_running_does_not_keep_a_drained_consumer(
    pipeline: NewPipeline, file: str, processes: Tuple[str, ...]
) -> None:
    """A cron job ends. All is settled by then, so the exit code is that of the work."""
    shop = pipeline(MAIL="x", SHUTDOWN_TIMEOUT="6")
    shop.publish([("A", "C")])
    handler = ("--handler", f"{file}:leaving_a_thread")
    drained = shop.run("consumer.py", *handler, "--until-drained", *processes, timeout_s=60)

    assert 0 == drained.code, drained.err
    assert "all is done, but the exit waits for thread poller" in drained.err
    assert "ending without waiting any longer for thread poller; nothing is lost" in drained.err


@pytest.mark.broker
def test_a_thread_that_a_handler_leaves_running_does_not_keep_a_stopped_consumer(
    pipeline: NewPipeline, file: str
) -> None:
    """It has SHUTDOWN_TIMEOUT from the signal on, as any other."""
    shop = pipeline(MAIL="x", SHUTDOWN_TIMEOUT="6")
    shop.publish([("A", "C")])
    running = shop.start("consumer.py", "-v", "--handler", f"{file}:leaving_a_thread")
    eventually(lambda: " done " in running.err, why=running.describe)
    stopped = running.stop(timeout_s=20)

    assert 143 == stopped.code, stopped.err
    assert "ending without waiting any longer for thread poller; nothing is lost" in stopped.err


@pytest.mark.broker
def test_a_life_cycle_that_fails_says_where_and_nothing_is_lost(pipeline: NewPipeline, file: str) -> None:
    """Before the first order: exit 2. After the last: everything is settled, exit 1."""
    shop = pipeline(MAIL="x")
    shop.publish([(f"A{number}", "C") for number in range(5)])
    broken = shop.run("consumer.py", "--handler", f"{file}:broken", timeout_s=40)
    closing = shop.run("consumer.py", "--handler", f"{file}:closing_badly", "--until-drained", timeout_s=40)

    assert 2 == broken.code
    assert 'return {}["DATABASE_URL"]' in broken.err
    assert "orderflow/" not in broken.err
    assert "cannot be opened: KeyError: 'DATABASE_URL'" in broken.err
    assert 1 == closing.code
    assert "processed 5," in closing.err
    assert "OSError: the database is gone; every order was settled before" in closing.err


@pytest.mark.broker
def test_a_result_for_a_topic_that_is_missing_is_its_orders_failure(pipeline: NewPipeline, file: str) -> None:
    """Named in each line and in the dead letter; the topic is not made by accident."""
    shop = pipeline(MAIL="mail", MAX_RETRIES="1", RETRY_BACKOFF="0.1")
    shop.publish([("A", "C")])
    finished = shop.run("consumer.py", "--handler", f"{file}:misdirected", "--until-drained", timeout_s=40)

    assert finished.code == 0, finished.err
    assert ["publish.unknown_topic"] == [reason(letter) for letter in shop.dead_letters()]
    assert 2 == finished.err.count("topic mail-missing, which the handler chose for a result, does not exist")


@pytest.mark.broker
@pytest.mark.parametrize("guarantee", ["exactly-once", "at-least-once"])
def test_a_result_that_lacks_the_key_its_topic_needs_stops_no_other_order(
    pipeline: NewPipeline, topic: NewTopicName, file: str, guarantee: str
) -> None:
    """Kafka would refuse it, and with it every other result and offset, for ever."""
    shop = pipeline(MAIL="unused", GUARANTEE=guarantee, RETRY_BACKOFF="0.1", MAX_RETRIES="1")
    state = topic("state")
    compacted = NewTopic(state, 1, 1, config={"cleanup.policy": "compact"})
    admin = AdminClient(shop.client)  # while it lives, the answer arrives
    admin.create_topics([compacted])[state].result()
    shop.publish([(f"A-{number}", f"C-{number}") for number in range(5)])
    shop.publish_bytes([shop.orders()[0].value])
    handler = f"{file}:charge_plainly"

    ended = shop.run("consumer.py", "--handler", handler, "--until-drained", PROCESSED_TOPIC=state)

    assert (0, 5) == (ended.code, len(read_topic(shop.client, state))), ended.err
    assert ["publish.no_key"] == [reason(letter) for letter in shop.dead_letters()]


@pytest.mark.broker
def test_a_factory_whose_parameter_has_a_default_is_opened(pipeline: NewPipeline, file: str) -> None:
    """An order never gets into the place of its parameter; with one that has no default it is refused."""
    shop = pipeline(MAIL="unused")
    shop.publish([("A", "C"), ("B", "C")])

    opened = shop.run("consumer.py", "--handler", f"{file}:billing_at", "--until-drained", timeout_s=40)
    refused = shop.run("consumer.py", "--handler", f"{file}:billing_of", "--until-drained", timeout_s=40)

    assert (0, 2) == (opened.code, refused.code), (opened.err, refused.err)
    assert ["open", "A", "B", "close"] == [log(shop)[0], *sorted(log(shop)[1:-1]), log(shop)[-1]]
    assert "makes a context manager, which does nothing for an order" in refused.err


@pytest.mark.broker
@pytest.mark.parametrize("name", ["email", "prometheus_client"])
def test_a_module_beside_the_handler_is_not_in_the_way_of_the_metrics(
    pipeline: NewPipeline, tmp_path: Path, name: str
) -> None:
    """Nor of the registry's client: each finds the module that it means, and the handler its own."""
    (port,) = free_ports(1)
    (tmp_path / f"{name}.py").write_text("def send(order): return order['order_id']", encoding="utf-8")
    path = tmp_path / "shop.py"
    path.write_text(f"from {name} import send\ndef charge(order): return send(order)", encoding="utf-8")
    shop = pipeline()
    shop.publish([("A", "C")])
    arguments = ("--handler", f"{path}:charge", "--until-drained")
    registry = "http://127.0.0.1:1"

    ended = shop.run("consumer.py", *arguments, METRICS_PORT=str(port), SCHEMA_REGISTRY_URL=registry)

    assert 0 == ended.code, ended.err
    assert "processed 1," in ended.err
