"""The table of `decode.*` reasons: complete, and the same in the code and in the documentation."""

import re

from orderflow.avro.decode_reasons import DECODE_REASONS
from tests.support.schemas_for_tests import ROOT


def test_the_documentation_has_every_reason_with_its_action() -> None:
    """docs/avro.md shows the table of the code, word for word."""
    rows = [f"| `{code}` | {reason.meaning} | {reason.action} |" for code, reason in DECODE_REASONS.items()]

    assert "\n".join(rows) in (ROOT / "docs" / "avro.md").read_text(encoding="utf-8")


def test_every_reason_that_the_code_gives_is_in_the_table() -> None:
    """And the table has none that nothing gives."""
    sources = [path for path in (ROOT / "orderflow").rglob("*.py") if path.name != "decode_reasons.py"]
    code = "".join(path.read_text("utf-8") for path in sources)
    given = set(re.findall(r'"(decode\.[a-z0-9_]+)"', code))

    assert set(DECODE_REASONS) == given
