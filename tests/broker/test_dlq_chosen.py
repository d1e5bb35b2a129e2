"""What a verb acts on is fixed before it asks: neither what arrives nor what changes meanwhile is added."""

from pathlib import Path
from typing import Any, Callable, List, Set

import pytest

from orderflow.model.records import Outgoing
from tests.support.dlq_tools import make_topic, order, ours
from tests.support.pipeline import eventually
from tests.support.replay_tools import Desk

pytestmark = pytest.mark.broker
FAST = ("--yes", "--rate", "none")
PACE = ("--yes", "--rate", "80/s")
"""A process that is to die sends so in transactions of eight."""
PARTITIONS = 4
EACH = 40
"""Dead letters in each partition."""


@pytest.fixture
def make(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Callable[..., Desk]:
    """Make a desk on a topic with so many partitions."""
    return lambda partitions=1: Desk(kafka.bootstrap_servers, topic("d")[-60:], tmp_path, partitions)


@pytest.fixture
def desk(make: Callable[..., Desk]) -> Desk:
    """Thirty dead letters in one partition."""
    made = make()
    made.fill(dead(made, 30))
    return made


@pytest.fixture
def wide(make: Callable[..., Desk]) -> Desk:
    """Forty dead letters in each of four partitions; of each partition the first cannot be sent."""
    made = make(PARTITIONS)
    for number in range(PARTITIONS):
        first = ours(99, topic=made.orders_topic, value=order(0))
        made.fill(one._replace(partition=number) for one in (first, *dead(made, EACH - 1)))
    return made


def dead(desk: Desk, number: int) -> List[Outgoing]:
    return [ours(n + 1, topic=desk.orders_topic, partition=n % 3) for n in range(number)]


def offsets_sent(desk: Desk) -> List[int]:
    """The offsets in partition 0 of the dead letters that were sent."""
    return sorted(int(place.split(":")[1]) for place in desk.sent_from().elements())


# --- A limit ---


def test_what_a_limit_chose_is_what_is_sent(make: Callable[..., Desk]) -> None:
    """With several partitions, too, whichever of them comes first when they are read once more."""
    desk = make(PARTITIONS)
    goals = [f"{desk.orders_topic}-{number}" for number in range(PARTITIONS)]
    for number, goal in enumerate(goals):
        make_topic(desk.bootstrap_servers, goal)
        letters = (ours(n + 1, topic=goal) for n in range(EACH))
        desk.fill(one._replace(partition=number) for one in letters)
    confirmed = [word for goal in goals for word in ("--source-topic", goal)]

    for limit in (7, 9, 11):
        run = desk.run("replay", "--state", "new", "-c", str(limit), *confirmed, *FAST)

        assert run.code == 0, run.err
        job = desk.jobs()[0]["job"]
        sent = {
            goal: sum(one.header("orders.replay.job") == job for one in desk.sent(goal)) for goal in goals
        }
        for goal, number in sent.items():
            assert not number or f"{number}  into {goal} " in run.err, (run.err, sent)


def test_a_limit_over_several_partitions_holds_when_a_job_goes_on(wide: Desk) -> None:
    """However often it stops, and although some of the chosen cannot be sent."""
    assert wide.start_dying("after commit", 2, "replay", "-c", "21", *PACE) == -9
    job = wide.jobs()[0]
    assert wide.start_dying("after commit", 2, "replay", "--resume", job["job"], *PACE) == -9

    wide.run("replay", "--resume", job["job"], *FAST)

    assert sum(wide.sent_from().values()) == job["total"]


def test_no_later_ones_are_sent_in_place_of_chosen_ones_that_expired(desk: Desk) -> None:
    """`-c 10` chose the first ten; what is left of them is sent."""
    chosen = ("replay", "--state", "new", "-c", "10")
    assert desk.start_dying("before commit", 3, *chosen, *PACE) == -9
    desk.expire(9)

    resumed = desk.run("replay", "--resume", desk.jobs()[0]["job"], *FAST)

    assert resumed.code == 3, resumed.err
    assert offsets_sent(desk) == [*range(8), 9]
    assert f"1 of this job is no longer in {desk.topic}" in resumed.err


def test_no_later_ones_are_sent_in_place_of_chosen_ones_that_were_discarded(desk: Desk) -> None:
    """What a colleague resolved meanwhile makes no room for others."""
    chosen = ("replay", "--state", "new", "-c", "12")
    assert desk.start_dying("after commit", 2, *chosen, *PACE) == -9
    job = desk.jobs()[0]["job"]
    assert desk.run("discard", "0:10", "0:11", "--reason", "tests", "--yes").code == 0

    assert desk.run("replay", "--resume", job, *FAST).code == 0
    assert offsets_sent(desk) == [*range(10)]


# --- While a question stands ---


def test_a_replay_takes_in_nothing_that_was_not_asked_about(desk: Desk) -> None:
    """A dead letter that is made new again while the question stands was not part of it."""
    assert desk.run("discard", "0:3", "--reason", "tests", "--yes").code == 0

    run = desk.run_and_type(
        "y",
        *("replay", "--state", "new", "-c", "5", "--rate", "none"),
        meanwhile=lambda: desk.run("discard", "0:3", "--restore", "--yes"),
    )

    assert run.code == 0, run.out
    assert offsets_sent(desk) == [0, 1, 2, 4, 5]


def test_a_replay_says_why_it_sends_fewer(desk: Desk) -> None:
    """Those that somebody resolved while the question stood are counted, though the selection leaves them."""
    run = desk.run_and_type(
        "y",
        *("replay", "--state", "new", "-c", "5", "--rate", "none"),
        meanwhile=lambda: desk.run("discard", "0:3", "0:4", "--reason", "tests", "--yes"),
    )

    assert run.code == 0, run.out
    assert "3 of 5 sent" in run.out
    assert "not sent: 2 discarded" in run.out


def test_discard_marks_only_what_was_there_when_it_asked(desk: Desk) -> None:
    """What arrives while the question stands is another failure, which nobody has looked at."""
    run = desk.run_and_type(
        "y",
        *("discard", "--state", "new", "--reason", "tests"),
        meanwhile=lambda: desk.fill([ours(99, "process.killed_consumer", topic=desk.orders_topic)]),
    )

    assert run.code == 0, run.out
    assert "30 discarded" in run.out
    assert desk.states()["0:30"] == "new"


def test_discard_marks_only_what_was_new_when_it_asked(desk: Desk) -> None:
    """Nor does it mark again what a colleague takes back while the question stands."""
    assert desk.run("discard", "0:3", "--reason", "tests", "--yes").code == 0

    run = desk.run_and_type(
        "y",
        *("discard", "--state", "new", "--reason", "tests"),
        meanwhile=lambda: desk.run("discard", "0:3", "--restore", "--yes"),
    )

    assert "29 discarded" in run.out
    assert desk.states()["0:3"] == "new"


def test_a_limited_discard_marks_what_it_counted(wide: Desk) -> None:
    """As many as it asked for, whichever partition is read first the second time."""
    run = wide.run("discard", "--state", "new", "-c", "10", "--reason", "tests", "--yes")

    assert run.code == 0, run.err
    assert list(wide.states().values()).count("discarded") == 10


# --- Positions ---


@pytest.mark.parametrize(
    ("typed", "marked"),
    [
        (["0:5", "1:5", "-p", "1"], {"1:5"}),
        (["0:5", "-p", "1"], set()),
        (["0:5", "0:12", "-o", "10"], {"0:12"}),
        (["0:5", "-o", "10"], set()),
        (["0:5", "1:12", "-o", "10"], {"1:12"}),
        (["0:5", f"0:{EACH - 1}", "-o", "-3"], {f"0:{EACH - 1}"}),
        (["0:5", "0:5"], {"0:5"}),
    ],
    ids=" ".join,
)
def test_flags_narrow_down_positions(wide: Desk, typed: List[str], marked: Set[str]) -> None:
    """Whatever else was typed must hold of a position, too."""
    run = wide.run("discard", *typed, "--reason", "tests", "--yes")

    assert run.code == 0, run.err
    assert {place for place, state in wide.states().items() if state == "discarded"} == marked


@pytest.mark.parametrize(
    "verb", [["discard", "--reason", "tests"], ["discard", "--restore"], ["replay"]], ids=" ".join
)
def test_a_position_that_holds_none_is_an_error(desk: Desk, verb: List[str]) -> None:
    """It has expired, or is mistyped: passing over it would look as if it had been done."""
    run = desk.run(*verb, "0:3", "0:77", "--yes")

    assert (run.code, run.out) == (1, "")
    assert f"no dead letter at 0:77: {desk.topic} holds 0:0 to 0:29" in run.err
    assert set(desk.states().values()) == {"new"}


# --- Deleted before it was sent ---


def test_what_expired_before_it_was_sent_is_said(desk: Desk) -> None:
    """`4 of 10 sent` without a reason, and exit code 0, would say that nobody needs to look."""
    run = desk.run_and_type(
        "y",
        *("replay", "--state", "new", "-c", "10", "--rate", "none"),
        meanwhile=lambda: desk.expire(6),
    )

    assert run.code == 3, run.out
    assert f"6 of this job are no longer in {desk.topic}: deleted before being sent" in run.out
    assert offsets_sent(desk) == [6, 7, 8, 9]


def test_a_finished_job_says_what_expired_before_it_was_sent(desk: Desk) -> None:
    """Whoever asks later hears the same as who was there."""
    run = desk.run_and_type("y", "replay", "--all", "--rate", "none", meanwhile=lambda: desk.expire(6))
    assert run.code == 3, run.out
    job = str(desk.jobs()[0]["job"])

    resumed = desk.run("replay", "--resume", job, *FAST)

    told = f"6 of this job are no longer in {desk.topic}: deleted before being sent"
    assert (resumed.code, told in resumed.err) == (3, True), resumed.err
    assert "deleted     6 before they were sent" in desk.run("jobs", "show", job).out


def test_discard_says_what_expired_before_it_was_marked(desk: Desk) -> None:
    """Fewer than were confirmed need a reason."""
    run = desk.run_and_type(
        "y",
        *("discard", "--state", "new", "-c", "10", "--reason", "tests"),
        meanwhile=lambda: desk.expire(6),
    )

    assert run.code == 0, run.out
    assert "4 discarded" in run.out
    assert f"6 of the 10 are no longer new, or no longer in {desk.topic}" in run.out


# --- Two at once ---


def test_discard_says_that_it_stops_a_replay(desk: Desk) -> None:
    """Before it asks, as a second replay does."""
    with desk.start("replay", "-c", "20", "--yes", "--rate", "2/s") as running:
        eventually(lambda: bool(desk.sent_from()))
        run = desk.run_and_type("n", "discard", "0:29", "--reason", "tests")
        assert running.process.poll() is None

    job = desk.jobs()[0]
    told = f"job {job['job']} of {job['by']} is running: to go on here stops it there"
    assert told in run.out[: run.out.index("[y/N]")]
