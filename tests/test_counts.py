"""What people read says `1 order`, not `1 orders`: a number before a noun goes through `plural`."""

import ast
import re
from pathlib import Path
from typing import Dict, Iterator, List

import pytest

from orderflow.model.text import plural

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = ("producer.py", "consumer.py", "dlq_handler.py", "config.py")

NOUNS = (
    "attempts bits bytes calls characters columns consumers days decimals digits entries fields files groups "
    "hours jobs keys kinds letters levels lines members messages nodes offsets orders others partitions "
    "processes records requests retries rows seconds settings steps threads values workers"
)
AFTER_A_NUMBER = re.compile(rf" (?:[a-z]+ )?(?:{NOUNS.replace(' ', '|')})\b")
CONSTANT = re.compile(r"_?[A-Z_]+|self\.[A-Z_]+")
"""Whoever sets one sees the texts that it stands in."""
NEVER_ONE: Dict[str, str] = {
    "workers": "one is not told of",
    "size": "above a limit that is no less than one",
    "len(text)": "above a limit",
    "len(value)": "above a limit",
    "len(asked)": "above a limit",
    "free": "above a limit",
    "bits": "32 or 64",
    "limit": "the most bytes that a topic accepts",
    "max_bytes": "the most bytes that a topic accepts",
    "own.size_of(outgoing)": "too large for a topic",
    "self._in_a_row": "a limit that was reached",
    "count(self._publisher.refused_in_a_row)": "a limit that was reached",
}


def bare_counts(source: str) -> Iterator[str]:
    """Each number that stands straight before a plural noun, whatever the number is."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.JoinedStr):
            continue
        for number, after in zip(node.values, node.values[1:]):
            if isinstance(number, ast.FormattedValue) and isinstance(after, ast.Constant):
                told = _text_of(number.value)
                follows = AFTER_A_NUMBER.match(str(after.value))
                if follows and not CONSTANT.fullmatch(told) and told not in NEVER_ONE:
                    yield f"{{{told}}}{follows[0]}"


def _text_of(node: ast.AST) -> str:
    """Names, attributes and calls, as they are written."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_text_of(node.value)}.{node.attr}"
    if isinstance(node, ast.Call):
        return f"{_text_of(node.func)}({', '.join(map(_text_of, node.args))})"
    return "an expression"


def test_no_text_says_1_orders() -> None:
    files: List[Path] = [*sorted((ROOT / "orderflow").rglob("*.py")), *(ROOT / name for name in SCRIPTS)]
    found = [
        f"{file.name}: {text}" for file in files for text in bare_counts(file.read_text(encoding="utf-8"))
    ]

    assert found == []


@pytest.mark.parametrize(
    "text", ['f"{n:,} orders wait"', 'f"and {len(x)} more groups"', 'f"{a} of {b} records"']
)
def test_a_bare_count_is_found(text: str) -> None:
    assert list(bare_counts(text))


@pytest.mark.parametrize("text", ['f"{MOST} orders"', 'f"{topic}: orders"', "f\"{plural(n, 'order')}\""])
def test_what_agrees_is_not(text: str) -> None:
    assert not list(bare_counts(text))


def test_one_is_one() -> None:
    assert [plural(number, "order") for number in (0, 1, 1284)] == ["0 orders", "1 order", "1,284 orders"]
    assert plural(1, "byte is", "bytes are") == "1 byte is"
    assert plural(2, "byte is", "bytes are") == "2 bytes are"
