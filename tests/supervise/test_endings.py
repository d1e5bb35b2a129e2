"""Why a process ended, in words."""

import signal

import pytest

from orderflow import exits
from orderflow.supervise.endings import Ending, obituary, worst
from orderflow.supervise.report import ENDED, NOTHING, WORKING, Report

IDLE = Report(WORKING)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            -int(signal.SIGKILL),
            "was killed by SIGKILL (kill -9, or the system for want of memory)",
        ),
        (-int(signal.SIGALRM), "was killed by SIGALRM"),
        (-99, "was killed by signal 99"),
        (70, "ended with exit code 70"),
        (exits.TERMINATED, "was asked to stop by somebody else"),
    ],
)
def test_the_cause_is_named(code: int, words: str) -> None:
    """A signal by its name, with what usually sends it; an exit code as it is."""
    assert obituary(Ending(code, IDLE)) == f"{words}; it had no partition"


def test_an_order_called_alone_is_named() -> None:
    """It is the one that is about to be found guilty."""
    suspected = IDLE._replace(partitions={1: (17, 3)}, suspects=[(1, 17)])

    assert obituary(Ending(70, suspected)).endswith("while it called order 1-17 and nothing else")


def test_orders_called_in_company_are_named() -> None:
    """Not all of them, if there are many."""
    few = IDLE._replace(suspects=[(1, 17), (0, 5)])
    many = IDLE._replace(suspects=[(0, offset) for offset in range(32)])

    assert obituary(Ending(70, few)).endswith("while it called orders 0-5, 1-17 and nothing else")
    assert obituary(Ending(70, many)).endswith("0-7 and 24 more and nothing else")


def test_partitions_are_named_with_the_place_to_continue() -> None:
    """Several of them in one line."""
    report = IDLE._replace(partitions={2: (88, 0), 0: (1200, 4)})

    assert obituary(Ending(70, report)).endswith(
        "; it had partitions 0 (from offset 1200), 2 (from offset 88)"
    )


def test_one_that_had_not_begun_had_nothing() -> None:
    """Nor had one that had ended its work already."""
    assert obituary(Ending(-11, NOTHING)).endswith("; it had not begun")
    assert obituary(Ending(1, Report(ENDED))) == "ended with exit code 1"


def test_the_worst_exit_code_wins() -> None:
    """What needs somebody comes before what does not."""
    assert worst([exits.OK, exits.TERMINATED]) == exits.TERMINATED
    assert worst([exits.TERMINATED, exits.TRIPPED, exits.OK]) == exits.TRIPPED
    assert worst([exits.TRIPPED, exits.FAILED]) == exits.FAILED
    assert worst([exits.USAGE, exits.FAILED, exits.INTERRUPTED]) == exits.USAGE
    assert worst([]) == exits.OK
