"""The runbook is typed at three in the morning: every command in it must be one that exists."""

import re
import shlex
from typing import List

import pytest

import dlq_handler
from tests.support.dlq_tools import ROOT

TEXT = (ROOT / "docs" / "runbook.md").read_text("utf-8")
COMMANDS: List[str] = re.findall(r"^\$ python dlq_handler\.py (.*)$", TEXT, re.MULTILINE)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 15


@pytest.mark.parametrize("command", COMMANDS)
def test_command_is_understood(command: str) -> None:
    """Its verb, flags and values parse."""
    args = dlq_handler.parse(shlex.split(command))

    assert args.run


def test_reasons_that_it_names_exist() -> None:
    """A reason code in the runbook is one that the code gives."""
    source = "".join(path.read_text("utf-8") for path in (ROOT / "orderflow").rglob("*.py"))
    named = set(re.findall(r"`((?:process|decode|validate)\.[a-z_]+)`", TEXT))

    assert named
    assert [reason for reason in named if reason not in source] == []


def test_it_is_two_pages() -> None:
    """Short enough to be read while something burns."""
    assert len(TEXT.splitlines()) < 200
