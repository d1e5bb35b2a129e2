"""How dlq_handler.py starts: what it does not need is not imported."""

import subprocess
import sys
from typing import List, Set

import pytest

import dlq_handler
from orderflow.cli.arguments import WrongArguments
from orderflow.exits import UsageError
from tests.support.dlq_tools import ROOT

SLOW = {"confluent_kafka", "fastavro", "dotenv", "config"}
PROBE = """
import contextlib, io, sys
import dlq_handler
from orderflow.cli.output import Notes, Output
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    dlq_handler.main(sys.argv[1:], Output(sys.stdout), Notes(sys.stderr))
print("\\n".join(sys.modules))
"""


def imported_for(*arguments: str) -> Set[str]:
    """The modules that are there after the script was called in an interpreter of its own."""
    probe = [sys.executable, "-c", PROBE, *arguments]
    return set(subprocess.run(probe, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split())


def test_help_needs_no_client() -> None:
    """`--help` comes at once: neither Kafka's client, nor Avro, nor any verb is imported for it."""
    found = imported_for("--help")

    assert found & SLOW == set()
    assert [name for name in found if name.startswith("orderflow.dlq")] == []


def test_a_verb_imports_itself_alone() -> None:
    """`list` does not wait for what `replay` needs."""
    found = imported_for("list", "--help")

    assert [name for name in found if name.startswith("orderflow.dlq.verbs.")] == ["orderflow.dlq.verbs.list"]


@pytest.mark.parametrize("verb", dlq_handler.VERBS, ids=lambda verb: verb.names[0])
def test_every_name_leads_to_its_verb(verb: dlq_handler.Verb) -> None:
    """Each name of a verb, and each of its other names, parses to the verb's own `run`."""
    needed = {"import": ["file"], "report": ["file"]}.get(verb.names[0], [])

    runs = {dlq_handler.parse([name, *needed]).run for name in verb.names}

    assert runs == {verb.load().run}


@pytest.mark.parametrize("flag", ["--since", "--where", "--state", "-p", "-c"])
@pytest.mark.parametrize("words", [["health"], ["erase", "--key", "K"], ["jobs"], ["import", "f"]], ids=str)
def test_a_verb_takes_no_selection_that_it_does_not_heed(words: List[str], flag: str) -> None:
    """`erase --key K --since 1h --delete-up-to-it` deleted older records too, without a word."""
    with pytest.raises(WrongArguments) as refused:
        dlq_handler.parse([*words, f"{flag}=1"])

    assert refused.value.message.startswith(f"unrecognized arguments: {flag}")


def test_a_job_may_be_resumed_into_a_topic_that_is_confirmed_by_name() -> None:
    """As `replay --resume` may: the refusal of either names this flag."""
    assert dlq_handler.parse(["jobs", "resume", "j", "--source-topic", "shop"]).source_topics == ["shop"]


@pytest.mark.parametrize(
    "words", [["-t", "shop-dlq", "list"], ["-J", "groups", "-c", "1"], ["--since=2h", "ls"]], ids=str
)
def test_flags_before_the_verb_are_told_where_they_belong(words: List[str]) -> None:
    """As kubectl or git would take them."""
    with pytest.raises(UsageError, match=r"the verb comes first: dlq_handler\.py (list|groups|ls) "):
        dlq_handler.parse(words)


def test_a_verb_as_the_value_of_a_flag_is_none() -> None:
    assert dlq_handler.parse(["-t", "list"]).dlq_topic == "list"
