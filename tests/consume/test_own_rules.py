"""Loading rules of one's own by name."""

import sys
from pathlib import Path
from typing import Callable

import pytest

from orderflow.consume.handler import HandlerUnusable
from orderflow.consume.own_rules import load_rules
from orderflow.errors import InvalidOrder


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a file of rules: `name(source)` is how RULES names the function `rules` in it."""
    monkeypatch.setattr(sys, "path", sys.path[:])

    def write(source: str) -> str:
        path = tmp_path / "shop_rules.py"
        path.write_text(source, encoding="utf-8")
        return f"{path}:rules"

    return write


def test_rules_are_a_function_of_the_order(name: Callable[[str], str]) -> None:
    """It raises what the package offers."""
    source = (
        "from orderflow import InvalidOrder\n"
        "def rules(order):\n"
        "    if not order['city']: raise InvalidOrder('city', 'must not be empty')"
    )
    judge = load_rules(name(source)).judge
    judge({"city": "Berlin"})

    with pytest.raises(InvalidOrder, match="city must not be empty"):
        judge({"city": ""})


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("async def rules(order): pass", "is async"),
        ("def rules(order): yield", "is a generator"),
        ("class rules:\n def __init__(self, order): pass", "is a class"),
        ("def rules(order, delivery): pass", "must take one argument"),
        ("def rules(): pass", "must take one argument"),
        ("rules = 1", "is not a function"),
        ("", "has no function rules"),
        ("import nothing_like_this", "ModuleNotFoundError"),
    ],
)
def test_rules_that_cannot_judge_are_refused_at_the_start(
    name: Callable[[str], str], source: str, says: str
) -> None:
    """By name, before any order is read."""
    with pytest.raises(HandlerUnusable, match=f"rules '.*shop_rules.py:rules'.*{says}"):
        load_rules(name(source))


def test_rules_find_what_lies_beside_them(name: Callable[[str], str], tmp_path: Path) -> None:
    """As a handler does, wherever the consumer is started."""
    (tmp_path / "price_list_of_the_rules.py").write_text("LOWEST = 5", encoding="utf-8")
    judge = load_rules(name("from price_list_of_the_rules import LOWEST\ndef rules(order): LOWEST")).judge

    judge({})
