"""consumer.py --processes where it cannot start: one try, one message, its exit code."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Tuple

import pytest

from orderflow import exits
from tests.support.pipeline import ROOT, bare_environment
from tools.kafka_cluster import free_ports


def consumer(folder: Path, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run it to its end."""
    command = [sys.executable, str(ROOT / "consumer.py"), *arguments]
    environment = {**bare_environment(), **environ}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=60)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--processes", "0"), "--processes: '0' must be a whole number from 1 to 256"),
        (("--processes", "3", "--handler", "no.such.module:handler"), "no.such.module"),
        (("--processes", "3", "-X", "group.id=other"), "group.id cannot be set"),
    ],
)
def test_what_no_restart_can_repair_is_said_once(
    tmp_path: Path, arguments: Tuple[str, ...], words: str
) -> None:
    """Exit code 2, as of one consumer."""
    ended = consumer(tmp_path, *arguments)

    assert ended.returncode == exits.USAGE, ended.stderr
    assert ended.stderr.count(words) == 1
    assert ended.stderr.count("consumer.py: ") == 1


def test_no_kafka_at_the_start_is_said_once(tmp_path: Path) -> None:
    """Exit code 1, as of one consumer: whoever started it may have mistyped the address."""
    (port,) = free_ports(1)
    ended = consumer(tmp_path, "--processes", "2", "-b", f"127.0.0.1:{port}", LOG_FORMAT="json")

    assert ended.returncode == exits.FAILED
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert json.loads(line)["event"] == "failed"


def test_a_handler_that_crashes_while_it_is_imported_is_named(tmp_path: Path) -> None:
    """The signal, since it had no time to say anything itself."""
    (tmp_path / "crashing.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    ended = consumer(tmp_path, "--processes", "2", "--handler", "crashing.py:handler")

    assert ended.returncode == exits.FAILED
    assert "process 1 was killed by SIGKILL" in ended.stderr
    assert "it had not begun" in ended.stderr


def test_the_number_can_be_a_setting(tmp_path: Path) -> None:
    """PROCESSES, as every flag; a child does not become a supervisor by it."""
    ended = consumer(tmp_path, "--handler", "no.such.module:handler", PROCESSES="2")

    assert ended.returncode == exits.USAGE
    assert ended.stderr.count("no.such.module") == 1


def test_a_metrics_port_that_is_taken_is_said_before_anything_starts(tmp_path: Path) -> None:
    """The supervisor listens, for all."""
    (port,) = free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        ended = consumer(tmp_path, "--processes", "2", "--metrics-port", str(port))

    assert ended.returncode == exits.FAILED
    assert f"METRICS_PORT 127.0.0.1:{port}" in ended.stderr
