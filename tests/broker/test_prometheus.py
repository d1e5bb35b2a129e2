"""A real Prometheus scrapes a real consumer: the dashboard has answers, and alerts ring when they should."""

import json
import re
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Set

import pytest
import yaml

from tests.conftest import missing
from tests.support.engine_tools import MORTAL, Shop, rows
from tests.support.pipeline import ROOT, eventually
from tools import dashboard, jvm, prometheus
from tools.kafka_cluster import free_ports

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]

RULES = ROOT / "deploy" / "prometheus" / "orders.rules.yml"
JOB = "orders"
AT_ONCE = [(r"for: \w+", "for: 0s")]
HASTENED = [*AT_ONCE, ("> (120|300)", "> 1"), (r"\[10m:1m\]", "[10s:1s]"), (r"\[6h\]", "[1m]")]
"""Rules that would take minutes to ring ring within seconds."""
SILENT_IN_HEALTH = ("orders_intake_stopped_seconds", "orders_settlement_seconds", "orders_retries_total")
"""Asked for by graphs that are empty while nothing of this kind has happened."""


class Prometheus:
    """One server, with one target."""

    def __init__(self, folder: Path, target: int, haste: List[Any]) -> None:
        try:
            program = prometheus.find("prometheus")
        except jvm.MissingPiece as error:
            missing(str(error))
        (port,) = free_ports(1)
        self._address = f"http://127.0.0.1:{port}"
        self._log = (folder / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                program,
                f"--config.file={self._configure(folder, target, haste)}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )

    def _configure(self, folder: Path, target: int, haste: List[Any]) -> Path:
        rules = RULES.read_text(encoding="utf-8")
        for pattern, instead in haste:
            rules = re.sub(pattern, instead, rules)
        (folder / "rules.yml").write_text(rules, encoding="utf-8")
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": JOB, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]},
            ],
        }
        path = folder / "prometheus.yml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _ask(self, path: str, **parameters: str) -> Any:
        url = f"{self._address}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)["data"]

    def values(self, expression: str) -> List[float]:
        """What an expression gives now; none while it does not answer."""
        try:
            return [
                float(each["value"][1]) for each in self._ask("/api/v1/query", query=expression)["result"]
            ]
        except OSError:
            return []

    def ringing(self) -> Dict[str, Dict[str, str]]:
        """The alerts that fire now, and their labels; none while it does not answer."""
        try:
            alerts = self._ask("/api/v1/alerts")["alerts"]
        except OSError:
            return {}
        return {each["labels"]["alertname"]: each["labels"] for each in alerts if each["state"] == "firing"}


NewPrometheus = Callable[..., Prometheus]


@pytest.fixture
def watched_by(tmp_path: Path) -> Iterator[NewPrometheus]:
    """Start a Prometheus that scrapes this port; it ends with the test."""
    made: List[Prometheus] = []

    def start(target: int, haste: List[Any]) -> Prometheus:
        folder = tmp_path / f"prometheus-{len(made)}"
        folder.mkdir()
        made.append(Prometheus(folder, target, haste))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_every_graph_has_an_answer_and_only_the_new_failure_rings(
    strict_shop: NewShop, watched_by: NewPrometheus
) -> None:
    """Two consumers in health, and one order of a kind that was not seen before."""
    (port,) = free_ports(1)
    shop = strict_shop(METRICS_PORT=str(port)).create(partitions=3)
    shop.put([*rows(300), ("POISON-1", "C")])
    server = watched_by(port, AT_ONCE)
    running = shop.consume("poison_is_rejected", "--processes", "2", *MORTAL)
    eventually(lambda: server.values("sum(orders_processed_total)") == [300.0], why=running.describe)
    eventually(lambda: server.values("sum(orders_consumers)") == [2.0], why=running.describe)
    eventually(server.ringing, why=running.describe)

    labels = server.ringing()
    assert labels.keys() == {"OrdersNewKindOfDeadLetter"}
    assert labels["OrdersNewKindOfDeadLetter"]["reason"] == "process.rejected"
    eventually(lambda: not _unanswered(server), why=lambda: "\n".join(_unanswered(server)))


def _unanswered(server: Prometheus) -> List[str]:
    """The dashboard's queries without an answer, though something of their kind has happened."""
    asked = [query for query in _queries() if not any(name in query for name in SILENT_IN_HEALTH)]
    return [query for query in asked if not server.values(query)]


def _queries() -> Set[str]:
    """All of the dashboard's, as Grafana sends them."""
    texts = {query[0] for row in dashboard.ROWS for panel in row.panels for query in panel.queries}
    return {
        text.replace("$job", JOB).replace("$__rate_interval", "10s").replace("$__interval", "10s")
        for text in texts
    }


def _rings(server: Prometheus, alert: str, why: Callable[[], str], is_on: bool = True) -> None:
    """Wait until it does, or does not any more."""
    eventually(
        lambda: (alert in server.ringing()) is is_on,
        timeout_s=60,
        why=lambda: f"{alert}: {sorted(server.ringing())} {why()}",
    )


@pytest.mark.chaos
def test_an_outage_rings_and_so_does_the_end_of_the_last_consumer(
    strict_shop: NewShop, watched_by: NewPrometheus
) -> None:
    """The brake while nearly every order fails; nobody there when nobody is."""
    (port,) = free_ports(1)
    shop = strict_shop(METRICS_PORT=str(port), RETRY_BACKOFF="1", RETRY_BACKOFF_MAX="1").create()
    shop.begin_trouble()
    shop.put(rows(400, customers=400))
    server = watched_by(port, HASTENED)
    running = shop.consume("everything_fails", *MORTAL)
    _rings(server, "OrdersOutageBrake", running.describe)
    shop.end_trouble()
    _rings(server, "OrdersOutageBrake", running.describe, is_on=False)
    running.kill()
    _rings(server, "OrdersNoConsumer", running.describe)


@pytest.mark.chaos
def test_a_full_ledger_rings_with_its_reason_and_so_does_what_grows_behind_it(
    strict_shop: NewShop, watched_by: NewPrometheus
) -> None:
    """A partition takes in nothing, and the label says why; orders keep coming."""
    (port,) = free_ports(1)
    shop = strict_shop(
        METRICS_PORT=str(port), MAX_QUEUED="5", RETRY_BACKOFF="60", RETRY_BACKOFF_MAX="60"
    ).create()
    shop.begin_trouble()
    shop.put(rows(100, customers=1), key="customer_id")
    server = watched_by(port, HASTENED)
    running = shop.consume("everything_fails", *MORTAL)
    _rings(server, "OrdersIntakeStopped", running.describe)
    assert server.ringing()["OrdersIntakeStopped"]["reason"] == "full"

    def grows() -> bool:
        shop.put(rows(50))
        return "OrdersUnseenGrow" in server.ringing()

    eventually(grows, timeout_s=60, why=running.describe)


@pytest.mark.chaos
def test_a_handler_that_does_not_return_rings(strict_shop: NewShop, watched_by: NewPrometheus) -> None:
    """Nothing is settled, although there is something to do."""
    (port,) = free_ports(1)
    shop = strict_shop(METRICS_PORT=str(port)).create()
    shop.put([("POISON-1", "C")])
    server = watched_by(port, HASTENED)
    running = shop.consume("poison_hangs", *MORTAL)
    _rings(server, "OrdersNothingSettled", running.describe)


@pytest.mark.chaos
def test_an_order_that_keeps_killing_its_process_rings(
    strict_shop: NewShop, watched_by: NewPrometheus
) -> None:
    """The supervisor restarts it, and counts."""
    (port,) = free_ports(1)
    shop = strict_shop(METRICS_PORT=str(port)).create()
    server = watched_by(port, HASTENED)
    running = shop.consume("poison_kills", "--processes", "1", *MORTAL)
    eventually(lambda: server.values("orders_process_restarts_total") == [0.0], why=running.describe)
    assert "OrdersConsumerRestarts" not in server.ringing()
    shop.put([("POISON-1", "C")])
    _rings(server, "OrdersConsumerRestarts", running.describe)


@pytest.mark.chaos
def test_dead_letters_that_expire_ring_and_so_does_a_failure_of_a_new_kind(
    strict_shop: NewShop, watched_by: NewPrometheus
) -> None:
    """Of the topic as `dlq_handler.py serve` sees it."""
    (port,) = free_ports(1)
    shop = strict_shop().create(retention_ms="3600000")
    shop.put([("POISON-1", "C")])
    shop.drain("poison_is_rejected")
    serving = shop.start("dlq_handler.py", "serve", "--listen", f"127.0.0.1:{port}")
    server = watched_by(port, HASTENED)
    _rings(server, "OrdersDeadLettersExpire", serving.describe)
    assert "OrdersNewFailureGroup" not in server.ringing()
    shop.put([("POISON-2", "C")])
    shop.drain("poison_fails", MAX_RETRIES="0")
    _rings(server, "OrdersNewFailureGroup", serving.describe)
