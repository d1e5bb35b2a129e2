"""Files of dead letters and plans: what is written is safe wherever it is opened, what is read is checked."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orderflow.dlq.letter import Letter
from orderflow.dlq.output import files
from orderflow.dlq.replay.judge import Terms
from orderflow.dlq.replay.plan_file import FORM, Plan, read_plan
from orderflow.dlq.replay.request import Request, to_json
from orderflow.dlq.selection import SelectionError, Wanted
from orderflow.errors import Undecodable
from orderflow.exits import CommandError, Refused
from orderflow.model.records import Record
from tests.support.dlq_tools import T0_MS, ours

# --- CSV

FORMULAS = ("=1+1", "+SUM(A1)", "-SUM(A1)", "@SUM(A1)", "|cmd", "%x", "＝1+1", "＋SUM(A1)")


def csv_row(*cells: Any) -> str:
    """A row as export writes it."""
    return files._csv([files.cell(value) for value in cells])


def test_every_cell_is_in_quotes() -> None:
    assert csv_row("a", 1, None, 'say "x"', "a\r\nb") == '"a","1","","say ""x""","a\\u000d\\u000ab"'


@pytest.mark.parametrize("formula", FORMULAS)
@pytest.mark.parametrize("before", ["", " ", '"', "a,", "a;", "a|", "a; ", 'a;"', "a\t;\r", "'"])
def test_no_cell_is_a_formula_whichever_separator_a_spreadsheet_expects(before: str, formula: str) -> None:
    """One that expects semicolons does not see the quotes around a cell of a file with commas."""
    line = csv_row("first", before + formula, "last")

    for delimiter in ",;|\t":
        for cells in (next(csv.reader([line], delimiter=delimiter)), line.split(delimiter)):
            starts = [cell.strip().strip('"')[:1] for cell in cells]
            assert not set(starts) & set("=+-@|%＝＋－＠\t\r"), (delimiter, cells)


@pytest.mark.parametrize("value", ['{"list":[1,-5,-2.5e3],"b":-1}', "a;b,c|d", "O-1;O-2", "1,-5"])
def test_what_is_no_formula_stays_as_it_is(value: str) -> None:
    assert files.cell(value) == value


def no_order(value: Optional[bytes]) -> Dict[str, Any]:
    """A decoder for which nothing is an order."""
    raise Undecodable("no order", "decode.framing")


def test_an_exported_row_is_guarded_in_all_its_cells() -> None:
    one = ours(1, message="out of stock;=cmd|' /C calc'!A0", key=b"+1")
    row = files.csv_line(Letter(Record("d", 0, 0, T0_MS, None, one.key, one.value, one.headers), no_order))

    assert '"\'+1"' in row
    assert ";'=cmd|" in row
    assert row.count('","') == len(files.COLUMNS) - 1


# --- Lines that are imported


def line(**changes: Any) -> str:
    """A line of export with parts changed."""
    row = {"key_b64": "aw==", "payload_b64": "dg==", "headers": [["h", "v"]], "partition": 0, "ts": 1}
    return json.dumps({**row, **changes})


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[" * 100_000, "is nested too deeply"),
        (line()[:-1] + ',"x":' + '{"a":' * 900 + "1" + "}" * 901, "is nested too deeply"),
        (line(headers=[["a\ud800", "v"]]), "is no valid Unicode: half a surrogate pair"),
        (line(headers=[["a", "\udfff"]]), "is no valid Unicode"),
        (line(headers=[["a\0b", "v"]]), "the name of a header has a NUL character"),
        (line(ts=1)[:-1] + ',"x":' + "9" * 5_000 + "}", "has a number with more than 400 digits"),
        (line(ts=10**30), "ts is no whole number"),
        (line(partition=-1), "partition is no whole number"),
        (line(headers={}), "headers is no list"),
        (line(key_b64="é"), "key_b64 is no base64"),
        (line(payload_b64=7), "payload_b64 is no base64"),
        ("\x1b[2J", "is no JSON: Expecting value"),
    ],
    ids=str,
)
def test_a_line_that_no_export_wrote_is_refused(text: str, fault: str) -> None:
    """The Kafka client ends the interpreter for the name of a header that is no Unicode."""
    with pytest.raises(files.NoDeadLetter, match=fault):
        files.read_line(text, "dlq")


# --- Plans

PLANNED: List[Any] = [
    {"plan": FORM, "request": to_json(Request(Wanted(), (), 1, Terms("dlq", "audit", "orders")))},
    {"position": "0:1", "target": "orders", "sha256": "00" * 32},
]


def sealed(path: Path, values: List[Any]) -> str:
    """A plan of these lines, with the seal that fits them; its path."""
    text = "".join(f"{json.dumps(value)}\n" for value in values)
    seal = {"count": len(values) - 1, "seal": hashlib.sha256(text.encode()).hexdigest()}
    path.write_text(f"{text}{json.dumps(seal)}\n")
    return str(path)


def parts_of(value: Any, path: Tuple[Any, ...] = ()) -> Iterator[Tuple[Any, ...]]:
    """The way to every part of a value, itself included."""
    yield path
    if isinstance(value, (dict, list, tuple)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from parts_of(value[key], (*path, key))


def changed(value: Any, path: Tuple[Any, ...], part: Any) -> Any:
    """The value with another part at the end of this way."""
    if not path:
        return part
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = changed(value[path[0]], path[1:], part)
    return copy


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_plan(sealed(tmp_path / "plan", PLANNED)).digests == {(0, 1): bytes(32)}


ODD = st.sampled_from(
    [None, True, -1, 0, 2**70, 0.5, "", "x", "0:1", "\udcff", "=", "9" * 20, [], [1], [[1, 2]], {}, {"a": 1}]
)


@given(st.sampled_from(list(parts_of(PLANNED))), ODD)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_plan_with_a_fitting_seal_and_any_other_value_is_read_or_refused(
    tmp_path: Path, path: Tuple[Any, ...], part: Any
) -> None:
    """The seal holds off accidents; who can write a plan can write its seal."""
    values = changed(PLANNED, path, part)
    try:
        plan = read_plan(sealed(tmp_path / "plan", values if isinstance(values, list) else [values]))
    except CommandError:
        return
    assert isinstance(plan, Plan)
    try:
        plan.request.selection(["order_id"])
    except SelectionError:
        return


@pytest.mark.parametrize(
    "text",
    ["", "\n", "[]\n[]\n", "[" * 100_000 + "\n{}\n", '{"plan": NaN}\n{}\n', "\ufeff{}\n{}\n"],
    ids=lambda text: ascii(text[:20]),
)
def test_a_file_that_is_no_plan_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan").write_text(text, encoding="utf-8")

    with pytest.raises(Refused, match="is not a plan as --plan-out wrote it"):
        read_plan(str(tmp_path / "plan"))
