"""deploy/prometheus and deploy/grafana: Prometheus accepts them, and they ask for what the consumer tells."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any, Dict, Iterator, List, Set

import pytest
import yaml

import dlq_handler
from orderflow.consume.catalogue import METRICS
from orderflow.dlq import stock
from orderflow.model.metric import HISTOGRAM
from tests.conftest import missing
from tools import dashboard, jvm, prometheus

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "deploy" / "prometheus"
RULES = FOLDER / "orders.rules.yml"
RULES_TEST = FOLDER / "orders.rules.test.yml"
BOARD = ROOT / "deploy" / "grafana" / "orders.json"


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """What promtool says."""
    try:
        program = prometheus.find("promtool")
    except jvm.MissingPiece as error:
        missing(str(error))
    return subprocess.run([program, *arguments], capture_output=True, text=True, cwd=FOLDER)


def alerts() -> List[Dict[str, Any]]:
    """Every alert."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


each_alert = pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])


# ---- by Prometheus itself


def test_prometheus_accepts_rules_and_configuration() -> None:
    """With the rules that the configuration names."""
    done = promtool("check", "config", "prometheus.yml")

    assert done.returncode == 0, done.stdout + done.stderr


def test_the_alerts_fire_and_stay_quiet_as_they_should() -> None:
    """On made-up series: each fires in its trouble, and none in health."""
    done = promtool("test", "rules", RULES_TEST.name)

    assert done.returncode == 0, done.stdout + done.stderr


@each_alert
def test_each_alert_is_seen_to_fire_and_to_be_quiet(alert: Dict[str, Any]) -> None:
    """One that no test sees fire may never do so."""
    tested = yaml.safe_load(RULES_TEST.read_text(encoding="utf-8"))["tests"]
    cases = [
        case for test in tested for case in test["alert_rule_test"] if case["alertname"] == alert["alert"]
    ]

    assert {bool(case.get("exp_alerts")) for case in cases} == {True, False}


# ---- what to type


@each_alert
def test_each_alert_says_what_to_do_next(alert: Dict[str, Any]) -> None:
    """A command of ours is one that parses."""
    notes = alert["annotations"]
    assert notes.keys() == {"summary", "description", "next", "runbook"}
    assert alert["labels"]["severity"] in ("page", "ticket")
    if notes["next"].startswith("python dlq_handler.py "):
        assert dlq_handler.parse(shlex.split(notes["next"])[2:]).run


@each_alert
def test_each_alert_leads_to_a_section_that_exists(alert: Dict[str, Any]) -> None:
    """Of a page that is shipped."""
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(encoding="utf-8"), re.M)

    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_page_has_every_alert() -> None:
    """In one table, for whoever plans a duty roster."""
    page = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")

    assert re.findall(r"^\| `(Orders\w+)` \|", page, re.M) == [alert["alert"] for alert in alerts()]


# ---- metrics


def expressions() -> Iterator[str]:
    """All PromQL in deploy/, with Grafana's variables filled in."""
    yield from (alert["expr"] for alert in alerts())
    for query in [query for row in dashboard.ROWS for panel in row.panels for query in panel.queries]:
        yield query[0].replace("$__rate_interval", "5m").replace("$__interval", "1m")
    keda = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "keda.yaml").read_text(encoding="utf-8"))
    yield keda["spec"]["triggers"][0]["metadata"]["query"]


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_expression_is_promql(expression: str) -> None:
    """By a parser that has the language from Prometheus."""
    promql_parser = pytest.importorskip("promql_parser", reason="needs a newer Python")

    assert promql_parser.parse(expression)


NOT_SHOWN = {"process_open_fds", "process_threads", "orders_intake_stopped"}
"""What a host's own tools show, and what another metric tells with its reason."""


def named() -> Set[str]:
    """Every metric of a consumer that deploy/ asks for."""
    return {name for text in expressions() for name in re.findall(r"\b(?:orders|process)_[a-z_]+", text)}


def test_every_metric_that_is_asked_for_exists() -> None:
    """In the consumer's catalogue; of a histogram, its buckets."""
    told = {metric.name for metric in [*METRICS, *stock.METRICS]}
    told |= {f"{metric.name}_bucket" for metric in METRICS if metric.kind == HISTOGRAM}

    assert named() - told == set()


def test_every_metric_is_shown() -> None:
    """One that no graph and no alert asks for is one that nobody sees."""
    shown = {name.replace("_bucket", "") for name in named()}

    assert {metric.name for metric in METRICS} - shown <= NOT_SHOWN


# ---- the dashboard


def test_the_dashboard_is_up_to_date() -> None:
    """If it is not: python tools/dashboard.py > deploy/grafana/orders.json."""
    assert BOARD.read_text(encoding="utf-8") == dashboard.text()


def test_no_panel_covers_another() -> None:
    """Each has its own number and its own place, within the width of the screen."""
    panels = json.loads(BOARD.read_text(encoding="utf-8"))["panels"]
    taken: Set[Any] = set()
    for place in [panel["gridPos"] for panel in panels]:
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, place["y"] + line) for x in columns for line in range(place["h"])}
        assert columns[-1] < dashboard.COLUMNS
        assert not cells & taken
        taken |= cells

    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_graph_says_what_it_means() -> None:
    """And in which unit."""
    for panel in json.loads(BOARD.read_text(encoding="utf-8"))["panels"]:
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["fieldConfig"]["defaults"]["unit"]
