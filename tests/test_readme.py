"""The README tells the truth: its tables, help texts, commands, links and names are those of the code."""

import re
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Set

import pytest

import config
from tests.pipeline import ROOT
from tools import readme

TEXT = readme.README.read_text(encoding="utf-8")
HELP_LOOKS_LIKE_THE_README = (3, 10) <= sys.version_info < (3, 13)
"""Other versions of argparse word and wrap the same help a little differently."""


@pytest.mark.skipif(not HELP_LOOKS_LIKE_THE_README, reason="this Python words help texts differently")
@pytest.mark.parametrize("path", readme.DOCUMENTS, ids=lambda path: path.name)
def test_tables_and_help_texts_are_those_of_the_code(path: Path) -> None:
    """After a change to a setting, a flag or the head of a file: `make readme`."""
    text = path.read_text(encoding="utf-8")

    assert readme.renewed(text) == text


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", TEXT))))
def test_links_lead_somewhere(path: str) -> None:
    assert (ROOT / path).exists()


def test_links_within_the_readme_lead_to_a_heading() -> None:
    headings = {re.sub(r"[^a-z -]", "", line.lower()).strip().replace(" ", "-") for line in _headings()}

    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= headings


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|avsc|csv))`", TEXT))))
def test_files_that_are_named_exist(path: str) -> None:
    assert (ROOT / path).exists()


def test_make_targets_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))

    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", TEXT, re.M)) <= targets


def test_settings_that_are_named_exist() -> None:
    """Whatever stands in capitals with an underscore is a setting, or passes through to the client."""
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", TEXT))
    known = {setting.env for setting in config.SETTINGS}

    assert {name for name in named - known if not name.startswith("KAFKA_")} == set()


@pytest.mark.broker
def test_the_commands_do_what_is_shown(kafka: Any, topic: Callable[..., str]) -> None:
    """Every command is run again, in order, on topics of its own, and prints what the README shows."""
    names = {"ORDERS_TOPIC": topic("orders"), "DLQ_TOPIC": topic("dlq"), "CONSUMER_GROUP": topic("group")}
    environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, **names}
    today = readme.sessions(readme.replayed(TEXT, environ))

    for shown, found in zip(_all_steps(readme.sessions(TEXT)), _all_steps(today)):
        assert _shapes(shown.output) == _shapes(_renamed(found.output, names)), shown.command


def test_kinds_of_lines_are_told_apart() -> None:
    """The comparison above sees a changed word, and does not see a changed number."""
    assert _shapes("read 5 orders in 0.3s\n") == _shapes("read 17 orders in 1.2s\n")
    assert _shapes("read 5 orders\n") != _shapes("read 5 letters\n")
    assert _shapes("a 1\n...\nz 1\n") == _shapes("b 2\n...\nz 2\n")


def _headings() -> List[str]:
    return re.findall(r"^#+ (.+)$", TEXT, re.M)


def _all_steps(sessions: List[List[readme.Step]]) -> List[readme.Step]:
    return [step for session in sessions for step in session]


def _renamed(output: str, names: Dict[str, str]) -> str:
    usual = {"ORDERS_TOPIC": "orders", "DLQ_TOPIC": "orders-dlq", "CONSUMER_GROUP": "order-processing-group"}
    for setting, name in sorted(names.items(), key=lambda item: -len(item[1])):
        output = output.replace(name, usual[setting])
    return output


def _shapes(output: str) -> Set[str]:
    """The kinds of line in an output, without what differs from run to run: numbers, ids, times, bars.

    Of an output that was cut in the middle, where chance decides what is left, only the last line counts.
    """
    words = re.sub(r"\S*[0-9]\S*|[▁-█]+|\([^)]*\)", "", output)
    lines = [" ".join(line.split()) for line in words.splitlines()]
    return set(lines[-1:] if "..." in lines else lines)
