"""What is installed and run by others' hands: each file by its hash, each action by its commit."""

import re
from pathlib import Path
from typing import Dict, List, Set

ROOT = Path(__file__).resolve().parent.parent.parent


def entries() -> Dict[str, List[str]]:
    """The hashes of each line of the lock file, by `name==version`."""
    found: Dict[str, List[str]] = {}
    for text in re.split(r"\n(?=\w)", (ROOT / "requirements.lock").read_text(encoding="utf-8")):
        pin = re.match(r"[\w.\[\]-]+==[\w.]+", text)
        assert pin, text[:80]
        found.setdefault(pin[0], []).extend(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", text))
    return found


def pins() -> Set[str]:
    """What requirements.txt asks for."""
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    named = re.compile(r"\[.*?\]")  # what an extra brings stands in the lock file by itself
    return {named.sub("", line.split(";")[0]).strip() for line in lines if line and not line.startswith("#")}


def test_every_pin_is_in_the_lock_file() -> None:
    """Whoever changes requirements.txt runs `make lock`."""
    assert pins() <= set(entries())


def test_everything_in_the_lock_file_has_its_hashes() -> None:
    """Nothing is installed that is not what was locked."""
    assert [pin for pin, hashes in entries().items() if not hashes] == []


def test_the_lock_file_names_no_registry() -> None:
    """Whoever installs says where from."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")

    assert "://" not in text
    assert "--index" not in text


def test_every_action_is_pinned_by_its_commit() -> None:
    """A tag can be moved to other code, a commit cannot. The comment says which version it is."""
    used = [
        line.strip()
        for path in (ROOT / ".github/workflows").glob("*.yml")
        for line in path.read_text(encoding="utf-8").splitlines()
        if "uses:" in line
    ]

    assert used
    pinned = re.compile(r"(- )?uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert [line for line in used if not pinned.fullmatch(line)] == []
