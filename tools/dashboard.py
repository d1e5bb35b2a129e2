"""Writes the Grafana dashboard: `python tools/dashboard.py > deploy/grafana/orders.json`.

That file is a thousand lines in which nobody sees what the dashboard shows. It is the table here.
"""

import json
import sys
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

HEIGHT, COLUMNS = 8, 24
SHOWN_FOR = "now-3h"

Query = Tuple[str, str]
"""PromQL, and the legend of its lines."""


class Panel(NamedTuple):
    """One graph."""

    title: str
    meaning: str
    unit: str
    queries: Sequence[Query]
    width: int = 8


class Row(NamedTuple):
    """A question, and the graphs that answer it."""

    title: str
    panels: Sequence[Panel]


def _by_partition(metric: str) -> str:
    """The sum over partitions; for a moment in a rebalance, two consumers tell of the same one."""
    return f'sum(max by (partition) ({metric}{{job="$job"}}))'


_MEMORY_LIMIT = 'max(orders_waiting_bytes_limit{job="$job"}) * sum(orders_consumers{job="$job"})'
"""Each partition tells the limit of its whole consumer."""


def _rate(metric: str, by: str = "") -> str:
    return f'sum{by} (rate({metric}{{job="$job"}}[$__rate_interval]))'


def _quantile(share: float, metric: str, outcome: str) -> str:
    buckets = f'{metric}_bucket{{job="$job", outcome="{outcome}"}}'
    return f"histogram_quantile({share}, sum by (le) (rate({buckets}[$__rate_interval])))"


ROWS: Sequence[Row] = (
    Row(
        "Does it keep up?",
        (
            Panel(
                "Orders a second",
                "What has become of orders, when it was committed.",
                "ops",
                (
                    (_rate("orders_processed_total"), "processed"),
                    (_rate("orders_dead_lettered_total"), "dead-lettered"),
                    (_rate("orders_retries_total"), "retries"),
                ),
            ),
            Panel(
                "Unseen orders",
                "In the log, and not taken in by any consumer yet. Scale by this.",
                "short",
                ((_by_partition("orders_unseen"), "unseen"),),
            ),
            Panel(
                "Age of the oldest unseen order",
                "How far behind it is, as a customer would feel it.",
                "s",
                (('max(orders_oldest_unseen_age_seconds{job="$job"})', "oldest"),),
            ),
        ),
    ),
    Row(
        "Does it stand still?",
        (
            Panel(
                "Partitions that take in nothing",
                "By reason. Some stand still for a moment at any time; for minutes, none should.",
                "short",
                (('count by (reason) (orders_intake_stopped_seconds{job="$job"})', "{{reason}}"),),
            ),
            Panel(
                "Since the last settlement",
                "While there is something to commit.",
                "s",
                (('max by (instance) (orders_unsettled_seconds{job="$job"})', "{{instance}}"),),
            ),
            Panel(
                "Brakes",
                "Partitions in which nearly every order fails, and keys that keep failing.",
                "short",
                (
                    (_by_partition("orders_outage_brake"), "partitions held by the outage brake"),
                    ('sum(orders_keys_braked{job="$job"})', "keys that get one call"),
                    ('max(orders_kafka_lost{job="$job"})', "Kafka is lost"),
                ),
            ),
        ),
    ),
    Row(
        "What fails?",
        (
            Panel(
                "Dead letters by reason",
                "Within each interval.",
                "short",
                (
                    (
                        'sum by (reason) (increase(orders_dead_lettered_total{job="$job"}[$__interval]))',
                        "{{reason}}",
                    ),
                ),
                12,
            ),
            Panel(
                "Retries a second by reason",
                "Calls that failed and will be made again.",
                "ops",
                ((_rate("orders_retries_total", " by (reason)"), "{{reason}}"),),
                12,
            ),
        ),
    ),
    Row(
        "What waits, and how much more may?",
        (
            Panel(
                "Waiting for a retry",
                "The limit is one of each partition; at it, the partition takes in no more.",
                "short",
                (
                    (_by_partition("orders_waiting"), "waiting"),
                    (_by_partition("orders_waiting_limit"), "limit"),
                    (_by_partition("orders_in_flight"), "in flight"),
                ),
            ),
            Panel(
                "Queued behind those",
                "Later orders of the same keys.",
                "short",
                ((_by_partition("orders_queued"), "queued"), (_by_partition("orders_queued_limit"), "limit")),
            ),
            Panel(
                "Memory of waiting orders",
                "With those behind them. A consumer that reaches MAX_WAITING_BYTES takes in no more.",
                "bytes",
                (
                    (_by_partition("orders_waiting_bytes"), "in use"),
                    (_MEMORY_LIMIT, "limit"),
                ),
            ),
        ),
    ),
    Row(
        "Where does the time go?",
        (
            Panel(
                "Handler calls that succeed",
                "Decoding and rules included.",
                "s",
                (
                    (_quantile(0.5, "orders_handler_seconds", "succeeded"), "median"),
                    (_quantile(0.99, "orders_handler_seconds", "succeeded"), "99 %"),
                    ('max(orders_longest_call_seconds{job="$job"})', "longest that runs now"),
                ),
            ),
            Panel(
                "Settlements",
                "How long Kafka takes to commit what was done.",
                "s",
                (
                    (_quantile(0.5, "orders_settlement_seconds", "succeeded"), "median"),
                    (_quantile(0.99, "orders_settlement_seconds", "succeeded"), "99 %"),
                ),
            ),
            Panel(
                "Processor time",
                "Cores in use, of all processes of an instance together.",
                "short",
                (('rate(process_cpu_seconds_total{job="$job"}[$__rate_interval])', "{{instance}}"),),
            ),
        ),
    ),
    Row(
        "Who works?",
        (
            Panel(
                "Consumers and their partitions",
                "More consumers than partitions do no more work.",
                "short",
                (
                    ('sum(orders_consumers{job="$job"})', "consumers"),
                    ('sum(orders_partitions{job="$job"})', "partitions that they own"),
                    (_by_partition("orders_careful"), "orders called with care"),
                ),
            ),
            Panel(
                "Unrest",
                "Rebalances, work that could not be committed, and processes that were started anew.",
                "short",
                (
                    ('sum(increase(orders_rebalances_total{job="$job"}[$__rate_interval]))', "rebalances"),
                    (
                        'sum(increase(orders_restarts_total{job="$job"}[$__rate_interval]))',
                        "restored",
                    ),
                    (
                        'sum(increase(orders_process_restarts_total{job="$job"}[$__rate_interval]))',
                        "restarts",
                    ),
                    ('sum(changes(process_start_time_seconds{job="$job"}[$__rate_interval]))', "starts"),
                ),
            ),
            Panel(
                "Memory",
                "Resident, of all processes of an instance together.",
                "bytes",
                (('process_resident_memory_bytes{job="$job"}', "{{instance}}"),),
            ),
        ),
    ),
)
"""Every graph, in the order in which somebody who was woken up needs them."""

SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboard() -> Dict[str, Any]:
    """The dashboard as Grafana imports it. It asks for a Prometheus, and for the job of the consumers."""
    return {
        "title": "Orders",
        "uid": "orderflow",
        "tags": ["orderflow"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": SHOWN_FOR, "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": [_alerts()]},
        "panels": _panels(),
    }


def _variables() -> List[Dict[str, Any]]:
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    job = {
        "name": "job",
        "label": "Job",
        "type": "query",
        "datasource": SOURCE,
        "query": "label_values(orders_consumers, job)",
        "refresh": 2,
    }
    return [source, job]


def _alerts() -> Dict[str, Any]:
    return {
        "name": "Alerts",
        "enable": True,
        "datasource": SOURCE,
        "expr": 'ALERTS{alertname=~"Orders.*", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "iconColor": "red",
    }


def _panels() -> List[Dict[str, Any]]:
    found: List[Dict[str, Any]] = []
    y = 0
    for row in ROWS:
        found.append(_heading(row, len(found) + 1, y))
        x = 0
        for panel in row.panels:
            found.append(_graph(panel, len(found) + 1, {"x": x, "y": y + 1, "w": panel.width, "h": HEIGHT}))
            x += panel.width
        y += 1 + HEIGHT
    return found


def _heading(row: Row, number: int, y: int) -> Dict[str, Any]:
    place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
    return {
        "id": number,
        "type": "row",
        "title": row.title,
        "collapsed": False,
        "gridPos": place,
        "panels": [],
    }


def _graph(panel: Panel, number: int, place: Dict[str, int]) -> Dict[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
        for index, (expr, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.meaning,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
