"""The benchmarks' own arithmetic and text: what is published about speed rests on it."""

import json
from pathlib import Path

import pytest

from benchmarks.report import Bar, Section, markdown, median
from benchmarks.rig import Void, lines_of, read_report
from benchmarks.work import Job, Marks, job

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
