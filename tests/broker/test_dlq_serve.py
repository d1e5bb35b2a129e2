"""`dlq_handler.py serve`, on a real broker: what is there, what comes, and what is put right."""

import io
import json
import re
from typing import Any, Callable, Dict, List

import pytest
from confluent_kafka.admin import AdminClient

import config
import dlq_handler
from orderflow.cli.output import Notes, Output
from orderflow.cli.signals import StopSignals
from orderflow.dlq.audit import AuditEntry, entry_key
from orderflow.dlq.verbs import serve
from orderflow.dlq.verbs.serve import Audit
from orderflow.kafka import reader
from orderflow.model.records import Outgoing
from tests.broker.test_consumer_figures import asked, free_port
from tests.support.dlq_tools import make_topic, send
from tests.support.engine_tools import Shop, rows
from tests.support.pipeline import Running, eventually

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]


def unresolved(port: int) -> Dict[str, float]:
    """How many are unresolved, by reason."""
    page = asked(port, "/metrics")[1]
    found: Dict[str, float] = {}
    for reason, number in re.findall(
        r'^orders_dead_letters_unresolved{.*reason="(\S+?)".*} (\S+)$', page, re.M
    ):
        found[reason] = found.get(reason, 0.0) + float(number)
    return found


def when(port: int, serving: Running, expected: Dict[str, float]) -> None:
    """Wait until these are unresolved."""
    eventually(
        lambda: unresolved(port) == expected,
        timeout_s=20,
        why=lambda: f"{unresolved(port)} {serving.describe()}",
    )


def test_the_stock_goes_up_with_failures_and_down_with_what_is_put_right(shop: NewShop) -> None:
    """Read once, followed, and discarded in part; none of it is a new kind of failure."""
    port, failing = free_port(), shop()
    failing.create()
    failing.put([*rows(20), *((f"BAD{number}", "C1") for number in range(5))])
    failing.drain("bad_ones_are_rejected")
    serving = failing.start("dlq_handler.py", "serve", "--listen", f"127.0.0.1:{port}")
    when(port, serving, {"process.rejected": 5.0})
    assert asked(port, "/livez")[0] == asked(port, "/readyz")[0] == 200

    failing.put([("BAD9", "C1"), ("BAD10", "C1")])
    failing.drain("bad_ones_are_rejected")
    when(port, serving, {"process.rejected": 7.0})
    failing.succeed("dlq_handler.py", "discard", "-p", "0", "-c", "3", "--reason", "test", "--yes")
    when(port, serving, {"process.rejected": 4.0})
    page = asked(port, "/metrics")[1]

    assert "orders_dead_letters 7.0" in page
    assert "orders_dead_letters_arrived_total 2.0" in page
    assert "orders_dead_letters_new_kinds_total 0.0" in page
    assert serving.stop().code == 143


def test_an_audit_topic_that_is_deleted_ends_nothing(
    kafka: Any, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next replay creates it again, and then what it holds counts from its beginning."""
    for module, name in ((reader, "LOOK_S"), (reader, "GONE_S"), (serve, "TRY_EVERY_S")):
        monkeypatch.setattr(module, name, 0.1)
    servers, name = kafka.bootstrap_servers, topic("dlq-audit")
    admin = AdminClient({"bootstrap.servers": servers})
    args = dlq_handler.parse(["serve", "-b", servers])
    err = Notes(io.StringIO())
    settings = config.load(args, {"DLQ_AUDIT_TOPIC": name}, "")
    desk = dlq_handler.open_desk(args, settings, Output(io.StringIO()), err, StopSignals(err))
    told = {
        "action": "discarded",
        "job": "j",
        "by": "me",
        "at": 0,
        "reason": None,
        "target": None,
        "dlq_id": None,
    }
    entry = Outgoing("", entry_key(0, 7), json.dumps(told).encode(), [], 0)
    found: List[AuditEntry] = []

    def arrived() -> bool:
        found.extend(entries.poll())
        return bool(found)

    make_topic(servers, name)
    with Audit(desk) as entries:
        entries.begin()
        admin.delete_topics([name])[name].result(10)
        for _ in range(10):  # each of them waits for a moment, and looks whether it is there
            assert not arrived()
        make_topic(servers, name)
        send(servers, name, [entry])
        eventually(arrived, timeout_s=20)

    assert [(one.partition, one.offset) for one in found] == [(0, 7)]
