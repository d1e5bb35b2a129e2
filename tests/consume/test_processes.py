"""Several processes shown as one consumer: sums, the status line, and the account at the end."""

import io

from orderflow.cli.output import Notes
from orderflow.cli.status import StatusLine
from orderflow.consume.metrics import Figures
from orderflow.consume.processes import Together, counted, plus
from orderflow.consume.streams import HandlerStreams
from orderflow.supervise.report import BEGAN, ENDED, NOTHING, WORKING, Report
from orderflow.supervise.supervisor import State

ONE = Figures(processed=1000, dead_lettered=2, retries=30, waiting=4, lag=500, outage=False)


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

    def __init__(self) -> None:
        self.screen = Screen()
        notes = Notes(self.screen)
        self.together = Together(HandlerStreams(notes), StatusLine(notes, Later()), None)

    def line(self, *living: Report, wanted: int, restarts: int = 0) -> str:
        """The status line."""
        self.together.show(State(living, wanted, restarts))
        return self.screen.getvalue().rpartition("\x1b[K")[2]


def test_figures_add_up() -> None:
    """All that the processes report; the outage of one is an outage."""
    assert plus(ONE, ONE._replace(outage=True)) == Figures(2000, 4, 60, 8, 1000, True)


def test_of_a_process_that_ended_only_what_it_did_is_kept() -> None:
    """The orders that waited, and its part of the lag, are with the others by now."""
    assert counted(ONE) == Figures(1000, 2, 30, 0, 0, False)


def test_one_status_line_for_all() -> None:
    """As of one consumer, while all is well."""
    line = Watched().line(Report(WORKING, ONE), Report(WORKING, ONE), wanted=2)

    assert line.startswith("processed 2,000  ")
    assert line.endswith("  waiting 8  dead-lettered 4  lag 1,000")


def test_processes_that_are_missing_are_shown() -> None:
    """Those that have not begun yet, and how often one was started again."""
    watched = Watched()
    watched.together.count_ended(Report(WORKING, ONE))
    line = watched.line(Report(WORKING, ONE), NOTHING, wanted=3, restarts=2)

    assert line.startswith("1 of 3 running  restarts 2  processed 2,000  ")


def test_the_account_adds_up_all_that_was_done() -> None:
    """The dead included; orders that wait count once, with the last owner of their partition."""
    watched = Watched()
    watched.together.count_ended(Report(WORKING, ONE, {0: (5, 9)}))
    watched.together.count_ended(Report(ENDED, ONE, {0: (7, 3)}))
    watched.together.count_ended(Report(ENDED, ONE, {0: (9, 2), 1: (4, 1)}))
    watched.together.sum_up()

    account = watched.screen.getvalue()
    assert account.startswith("processed 3,000, dead-lettered 6, retries 90, in ")
    assert account.endswith("; 3 still waiting, to be resumed at the next start\n")


def test_a_run_in_which_nothing_began_has_no_account() -> None:
    """The one message says it all."""
    watched = Watched()
    watched.together.count_ended(NOTHING)
    watched.together.sum_up()

    assert watched.screen.getvalue() == ""
    assert watched.line(Report(BEGAN, list(ONE._replace(processed=0))), wanted=1).startswith("processed 0")
