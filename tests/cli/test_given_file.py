"""Files that are named on the command line: all three scripts answer alike, before they ask Kafka."""

from pathlib import Path
from typing import Dict, List, Tuple

import pytest

import consumer
import dlq_handler
import producer
from orderflow.cli.run import Main, run

SCRIPTS: Dict[str, Main] = {"producer": producer.main, "consumer": consumer.main, "dlq": dlq_handler.main}

READ = [
    ("producer", ["--input", "FILE"]),
    ("producer", ["--order-schema", "FILE"]),
    ("consumer", ["--order-schema", "FILE"]),
    ("consumer", ["--handler", "FILE.py:process"]),
    ("consumer", ["--rules", "FILE.py:check"]),
    ("dlq", ["import", "FILE"]),
    ("dlq", ["list", "--order-schema", "FILE"]),
    ("dlq", ["replay", "--plan", "FILE"]),
]
"""Every argument that is the name of a file to read."""

WRITTEN = [
    ("dlq", ["export", "FILE"]),
    ("dlq", ["report", "FILE"]),
    ("dlq", ["replay", "--all", "--dry-run", "--plan-out", "FILE"]),
]
"""Every argument that is the name of a file to write."""

Given = Tuple[str, List[str]]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Kafka answers, and no settings lie about."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")


def told(given: Given, name: str, capsys: pytest.CaptureFixture[str]) -> Tuple[int, str]:
    """The exit code, and the line on stderr."""
    script, arguments = given
    code = run(SCRIPTS[script], [each.replace("FILE", name) for each in arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("given", READ, ids=str)
def test_a_file_that_is_not_there_is_a_wrong_argument(
    given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and one line that names it as it was typed."""
    code, line = told(given, "nowhere/orders", capsys)
    name = "nowhere/orders.py" if "FILE.py" in given[1][1] else "nowhere/orders"

    assert (code, line.count("\n"), "rrno" in line) == (2, 1, False)
    assert line.endswith(f" {name}: no such file\n")


@pytest.mark.parametrize("given", [each for each in READ if "FILE.py" not in each[1][1]], ids=str)
def test_a_folder_in_place_of_a_file_is_a_wrong_argument(
    given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("orders").mkdir()
    code, line = told(given, "orders", capsys)

    assert (code, line.count("\n")) == (2, 1)
    assert line.endswith(" orders: is a folder\n")


@pytest.mark.parametrize("given", WRITTEN, ids=str)
def test_a_file_that_cannot_be_written_is_a_wrong_argument(
    given: Given, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is read for it; one that is there is not overwritten."""
    Path("there").write_text("mine", encoding="utf-8")

    code, line = told(given, "nowhere/x", capsys)
    assert (code, line.endswith(" nowhere/x: no such folder\n")) == (2, True)
    code, line = told(given, "there", capsys)
    assert (code, "there: already exists and is not overwritten" in line) == (2, True)
    assert Path("there").read_text(encoding="utf-8") == "mine"
    assert [each.name for each in Path().iterdir()] == ["there"]


def test_a_plan_that_is_no_text_is_no_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """Refused, as any other file that is none."""
    Path("plan").write_bytes(b"\xff\xfe\n")

    code, line = told(("dlq", ["replay", "--plan", "FILE"]), "plan", capsys)
    assert (code, "plan is not a plan as --plan-out wrote it" in line) == (4, True)
