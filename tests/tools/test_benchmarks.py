"""The benchmarks' own arithmetic and text: what is published about speed rests on it."""

import json
import time
from pathlib import Path

import pytest

from benchmarks.fates import Accounts, account, longest_gap_ms, percentile, read_fates
from benchmarks.looking import looking
from benchmarks.report import Bar, Section, markdown, median
from benchmarks.rig import Run, Void, lines_of, read_report
from benchmarks.scenarios.observed import Answers, section
from benchmarks.scenarios.processes import rate_together
from benchmarks.work import Job, Marks, job
from orderflow.cli.port import OK_STATUS, Page, Port

SECTION = Section(
    title="Speed",
    method="How it was measured.",
    head=("Who", "orders/s"),
    rows=[("ours", "200"), ("theirs", "100")],
    bars=[Bar("as fast", "2.00", holds=True), Bar("as small", "0.50", holds=False)],
)


def test_document_names_the_command_and_each_bar_that_is_missed() -> None:
    text = markdown([SECTION], ["2 processors"], "make bench")
    assert "`make bench`" in text
    assert "| as fast | 2.00 | yes |" in text
    assert "| as small | 0.50 | **no** |" in text
    assert "| theirs | 100 |" in text


def test_marks_tell_of_the_first_and_the_last_order(tmp_path: Path) -> None:
    report = tmp_path / "report"
    marks = Marks(3, str(report))
    for _ in range(3):
        marks.handle({})
    assert marks.seen == 3
    assert read_report(report, 3).rate > 0


def test_marks_can_begin_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """What came before is not timed, but it has to be there."""
    report = tmp_path / "report"
    marks = Marks(4, str(report), begin=3)
    marks.handle({})
    began_s = time.monotonic()
    for _ in range(3):
        marks.handle({})
    assert json.loads(report.read_text())["first_s"] >= began_s


def test_run_that_did_not_handle_every_order_is_void(tmp_path: Path) -> None:
    report = tmp_path / "report"
    marks = Marks(3, str(report))
    marks.handle({})
    with pytest.raises(Void, match="not every order"):
        read_report(report, 3)


def test_line_that_is_not_written_to_its_end_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "calls"
    path.write_text("one\ntwo\nthr", encoding="utf-8")
    assert lines_of(path) == ["one", "two"]
    assert lines_of(tmp_path / "missing") == []


def test_median_of_nothing_is_nothing() -> None:
    assert median([]) == 0
    assert median([3, 1, 2]) == 2


def test_job_travels_on_the_command_line() -> None:
    todo = Job("localhost:9092", "orders", "orders.dlq", "group", 99, 1, "best")
    assert job(["script", json.dumps(todo._asdict())]) == todo
    assert todo.total == 100


def test_every_order_needs_exactly_one_fate() -> None:
    """A result or a dead letter; what has none is lost, what has two is doubled."""
    fates = read_fates(["result,0,10,20", "dead,1,10,20", "result,1,10,20", "result,3,10,20"])
    assert account(fates, sent=5) == Accounts(lost=2, doubled=1, dead=1, out_of_order=0)
    assert not account(fates, sent=5).are_right
    assert account(fates[:1], sent=1).are_right


def test_results_of_a_key_must_come_in_its_order() -> None:
    """Of three keys, that of the orders 1 and 4 has them the wrong way round."""
    fates = read_fates([f"result,{number},10,20" for number in (0, 4, 2, 1, 3, 5)])
    assert account(fates, sent=6, keys=3).out_of_order == 1
    assert account(fates, sent=6).out_of_order == 0


def test_a_stall_is_the_longest_time_without_a_result() -> None:
    """The edges of the span count, dead letters do not."""
    fates = read_fates(["result,0,0,1000", "dead,1,0,5000", "result,2,0,9000"])
    assert longest_gap_ms(fates, 0, 10_000) == 8
    assert longest_gap_ms(fates, 0, 30_000) == 21


def test_percentile_of_nothing_is_nothing() -> None:
    assert percentile([], 99) == 0
    assert percentile([1.0, 2.0, 3.0], 50) == 2
    assert percentile([1.0, 2.0, 3.0], 100) == 3


def test_processes_are_measured_while_all_of_them_work() -> None:
    """The first begins alone, and the last ends alone."""
    first = [(0.01 * number, "1") for number in range(300)]
    second = [(1.0 + 0.01 * number, "2") for number in range(300)]

    assert rate_together(first, 1) == pytest.approx(10_000)
    assert rate_together(sorted(first + second), 2) == pytest.approx(20_000, rel=0.01)


def test_processes_that_did_not_work_together_were_not_measured() -> None:
    apart = [(0.0, "1"), (5.0, "1"), (5.5, "2"), (9.0, "2")]
    with pytest.raises(Void, match="1 of 2 processes worked"):
        rate_together(apart[:2], 2)
    with pytest.raises(Void, match="together"):
        rate_together(apart, 2)


def test_a_port_is_looked_at_again_and_again_and_each_answer_is_timed() -> None:
    port = Port(0, "127.0.0.1", {"/there": lambda: Page(OK_STATUS, b"page")})
    with looking(port.port, ("/there", "/not"), 0.01) as looks:
        deadline_s = time.monotonic() + 20
        while len(looks) < 4:
            assert time.monotonic() < deadline_s, looks
    port.close()

    assert [(each.path, each.status) for each in looks[:4]] == 2 * [("/there", 200), ("/not", 404)]
    assert looks[0].size == 4 and looks[0].took_ms > 0


def test_watching_is_judged_by_the_ratios_within_each_round() -> None:
    """A slow round is slow for both; one that lacks a half does not count."""
    rounds = [
        {
            "METRICS_PORT unset": run_at(rate, 2.0),
            "scraped and probed every second": run_at(0.99 * rate, 2.02),
        }
        for rate in (400_000, 200_000, 100_000)
    ]
    judged = section(1000, [*rounds, {"METRICS_PORT unset": run_at(900_000, 1.0)}], Answers([7.0, 120.0], 10))

    assert [bar.measured for bar in judged.bars[:2]] == ["0.990 of the unwatched", "1.010 of the unwatched"]
    assert [bar.holds for bar in judged.bars] == [True, True, False]


def run_at(rate: float, cpu_us: float) -> Run:
    return Run(rate, cpu_us, cpu_us, 100.0, 0.0, 1.0)
