"""The file of orders that could not be delivered: every line of it can be sent again."""

import json
import os
from pathlib import Path
from typing import Any, Dict

import pytest

from orderflow.produce.undelivered import Undelivered
from tests.support.small_disk import small_disk


def undecodable(value: bytes) -> Dict[str, Any]:
    """A decoder for which nothing is an order, so that bytes are kept as they are."""
    raise ValueError(value)


@pytest.fixture
def undelivered(tmp_path: Path) -> Undelivered:
    """A file of undelivered orders that is not created yet."""
    return Undelivered(undecodable, lambda order: b"", lambda order: b"", str(tmp_path / "undelivered"))


def test_a_full_disk_leaves_no_half_line(undelivered: Undelivered, tmp_path: Path) -> None:
    """Given to --input, it would be a bad line, and hide that its order is lost."""
    with small_disk(1_000):
        kept = [undelivered.keep(b"key", b"x" * 300) for _ in range(10)]
    kept.append(undelivered.keep(b"key", b"later"))
    undelivered.close()

    lines = (tmp_path / "undelivered.jsonl").read_text().splitlines()
    assert [json.loads(line)["key_b64"] for line in lines] == ["a2V5"] * undelivered.kept
    assert undelivered.kept == kept.count(True) == 3
    assert "undelivered.jsonl: File too large" in (undelivered.lost or "")


def test_a_disk_that_takes_nothing_leaves_no_file(undelivered: Undelivered, tmp_path: Path) -> None:
    """`next: producer.py --input` would find it empty."""
    with small_disk(10):
        assert not undelivered.keep(b"key", b"value")
    undelivered.close()

    assert os.listdir(tmp_path) == []
