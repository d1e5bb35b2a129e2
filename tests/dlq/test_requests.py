"""What a replay was asked for, as it is kept in a job's record or a plan, where others may change it."""

import json
from typing import Any, Dict

import pytest

from orderflow.dlq.replay.judge import Terms
from orderflow.dlq.replay.request import Request, from_json, to_json
from orderflow.dlq.selection import Wanted
from orderflow.kafka.reader import Span

TERMS = Terms("dlq", "audit", "orders", frozenset(["orders", "more"]), "more", repairs={"quantity": 1})
WANTED = Wanted((1,), ("-10",), 5, "2h", groups=("7f",))
ENDS = {"orders": {0: 10, 1: 20}}
REQUEST = Request(WANTED, ((0, 1),), 1, TERMS, 50.0, spans=(Span(0, 1, 2),), ends=ENDS, dlq_id="T-1")


def kept(**changes: Any) -> Dict[str, Any]:
    """The request as it is read from JSON, with parts changed; `terms__stale` is the part of a part."""
    plain: Dict[str, Any] = json.loads(json.dumps(to_json(REQUEST)))
    for name, value in changes.items():
        whole, _, part = name.partition("__")
        if part:
            plain[whole][part] = value
        else:
            plain[whole] = value
    return plain


def test_a_request_reads_as_it_was_kept() -> None:
    """Everything that is needed to go on comes back."""
    assert kept() == json.loads(json.dumps(to_json(from_json(kept()))))
    assert from_json(kept()).terms == TERMS


@pytest.mark.parametrize(
    "changes",
    [
        {"terms__confirmed": "orders"},
        {"terms__max_replays": "3"},
        {"terms__stale": 5},
        {"terms__again": "yes"},
        {"terms__repairs": [1]},
        {"terms__target": ["orders"]},
        {"terms__unknown": 1},
        {"terms": None},
        {"wanted__limit": "5"},
        {"wanted__groups": "7f"},
        {"wanted__partitions": ["0"]},
        {"wanted__since": 5},
        {"positions": [[0]]},
        {"positions": [[0, "1"]]},
        {"rate_per_s": "fast"},
        {"rate_per_s": float("nan")},
        {"rate_per_s": 0},
        {"canary__size": -1},
        {"canary__timeout_s": "long"},
        {"canary__stop_if_back": float("inf")},
        {"spans": [[0, 1]]},
        {"spans": 7},
        {"ends": {"orders": [1]}},
        {"ends": {"orders": {"0": "10"}}},
        {"plan_digest": 5},
        {"dlq_id": 7},
        {"now_ms": "1"},
        {"now_ms": 10**400},
    ],
    ids=str,
)
def test_a_part_of_another_kind_is_refused(changes: Dict[str, Any]) -> None:
    """Nothing of a record or plan is used before its type and range are checked."""
    with pytest.raises(ValueError, match=r"begun by another version|its record holds|its terms are none"):
        from_json(kept(**changes))
