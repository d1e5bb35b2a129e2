"""OpenTelemetry, to the end: one trace from the producer to the dead letter, through a real Kafka."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.support.pipeline import Pipeline

pytest.importorskip("opentelemetry.sdk", reason="the SDK has no wheel for this Python")
pytestmark = pytest.mark.broker

SET_UP = """
import os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

out = open(os.path.join({folder!r}, f"{{os.getpid()}}.spans"), "a")
exporter = ConsoleSpanExporter(out=out, formatter=lambda span: span.to_json(indent=None) + "\\n")
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
"""
"""Found by Python at its start, as that of `opentelemetry-instrument` is."""


def test_one_trace_leads_from_the_producer_to_the_dead_letter(
    pipeline: Callable[..., Pipeline], tmp_path: Path
) -> None:
    """And settlements are linked to the calls. The scripts were told nothing."""
    (tmp_path / "sitecustomize.py").write_text(SET_UP.format(folder=str(tmp_path)), encoding="utf-8")
    shop = pipeline(PYTHONPATH=str(tmp_path))
    shop.publish([("A1", "C"), ("POISON-1", "D")])
    shop.drain("poison_is_rejected")

    found = [json.loads(line) for file in tmp_path.glob("*.spans") for line in file.read_text().splitlines()]
    (dead,) = of(found, f"send {shop.dlq_topic}")
    same = [span for span in found if span["context"]["trace_id"] == dead["context"]["trace_id"]]
    assert sorted(span["name"] for span in same) == sorted(
        [f"send {shop.orders_topic}", f"process {shop.orders_topic}", f"send {shop.dlq_topic}"]
    )
    (sent,), calls = of(same, f"send {shop.orders_topic}"), of(found, f"process {shop.orders_topic}")
    assert {span["parent_id"] for span in same} == {None, sent["context"]["span_id"]}
    assert sorted(span["attributes"]["orderflow.outcome"] for span in calls) == ["rejected", "succeeded"]
    links = [link for span in of(found, f"settle {shop.orders_topic}") for link in span["links"]]
    assert {link["context"]["span_id"] for link in links} == {span["context"]["span_id"] for span in calls}


def of(spans: List[Dict[str, Any]], name: str) -> List[Dict[str, Any]]:
    """Those with this name."""
    return [span for span in spans if span["name"] == name]
