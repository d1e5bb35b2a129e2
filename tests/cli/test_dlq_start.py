"""How dlq_handler.py starts: what it does not need is not imported."""

import subprocess
import sys
from typing import Set

import pytest

import dlq_handler
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
