"""Which orders of its key supersede what a replay has still to send: newer ones, not those sent later."""

from pathlib import Path
from typing import Any, Callable, Iterable, List

import pytest

from orderflow.model.dead_letter import REPLAY_FROM, REPLAY_JOB
from orderflow.model.records import Headers, Outgoing
from tests.support.account import Line, read_topic
from tests.support.dlq_tools import T0_MS, Run, order, ours
from tests.support.pipeline import eventually
from tests.support.replay_tools import Desk

pytestmark = pytest.mark.broker

LETTERS = 24
KEYS = 12
"""Two dead letters of each."""
SLOW = ("--rate", "2/s")
FAST = ("--yes", "--rate", "none")


@pytest.fixture
def desk(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Desk:
    """Twenty-four orders in one partition, all dead."""
    made = Desk(kafka.bootstrap_servers, topic("d")[-60:], tmp_path)
    made.publish(orders_of(range(LETTERS)))
    made.fill(letter_of(made, number, number) for number in range(LETTERS))
    return made


def key_of(number: int) -> bytes:
    return b"K%d" % (number % KEYS)


def orders_of(numbers: Iterable[int]) -> List[Outgoing]:
    return [Outgoing("", key_of(number), order(number + 1), [], 0, T0_MS) for number in numbers]


def letter_of(desk: Desk, number: int, offset: int) -> Outgoing:
    return ours(offset, topic=desk.orders_topic, key=key_of(number), value=order(number + 1))


def assert_all_sent_but(desk: Desk, *numbers: int) -> None:
    assert {f"0:{n}": 1 for n in range(LETTERS) if n not in numbers} == dict(desk.sent_from())


def stopped_early(desk: Desk, *args: str) -> str:
    """A job that was stopped before it came to the last dead letters."""
    with desk.start("replay", *args, "--yes", *SLOW) as running:
        eventually(lambda: bool(desk.sent_from()), 20)
        running.stop()
    assert 0 < sum(desk.sent_from().values()) < KEYS
    return str(desk.jobs()[0]["job"])


def test_one_that_came_while_a_job_lay_supersedes(desk: Desk) -> None:
    """What the job itself sent does not; each of the others is newer than what would come behind it."""
    job = stopped_early(desk, "--all")
    desk.publish(orders_of([KEYS - 1]))

    run = desk.run("replay", "--resume", job, *FAST)

    assert run.code == 3, run.err
    assert "2  not: superseded: its key has a newer order" in run.err
    assert_all_sent_but(desk, KEYS - 1, LETTERS - 1)


def test_one_that_came_while_a_job_lay_and_died_supersedes_nothing(desk: Desk) -> None:
    """As for a new job: it is dead itself."""
    job = stopped_early(desk, "--all")
    desk.publish(orders_of([KEYS - 1]))
    late = [line for line in read_topic(desk.client, desk.orders_topic) if line.header(REPLAY_JOB) is None]
    desk.fill([letter_of(desk, KEYS - 1, late[-1].position.offset)])

    run = desk.run("replay", "--resume", job, *FAST)

    assert run.code == 0, run.err
    assert_all_sent_but(desk)


def test_one_that_claims_to_be_the_jobs_own_supersedes(desk: Desk) -> None:
    """A producer that passes headers on writes these, too; the job knows what it sent."""
    job = stopped_early(desk, "--all")
    claims: Headers = [(REPLAY_JOB, job.encode()), (REPLAY_FROM, f"{desk.topic}-0-{LETTERS - 1}".encode())]
    desk.publish(late._replace(headers=claims) for late in orders_of([KEYS - 1]))

    assert desk.run("replay", "--resume", job, *FAST).code == 3
    assert f"0:{LETTERS - 1}" not in {key for key in desk.audit() if not key.startswith("sent:")}


def test_a_planned_job_that_lay_sends_what_is_not_superseded(desk: Desk) -> None:
    """What was reviewed is what is sent, and no more of it than the terms of the plan allow by then."""
    assert desk.run("replay", "--all", "--dry-run", "--plan-out", "p.plan").code == 0
    job = stopped_early(desk, "--plan", "p.plan")
    desk.publish(orders_of([KEYS - 1]))

    run = desk.run("replay", "--resume", job, "--plan", "p.plan", *FAST)

    assert run.code == 3, run.err
    assert_all_sent_but(desk, KEYS - 1, LETTERS - 1)


def test_one_that_comes_while_the_question_stands_supersedes(desk: Desk) -> None:
    """However long it takes to be answered."""
    run = desk.run_and_type(
        "y", "replay", "--all", "--rate", "none", meanwhile=lambda: desk.publish(orders_of([KEYS - 1]))
    )

    assert run.code == 3, run.out
    assert "not sent: 2 superseded" in run.out
    assert_all_sent_but(desk, KEYS - 1, LETTERS - 1)


def test_one_that_comes_while_a_slow_job_sends_supersedes(desk: Desk) -> None:
    """A job of hours looks again every few seconds."""
    with desk.start("replay", "--all", "--yes", *SLOW) as running:
        eventually(lambda: bool(desk.sent_from()), 20)
        desk.publish(orders_of([LETTERS - 1]))
        assert running.wait(60) == 3

    assert desk.sent_from()[f"0:{LETTERS - 1}"] == 0


# --- what other jobs replayed


OLDER, NEWER = range(KEYS), range(KEYS, LETTERS)
"""The dead letters of each key."""


def replay(desk: Desk, numbers: Iterable[int], *args: str) -> None:
    """A job of its own for these."""
    run = desk.run("replay", *(f"0:{number}" for number in numbers), *args, *FAST)
    assert run.code == 0, run.err


def test_what_another_job_replayed_is_no_newer_than_it_was(desk: Desk) -> None:
    """Group by group: the older ones do not hold back those that died after them."""
    replay(desk, OLDER)

    run = desk.run("replay", "--all", *FAST)

    assert run.code == 0, run.err
    assert_all_sent_but(desk)


def test_a_killed_job_may_be_started_anew(desk: Desk) -> None:
    """The same command sends what the first job did not, and nothing twice."""
    stopped_early(desk, "--all")

    run = desk.run("replay", "--all", *FAST)

    assert run.code == 0, run.err
    assert_all_sent_but(desk)


def test_what_died_later_and_was_replayed_first_supersedes(desk: Desk) -> None:
    """It is newer wherever it stands, and older work must not come behind it."""
    replay(desk, NEWER)

    assert_all_superseded(desk.run("replay", "--all", *FAST))


def test_an_order_that_dies_again_is_no_newer_for_it(desk: Desk) -> None:
    """Its second dead letter stands behind all others, and what was sent in between is newer all the same."""
    replay(desk, OLDER)
    replay(desk, NEWER)
    again = [line for line in desk.sent() if line.position.offset < LETTERS + KEYS]
    desk.fill(died_again(desk, line) for line in again)

    run = desk.run("replay", "--all", *FAST)

    assert_all_superseded(run)


def test_repaired_orders_count_as_new(desk: Desk) -> None:
    """They say something else than what died, so what died later must not come behind them unseen."""
    replay(desk, OLDER, "--set", 'product_id="lamp"')

    assert_all_superseded(desk.run("replay", "--all", *FAST))


def test_an_order_with_the_headers_of_a_replayed_one_is_new(desk: Desk) -> None:
    """A producer that passes headers on made it: its content shows that it is another order."""
    replay(desk, OLDER)
    passed_on = [line.headers for line in desk.sent()]
    desk.publish(
        late._replace(value=order(77), headers=list(headers))
        for late, headers in zip(orders_of(OLDER), passed_on)
    )

    assert_all_superseded(desk.run("replay", "--all", *FAST))


def assert_all_superseded(run: Run) -> None:
    """Of each key one is left, and none may be sent."""
    assert run.code == 4, run.err
    assert f"{KEYS}  not: superseded: its key has a newer order" in run.err


def died_again(desk: Desk, line: Line) -> Outgoing:
    """The dead letter of a replayed order, with what its headers tell of its life."""
    dead = ours(line.position.offset, topic=desk.orders_topic, key=line.key, value=line.value)
    return dead._replace(headers=[*line.headers, *dead.headers])
