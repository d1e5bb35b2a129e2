"""The local Kafka: what the tests stand on has to stand itself."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

import pytest
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.conftest import Kafka, start_kafka
from tools import jvm
from tools.kafka_cluster import DEFAULT_VERSION, LocalKafka, free_ports, is_free, listed_brokers
from tools.kafka_settings import NodePorts, node_properties

ROOT = Path(__file__).resolve().parent.parent.parent
NOWHERE = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
NO_NETWORK = {**NOWHERE, "no_proxy": ""}
CLI = [sys.executable, str(ROOT / "tools" / "local_kafka.py")]


# ---- the Java that is chosen


def fake_java(home: Path, version: str) -> Path:
    """A `java` that says it is of this version."""
    java = home / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-01' >&2\n")
    java.chmod(0o755)
    return java


@pytest.mark.parametrize(("said", "release"), [("1.8.0_292", 8), ("17.0.15", 17), ("25", 25), ("21-ea", 21)])
def test_a_java_tells_its_version(said: str, release: int, tmp_path: Path) -> None:
    """Old and new ways to write a version are read."""
    assert release == jvm.java_version(str(fake_java(tmp_path, said)))


def test_what_is_no_java_has_version_0(tmp_path: Path) -> None:
    """A missing program or one that fails is passed over, not an error."""
    assert jvm.java_version(str(tmp_path / "java")) == 0
    assert jvm.java_version("/bin/false") == 0


def test_java_home_goes_before_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Java that is new enough is taken where Java programs look for it first."""
    at_home, on_path = fake_java(tmp_path / "home", "21.0.1"), fake_java(tmp_path / "path", "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(on_path.parent))

    assert str(at_home) == jvm.find_java(17)


def test_a_java_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one that is new enough is taken."""
    fake_java(tmp_path / "home", "1.8.0_292")
    on_path = fake_java(tmp_path / "path", "17.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(on_path.parent))

    assert str(on_path) == jvm.find_java(17)


def test_no_java_is_said_with_the_next_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing is named, and the command that brings it."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "")

    with pytest.raises(jvm.MissingPiece, match=r"no Java 99 or newer(.|\n)*next: make setup"):
        jvm.find_java(99)


# ---- the jar cache


def test_without_a_network_the_first_start_says_what_to_do(tmp_path: Path) -> None:
    """Nothing cached and nowhere to fetch it from: one clear error, no traceback, no half-filled cache."""
    pytest.importorskip("jgo")
    empty = {"XDG_CACHE_HOME": str(tmp_path), "M2_REPO": str(tmp_path / "m2")}

    done = run("fetch", **NO_NETWORK, **empty)

    assert (1, "") == (done.returncode, done.stdout)
    assert "cannot fetch the jars of org.apache.kafka:kafka_2.13" in done.stderr
    assert "next: check the network" in done.stderr
    assert "Traceback" not in done.stderr
    assert [] == list((tmp_path / "orderflow").glob("kafka-*"))


def test_those_who_fetch_at_once_fetch_once(tmp_path: Path) -> None:
    """The others wait for the first and find the cache filled."""
    script = (
        "import sys, time, pathlib; from tools import jvm\n"
        "log, source = map(pathlib.Path, sys.argv[1:])\n"
        "def resolve(coordinates):\n"
        "    with log.open('a') as out: out.write('fetched\\n')\n"
        "    return [source]\n"
        "jvm._resolve = resolve\n"
        "assert (jvm.jars('some-1.0', ['a:b:1']) / source.name).exists()\n"
    )
    jar, log = tmp_path / "some.jar", tmp_path / "log"
    jar.write_bytes(b"jar")
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-c", script, str(log), str(jar)]

    all_at_once = [subprocess.Popen(command, cwd=str(ROOT), env=environment) for _ in range(4)]

    assert [0] * 4 == [each.wait(60) for each in all_at_once]
    assert "fetched\n" == log.read_text()


# ---- processes and ports


def test_free_ports_are_free_and_distinct() -> None:
    """Nothing listens on them, and no system hands them out to outgoing connections."""
    ports = free_ports(50)

    assert 50 == len(set(ports))
    assert all(is_free(port) and port < 32768 for port in ports)


def test_a_port_in_use_is_not_free() -> None:
    """A listener is noticed."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not is_free(server.getsockname()[1])


def test_nothing_outlives_a_killed_python() -> None:
    """After kill -9 of the Python that started them, processes and files are gone."""
    script = (
        "import time; from tools import jvm; scratch = jvm.Scratch('orderflow-test-')\n"
        "process = scratch.start('sleeper', ['sleep', '600'])\n"
        "while not (scratch.path / 'sleeper.pid').exists(): time.sleep(0.01)\n"
        "print(process.pid, scratch.path, flush=True); time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script]
    python = subprocess.Popen(command, cwd=str(ROOT), stdout=subprocess.PIPE, text=True)
    assert python.stdout is not None
    pid, home = python.stdout.readline().split()

    python.kill()
    python.wait()

    until(lambda: not Path(home).exists() and not _exists(int(pid)))
    python.stdout.close()


def test_a_process_can_be_paused_and_goes_on(tmp_path: Path) -> None:
    """Paused it exists and does nothing; resumed it works on; closed it is gone."""
    scratch = jvm.Scratch("orderflow-test-")
    process = scratch.start("writer", ["sh", "-c", "while :; do echo line; sleep 0.01; done"])
    until(lambda: process.log.stat().st_size > 0)

    process.pause()
    until(lambda: _state(process.pid) == "T")
    size = process.log.stat().st_size
    assert process.running
    process.resume()
    until(lambda: process.log.stat().st_size > size)

    scratch.close()
    assert not process.running
    assert not scratch.path.exists()


def test_what_fails_shows_the_end_of_its_log() -> None:
    """The last lines are there to be put into a message, and the log can be kept."""
    scratch = jvm.Scratch("orderflow-test-")
    process = scratch.start("failing", ["sh", "-c", "seq 100; exit 3"])

    assert 3 == process.wait()
    assert "99\n100" == process.tail(2)
    kept = scratch.keep_logs()
    scratch.close()
    assert (kept / "failing.log").exists()
    (kept / "failing.log").unlink()
    kept.rmdir()


# ---- a cluster


def test_settings_of_three_nodes_survive_the_loss_of_one() -> None:
    """There are three replicas, and two are enough to write."""
    cluster = {node: NodePorts(node, node + 10, node + 20) for node in (1, 2, 3)}
    properties = node_properties("4.3.1", 2, cluster, "/data")

    assert ("3", "2") == (properties["default.replication.factor"], properties["min.insync.replicas"])


@pytest.mark.broker
def test_a_record_goes_in_and_comes_out(kafka: Kafka, topic: Callable[..., str]) -> None:
    """What is produced is consumed: the broker is a real one."""
    name = topic()
    create(kafka.bootstrap_servers, name)

    produce(kafka.bootstrap_servers, name)

    group = {"group.id": topic("group"), "auto.offset.reset": "earliest"}
    consumer = Consumer({**client(kafka.bootstrap_servers), **group})
    consumer.subscribe([name])
    message = consumer.poll(20)
    consumer.close()
    assert message is not None
    assert b"hello" == message.value()


@pytest.fixture(scope="module")
def three() -> Iterator[LocalKafka]:
    """A cluster of three nodes, for those who hurt it; a killed node is missed after 3 s, not after 9."""
    with start_kafka(nodes=3, settings={"broker.session.timeout.ms": "3000"}) as cluster:
        yield cluster


@pytest.mark.broker
@pytest.mark.chaos
def test_a_killed_node_is_missed_and_comes_back(three: LocalKafka, topic: Callable[..., str]) -> None:
    """Two of three accept records meanwhile, and the third catches up when it is back."""
    name = topic()
    create(three.bootstrap_servers, name)

    three.kill(2)
    produce(three.bootstrap_servers, name)
    three.restart(2)

    assert {1, 2, 3} == listed_brokers(three.internal_servers.split(",")[1])


@pytest.mark.broker
@pytest.mark.chaos
def test_a_paused_node_does_not_answer_until_resumed(three: LocalKafka) -> None:
    """Its port is open, and nobody is there."""
    address = three.internal_servers.split(",")[2]

    three.pause(3)
    assert set() == listed_brokers(address)
    three.resume(3)

    until(lambda: listed_brokers(address) == {1, 2, 3})


SASL = {
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "listener.name.client.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.client.plain.sasl.jaas.config": (
        'org.apache.kafka.common.security.plain.PlainLoginModule required user_alice="secret";'
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}


@pytest.mark.broker
def test_settings_ask_clients_for_a_password_and_rights(topic: Callable[..., str]) -> None:
    """Clients log in and may do nothing yet, while the brokers' own listener stays open to the tests."""
    login = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "alice"}
    with start_kafka(settings=SASL) as kafka:
        name = topic()
        create(kafka.internal_servers, name)
        producer = Producer({**client(kafka.bootstrap_servers), **login, "sasl.password": "secret"})
        refused: List[Optional[KafkaError]] = []
        producer.produce(name, b"hello", on_delivery=lambda error, _: refused.append(error))
        producer.flush(20)

    assert [KafkaError.TOPIC_AUTHORIZATION_FAILED] == [error and error.code() for error in refused]


@pytest.mark.broker
def test_a_wrong_setting_is_said_with_the_log(kafka: Kafka) -> None:
    """Kafka's own words are in the error, and nothing is left running."""
    with pytest.raises(jvm.ProcessFailed, match=r"refuses its settings(.|\n)*process.roles"):
        start_kafka(settings={"process.roles": "waiter"})


def test_two_nodes_are_no_cluster() -> None:
    """Two nodes could not agree without each other."""
    with pytest.raises(ValueError, match="1 or 3 nodes, not 2"):
        LocalKafka(nodes=2)


# ---- the command line


@pytest.mark.broker
def test_in_the_background_and_away_without_a_network(kafka: Kafka) -> None:
    """What an earlier start has fetched is enough; a second start says that one runs; stop leaves nothing."""
    (port,) = free_ports(1)
    given = ["--port", str(port)]

    started = run("start", *given, **NO_NETWORK)
    again = run("start", *given)
    ended = run("stop", *given)
    nothing = run("stop", *given)

    assert 0 == started.returncode
    assert f"Kafka {DEFAULT_VERSION} is ready at 127.0.0.1:{port}\n" == started.stdout
    assert 1 == again.returncode
    assert f"one runs on port {port} already" in again.stderr
    assert 0 == ended.returncode
    assert is_free(port)
    assert 0 == nothing.returncode
    assert f"none runs on port {port}" in nothing.stderr


@pytest.mark.broker
def test_a_port_in_use_is_named() -> None:
    """Another program's port is an error of one line and a next step, not a Java stack."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = run("run", "--port", str(port))

    assert 1 == done.returncode
    assert f"port {port} is in use" in done.stderr
    assert "next: " in done.stderr
    assert "at org.apache" not in done.stderr


@pytest.mark.broker
def test_sigterm_stops_the_foreground_cleanly() -> None:
    """It says so, exits with 143, and the port is free again."""
    (port,) = free_ports(1)
    command = [*CLI, "--port", str(port)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    assert "is ready" in running.stdout.readline()

    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=60)

    assert 143 == running.returncode
    assert "stopped, nothing is left of it" in said
    assert is_free(port)


def test_a_setting_without_a_value_is_a_usage_error() -> None:
    """The fault is named, exit code 2."""
    done = run("run", "-s", "log.retention.ms")

    assert 2 == done.returncode
    assert "'log.retention.ms' is not NAME=VALUE" in done.stderr


# ---- for the tests above


def run(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Call the command line, with some of the environment changed, and wait for its end."""
    return subprocess.run(
        [*CLI, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def client(servers: str) -> Dict[str, Any]:
    """What every client here is configured with."""
    return {"bootstrap.servers": servers, "log_level": 0}


def create(servers: str, name: str) -> None:
    """Create a topic of one partition and wait for it."""
    admin = AdminClient(client(servers))
    admin.create_topics([NewTopic(name, 1)])[name].result(20)


def produce(servers: str, name: str) -> None:
    """Publish one record and wait until it is acknowledged."""
    producer = Producer(client(servers))
    producer.produce(name, b"hello")
    assert 0 == producer.flush(30)


def until(happens: Callable[[], bool], within_s: float = 30) -> None:
    """Poll until something holds; fails when it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _state(pid: int) -> str:
    command = ["ps", "-o", "stat=", "-p", str(pid)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()[:1]
