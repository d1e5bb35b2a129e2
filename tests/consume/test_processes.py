"""Several processes shown as one consumer: sums, the status line, and the account at the end."""

import io
import logging
from typing import Callable, Iterator, List

import pytest

from orderflow.cli.output import Notes
from orderflow.consume.figures import Figures, Health, PartitionFigures, ProcessFigures
from orderflow.consume.processes import Together, counted, health_of
from orderflow.consume.run_log import RunLog
from orderflow.consume.streams import HandlerStreams
from orderflow.supervise.report import ENDED, NOTHING, WORKING, Report
from orderflow.supervise.supervisor import Living, State

PARTITION = PartitionFigures(waiting=4, unseen=500)
ONE = Figures(
    processed=1000,
    dead_lettered={"process.rejected": 2},
    retries={"process.failed": 30},
    partitions={0: PARTITION},
    process=ProcessFigures(cpu_s=7.0, resident_bytes=100),
)
OTHER = ONE._replace(partitions={1: PARTITION})


def working(figures: Figures, number: int = 1, silent_s: float = 0.0) -> Living:
    """A process that reports these figures."""
    return Living(number, Report(WORKING, figures.as_json()), silent_s)


STARTING = Living(2, NOTHING)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """A log takes over all that is logged in the process, which ends with the test."""
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:], root.level = before, level


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """Always."""
        return True


class Later:
    """A clock on which every look is a second later."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        self.now_s += 1.0
        return self.now_s


class Watched:
    """Somebody who watches, and the screen."""

    def __init__(self, show: Callable[[Figures], None] = lambda figures: None) -> None:
        self.screen = Screen()
        notes = Notes(self.screen)
        self.together = Together(HandlerStreams(notes), RunLog(notes, "text", "info", clock=Later()), show)

    def line(self, *living: Living, wanted: int, restarts: int = 0) -> str:
        """The status line."""
        self.together.show(State(living, wanted, restarts))
        return self.screen.getvalue().rpartition("\x1b[K")[2]


def test_of_a_process_that_ended_only_what_it_did_is_kept() -> None:
    """Its counters, its processor time included; its partitions are with the others by now."""
    kept = counted(ONE)

    assert (kept.consumers, kept.processed, kept.dead_lettered) == (0, 1000, {"process.rejected": 2})
    assert (kept.partitions, kept.process) == ({}, ProcessFigures(cpu_s=7.0))


def test_one_status_line_for_all() -> None:
    """As of one consumer, while all is well."""
    line = Watched().line(working(ONE), working(OTHER), wanted=2)

    assert line.startswith("processed 2,000  ")
    assert line.endswith("  waiting 8  dead-lettered 4  unseen ~1,000")


def test_processes_that_are_missing_are_shown() -> None:
    """Those that have not begun yet, and how often one was started again."""
    watched = Watched()
    watched.together.count_ended(working(OTHER).report)
    line = watched.line(working(ONE), STARTING, wanted=3, restarts=2)

    assert line.startswith("1 of 3 running  restarts 2  processed 2,000  ")


def test_the_account_adds_up_all_that_was_done() -> None:
    """The dead included; orders that wait count once, with the last owner of their partition."""
    watched = Watched()
    watched.together.count_ended(Report(WORKING, ONE.as_json(), {0: (5, 9)}))
    watched.together.count_ended(Report(ENDED, ONE.as_json(), {0: (7, 3)}))
    watched.together.count_ended(Report(ENDED, ONE.as_json(), {0: (9, 2), 1: (4, 1)}))
    watched.together.sum_up()

    account = watched.screen.getvalue()
    assert " info processed 3,000, dead-lettered 6, retries 90, in " in account
    assert account.endswith("; 3 still waiting, to be resumed at the next start\n")


def test_a_run_in_which_nothing_began_has_no_account() -> None:
    """The one message says it all."""
    watched = Watched()
    watched.together.count_ended(NOTHING)
    watched.together.sum_up()

    assert watched.screen.getvalue() == ""


# ---- probes


def test_a_process_that_is_missing_makes_all_of_them_not_ready() -> None:
    """A rollout waits for it; a restart would not help."""
    health = health_of(State([working(ONE), STARTING], 2, 0))

    assert health.hangs == ()
    assert health.not_ready == ("1 of 2 processes still to start",)
    assert health_of(State([working(ONE), working(OTHER)], 2, 0)) == Health()


def test_a_process_that_reports_nothing_any_more_hangs() -> None:
    """Native code that never lets go keeps even its monitor from speaking."""
    health = health_of(State([working(ONE), working(OTHER, 2, silent_s=8.0)], 2, 0))

    assert health.hangs == ("process 2 has reported nothing for 8 s",)


def test_the_port_speaks_for_all_and_for_their_supervisor() -> None:
    """Memory and processor time add up, and so do the restarts that only it knows of."""
    shown: List[Figures] = []
    page = Watched(shown.append).together
    page.count_ended(working(OTHER).report)
    page.show(State([working(ONE)], 2, 1))

    (figures,) = shown
    assert (figures.consumers, figures.processed, figures.process_restarts) == (1, 2000, 1)
    assert figures.process.cpu_s > 14.0
    assert figures.process.resident_bytes > 100
