"""Files of one's own: there as a whole or not at all, and never in the way."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orderflow.cli.private_file import PrivateFile
from orderflow.exits import CommandError
from tests.support.small_disk import small_disk

ROOT = Path(__file__).resolve().parent.parent.parent


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    with PrivateFile(str(path)) as file:
        file.lines(["a", "ü\u2028"], "\r\n")

    assert path.read_bytes() == "a\r\nü\u2028\r\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["orders.jsonl"]


def test_what_a_full_disk_cuts_short_is_removed_and_the_next_try_succeeds(tmp_path: Path) -> None:
    path = tmp_path / "orders.jsonl"
    told = r"cannot write .*orders\.jsonl: .*; nothing of it was kept"
    with small_disk(100_000), pytest.raises(CommandError, match=told), PrivateFile(str(path)) as file:
        file.lines(["x" * 1000] * 1000)
    assert os.listdir(tmp_path) == []

    with PrivateFile(str(path)) as file:
        file.lines(["x"])
    assert path.read_text() == "x\n"


def test_an_error_halfway_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), PrivateFile(str(tmp_path / "x")) as file:
        file.lines([str(1 // 0)])

    assert os.listdir(tmp_path) == []


def test_a_kill_halfway_is_not_in_the_way_of_the_next_try(tmp_path: Path) -> None:
    """What is left has another name."""
    body = "import os, sys; f = PrivateFile(sys.argv[1]); f.lines(['x' * 1000000]); os._exit(9)"
    code = f"from orderflow.cli.private_file import PrivateFile\n{body}"
    path = tmp_path / "orders.jsonl"
    subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, timeout=30)
    assert not path.exists()

    with PrivateFile(str(path)) as file:
        file.lines(["whole"])
    assert path.read_text() == "whole\n"


def test_a_file_that_nobody_finished_is_gone_at_the_end_of_the_process(tmp_path: Path) -> None:
    """A plan that was stopped before its last line, say."""
    code = "import sys; from orderflow.cli.private_file import PrivateFile; f = PrivateFile(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "plan")], cwd=ROOT, check=True, timeout=30)

    assert os.listdir(tmp_path) == []


def test_no_file_is_ever_overwritten(tmp_path: Path) -> None:
    """Neither one that was there, nor one that came meanwhile, nor what a link points to."""
    path = tmp_path / "x"
    path.write_text("mine")
    with pytest.raises(CommandError, match="already exists and is not overwritten"):
        PrivateFile(str(path))
    path.unlink()
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(CommandError, match="already exists"):
        PrivateFile(str(tmp_path / "link"))

    with pytest.raises(CommandError, match="already exists"), PrivateFile(str(path)):
        path.write_text("somebody's")
    assert path.read_text() == "somebody's"


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="no such folder"):
        PrivateFile(str(tmp_path / "no" / "x"))
