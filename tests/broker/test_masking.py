"""MASKED_FIELDS: secrets in every hidden field, key, header and message, and all output searched for them."""

from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from confluent_kafka import TopicPartition

from dlq_handler import VERBS
from orderflow.model.commit_metadata import Commit, Entry
from orderflow.model.records import Outgoing
from tests.broker.test_consumer_figures import asked, free_port
from tests.conftest import NewShop
from tests.support.dlq_tools import Handler, make_topic, order, ours, send
from tests.support.memory import write_metadata
from tests.support.mess import commit_as
from tests.support.pipeline import eventually

pytestmark = pytest.mark.broker
LONG = pytest.mark.chaos
"""Left to `make chaos`, so that `make test` stays short."""

CUSTOMER, PRICE, KEY = "C-anna-secret", 4711.25, "key-of-anna"
SECRETS = (CUSTOMER, "anna", "4711", "4,711")
MASKED = "customer_id,price,key"
SAID = f"{CUSTOMER} cannot pay {PRICE} for {KEY}"
COMMANDS: Dict[str, List[Tuple[str, ...]]] = {
    "tail": [("tail", "-e"), ("tail", "-e", "--json")],
    "list": [("list",), ("list", "--json"), ("list", "--sum", "quantity", "--by", "error.message")],
    "show": [
        ("show", "0:0", "--headers", "--stack"),
        ("show", "0:0", "--json"),
        ("show", "0:2", "--history"),
    ],
    "groups": [("groups",), ("groups", "--json", "--by", "error.message")],
    "stats": [("stats",), ("stats", "--json")],
    "waiting": [("waiting",), ("waiting", "--json"), ("waiting", "--summary", "--by", "product_id")],
    "export": [("export",), ("export", "--format", "csv")],
    "report": [("report", "report.html", "--sum", "quantity", "--by", "error.message")],
    "replay": [
        ("replay", "--dry-run", "--all", "--set", "price=7", "--set", "customer_id=B"),
        ("replay", "--dry-run", "--all", "--set", "price=7", "--json"),
        ("replay", "--dry-run", "--all", "--set", f"price=-{PRICE}", "--json"),
        ("replay", "--dry-run", "--all", "--set", f"price=-{PRICE}"),
        ("replay", "0:1", "--set", "price=8", "--yes"),
    ],
    "discard": [("discard", "0:2", "--reason", "test", "--yes")],
    "jobs": [("jobs",), ("jobs", "show"), ("jobs", "--json")],
    "health": [("health",), ("health", "--json")],
    "erase": [("erase", "--key", KEY)],
    "import": [("import", "bad.jsonl")],
    "serve": [],
    "watch": [],
}
"""By verb, what is typed. The two that go on are below, and in tests/dlq/test_watch_model.py."""


def planted(number: int, **changes: Any) -> Outgoing:
    """A dead letter with secrets wherever there can be one."""
    value = order(number + 1, customer_id=CUSTOMER, price=PRICE)
    told = {"message": f"{SAID}: '{CUSTOMER}'", "stack": f"Traceback:\nValueError: {SAID}"}
    known = [("who", CUSTOMER.encode()), ("note", SAID.encode())]
    return ours(number, **{"value": value, "key": KEY.encode(), "headers": known, **told, **changes})


@pytest.fixture
def dead(kafka: Any, topic: Callable[[str], str], tmp_path: Path) -> Handler:
    """dlq_handler.py, with a few such dead letters, and a group in which such an order waits."""
    address, orders, dlq = kafka.bootstrap_servers, topic("orders"), topic("dlq")
    for name in (orders, dlq):
        make_topic(address, name)
    places = {"topic": orders}
    value = order(1, customer_id=CUSTOMER, price=PRICE)
    send(address, orders, [Outgoing("", KEY.encode(), value, [("who", CUSTOMER.encode())], 0)] * 4)
    letters = [
        planted(0, **places),
        planted(1, reason=f"rejected.{CUSTOMER}", **places),
        planted(2, reason="validate.price", message=f"price must be positive: {PRICE}", **places),
        planted(
            3, reason="decode.choice", value=f"\x01{CUSTOMER}".encode(), message=f"key '{CUSTOMER}'", **places
        ),
    ]
    send(address, dlq, letters)
    commit = Commit(4, [Entry(0, 1, 600)], True, False, None, 1_764_000_000)
    commit_as(address, f"{dlq}-group", [TopicPartition(orders, 0, 0, write_metadata(commit, 0))])
    (tmp_path / "bad.jsonl").write_text('{"topic": 7}\n', encoding="utf-8")
    handler = Handler(address, dlq, tmp_path)
    handler.setting(ORDERS_TOPIC=orders, MASKED_FIELDS=MASKED)
    return handler


def test_every_verb_is_driven() -> None:
    """A new verb has to be added above, or it may show what no other does."""
    assert {verb.names[0] for verb in VERBS} == set(COMMANDS)


def around(text: str, word: str) -> str:
    """Where it was found."""
    place = text.index(word)
    return text[max(0, place - 80) : place + 40]


@LONG
def test_no_verb_shows_what_is_hidden(dead: Handler) -> None:
    """For people and for machines, before and after a replay and a discard."""
    shown: Dict[Tuple[str, ...], str] = {}
    for command in [each for commands in COMMANDS.values() for each in commands]:
        run = dead.run(*command)
        shown[command] = run.out + run.err
        assert "Traceback (most recent" not in run.err, command
    shown["report",] = (dead.folder / "report.html").read_text(encoding="utf-8")

    own = {("erase", "--key", KEY)}  # what was typed may be repeated
    found = [
        (command, word, around(shown[command], word))
        for command in set(shown) - own
        for word in SECRETS
        if word in shown[command]
    ]
    assert not found, "\n".join(map(str, found))
    assert sum("[masked]" in text for text in shown.values()) > 12
    assert CUSTOMER in dead.run("list", "--json", MASKED_FIELDS="quantity").out, "the secrets are there"


@pytest.mark.parametrize("flags", [("--sum", "price * quantity"), ("--by", "price"), ("--by", "key")])
def test_nothing_hidden_is_added_up_or_told_apart(dead: Handler, flags: Tuple[str, ...]) -> None:
    """The sum over one order is its value."""
    run = dead.run("list", *flags)

    assert run.code == 2 and "hidden" in run.err


def test_serve_has_no_label_that_holds_a_value(dead: Handler) -> None:
    """Handlers make reasons of what they like, and Prometheus keeps every label."""
    port = free_port()
    with dead.start("serve", "--listen", f"127.0.0.1:{port}") as serving:
        serving.wait_for(lambda _: asked(port, "/readyz")[0] == 200)
        page = asked(port, "/metrics")[1]

    assert 'reason="rejected.[masked]"' in page
    assert not [word for word in SECRETS if word in page]


@pytest.mark.parametrize("more", [("-v",), pytest.param(("--processes", "1", "-v"), marks=LONG)])
def test_the_consumers_log_shows_nothing_hidden(shop: NewShop, more: Tuple[str, ...]) -> None:
    """Retries, the first traceback, dead letters, and what was processed; as JSON the same."""
    made = shop(MASKED_FIELDS="order_id,customer_id", MAX_RETRIES="1", RETRY_BACKOFF="0.1").create()
    made.put([("POISON-anna", "C-anna"), ("A1-anna", "C-anna")])
    form = "json" if len(more) > 1 else "text"

    finished = made.consume("poison_fails", "--until-drained", *more, LOG_FORMAT=form).wait()

    assert finished.code == 0
    assert "poison [masked]" in finished.err and "anna" not in finished.err
    eventually(lambda: len(made.dead_letters()) == 1)
