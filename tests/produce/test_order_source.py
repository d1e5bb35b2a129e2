"""Orders from files and pipes: what is read, and what is said of what cannot be."""

import base64
import csv
import io
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import config
from orderflow.avro.order_fields import Field, fields_of
from orderflow.exits import CommandError, UsageError
from orderflow.produce import file_lines
from orderflow.produce.order_file import BadLine, Item, OrderFile, RawRecord

FIELDS = fields_of(json.loads(config.ORDER_SCHEMA.read_text(encoding="utf-8")))
HEADER = "order_id,customer_id,product_id,quantity,price,timestamp"
ORDER: Dict[str, Any] = {
    "order_id": "O-1",
    "customer_id": "C-1",
    "product_id": "P-1",
    "quantity": 2,
    "price": 9.5,
    "timestamp": 1,
}


class Read:
    """What reading brought: orders and bad lines in their sequence."""

    def __init__(self, folder: Path, content: bytes, fields: Optional[List[Field]] = None) -> None:
        path = folder / "orders"
        path.write_bytes(content)
        with path.open("rb") as stream:
            self.file = OrderFile(stream, "orders", fields or FIELDS)
            self.items: List[Item] = [item for item in self.file if item is not None]

    @property
    def reasons(self) -> List[str]:
        """The bad lines, as they are told."""
        return [f"{item.where}: {item.reason}" for item in self.items if isinstance(item, BadLine)]


def read(folder: Path, *lines: str, fields: Optional[List[Field]] = None) -> Read:
    return Read(folder, "\n".join([*lines, ""]).encode(), fields)


def a_json(**changes: Any) -> str:
    return json.dumps({**ORDER, **changes})


# --- what is read


def test_a_file_that_becomes_shorter_while_it_is_read_is_not_taken_for_whole(tmp_path: Path) -> None:
    """Its rest is lost: ending as if all had been there would hide that."""
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + "\n" + "O-1,C-1,P-1,2,9.5,1\n" * 20_000, encoding="utf-8")
    with path.open("rb") as stream:
        items = iter(OrderFile(stream, "orders.csv", FIELDS))
        next(items)
        os.truncate(path, 0)
        with pytest.raises(CommandError, match=r"orders\.csv: became shorter while it was read"):
            list(items)


def test_a_file_that_grows_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(f"{HEADER}\nO-1,C-1,P-1,2,9.5,1\n", encoding="utf-8")
    with path.open("rb") as stream, path.open("a", encoding="utf-8") as more:
        items = iter(OrderFile(stream, "orders.csv", FIELDS))
        next(items)
        more.write("O-2,C-1,P-1,2,9.5,1\n")
        more.flush()
        assert len(list(items)) == 1


def test_csv_is_read_by_its_header(tmp_path: Path) -> None:
    found = read(tmp_path, "price,order_id,customer_id,product_id,timestamp,quantity", "9.50,O-1,C-1,P-1,1,2")

    assert found.items == [ORDER]
    assert json.dumps(found.items[0]) == json.dumps(ORDER), "types too"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_comes_with_any_usual_delimiter(tmp_path: Path, delimiter: str) -> None:
    lines = [HEADER.replace(",", delimiter), "O-1,C-1,P-1,2,9.5,1".replace(",", delimiter)]

    assert read(tmp_path, *lines).items == [ORDER]


def test_json_lines_are_told_apart_by_content(tmp_path: Path) -> None:
    assert read(tmp_path, a_json(), "", a_json(price=10)).items == [ORDER, {**ORDER, "price": 10.0}]


def test_byte_order_mark_carriage_returns_blank_lines_and_quotes_are_no_trouble(tmp_path: Path) -> None:
    content = f'{HEADER}\r\n"O-1",C-1,P-1,2,9.5,1\r\n\r\n"O ""2"", x",C-1,P-1,2,9.5,1'.encode("utf-8-sig")
    found = Read(tmp_path, content)

    assert found.items == [ORDER, {**ORDER, "order_id": 'O "2", x'}]


@pytest.mark.parametrize(
    "start", ["", "\ufeff", "\ufeff\n \n"], ids=["plain", "mark", "mark before blank lines"]
)
def test_a_byte_order_mark_within_the_first_order_is_a_character_of_it(tmp_path: Path, start: str) -> None:
    """Only at the very start of a file is it none: a key without it is another key."""
    marked = {**ORDER, "order_id": "O\ufeff-1", "customer_id": "\ufeff"}
    line = f"{start}{json.dumps(marked, ensure_ascii=False)}\n"
    row = f"{start}{HEADER}\nO\ufeff-1,\ufeff,P-1,2,9.5,1\n"

    assert Read(tmp_path, line.encode()).items == [marked]
    assert Read(tmp_path, row.encode()).items == [marked]


def test_only_a_line_with_nothing_on_it_is_passed_over(tmp_path: Path) -> None:
    """In a file of one column, a cell of blanks is a value: quotes tell it from an empty line."""
    fields = fields_of({"fields": [{"name": "a", "type": "string"}]})
    found = read(tmp_path, "a", "x", '" "', "", " \t", '""', '"\t"', "y", fields=fields)

    assert [item["a"] for item in found.items if isinstance(item, dict)] == ["x", " ", "", "\t", "y"]
    assert found.reasons == []


def test_an_empty_file_holds_no_orders(tmp_path: Path) -> None:
    assert read(tmp_path, "").items == []
    assert Read(tmp_path, b"").items == []
    assert read(tmp_path, HEADER).items == []


def test_what_only_the_rules_forbid_is_read(tmp_path: Path) -> None:
    """The rules are the consumer's, so that the failure path can be tried with a file."""
    found = read(tmp_path, HEADER, ",C-1,P-1,0,-1,-5", "O-1,C-1,P-1,2,nan,1")

    assert found.reasons == []
    assert len(found.items) == 2


def test_a_record_kept_as_bytes_is_passed_on_as_it_was(tmp_path: Path) -> None:
    kept = {"key_b64": base64.b64encode(b"\x00k").decode(), "payload_b64": base64.b64encode(b"\xff").decode()}

    assert read(tmp_path, json.dumps(kept)).items == [RawRecord(b"\x00k", b"\xff")]
    assert read(tmp_path, '{"key_b64": null, "payload_b64": null}').items == [RawRecord(None, None)]


def test_real_orders_are_read_without_a_complaint() -> None:
    path = config.ORDER_SCHEMA.with_name("examples") / "cdnow-sample.csv"
    with path.open("rb") as stream:
        found = [item for item in OrderFile(stream, "sample", FIELDS) if item is not None]

    assert len(found) == 6919
    assert all(isinstance(item, dict) for item in found)


# --- what is said of a bad line


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("O-1,C-1,P-1,2,9.5", "has 5 columns, not 6"),
        ("O-1,C-1,P-1,1.5,9.5,1", "quantity: '1.5' is not a whole number"),
        ("O-1,C-1,P-1,1_0,9.5,1", "quantity: '1_0' is not a whole number"),
        ("O-1,C-1,P-1,٣,9.5,1", "quantity: '٣' is not a whole number"),
        ("O-1,C-1,P-1,2147483648,9.5,1", "quantity: 2147483648 does not fit into 32 bits"),
        ("O-1,C-1,P-1,2,9007199254740993,1", "price: '9007199254740993' cannot be held exactly"),
        ("O-1,C-1,P-1,2,1e999,1", "price: '1e999' cannot be held exactly"),
        ("O-1,C-1,P-1,2,1e-999,1", "price: '1e-999' cannot be held exactly"),
        ("O-1,C-1,P-1,2,9;5,1", "price: '9;5' is not a number"),
        ("O-1,C-1,P-1,2,,", "price: '' is not a number; timestamp: '' is not a whole number"),
        ("O-1,C-1,P-1,2,9.5,9223372036854775808", "timestamp: 9223372036854775808 does not fit into 64 bits"),
        ('"O-1"x,C-1,P-1,2,9.5,1', "text follows a closing quote"),
        ("O-1,C-1\r,P-1,2,9.5,1", "has a carriage return in the middle of a line"),
        ("O-1,C\0-1,P-1,2,9.5,1", "is not UTF-8 text: a NUL byte in column 2"),
        ('O-1,"C\0-1",P-1,2,9.5,1', "is not UTF-8 text: a NUL byte in column 2"),
        ("O-1,C-1,P-1,\x1b[31m,9.5,1", "quantity: '\\u001b[31m' is not a whole number"),
        (f"O-1,C-1,P-1,{'9' * 5000},9.5,1", f"quantity: {'9' * 40}… is not a whole number"),
    ],
)
def test_a_bad_csv_line_is_reported_with_position_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    found = read(tmp_path, HEADER, line, "O-1,C-1,P-1,2,9.5,1")

    assert found.reasons == [f"orders:2: {reason}"]
    assert found.items[-1] == ORDER


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "is not JSON: Expecting property name enclosed in double quotes at column 2"),
        ("[1]", "is not a JSON object"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"order_id": "a", "order_id": "b"}', "has a name twice"),
        (json.dumps({k: v for k, v in ORDER.items() if k != "price"}), "lacks price"),
        (a_json(colour="red"), "has fields that an order does not have: colour"),
        (a_json(order_id=7), "order_id: 7 is not text"),
        (a_json(order_id=None), "order_id: null is not text"),
        (a_json(order_id="\ud800"), "order_id: '\\ud800' is not valid Unicode"),
        (a_json(quantity=True), "quantity: true is not a whole number"),
        (a_json(quantity=2.0), "quantity: 2.0 is not a whole number"),
        (a_json(price="9.5"), "price: '9.5' is not a number"),
        (a_json(price=2**53 + 1), "price: 9007199254740993 cannot be held exactly"),
        (a_json(price=10**400), f"price: 1{'0' * 39}… cannot be held exactly"),
        (a_json().replace("9.5", "1e999"), "price: '1e999' cannot be held exactly"),
        (a_json().replace("9.5", "9007199254740993.0"), "price: '9007199254740993.0' cannot be held exactly"),
        ('{"key_b64": "!", "payload_b64": null}', "key_b64 and payload_b64 must be base64 or null"),
        ('{"key_b64": 7, "payload_b64": null}', "key_b64 and payload_b64 must be base64 or null"),
    ],
)
def test_a_bad_json_line_is_reported_with_position_and_reason(tmp_path: Path, line: str, reason: str) -> None:
    found = read(tmp_path, a_json(), line, a_json())

    assert [told.split(": ", 1)[0] for told in found.reasons] == ["orders:2"]
    assert reason in found.reasons[0]
    assert found.items[-1] == ORDER


def test_a_line_that_is_not_text_is_reported_with_the_byte(tmp_path: Path) -> None:
    content = f"{HEADER}\nO-1,C-\xe9,P-1,2,9.5,1\n".encode("latin-1")

    assert Read(tmp_path, content).reasons == ["orders:2: is not UTF-8 text: byte 0xe9 in column 2"]


# --- what is no file of orders


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"[{}]\n", "is a JSON array; JSON Lines has an object a line"),
        (
            b'{\n  "order_id": "O-1"\n}\n',
            "has an object over several lines; JSON Lines has one a line: jq -c . ",
        ),
        (b"b,a\n", "no field of an order: b, a"),
        (
            ",".join(f"c{n}" for n in range(50_000)).encode(),
            "no field of an order: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9 and 49,990 more",
        ),
        (b"<" + b"x" * 1_000, f"no field of an order: <{'x' * 38}…"),
        (f"{HEADER}{',' * 300}\n".encode(), "; without a name: 300 columns"),
        (b"hello\n", "missing: order_id, customer_id, product_id, quantity, price, timestamp"),
        (f"{HEADER},notes\n".encode(), "no field of an order: notes"),
        (f"{HEADER},price\n".encode(), "there twice: price"),
        (b"\x1f\x8b\x08\x00\xff\n", "if it is compressed or UTF-16, convert it on the way"),
        (HEADER.encode("utf-16"), "if it is compressed or UTF-16, convert it on the way"),
    ],
)
def test_a_file_that_is_no_file_of_orders_is_refused_before_the_first(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(UsageError) as refusal:
        Read(tmp_path, content)

    assert str(refusal.value).startswith("orders:1: ")
    assert why in str(refusal.value)


@pytest.mark.parametrize("endless", ["x" * 300_000, '"' + "x\n" * 150_000], ids=["line", "quoted cell"])
def test_an_endless_record_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, endless: str
) -> None:
    monkeypatch.setattr(file_lines, "MAX_RECORD_BYTES", 100_000)
    with pytest.raises(CommandError, match="orders:2: is longer than 100,000 bytes, the limit of a record"):
        Read(tmp_path, f"{HEADER}\n{endless}".encode())


@pytest.mark.parametrize("length", [170_000, 300_000, 1_000_000])
def test_a_json_line_that_is_too_long_is_one_bad_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    """Lines are records, so where the next one begins is known."""
    monkeypatch.setattr(file_lines, "MAX_RECORD_BYTES", 100_000)
    good = json.dumps(ORDER)
    found = read(tmp_path, good, "{" + "x" * length, good, "bad")

    assert found.items[0] == found.items[2] == ORDER
    assert found.reasons[0] == "orders:2: is longer than 100,000 bytes, the limit of a record"
    assert found.reasons[1].startswith("orders:4: ")


# --- CSV as RFC 4180 and the spreadsheets write it


def test_a_line_break_in_a_quoted_cell_is_part_of_the_cell(tmp_path: Path) -> None:
    """In any column, of any kind; and the lines after it keep their numbers."""
    row = '"O\r\n,x""\n",C-1,"P\n\n1",2,9.5,1'
    found = read(tmp_path, HEADER, row, "O-1,C-1,P-1,2,9.5,1", row, "bad")

    broken = {**ORDER, "order_id": 'O\r\n,x"\n', "product_id": "P\n\n1"}
    assert found.items[:3] == [broken, ORDER, broken]
    assert found.reasons == ["orders:13: has 1 column, not 6"]


def test_a_quote_in_the_middle_of_a_cell_is_a_quote(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER, 'O-1,C-1,5" disk,2,9.5,1').items == [{**ORDER, "product_id": '5" disk'}]


def test_the_rest_of_a_record_that_does_not_parse_is_never_taken_for_an_order(tmp_path: Path) -> None:
    """It is refused whole, by its first line: here the second line of a cell looks like an order."""
    good = "O-1,C-1,P-1,2,9.5,1"
    found = read(tmp_path, HEADER, f'"a"b,"\n{good}\n",x', good, f'a\rb,"\n{good}\n"', good)

    assert found.reasons == [
        "orders:2: text follows a closing quote (lines 2 to 4 are one record)",
        "orders:6: has a carriage return in the middle of a line (lines 6 to 8 are one record)",
    ]
    assert [item for item in found.items if isinstance(item, dict)] == [ORDER, ORDER]


def test_a_quote_that_is_never_closed_is_reported_at_the_line_that_opens_it(tmp_path: Path) -> None:
    found = read(tmp_path, HEADER, "O-1,C-1,P-1,2,9.5,1", 'O-2,"C-1,P-1,2,9.5,1', "O-3,C-1,P-1,2,9.5,1")

    assert found.items[0] == ORDER
    assert found.reasons == ["orders:3: a quote is never closed (lines 3 to 4 are one record)"]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "\ufeffsep=;\r"])
def test_the_line_that_excel_puts_before_the_header_names_the_delimiter(tmp_path: Path, first: str) -> None:
    lines = (HEADER.replace(",", ";"), "O-1;C,1;P-1;2;9.5;1")

    assert read(tmp_path, first, *lines).items == [{**ORDER, "customer_id": "C,1"}]


def test_the_row_number_that_pandas_writes_is_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, f",{HEADER}", "0,O-1,C-1,P-1,2,9.5,1").items == [ORDER]


TWO_TEXTS = fields_of({"fields": [{"name": "a", "type": "string"}, {"name": "b", "type": "string"}]})
A_TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=8)


def read_in_pieces(content: bytes, piece_bytes: int) -> List[Item]:
    """What is read of a file of two texts a row, however it comes."""
    with tempfile.TemporaryFile() as stream, pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_lines, "_CHUNK_BYTES", piece_bytes)
        stream.write(content)
        stream.seek(0)
        return [item for item in OrderFile(stream, "f", TWO_TEXTS) if item is not None]


@settings(deadline=None)
@given(st.lists(st.tuples(A_TEXT, A_TEXT), max_size=5), st.sampled_from(["\n", "\r\n"]), st.integers(1, 50))
def test_what_the_csv_module_writes_is_read_again(rows: List[Tuple[str, str]], end: str, piece: int) -> None:
    """Any text in any cell, in pieces of any size."""
    file = io.StringIO(newline="")
    if end == "\r\n":
        csv.writer(file, lineterminator=end).writerows([("a", "b"), *rows])
    else:  # then it leaves a carriage return at the end of a cell unquoted
        csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *rows])

    found = read_in_pieces(file.getvalue().encode(), piece)

    assert found == [{"a": a, "b": b} for a, b in rows]


@settings(deadline=None)
@given(st.text('a,"\n', max_size=40), st.integers(1, 50))
def test_only_whole_records_pass_for_orders(text: str, piece: int) -> None:
    """Whatever the file contains: only its records are read, none twice, and none is missed."""
    records = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    found = read_in_pieces(b"a,b\n" + text.encode(), piece)

    assert len(found) == len(records)
    for item, row in zip(found, records):
        assert isinstance(item, BadLine) or list(item.values()) == row  # type: ignore[union-attr]


# --- a pipe


def test_lines_are_passed_on_as_they_come_and_waiting_gives_time_for_other_things() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as pipe:
        items = iter(OrderFile(stream, "stdin", FIELDS))
        assert next(items) is None
        pipe.write(f"{a_json()}\n{a_json()[:20]}".encode())
        assert next(items) == ORDER
        assert next(items) is None
        pipe.write(f"{a_json()[20:]}\n".encode())
        assert next(items) == ORDER


def test_an_order_is_read_when_its_line_arrives_and_not_when_the_next_one_does() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as pipe:
        items = iter(OrderFile(stream, "stdin", FIELDS))
        pipe.write(f"{HEADER}\n".encode())
        for number in range(3):
            assert next(items) is None
            pipe.write(f"O-{number},C-1,P-1,2,9.5,1\n".encode())
            assert next(items) == {**ORDER, "order_id": f"O-{number}"}


def test_a_pipe_that_is_silent_within_a_quoted_cell_gives_time_for_other_things_too() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, os.fdopen(writing, "wb", buffering=0) as pipe:
        file = OrderFile(stream, "stdin", FIELDS)
        items = iter(file)
        pipe.write(f'{HEADER}\n"O\n'.encode())
        assert [next(items), next(items), file.next_position] == [None, None, "stdin:2"]
        pipe.write(b'1",C-1,P-1,2,9.5,1\n')
        assert next(items) == {**ORDER, "order_id": "O\n1"}
        assert [file.position, file.next_position] == ["stdin:2", "stdin:4"]


def test_the_end_is_known_of_a_file_and_not_of_a_pipe(tmp_path: Path) -> None:
    assert read(tmp_path, HEADER, "O-1,C-1,P-1,2,9.5,1").file.fraction == 1
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        assert OrderFile(stream, "stdin", FIELDS).fraction is None


# --- other schemas


def test_a_field_may_be_optional_null_or_nested(tmp_path: Path) -> None:
    fields = fields_of(
        {
            "fields": [
                {"name": "id", "type": "string"},
                {"name": "note", "type": ["null", "string"], "default": None},
                {"name": "gift", "type": "boolean", "default": False},
                {"name": "lines", "type": {"type": "array", "items": "string"}, "default": []},
            ]
        }
    )

    gift = {"id": "a", "gift": True, "note": None, "lines": []}
    assert read(tmp_path, "id,gift,note", "a,true,", fields=fields).items == [gift]
    lines = {"id": "a", "note": None, "gift": False, "lines": ["x"]}
    assert read(tmp_path, '{"id": "a", "lines": ["x"]}', fields=fields).items == [lines]
    assert read(tmp_path, "id,lines,gift", 'a,"[""x""]",', fields=fields).items == [lines]
    assert read(tmp_path, "id,lines", 'a,"[""x""]"', fields=fields).items == [lines]
    assert read(tmp_path, "id,gift", "a,maybe", fields=fields).reasons == [
        "orders:2: gift: 'maybe' is neither true nor false"
    ]
