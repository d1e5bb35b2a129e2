"""A command that is typed in a flag: known to be good before it is needed, and stopped when we are."""

import os
import time
from pathlib import Path

import pytest

from orderflow.cli.command import Command
from orderflow.exits import UsageError


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("mail -s 'new failure", "no closing quotation"),
        ("", "needs a command"),
        ("  ", "needs a command"),
        ("no-such-command-here --now", "there is no command 'no-such-command-here'"),
    ],
)
def test_what_cannot_be_run_is_refused_at_once(text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        Command("--exec", text)


def test_it_gets_its_input_and_writes_where_it_should(tmp_path: Path) -> None:
    with open(tmp_path / "out", "wb") as out:
        fault = Command("--exec", "sh -c 'cat; exit 0'").run(b"letter" * 100_000, out.fileno(), lambda: False)

    assert fault is None
    assert (tmp_path / "out").read_bytes() == b"letter" * 100_000


def test_a_failure_is_told() -> None:
    assert Command("--exec", "false").run(b"x", None, lambda: False) == "--exec ended with 1"


def test_it_is_stopped_when_we_are(tmp_path: Path) -> None:
    """The first signal is heard although the command would run for a minute."""
    began_s = time.monotonic()
    with open(tmp_path / "out", "wb") as out:
        command = Command(
            "--exec", "sh -c 'trap \"echo bye; exit\" TERM; echo up; while :; do sleep 0.1; done'"
        )
        fault = command.run(b"x", out.fileno(), lambda: b"up" in Path(tmp_path / "out").read_bytes())

    assert fault is None
    assert (tmp_path / "out").read_bytes() == b"up\nbye\n"
    assert time.monotonic() - began_s < 30


def test_nothing_of_the_input_becomes_part_of_it(tmp_path: Path) -> None:
    """No shell runs it."""
    with open(tmp_path / "out", "wb") as out:
        Command("--exec", "echo $(id) `id` ; id").run(b"; id", out.fileno(), lambda: False)

    assert (tmp_path / "out").read_bytes() == b"$(id) `id` ; id" + os.linesep.encode()
