"""tools/local_postgres.py where PostgreSQL is missing or does not start: it leaves nothing behind."""

import os
import tempfile
from pathlib import Path
from typing import Iterator

import pytest

from orderflow.exits import CommandError
from tools import demo_postgres, local_postgres

WORKS, FAILS, NEVER_ANSWERS = "exit 0", "echo no room >&2; exit 1", 'echo $$ > "$0.pid"; exec sleep 60'


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that every user may enter, for PostgreSQL does not run as root; nothing else is found."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        place = Path(name)
        for folder in (place, place / "bin", place / "made"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o777)
        monkeypatch.setattr(tempfile, "tempdir", str(place / "made"))
        monkeypatch.setattr(local_postgres, "WHEEL", "no_such_wheel")
        monkeypatch.setattr(local_postgres, "DEBIAN", str(place / "none"))
        monkeypatch.setattr(local_postgres, "START_TIMEOUT_S", 0.3)
        monkeypatch.setenv("PATH", f"{place / 'bin'}:/usr/bin:/bin")
        yield place


def command(folder: Path, name: str, does: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{does}\n", encoding="utf-8")
    path.chmod(0o755)


def runs(process: Path) -> bool:
    """Whether the process whose number is in this file still runs."""
    try:
        os.kill(int(process.read_text(encoding="utf-8")), 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("initdb", "postgres", "said"),
    [
        pytest.param("", "", "no PostgreSQL", id="missing"),
        pytest.param(FAILS, WORKS, "no room", id="no data"),
        pytest.param(WORKS, FAILS, "no room", id="ends at once"),
        pytest.param(WORKS, NEVER_ANSWERS, "does not start", id="never answers"),
    ],
)
def test_a_failed_start_is_one_error_and_leaves_nothing(
    place: Path, initdb: str, postgres: str, said: str
) -> None:
    """Neither a folder nor a process, and the demo ends with a message."""
    for name, does in (("initdb", initdb), ("postgres", postgres)):
        if does:
            command(place / "bin", name, does)

    with pytest.raises(CommandError, match=said), demo_postgres._postgres():
        pass

    assert [] == os.listdir(place / "made")
    assert not any(map(runs, place.glob("bin/*.pid")))
