"""Kafka dies or freezes during a replay: it resumes by itself and still sends each dead letter once."""

import time
from pathlib import Path
from typing import Iterator

import pytest
from confluent_kafka import TopicPartition

from orderflow.kafka.topics import ends_of_log
from tests.support.dlq_tools import ours
from tests.support.mess import commit_as
from tests.support.replay_tools import Desk
from tools.local_kafka import LocalKafka

pytestmark = [pytest.mark.chaos, pytest.mark.broker]
LETTERS = 160
CANARY = ("replay", "--all", "--yes", "--rate", "none", "--canary", "4")
HIDDEN = "nobody can tell what was done before"


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """A broker that may be hurt."""
    with LocalKafka() as kafka:
        yield kafka


def filled(kafka: LocalKafka, folder: Path, letters: int) -> Desk:
    """So many dead letters, of three partitions."""
    desk = Desk(kafka.bootstrap_servers, "dlq", folder)
    desk.fill(ours(n + 1, topic=desk.orders_topic, partition=n % 3) for n in range(letters))
    return desk


def pass_canary(desk: Desk) -> None:
    """Be the group that is done with all orders."""
    ends = ends_of_log(desk.client, desk.orders_topic, 30)
    places = [TopicPartition(desk.orders_topic, partition, end) for partition, end in ends.items()]
    commit_as(desk.bootstrap_servers, f"{desk.topic}-group", places)


@pytest.mark.parametrize("away_s", [3, 25])
@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_replay_survives_an_outage(own_kafka: LocalKafka, tmp_path: Path, how: str, away_s: float) -> None:
    """Shorter and longer than a transaction may be open: nothing twice, nothing forgotten, nobody asked."""
    desk = filled(own_kafka, tmp_path, LETTERS)
    with desk.start("replay", "--all", "--yes", "--rate", "20/s") as running:
        deadline_s = time.monotonic() + 30
        while not desk.sent_from():
            assert time.monotonic() < deadline_s, running.err
        (own_kafka.kill if how == "killed" else own_kafka.pause)()
        time.sleep(away_s)
        (own_kafka.restart if how == "killed" else own_kafka.resume)()
        running.wait_for(lambda run: "sent into" in run.out, timeout_s=90)
        assert running.wait() == 0

    assert dict(desk.sent_from()) == {f"0:{offset}": 1 for offset in range(LETTERS)}
    assert [job["status"] for job in desk.jobs()] == ["done"]


def test_so_does_one_whose_canary_is_out(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """It ended, and somebody had to go on by hand. The same canary is waited for afterwards."""
    desk = filled(own_kafka, tmp_path, 12)
    with desk.start(*CANARY) as running:
        running.wait_for(lambda run: "canary: 4 sent" in run.err, timeout_s=60)
        own_kafka.pause()
        running.wait_for(lambda run: "trying until it is back" in run.err, timeout_s=60)
        own_kafka.resume()
        running.wait_for(lambda run: "canary: 4 were sent before" in run.err, timeout_s=90)
        pass_canary(desk)
        running.wait_for(lambda run: "12 of 12 sent" in run.out, timeout_s=90)
        assert running.wait() == 0

    assert dict(desk.sent_from()) == {f"0:{offset}": 1 for offset in range(12)}
    assert [job["status"] for job in desk.jobs()] == ["done"]


def test_nothing_is_sent_again_while_what_was_sent_is_hidden(own_kafka: LocalKafka, tmp_path: Path) -> None:
    """A lone broker that is killed after a commit may lose its end, and what was done is hidden.

    The canary, whose commit had been answered, was sent a second time.
    """
    desk = filled(own_kafka, tmp_path, 12)
    with desk.start(*CANARY) as running:
        running.wait_for(lambda run: "canary: 4 sent" in run.err, timeout_s=60)
        own_kafka.kill()
        running.wait_for(lambda run: "trying until it is back" in run.err, timeout_s=60)
        own_kafka.restart()
        running.wait_for(lambda run: "were sent before" in run.err or HIDDEN in run.err, timeout_s=120)
        if HIDDEN not in running.err:
            pass_canary(desk)
        code = running.wait(90)

    assert code == (1 if HIDDEN in running.err else 0), running.err
    assert set(desk.sent_from().values()) <= {1}
