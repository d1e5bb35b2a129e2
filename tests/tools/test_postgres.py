"""examples/postgres.py with a real PostgreSQL: each order is charged exactly once."""

import functools
import importlib
import subprocess
import sys
from contextlib import contextmanager
from typing import Any, Callable, Dict, Iterator, List, Tuple

import pytest

from orderflow.consume.handler import Handler, load
from orderflow.testing import deliver
from tests.conftest import missing
from tests.support.pipeline import ROOT, Pipeline, bare_environment, eventually
from tools.local_postgres import LocalPostgres, PostgresMissing

if sys.version_info < (3, 10):
    pytest.skip("the psycopg that requirements-dev.txt pins needs Python 3.10", allow_module_level=True)

EXAMPLE = ROOT / "examples" / "postgres.py"
TABLES = ROOT / "examples" / "postgres.sql"
ORDER = {
    "order_id": "A-1",
    "customer_id": "C-1",
    "product_id": "CD",
    "quantity": 3,
    "price": 1.1,
    "timestamp": 1_764_000_000_000,
}


@pytest.fixture(scope="module")
def database() -> Iterator[LocalPostgres]:
    """A database of this file; each test begins with empty tables."""
    try:
        with LocalPostgres() as started:
            yield started
    except PostgresMissing as error:
        missing(str(error))


@pytest.fixture
def tables(database: LocalPostgres) -> LocalPostgres:
    query(database, "drop table if exists deliveries, charges")
    query(database, TABLES.read_text(encoding="utf-8"))
    return database


@pytest.fixture(params=["billing", "async_billing"])
def billing(
    request: pytest.FixtureRequest, tables: LocalPostgres, monkeypatch: pytest.MonkeyPatch
) -> Handler:
    """The factory, in this process."""
    return factory(request.param, tables, monkeypatch)


def factory(name: str, database: LocalPostgres, monkeypatch: pytest.MonkeyPatch) -> Handler:
    monkeypatch.setenv("DATABASE_URL", database.url)
    return load(f"{EXAMPLE}:{name}")


def query(database: LocalPostgres, text: str) -> List[Tuple[Any, ...]]:
    psycopg = importlib.import_module("psycopg")
    with psycopg.connect(database.url) as connection:
        answer = connection.execute(text)
        return list(answer.fetchall()) if answer.description else []


def charges(database: LocalPostgres) -> Dict[str, int]:
    """How often each order was charged."""
    return dict(query(database, "select order_id, count(*) from charges group by order_id"))


def test_an_order_that_is_called_twice_is_charged_once(billing: Handler, tables: LocalPostgres) -> None:
    """After a crash, the same delivery is called again; the answer is the same."""
    (first,), (again,) = (deliver(billing, [ORDER]) for _ in range(2))

    assert first.results == again.results
    assert query(tables, "select order_id, amount::text from charges") == [("A-1", "3.30")]


def test_a_call_that_fails_after_its_id_was_noted_leaves_nothing(
    billing: Handler, tables: LocalPostgres
) -> None:
    """Both are written or neither: the retry charges the order."""
    query(tables, "alter table charges rename to hidden")
    (failed,) = deliver(billing, [ORDER], max_retries=1)
    query(tables, "alter table hidden rename to charges")
    (fate,) = deliver(billing, [ORDER])

    assert failed.dead_lettered == "process.retries_exhausted"
    assert fate.processed
    assert charges(tables) == {"A-1": 1}


def test_a_database_that_was_killed_is_found_again(
    tables: LocalPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken connection is replaced, in the same process."""
    with factory("billing", tables, monkeypatch)() as charge:
        deliver(charge, [ORDER])
        tables.kill()
        tables.start()
        (again, other) = deliver(charge, [ORDER, {**ORDER, "order_id": "A-2"}])

    assert again.processed and other.processed
    assert charges(tables) == {"A-1": 1, "A-2": 1}


def shop_on(database: LocalPostgres, pipeline: Callable[..., Pipeline], orders: int) -> Pipeline:
    quickly = {"OUTAGE_WINDOW": "1", "KAFKA_SESSION_TIMEOUT_MS": "6000"}
    shop = pipeline(DATABASE_URL=database.url, MAX_RETRIES="30", WORKERS="4", **quickly)
    shop.publish((f"O-{number}", f"C-{number % 50}") for number in range(orders))
    return shop


def charging(shop: Pipeline, *arguments: str, handler: str = "billing") -> Any:
    return shop.start("consumer.py", "--handler", f"{EXAMPLE}:{handler}", *arguments)


def number_of(database: LocalPostgres) -> int:
    return int(query(database, "select count(*) from charges")[0][0])


def has_charged(database: LocalPostgres, orders: int) -> bool:
    return number_of(database) >= orders


@pytest.mark.chaos
@pytest.mark.broker
def test_kills_of_the_consumer_and_of_the_database_charge_no_order_twice(
    tables: LocalPostgres, pipeline: Callable[..., Pipeline]
) -> None:
    """Both die in the middle of their work; every order is charged, none twice."""
    shop = shop_on(tables, pipeline, 600)
    first = charging(shop)
    eventually(lambda: number_of(tables) > 50)
    first.kill()
    second = charging(shop, "--until-drained")
    already = number_of(tables)
    eventually(lambda: number_of(tables) > already + 50)
    tables.kill()
    tables.start()

    assert second.wait().code == 0
    assert charges(tables) == {f"O-{number}": 1 for number in range(600)}


@pytest.mark.broker
def test_a_replay_of_what_was_charged_already_charges_nothing(
    tables: LocalPostgres, pipeline: Callable[..., Pipeline]
) -> None:
    """Dead-lettered after its database transaction had been committed: its id came back with the replay."""
    shop = shop_on(tables, pipeline, 20)
    shop.succeed(
        "consumer.py", "--handler", f"{__file__}:charge_then_fail", "--until-drained", MAX_RETRIES="0"
    )
    assert len(shop.dead_letters()) == number_of(tables) == 20

    shop.succeed("dlq_handler.py", "replay", "--all", "--yes", "--reason", "fixed", "--rate", "none")
    assert charging(shop, "--until-drained").wait().code == 0

    assert len(shop.results()) == 20
    assert set(charges(tables).values()) == {1}


@contextmanager
def charge_then_fail() -> Iterator[Handler]:
    """A handler whose receipt gets lost: the charge is committed, and then it fails."""
    with load(f"{EXAMPLE}:billing")() as charge:

        def handler(order: Dict[str, Any], delivery: Any) -> None:
            charge(order, delivery)
            raise ConnectionError("the mail server is down")

        yield handler


@pytest.mark.chaos
@pytest.mark.broker
@pytest.mark.parametrize("handler", ["billing", "async_billing"])
def test_an_hour_of_trouble_in_a_minute(
    tables: LocalPostgres, pipeline: Callable[..., Pipeline], handler: str
) -> None:
    """Consumers and the database are killed again and again while thousands of orders are charged."""
    shop = shop_on(tables, pipeline, 20_000)
    running = [charging(shop, handler=handler) for _ in range(2)]
    for turn in range(12):
        wanted = number_of(tables) + 200
        eventually(functools.partial(has_charged, tables, wanted), timeout_s=120)
        if turn % 3 == 2:
            tables.kill()
            tables.start()
        else:
            running[turn % 2].kill()
            running[turn % 2] = charging(shop, handler=handler)
    for each in running:
        each.stop()

    assert charging(shop, "--until-drained").wait(600).code == 0
    assert charges(tables) == {f"O-{number}": 1 for number in range(20_000)}


@pytest.mark.chaos
@pytest.mark.broker
def test_the_demo_charges_every_order_once(kafka: Any) -> None:
    """`make demo-postgres`, against a Kafka that is there already."""
    environ = {**bare_environment(), "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
    command = [sys.executable, str(ROOT / "tools" / "demo_postgres.py")]
    told = subprocess.run(command, env=environ, capture_output=True, timeout=300)

    shown = told.stdout.decode()
    assert told.returncode == 0, shown + told.stderr.decode()
    assert shown.count("6,919 charges of 6,919 orders: 0 charged twice") == 2
