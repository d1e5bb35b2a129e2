"""What the live screen knows, without a screen: groups, the latest of each, filters and orders."""

import time
from typing import Any, List, Optional

import pytest

from orderflow.dlq.letter import DISCARDED, Letter
from orderflow.dlq.masking import MASKED, Mask
from orderflow.dlq.verbs.watch import GROUPS, SELECTION, settings_typed, without
from orderflow.dlq.watch import model as models
from orderflow.dlq.watch.model import Model
from orderflow.errors import Undecodable
from orderflow.model.records import Record
from tests.support.dlq_tools import T0_MS, ours


def decode(value: Optional[bytes]) -> Any:
    raise Undecodable("not looked at", "decode.framing")


def letters(*numbers: int, state: str = "new", **changes: Any) -> List[Letter]:
    """Dead letters of ours, a minute apart."""
    found = []
    for number in numbers:
        sent = ours(number, **changes)
        place = ("dlq", 0, number, T0_MS + number * 60_000, "CreateTime")
        record = Record(*place, sent.key, sent.value, sent.headers)
        found.append(Letter(record, decode, lambda partition, offset: state))
    return found


def filled(mask: Mask = Mask()) -> Model:  # noqa: B008 - it cannot be changed
    known = Model(mask)
    known.add(letters(*range(8)))
    known.add(letters(8, 9, reason="validate.quantity", message="quantity must be positive"))
    known.add(letters(10, state=DISCARDED))
    known.draw_up()
    return known


def test_groups_are_the_unresolved_ones() -> None:
    """What somebody decided about is counted, and not shown."""
    known = filled()
    numbers = [row.number for row in known.table.rows]

    assert numbers == [8, 2]
    assert (known.table.unresolved, known.table.read, sum(numbers)) == (10, 11, 10)


@pytest.mark.parametrize(
    ("needle", "counts"), [("POSITIVE", [2]), ("validate.", [2]), ("", [8, 2]), ("xyz", [])]
)
def test_a_filter_finds_text_anywhere_in_a_row(needle: str, counts: List[int]) -> None:
    """In the error, its place, its reason or the group's digits."""
    assert [row.number for row in filled().table.found(needle)] == counts


@pytest.mark.parametrize(("sort", "counts"), [("count", [8, 2]), ("last", [2, 8]), ("first", [2, 8])])
def test_groups_can_be_sorted(sort: str, counts: List[int]) -> None:
    """By how many, by the latest, or by what began last."""
    assert [row.number for row in filled().table.found(sort=sort)] == counts


def test_the_latest_of_a_group_come_first() -> None:
    """And a filter holds among them too."""
    known = filled()
    mark = known.table.rows[0].fingerprint

    assert [row.position for row in known.letters(mark)][:3] == ["0:7", "0:6", "0:5"]
    assert [row.key for row in known.letters(mark, "o-3")] == ["O-3"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large group the latest are kept, and of each of many groups fewer."""
    monkeypatch.setattr(models, "MOST_KEPT", 40)
    known = Model(Mask())
    known.add(letters(*range(150)))
    for number in range(9):
        known.add(letters(*range(150, 200), reason=f"process.r{number}"))
    known.draw_up()
    kept = [len(known.letters(row.fingerprint)) for row in known.table.rows]

    assert max(kept) <= models.LATEST
    assert sum(kept) <= 40 * 4 + 10 * models.FEWEST


def test_what_is_hidden_is_not_on_the_screen() -> None:
    """Nor kept for it."""
    known = filled(Mask(frozenset(("key",))))
    mark = known.table.rows[0].fingerprint

    assert {row.key for row in known.letters(mark)} == {MASKED}


def test_a_screen_is_drawn_at_once_however_much_there_is() -> None:
    """A table of 2,000 groups is quick to look through: what takes longer was drawn up before."""
    known = Model(Mask())
    for number in range(2_000):
        known.add(letters(number, reason=f"process.r{number}"))
    known.draw_up()
    began_s = time.process_time()
    known.table.found("positive", "last")

    assert time.process_time() - began_s < 0.05


def test_a_table_is_drawn_up_in_parts() -> None:
    """Between two of them, whoever draws it up can let the screen answer a key."""
    known, rested = Model(Mask()), []
    for number in range(2 * models.AT_ONCE + 1):
        known.add(letters(number, reason=f"process.r{number}"))
    known.draw_up(lambda: rested.append(len(known.table.rows)))

    assert rested == [0, 0, 0]
    assert len(known.table.rows) == 2 * models.AT_ONCE + 1


@pytest.mark.parametrize(
    ("typed", "left"),
    [
        (["watch"], []),
        (["watch", "--web", "127.0.0.1:8090", "--dlq-topic", "d"], ["--dlq-topic", "d"]),
        (["watch", "--web=127.0.0.1:8090", "-X", "client.id=a"], ["-X", "client.id=a"]),
        (["watch", "--in-browser", "-g", "7f3a"], ["-g", "7f3a"]),
        (["watch", "--dlq-topic", "watch", "--web", "[::1]:8090"], ["--dlq-topic", "watch"]),
    ],
)
def test_the_verbs_get_the_settings_that_were_typed(typed: List[str], left: List[str]) -> None:
    """Another topic or broker must be theirs too."""
    assert settings_typed(typed) == left


@pytest.mark.parametrize(
    "typed", [["-g", "7"], ["-g7"], ["--group", "7"], ["--group=7"], ["-g", "7", "-g", "8", "--group=9"]]
)
def test_a_verb_on_a_group_takes_no_other_group(typed: List[str]) -> None:
    """Those that `watch` was asked for would be acted on with the one that was chosen."""
    assert without(["-X", "a=b", *typed, "--since", "2h"], GROUPS) == ["-X", "a=b", "--since", "2h"]


@pytest.mark.parametrize(
    "typed",
    [
        ["--since", "2h", "--env-file", "x.env"],
        ["--since=2h", "--env-file", "x.env"],
        ["-p", "3", "-p4", "-o", "-10", "--env-file", "x.env", "-g7f", "-c5", "--where=price > 1"],
        ["--key", "--since", "--env-file", "x.env", "--error", "*Timeout*", "--state", "new"],
    ],
)
def test_what_acts_on_waiting_orders_is_not_given_what_selects_dead_letters(typed: List[str]) -> None:
    """However it was typed: only settings are left."""
    assert without(typed, SELECTION) == ["--env-file", "x.env"]
