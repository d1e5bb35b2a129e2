"""A replayer that dies at any gap, or is fenced by another, sends nothing twice and forgets nothing."""

import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, List

import pytest
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient

from orderflow.model.dead_letter import REPLAY_FROM, REPLAY_JOB
from orderflow.model.records import Outgoing
from tests.support.dlq_tools import ours
from tests.support.replay_tools import Desk

pytestmark = pytest.mark.broker

LETTERS = 24
IN_TRANSACTION = 8
PACE = ("--rate", "80/s")
"""With transactions of 0.1 s: three of eight records."""


@pytest.fixture
def desk(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Desk:
    """Twenty-four dead letters, none replayed."""
    made = Desk(kafka.bootstrap_servers, topic("d")[-60:], tmp_path)
    made.fill(letters(made.orders_topic))
    return made


def letters(orders_topic: str) -> List[Outgoing]:
    return [ours(number + 1, topic=orders_topic, partition=number % 3) for number in range(LETTERS)]


def assert_all_sent_once(desk: Desk) -> None:
    expected = {f"0:{offset}": 1 for offset in range(LETTERS)}
    assert expected == dict(desk.sent_from())
    assert {key for key in desk.audit() if not key.startswith(("job:", "sent:"))} == set(expected)


@pytest.mark.parametrize(
    ("gap", "number", "sent"),
    [
        ("confirmed", 1, 0),
        ("fenced", 1, 0),
        ("states read", 1, 0),
        ("before commit", 1, 0),
        ("after commit", 1, 0),
        ("sent", 1, 0),
        ("flushed, before commit", 2, 0),
        ("after commit", 2, IN_TRANSACTION),
        ("sent", IN_TRANSACTION + 3, IN_TRANSACTION),
        ("flushed, before commit", 3, IN_TRANSACTION),
        ("before commit", 5, LETTERS),
        ("after commit", 5, LETTERS),
    ],
)
def test_killed_at_a_gap_and_resumed(desk: Desk, gap: str, number: int, sent: int) -> None:
    """Wherever it dies, what was committed stays, and a resumed job sends the rest and nothing else."""
    assert desk.start_dying(gap, number, "replay", "--all", "--yes", *PACE) == -9
    jobs = desk.jobs()
    again = ["--resume", jobs[0]["job"]] if jobs else ["--all"]

    done = desk.run("replay", *again, "--yes", "--rate", "none")

    assert done.code == 0, done.err
    assert sum(desk.sent_from().values()) == LETTERS
    assert_all_sent_once(desk)
    if jobs:
        assert [(job["job"], job["status"], job["done"]) for job in desk.jobs()] == [
            (jobs[0]["job"], "done", LETTERS)
        ]
        assert jobs[0]["done"] == sent


def test_killed_and_begun_anew(desk: Desk) -> None:
    """Typing the same command again instead of resuming sends the rest, and only that."""
    assert desk.start_dying("flushed, before commit", 3, "replay", "--all", "--yes", *PACE) == -9

    done = desk.run("replay", "--all", "--yes", "--rate", "none")

    assert done.code == 0, done.err
    assert f"{LETTERS - IN_TRANSACTION} of {LETTERS - IN_TRANSACTION} sent" in done.out
    assert_all_sent_once(desk)


def test_killed_again_and_again(desk: Desk) -> None:
    """A job survives as many deaths as it takes."""
    assert desk.start_dying("sent", 12, "replay", "--all", "--yes", *PACE) == -9
    job = desk.jobs()[0]["job"]
    for gap, number in (("fenced", 1), ("before commit", 1), ("flushed, before commit", 2), ("sent", 10)):
        assert desk.start_dying(gap, number, "replay", "--resume", job, "--yes", *PACE) == -9

    assert desk.run("jobs", "resume", job, "--yes").code == 0
    assert_all_sent_once(desk)


AGAIN = ("--again", "--stale", "allow", "--yes")


@pytest.mark.parametrize("gap", ["after commit", "flushed, before commit"])
def test_what_another_job_sends_again_is_not_sent_twice_by_the_first(desk: Desk, gap: str) -> None:
    """Each entry of the first job is replaced by one of the second; what it sent it knows all the same."""
    assert desk.start_dying(gap, 3, "replay", "--all", *AGAIN, *PACE) == -9
    first = desk.jobs()[0]
    assert desk.run("replay", "--all", *AGAIN, "--rate", "none").code == 0

    done = desk.run("replay", "--resume", first["job"], "--yes", "--rate", "none")

    assert done.code == 0, done.err
    assert f"{first['done']} of {LETTERS} were sent" in done.err
    sent = Counter((line.header(REPLAY_JOB), line.header(REPLAY_FROM)) for line in desk.sent())
    assert set(sent.values()) == {1}
    assert len(sent) == 2 * LETTERS


def test_a_limit_holds_across_a_death(desk: Desk) -> None:
    """What was chosen at the start stays chosen: a resumed job does not take others in their place."""
    chosen = ("-c", "12", "--state", "new")
    assert desk.start_dying("after commit", 2, "replay", *chosen, "--yes", *PACE) == -9

    done = desk.run("replay", "--resume", desk.jobs()[0]["job"], "--yes")

    assert done.code == 0, done.err
    assert {f"0:{offset}": 1 for offset in range(12)} == dict(desk.sent_from())


def test_what_was_deleted_while_a_job_lay_is_not_passed_over_in_silence(desk: Desk) -> None:
    """`8 of 8 sent` and exit code 0 would say that all went well."""
    assert desk.start_dying("after commit", 2, "replay", "--all", "--yes", *PACE) == -9
    job = desk.jobs()[0]
    admin = AdminClient({"bootstrap.servers": desk.bootstrap_servers})
    for deleted in admin.delete_records([TopicPartition(desk.topic, 0, OFFSET_END)]).values():
        deleted.result()

    resumed = desk.run("replay", "--resume", job["job"], "--yes")

    assert resumed.code == 3, resumed.err
    assert f"{LETTERS - job['done']} of this job are no longer in {desk.topic}" in resumed.err


def test_later_dead_letters_are_not_part_of_a_job(desk: Desk) -> None:
    """What dies after a job began waits for another."""
    assert desk.start_dying("after commit", 2, "replay", "--all", "--yes", *PACE) == -9
    desk.fill([ours(99, topic=desk.orders_topic)])

    assert desk.run("replay", "--resume", desk.jobs()[0]["job"], "--yes").code == 0
    assert sum(desk.sent_from().values()) == LETTERS
    assert desk.states()[f"0:{LETTERS}"] == "new"


def test_a_second_replayer_fences_the_first(desk: Desk) -> None:
    """Two at once: the later one wins, the first stops and says who took over; each is sent once."""
    with desk.start("replay", "--all", "--yes", "--rate", "4/s", "--reason", "first") as first:
        deadline_s = time.monotonic() + 20
        while not desk.sent_from():
            assert time.monotonic() < deadline_s, first.err
        second = desk.run("replay", "--all", "--yes", "--rate", "none")
        first.wait_for(lambda run: "taken over" in run.err)
        assert first.wait() == 1

    winner, loser = desk.jobs()
    assert second.code == 0, second.err
    assert f"job {loser['job']}" in second.err
    assert f"job {winner['job']} of {winner['by']}" in first.err
    assert f"--resume {loser['job']}" in first.err
    assert (winner["status"], loser["status"]) == ("done", "stopped"), "which the loser could not say itself"
    assert_all_sent_once(desk)


def test_stopped_and_resumed(desk: Desk) -> None:
    """Ctrl-C ends after the transaction that is open, and says how to go on."""
    with desk.start("replay", "--all", "--yes", "--rate", "6/s") as running:
        deadline_s = time.monotonic() + 20
        while not desk.sent_from():
            assert time.monotonic() < deadline_s, running.err
        assert running.stop() == 130
        running.wait_for(lambda run: "--resume" in run.err)

    job = desk.jobs()[0]
    assert job["status"] == "stopped"
    assert sum(desk.sent_from().values()) == job["done"] < LETTERS
    assert desk.run("replay", "--resume", job["job"], "--yes", "--rate", "none").code == 0
    assert_all_sent_once(desk)
    finished = desk.run("replay", "--resume", job["job"], "--yes")
    assert finished.code == 0
    assert "is finished" in finished.err
