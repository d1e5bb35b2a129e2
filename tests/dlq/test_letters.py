"""The lazy view of a dead letter: the short way must tell the same as the long one."""

from typing import Any, Optional, Tuple

import pytest

from orderflow.dlq.letter import Detail, FailureKind, Letter
from orderflow.dlq.selection import Wanted, selection
from orderflow.errors import Failure, Undecodable
from orderflow.model import dead_letter as own
from orderflow.model.dead_letter import Circumstances, Shrink, dead_letter
from orderflow.model.fingerprint import FINGERPRINT_FORM
from orderflow.model.records import Headers, Record

ABOUT = Circumstances("g", "host-1", 4, 1, 2, None, 1)
FAILURE = Failure("process.failed", "process", "app.Timeout", "grün", True, stack="x")
SOURCE = Record("orders", 2, 41, 5, "CreateTime", b"k", b"v", [("trace", b"1")])


def decode(value: Optional[bytes]) -> Any:
    raise Undecodable("not an order", "decode.framing")


def letter(headers: Headers) -> Letter:
    return Letter(Record("d", 0, 7, 2, "CreateTime", b"k", b"v", headers), decode)


def the_long_way(one: Letter) -> Tuple[FailureKind, Detail]:
    told = one.told
    error_class, message = (
        (told.root_class, told.root_message) if told.root_class else (told.error_class, told.message)
    )
    of_kind = (told.reason, told.stage, error_class, told.topic, told.frame)
    kind = FailureKind(told.dialect, told.fingerprint, *of_kind)
    return kind, (message, told.partition, told.offset)


@pytest.mark.parametrize("shrink", list(Shrink))
def test_the_short_way_tells_the_same(shrink: Shrink) -> None:
    """A dead letter of ours is summed up without explaining it, with the same result."""
    one = letter(dead_letter(SOURCE, FAILURE, ABOUT, "d", shrink).headers)

    assert (one.kind, one.detail) == the_long_way(one)


@pytest.mark.parametrize("name", [own.FINGERPRINT, own.REASON, own.TOPIC, own.OFFSET])
@pytest.mark.parametrize("value", [None, b"\xff", b"", b"\x1b[2J"])
def test_headers_that_we_do_not_write_go_the_long_way(name: str, value: Optional[bytes]) -> None:
    """Damaged or forged headers of ours neither fail nor pass for a fingerprint."""
    headers = [
        (key, value if key == name else old) for key, old in dead_letter(SOURCE, FAILURE, ABOUT, "d").headers
    ]
    one = letter(headers)

    assert FINGERPRINT_FORM.fullmatch(one.fingerprint)
    assert one.fingerprint == one.told.fingerprint
    assert (one.kind, one.detail) == the_long_way(one)


@pytest.mark.parametrize("stack", [None, 'Traceback\n  File "/app/shop/prices.py", line 21, in total\n'])
def test_an_older_fingerprint_still_finds_its_group(stack: Optional[str]) -> None:
    """What an older version showed is kept, and found; the group is the one of its kind today."""
    sent = dead_letter(SOURCE, FAILURE._replace(stack=stack), ABOUT, "d").headers
    old = letter([(name, b"00ab" * 4 if name == own.FINGERPRINT else value) for name, value in sent])
    new = letter(sent)

    assert old.mark == "00ab" * 4
    assert old.kind == new.kind
    for digits in ("00ab", new.fingerprint[:4]):
        assert selection(Wanted(groups=[digits]), [], 0).takes(old)


def test_another_systems_death_after_ours_is_theirs() -> None:
    """Our headers in the middle do not hide that another system dead-lettered it last."""
    broker: Headers = [(f"__dlq.errors.{name}", b"1") for name in ("topic", "partition", "offset", "group")]
    one = letter(dead_letter(SOURCE, FAILURE, ABOUT, "d").headers + broker)

    assert one.kind.dialect == "share-group"


def test_an_order_that_cannot_be_decoded_is_none() -> None:
    """Decoding fails quietly here: `show` tells why."""
    assert letter([]).order is None
