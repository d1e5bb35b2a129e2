"""Which retries get a line of their own, and what is told of the others."""

import io
from typing import List, Tuple

import pytest

from orderflow.cli.output import Notes
from orderflow.consume.retry_lines import MOST_A_SECOND, MOST_KINDS, OTHERS, RetryLines
from orderflow.consume.run_log import RunLog
from orderflow.errors import Failure
from tests.support.memory import Stored


def _failure(error_class: str = "ConnectionError") -> Failure:
    return Failure("process.failed", "process", error_class, "bank is down", True)


class Running:
    """A log, and a clock that a test sets."""

    def __init__(self, level: str = "info", form: str = "text") -> None:
        self.now_s = 100.0
        self.stream = io.StringIO()
        self.log = RunLog(Notes(self.stream), form, level, clock=lambda: self.now_s)

    def retry(self, times: int, error_class: str = "ConnectionError") -> None:
        """So many calls fail now."""
        for offset in range(times):
            record = Stored(offset, b"ann")
            self.log.report("retry", record=record, failure=_failure(error_class), attempt=1, delay_s=5.0)

    def show_first(self, error_class: str) -> None:
        """A call fails of a kind that was not seen before."""
        failure, record = _failure(error_class), Stored(0, b"ann")
        self.log.report("first_of_its_kind", record=record, failure=failure, traceback=["Traceback"])

    def said(self) -> Tuple[List[str], List[str]]:
        """The lines of single retries, and the sums."""
        lines = self.stream.getvalue().splitlines()
        return (
            [line for line in lines if "attempt 1 failed" in line],
            [line.partition(" retry ")[2] for line in lines if "more failed" in line],
        )


def test_up_to_a_hundred_a_second_each_retry_has_its_line() -> None:
    """Second after second, and nothing is summed up."""
    running = Running()
    for _ in range(3):
        running.retry(MOST_A_SECOND)
        running.now_s += 1.0
        running.log.catch_up()

    assert (3 * MOST_A_SECOND, 0) == tuple(map(len, running.said()))


def test_what_has_no_line_is_summed_up_once_its_second_is_past() -> None:
    """With the number of each kind, the most frequent first."""
    running = Running()
    running.retry(MOST_A_SECOND + 7, "TimeoutError")
    running.retry(3000)
    running.log.catch_up()
    assert (MOST_A_SECOND, 0) == tuple(map(len, running.said()))

    running.now_s += 1.0
    running.log.catch_up()
    running.log.catch_up()

    assert running.said()[1] == [
        "3,007 more failed within a second, and each will be retried: "
        "3,000 process.failed: ConnectionError, 7 process.failed: TimeoutError"
    ]


def test_the_next_second_begins_anew() -> None:
    """The sum of the last one stands before its lines, even if nobody asked for it in between."""
    running = Running()
    running.retry(MOST_A_SECOND + 1)
    running.now_s += 1.0
    running.retry(1)

    lines = running.stream.getvalue().splitlines()
    assert "1 more failed" in lines[-2]
    assert "attempt 1 failed" in lines[-1]


def test_the_order_of_a_traceback_is_named_however_many_others_fail() -> None:
    """Its own line has the traceback, and only that of the retry has the order."""
    running = Running()
    running.retry(MOST_A_SECOND + 5)
    running.show_first("KeyError")
    running.retry(3, "KeyError")

    lines = running.stream.getvalue().splitlines()
    assert "first KeyError" in lines[-3]
    assert "orders-0-0 " in lines[-1] and "KeyError" in lines[-1]


def test_nothing_is_left_untold_at_the_end_of_a_run() -> None:
    """Though its second is not over."""
    running = Running()
    running.retry(MOST_A_SECOND + 2)
    running.log.catch_up(is_over=True)

    assert 1 == len(running.said()[1])


def test_all_are_counted_whether_they_have_a_line_or_not() -> None:
    """Metrics tell the truth."""
    running = Running()
    running.retry(5000)

    assert running.log.counts.retries == {"process.failed": 5000}


@pytest.mark.parametrize(("level", "lines"), [("debug", 5000), ("warning", 0)])
def test_the_level_decides(level: str, lines: int) -> None:
    """`debug` lists each, and what hides retries hides their sums too."""
    running = Running(level)
    running.retry(5000)
    running.log.catch_up(is_over=True)

    assert (lines, 0) == tuple(map(len, running.said()))


def test_kinds_are_bounded() -> None:
    """A handler may put anything into a class's name."""
    lines = RetryLines(most_a_second=0)
    for kind in range(10 * MOST_KINDS):
        assert not lines.take(_failure(f"Error{kind}"), 1.0)

    untold = lines.take_untold(2.0)
    assert untold is not None
    assert (10 * MOST_KINDS, MOST_KINDS + 1) == (untold.retries, len(untold.kinds))
    assert untold.kinds[OTHERS] == 9 * MOST_KINDS
