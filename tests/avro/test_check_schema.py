"""`make check-schema`: what it says before a deploy, and the exit code that a pipeline goes by."""

import io
from pathlib import Path
from typing import Any, Tuple

import pytest

from tests.support.schemas_for_tests import SHIPPED, field, order_schema, shipped_fields
from tools.check_schema import main


def check(tmp_path: Path, reader: str, *writers: str, flags: Tuple[str, ...] = ()) -> Any:
    """Exit code, standard output and standard error of one run."""
    folder = tmp_path / "schemas"
    folder.mkdir()
    for number, text in enumerate(writers, 1):
        (folder / f"v{number}.avsc").write_text(text, encoding="utf-8")
    (tmp_path / "new.avsc").write_text(reader, encoding="utf-8")
    out, err = io.StringIO(), io.StringIO()
    code = main([str(tmp_path / "new.avsc"), "--versions", str(folder), *flags], out, err)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No `.env` and no registry of the developer's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCHEMA_REGISTRY_URL", raising=False)


def test_a_change_that_reads_everything_passes(tmp_path: Path) -> None:
    newer = order_schema(field("note", "string", default="-"))

    code, out, _ = check(tmp_path, newer.text, SHIPPED.text)

    assert 0 == code
    assert "  yes  schemas/v1.avsc\n" in out
    assert out.endswith("all 1 can be read\n")


def test_a_change_that_breaks_names_schema_field_and_reason(tmp_path: Path) -> None:
    newer = order_schema(field("note", "string"))

    code, out, _ = check(tmp_path, newer.text, SHIPPED.text, newer.text)

    assert 1 == code
    assert "  NO   schemas/v1.avsc\n       breaks: field note: not in the writer's schema" in out
    assert "  yes  schemas/v2.avsc\n" in out
    assert "1 of 2 cannot be read" in out


def test_what_depends_on_the_order_is_reported_and_passes(tmp_path: Path) -> None:
    older = order_schema(field("note", ["null", "string"]))
    newer = order_schema(field("note", "string"))

    code, out, _ = check(tmp_path, newer.text, older.text)

    assert 0 == code
    assert "some orders: field note: null cannot be read as string" in out


def test_consumers_that_are_not_upgraded_yet_are_considered(tmp_path: Path) -> None:
    newer = order_schema(field("points", "long"), fields=shipped_fields(quantity={"type": "long"}))

    code, out, _ = check(tmp_path, newer.text, order_schema(field("points", "int")).text)

    assert 0 == code
    assert "note: a consumer that still has it cannot read new orders: field quantity: long cannot" in out


def test_a_schema_that_no_consumer_could_start_with_is_refused(tmp_path: Path) -> None:
    code, out, err = check(tmp_path, "{")

    assert (2, "") == (code, out)
    assert "not JSON" in err


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        (shipped_fields(), "judge order_id, customer_id, product_id, quantity, price, timestamp"),
        (shipped_fields(price={"type": "string"})[3:], "judge quantity, timestamp"),
        ([field("city", "string")], "judge none of its fields"),
    ],
)
def test_it_says_which_fields_the_shipped_rules_judge(tmp_path: Path, fields: Any, says: str) -> None:
    """A field that is renamed, or changes its type, silently loses its rule otherwise."""
    _, out, _ = check(tmp_path, order_schema(fields=fields).text)

    assert f"the shipped rules {says}\n" in out


def test_a_registry_that_is_not_there_fails_the_check(tmp_path: Path) -> None:
    code, _, err = check(tmp_path, SHIPPED.text, flags=("--schema-registry-url", "http://127.0.0.1:1"))

    assert 1 == code
    assert "next: start it, or unset SCHEMA_REGISTRY_URL" in err
