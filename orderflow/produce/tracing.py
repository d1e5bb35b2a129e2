"""OpenTelemetry spans of what is published: one for each order, whose context the order carries."""

from typing import TYPE_CHECKING, Any, Callable, Optional

from orderflow.kafka.trace_context import Operation, headers_of

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

Produce = Callable[..., Any]
"""Takes topic, value and key of a record to be sent, then perhaps its partition and who is told its fate."""


def traced(produce: Callable[..., Any], tracer: "Tracer") -> Produce:
    """The client's `produce`, with a span for each record; below the current one, if there is one.

    The span ends when the client has taken the record, which it sends by itself.
    """
    from opentelemetry.trace import SpanKind, Status, StatusCode

    def produce_traced(topic: str, value: Optional[bytes], key: Optional[bytes], *more: Any) -> None:
        operation = Operation("send", topic)
        span = tracer.start_span(operation.name, kind=SpanKind.PRODUCER, attributes=operation.attributes)
        try:
            produce(topic, value, key, *more, headers=headers_of(span))
        except BufferError:  # it is offered again, and has another span then: this one never ends
            raise
        except Exception as error:
            span.record_exception(error)
            span.set_status(Status(StatusCode.ERROR))
            span.end()
            raise
        span.end()

    return produce_traced
