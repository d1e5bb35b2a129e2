"""OpenTelemetry, where a program uses it: its tracer, and the trace context that records carry in headers.

The package is optional. It is looked for among what is imported already: whoever wants spans sets up a tracer
provider before, as `opentelemetry-instrument` does, or in the module of the handler.
"""

import sys
from typing import TYPE_CHECKING, Dict, NamedTuple, Optional, Sequence

from orderflow.model.records import Header, Headers
from orderflow.version import VERSION

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, Tracer

SYSTEM = {"messaging.system": "kafka"}


def find_tracer() -> "Optional[Tracer]":
    """A tracer; None unless a tracer provider has been set up in this process."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return provider.get_tracer("orderflow", VERSION)


def context_in(headers: Sequence[Header]) -> "Context":
    """The context that headers carry (`traceparent`); one without a span if they carry none."""
    from opentelemetry import propagate
    from opentelemetry.context import Context

    carrier: Dict[str, str] = {
        name: value.decode("latin-1")
        for name, value in headers
        if value is not None and name in propagate.get_global_textmap().fields
    }
    return propagate.extract(carrier, Context())


def headers_of(span: "Span") -> Headers:
    """The headers that carry this span's context."""
    from opentelemetry import propagate, trace

    carrier: Dict[str, str] = {}
    propagate.inject(carrier, trace.set_span_in_context(span))
    return [(name, value.encode()) for name, value in carrier.items()]


class Operation(NamedTuple):
    """What a span is of, by the semantic conventions for messaging."""

    kind: str
    """`send`, `process` or `settle`."""
    topic: str

    @property
    def name(self) -> str:
        """The span's."""
        return f"{self.kind} {self.topic}"

    @property
    def attributes(self) -> Dict[str, str]:
        """What every span of its kind has."""
        return {
            **SYSTEM,
            "messaging.operation.name": self.kind,
            "messaging.operation.type": self.kind,
            "messaging.destination.name": self.topic,
        }
