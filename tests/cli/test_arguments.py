"""What the scripts' flags have in common: their version, and help for whoever mistypes one."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Sequence

import pytest

from orderflow.cli.arguments import arguments
from orderflow.version import VERSION

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = ("producer.py", "consumer.py", "dlq_handler.py")


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """A script, called as a user does."""
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_tells_its_version(script: str) -> None:
    finished = run(script, "--version")

    assert finished.returncode == 0
    assert re.fullmatch(rf"{script} of orderflow {re.escape(VERSION)}, Python \S+\n", finished.stdout)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("producer.py", "--cuont", "3"), "did you mean --count?"),
        (("consumer.py", "--wokers=3"), "did you mean --workers?"),
        (("dlq_handler.py", "--exce", "mail"), "did you mean --exec?"),
        (("dlq_handler.py", "list", "--sinze", "2h"), "did you mean --since?"),
        (("dlq_handler.py", "lits"), "did you mean list?"),
    ],
    ids=" ".join,
)
def test_a_mistyped_flag_names_the_nearest_one(command: Sequence[str], hint: str) -> None:
    finished = run(*command)

    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr.rstrip().endswith(hint)


def test_a_flag_like_no_other_gets_no_guess(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments("Doc.", ["x"]).parse_args(["--zzzzzz"])

    assert "unrecognized arguments: --zzzzzz\n" in capsys.readouterr().err


def test_what_was_typed_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    """A command line may be somebody else's text, too."""
    with pytest.raises(SystemExit):
        arguments("Doc.", ["x"]).parse_args(["\x1b[2J\nERROR forged"])

    assert "arguments: \\u001b[2J\\u000aERROR forged\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "setting"),
    [
        (("producer.py",), "--orders-topic"),
        (("consumer.py",), "--orders-topic"),
        (("dlq_handler.py", "list"), "--dlq-topic"),
    ],
)
def test_the_topic_has_the_letter_that_kcat_gives_it(script: Sequence[str], setting: str) -> None:
    """The orders for the scripts that move them, the dead letters for the one that looks after those."""
    assert f"-t TOPIC, {setting} TOPIC" in run(*script, "--help").stdout
