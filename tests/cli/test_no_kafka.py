"""The three scripts where no Kafka is: each says so in one line and ends."""

import json
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Tuple

import pytest

from tests.conftest import start_kafka
from tests.support.pipeline import ROOT, Pipeline
from tools.kafka_settings import node_properties

COMMANDS = (("producer.py",), ("consumer.py",), ("dlq_handler.py", "list"))


@pytest.fixture(autouse=True)
def no_nohup() -> Iterator[None]:
    """Children are hung up by SIGHUP even where the tests themselves were started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_a_kafka_that_is_not_there_is_one_line_of_each_script(
    topic: Callable[..., str], tmp_path: Path
) -> None:
    """The address, for how long it was tried, and the next step. All at once, as each tries for a while."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    nowhere = Pipeline(address, topic, tmp_path)
    for running in [nowhere.start(*command) for command in COMMANDS]:
        finished = running.wait(60)

        assert (finished.code, len(finished.err.splitlines())) == (1, 1), running.describe()
        assert f"Kafka does not answer at {address}: tried for 8 s, " in finished.err
        assert f"{address}: Connection refused" in finished.err
        assert "`make kafka` or `docker compose up -d`" in finished.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_password_that_is_not_text_is_one_line_that_does_not_show_it(
    nowhere: Pipeline, command: Tuple[str, ...]
) -> None:
    """Typed in another encoding, say."""
    finished = nowhere.run(*command, KAFKA_SASL_PASSWORD="hu\udce4nter")

    assert (finished.code, finished.out) == (2, "")
    told = "wrong setting:\n  KAFKA_SASL_PASSWORD in the environment: is not UTF-8 text\n"
    assert finished.err == f"{command[0]}: {told}"


@pytest.mark.parametrize(
    "script", ["producer.py", "consumer.py", "dlq_handler.py", "tools/demo.py", "tools/prometheus.py"]
)
def test_a_script_starts_without_its_docstrings(nowhere: Pipeline, script: str) -> None:
    """Python leaves them out with PYTHONOPTIMIZE=2, as some images set it."""
    nowhere.succeed(script, "--help", PYTHONOPTIMIZE="2", PYTHONDONTWRITEBYTECODE="1", PYTHONPATH=str(ROOT))


def test_a_stop_while_kafka_does_not_answer_ends_it_at_once(
    topic: Callable[..., str], tmp_path: Path
) -> None:
    """Not when the time for an answer is over. Each has a server of its own, which takes it and is silent."""
    shop = Pipeline("", topic, tmp_path)
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in COMMANDS]
    addresses = [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]
    everyone = [shop.start(*command, "-b", where) for command, where in zip(COMMANDS, addresses)]
    for server, running, number in zip(servers, everyone, (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)):
        with server:
            server.settimeout(60)
            connection, _ = server.accept()
        began_s = time.monotonic()
        finished = running.stop(number)

        assert (finished.code, finished.out) == (128 + number, ""), running.describe()
        assert time.monotonic() - began_s < 4
        connection.close()


def test_the_clients_own_log_begins_with_a_percent_sign_and_all_else_is_an_object(nowhere: Pipeline) -> None:
    """With LOG_FORMAT=json. The client writes to stderr by itself, from threads of its own."""
    flags = ("-X", "debug=broker,topic")
    for running in [nowhere.start(*command, *flags, LOG_FORMAT="json") for command in COMMANDS]:
        lines = running.wait(60).err.splitlines()
        of_the_client = [line for line in lines if re.match(r"%[0-7]\|[0-9.]+\|", line)]
        told = [json.loads(line) for line in lines if line not in of_the_client]

        assert of_the_client
        assert told[-1]["event"] == "failed"


@pytest.mark.broker
@pytest.mark.parametrize("advertised", ["nowhere.invalid:9092", "127.0.0.1:1"])
def test_a_broker_that_advertises_another_address_is_told_so(
    topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, advertised: str
) -> None:
    """The address that was set is right; where Kafka sends its clients from there is not."""

    def astray(*arguments: Any) -> Dict[str, str]:
        properties = node_properties(*arguments)
        sent_to = re.sub(r"CLIENT://[^,]*", f"CLIENT://{advertised}", properties["advertised.listeners"])
        return {**properties, "advertised.listeners": sent_to}

    monkeypatch.setattr("tools.kafka_cluster.node_properties", astray)
    with start_kafka() as broker:
        shop = Pipeline(broker.bootstrap_servers, topic, tmp_path)
        for running in [shop.start(*command) for command in COMMANDS]:
            finished = running.wait(60)

            assert (finished.code, len(finished.err.splitlines())) == (1, 1), running.describe()
            assert (
                f"Kafka at {broker.bootstrap_servers} answers, and names itself {advertised} ("
                in finished.err
            )
            assert "advertised.listeners" in finished.err


@pytest.mark.clock
def test_health_asks_all_addresses_at_once_and_cannot_tell_where_none_answers(nowhere: Pipeline) -> None:
    """In three seconds, and in one line."""
    address = nowhere.environ["KAFKA_BOOTSTRAP_SERVERS"]
    ended = nowhere.run("dlq_handler.py", "health", "-b", f"{address},{address}")

    assert (ended.code, len(ended.err.splitlines())) == (1, 1)
    assert f"cannot tell: none of 2 addresses answers: Kafka does not answer at {address}" in ended.err
    assert ended.took_s < 3


@pytest.mark.parametrize(
    "flag", [("-o", "5"), ("-g", "7f3a"), ("--source-topic", "shop"), ("--state", "new")]
)
def test_waiting_orders_are_not_looked_for_by_what_only_dead_letters_have(
    nowhere: Pipeline, flag: Tuple[str, str]
) -> None:
    """`waiting -g 7f3a` said that none waits."""
    finished = nowhere.run("dlq_handler.py", "waiting", *flag)

    assert finished.code == 2
    assert "tells dead letters apart, not orders that wait" in finished.err
