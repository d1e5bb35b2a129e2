"""What an operator types to choose dead letters, and what it then means."""

from typing import Any, List, Optional

import pytest

from orderflow.dlq.letter import Letter
from orderflow.dlq.selection import SelectionError, Wanted, moment, position, selection
from orderflow.errors import Failure, Undecodable
from orderflow.kafka.positions import Position, Range
from orderflow.model.dead_letter import Circumstances, dead_letter
from orderflow.model.records import Headers, Record

NOW_MS = 1_795_564_800_000  # 2026-11-25T00:00:00Z
ABOUT = Circumstances("order-processing-group", "host-1", 4, NOW_MS - 60_000, NOW_MS - 30_000, None, 1)


def decode(value: Optional[bytes]) -> Any:
    if value != b"order":
        raise Undecodable("not an order", "decode.framing")
    return {"order_id": "O-1", "quantity": 7}


def letter(
    reason: str = "process.failed",
    kind: str = "app.PaymentTimeout",
    message: str = "charge timed out",
    key: Optional[bytes] = b"O-1",
    value: Optional[bytes] = b"order",
    headers: Optional[Headers] = None,
    topic: str = "orders",
    died_ms: int = NOW_MS - 30_000,
    state: str = "new",
) -> Letter:
    source = Record(topic, 2, 41, NOW_MS - 90_000, "CreateTime", key, value, headers or [])
    failure = Failure(reason, reason.split(".")[0], kind, message, True)
    sent = dead_letter(source, failure, ABOUT._replace(failed_at_ms=died_ms), "orders-dlq")
    record = Record("orders-dlq", 0, 7, sent.timestamp_ms, "CreateTime", sent.key, sent.value, sent.headers)
    return Letter(record, decode, lambda partition, offset: state)


def takes(one: Letter, **wanted: Any) -> bool:
    return selection(Wanted(**wanted), ["order_id", "quantity"], NOW_MS).takes(one)


@pytest.mark.parametrize(
    ("text", "edge", "expected"),
    [
        ("beginning", "begin", Position("beginning")),
        ("end", "begin", Position("end")),
        ("42", "begin", Position("offset", 42)),
        ("-10", "begin", Position("back", 10)),
        ("s@1795564800000", "begin", Position("time", NOW_MS)),
        ("e@2h", "end", Position("time", NOW_MS - 7_200_000)),
    ],
)
def test_positions_in_the_forms_of_kcat(text: str, edge: str, expected: Position) -> None:
    """`-o` takes what kcat takes, and times as people write them."""
    assert position(text, NOW_MS) == (edge, expected)


@pytest.mark.parametrize(
    ("text", "age_ms"),
    [
        ("90s", 90_000),
        ("15m", 900_000),
        ("2h", 7_200_000),
        ("1d", 86_400_000),
        ("1.5h", 5_400_000),
        ("1d 2h", 93_600_000),
        ("999999999999w", NOW_MS),
        ("1960-01-01", NOW_MS),
        ("2026-11-24", 86_400_000),
        ("2026-11-24T23:30:00Z", 1_800_000),
        ("2026-11-25T00:30:00+01:00", 1_800_000),
        ("1795564799000", 1_000),
    ],
)
def test_moments(text: str, age_ms: int) -> None:
    """Ages, dates, times with and without zone, and epoch milliseconds are all understood."""
    assert moment(text, NOW_MS) == NOW_MS - age_ms


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"offsets": ["stored"]}, "-o stored"),
        ({"offsets": ["1", "2"]}, "given twice"),
        ({"since": "yesterday"}, "--since: 'yesterday' is no time"),
        ({"since": "-2h"}, "is no time"),
        ({"since": "1h", "until": "2h"}, "nothing lies between"),
        ({"offsets": ["s@2026-11-24", "e@2026-11-23"]}, "nothing lies between"),
        ({"since": "1h", "offsets": ["e@1h"]}, "nothing lies between"),
        ({"since": "9" * 5000}, "is no time"),
        ({"until": "\u0662h"}, "--until"),
        ({"groups": ["xyz"]}, "-g xyz"),
        ({"states": ["new,old"]}, "--state old"),
        ({"where": ["quantty > 5"]}, "did you mean quantity?"),
        ({"limit": -1}, "-c"),
        ({"partitions": [-1]}, "-p"),
    ],
)
def test_what_cannot_be_read_names_its_flag(wanted: Any, told: str) -> None:
    """A filter that makes no sense is refused before anything is read."""
    with pytest.raises(SelectionError) as error:
        selection(Wanted(**wanted), ["quantity"], NOW_MS)

    assert told in str(error.value)


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [
        ({}, True),
        ({"reason_codes": ["process.*"]}, True),
        ({"reason_codes": ["decode.*"]}, False),
        ({"reason_codes": ["decode.*", "process.*"]}, True),
        ({"errors": ["PaymentTimeout"]}, True),
        ({"errors": ["app.Payment*"]}, True),
        ({"errors": ["*timed out"]}, True),
        ({"errors": ["KeyError"]}, False),
        ({"keys": ["O-1"]}, True),
        ({"keys": ["O-2"]}, False),
        ({"headers": ["tenant"]}, True),
        ({"headers": ["tenant=a"]}, True),
        ({"headers": ["tenant=b"]}, False),
        ({"headers": ["trace"]}, False),
        ({"source_topics": ["orders"]}, True),
        ({"source_topics": ["payments"]}, False),
        ({"states": ["new"]}, True),
        ({"states": ["replayed,discarded"]}, False),
        ({"since": "1m"}, True),
        ({"since": "10s"}, False),
        ({"until": "10s"}, True),
        ({"until": "1m"}, False),
        ({"offsets": ["s@1m"]}, True),
        ({"offsets": ["s@10s"]}, False),
        ({"offsets": ["e@10s", "s@1m"]}, True),
        ({"offsets": ["e@1m"]}, False),
        ({"offsets": ["s@1m"], "since": "10s"}, False),
        ({"offsets": ["e@10s"], "until": "1m"}, False),
        ({"where": ["quantity > 5"]}, True),
        ({"where": ["quantity > 7"]}, False),
        ({"where": ["error.reason = 'process.failed' and attempts = 4 and partition = 0"]}, True),
        ({"keys": ["O-1"], "reason_codes": ["decode.*"]}, False),
    ],
)
def test_filters(wanted: Any, chosen: bool) -> None:
    """Filters are ANDed, a repeated one is ORed."""
    assert takes(letter(headers=[("tenant", b"a")]), **wanted) is chosen


@pytest.mark.parametrize("wanted", [{"since": "1h"}, {"until": "1s"}, {"since": "0000000000"}], ids=str)
def test_what_has_no_time_is_of_no_time(wanted: Any) -> None:
    """It is neither before nor after any."""
    one = letter()
    undated = Letter(one.record._replace(timestamp_ms=None, timestamp_type=None), decode)

    assert takes(one, **wanted)
    assert not takes(undated, **wanted)


def test_a_time_is_sought_for_its_beginning_alone() -> None:
    """Where it ends is a matter of each record's time: in what order they lie is not known."""
    chosen = selection(Wanted(offsets=["s@1h", "e@10s"]), [], NOW_MS)

    assert chosen.range == Range(since_ms=NOW_MS - 3_600_000, until_ms=NOW_MS - 10_000)


def test_group_by_prefix() -> None:
    """A group is chosen by as many of its digits as are needed."""
    one = letter()

    assert takes(one, groups=[one.fingerprint[:4]])
    assert takes(one, groups=[one.fingerprint.upper()])
    assert not takes(one, groups=["0" * 16])


def test_undecodable_orders_meet_no_condition() -> None:
    """A condition on the order passes over what cannot be decoded, without an error."""
    assert not takes(letter(value=b"junk"), where=["quantity > 0"])
    assert takes(letter(value=b"junk"), where=["quantity is null"])


def test_everything_is_known_as_such() -> None:
    """Only a selection that narrows nothing down counts as everything."""
    narrowed: List[Any] = [
        {"groups": ["7f"]},
        {"limit": 1},
        {"offsets": ["5"]},
        {"partitions": [0]},
        {"since": "1h"},
    ]

    assert selection(Wanted(), [], NOW_MS).is_everything
    assert not any(selection(Wanted(**each), [], NOW_MS).is_everything for each in narrowed)
