"""OpenTelemetry spans of the consumer: of each handler call, of each settlement, of each dead letter.

Nothing here is used, and nothing of OpenTelemetry imported, unless a tracer provider was set up. Then handler
and session are replaced by ones that make spans; whoever calls them does not know.
"""

import inspect
import traceback
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Deque, Dict, Iterator, List, Optional, Sequence, Type

from orderflow.consume.handler import Delivery, Handler, Order, is_async, wants_delivery
from orderflow.consume.masked_events import NOTHING_HIDDEN, EventMask
from orderflow.consume.results import require_outcome
from orderflow.consume.session import Session
from orderflow.consume.settlement import Offsets, Outcome, Settlement
from orderflow.errors import describe
from orderflow.kafka.trace_context import Operation, context_in, find_tracer
from orderflow.model.dead_letter import DELIVERY_COUNT, REASON, STAGE
from orderflow.model.hidden import TextKind, Words
from orderflow.model.records import Headers, Outgoing

if TYPE_CHECKING:
    from opentelemetry.trace import Link, Span, Tracer

MOST_LINKS = 128
"""As many as the SDK keeps of a span by default."""
TOLD = {REASON: "orderflow.reason", STAGE: "orderflow.stage", DELIVERY_COUNT: "orderflow.attempts"}
"""The headers of a dead letter that its span has as attributes."""


class Tracing:
    """Makes the spans of one consumer."""

    def __init__(
        self, tracer: "Tracer", group: str, dlq_topic: str, mask: EventMask = NOTHING_HIDDEN
    ) -> None:
        self._tracer = tracer
        self._group = group
        self._dlq_topic = dlq_topic
        self._mask = mask
        self._handled: Deque[Link] = deque(maxlen=MOST_LINKS)
        """To the calls since the last settlement; threads add to it."""

    # --- calls -----------------------------------------------------------------------------------

    def handler(self, function: Handler) -> Handler:
        """The handler, each call in a span that continues the trace of its order."""
        both = wants_delivery(function)

        def call(order: Order, delivery: Delivery) -> Any:
            span = self._begin(order, delivery)
            try:
                result = function(order, delivery) if both else function(order)
                require_outcome(result)
            except BaseException as error:
                span.failed(error)
                raise
            span.succeeded()
            return result

        async def call_async(order: Order, delivery: Delivery) -> Any:
            span = self._begin(order, delivery)
            try:
                result = function(order, delivery) if both else function(order)
                if inspect.isawaitable(result):
                    result = await result
                require_outcome(result)
            except BaseException as error:
                span.failed(error)
                raise
            span.succeeded()
            return result

        return call_async if is_async(function) else call

    def _begin(self, order: Order, delivery: Delivery) -> "_Call":
        from opentelemetry.trace import Link, SpanKind

        operation = Operation("process", delivery.topic)
        headers: Headers = [] if delivery.headers_left_out is not None else delivery.headers
        attributes = {**operation.attributes, **self._place_of(delivery)}
        span = self._tracer.start_span(operation.name, context_in(headers), SpanKind.CONSUMER, attributes)
        self._handled.append(Link(span.get_span_context()))
        # Now, as the handler may change the order.
        return _Call(span, self._mask.words(order, delivery.key))

    def _place_of(self, delivery: Delivery) -> Dict[str, Any]:
        return {
            "messaging.consumer.group.name": self._group,
            "messaging.destination.partition.id": str(delivery.partition),
            "messaging.kafka.offset": delivery.offset,
            "messaging.message.id": delivery.id,
            "orderflow.attempt": delivery.attempt,
        }

    # --- settlements -----------------------------------------------------------------------------

    def session(self, kind: Type[Any] = Session) -> Type[Any]:
        """A session of this kind, each of whose settlements is in a span."""
        tracing = self

        class TracedSession(kind):  # type: ignore[misc]
            """The session, each settlement in a span."""

            def commit(self, offsets: Offsets) -> Settlement:
                with tracing._settling(self.topic, offsets, ()) as told:
                    told.append(super().commit(offsets))
                return told[0]

            def send(
                self,
                outgoing: Sequence[Outgoing],
                offsets: Offsets,
                member: Any,
                pages: Sequence[Outgoing] = (),
            ) -> Settlement:
                with tracing._settling(self.topic, offsets, outgoing) as told:
                    told.append(super().send(outgoing, offsets, member, pages))
                return told[0]

        return TracedSession

    @contextmanager
    def _settling(
        self, topic: str, offsets: Offsets, outgoing: Sequence[Outgoing]
    ) -> Iterator[List[Settlement]]:
        """A span; whoever makes the settlement adds its outcome to the list."""
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind

        operation = Operation("settle", topic)
        dead = [record for record in outgoing if record.topic == self._dlq_topic]
        attributes: Dict[str, Any] = {
            **operation.attributes,
            "messaging.consumer.group.name": self._group,
            "orderflow.partitions": len(offsets),
            "orderflow.results": len(outgoing) - len(dead),
            "orderflow.dead_letters": len(dead),
        }
        told: List[Settlement] = []
        with self._tracer.start_as_current_span(
            operation.name, Context(), SpanKind.CLIENT, attributes, self._take_handled()
        ) as span:
            yield told
            _note_outcome(span, told[0])
        if told[0].outcome in (Outcome.SETTLED, Outcome.SENT):
            for record in dead:
                self._dead_lettered(record)

    def _take_handled(self) -> "List[Link]":
        return [self._handled.popleft() for _ in range(len(self._handled))]

    def _dead_lettered(self, record: Outgoing) -> None:
        """A span in the trace of the order that was dead-lettered."""
        from opentelemetry.trace import SpanKind, Status, StatusCode

        operation, carried = Operation("send", record.topic), dict(record.headers)
        words = self._mask.words_within(record.value, record.key)
        told = {name: (carried.get(header) or b"").decode() for header, name in TOLD.items()}
        about = {name: words.out_of_text(text, TextKind.ANY) for name, text in told.items()}
        span = self._tracer.start_span(
            operation.name,
            context_in(record.headers),
            SpanKind.PRODUCER,
            {**operation.attributes, "messaging.consumer.group.name": self._group, **about},
        )
        span.set_status(Status(StatusCode.ERROR, about["orderflow.reason"]))
        span.end()


class _Call:
    """The span of a call, current from now on.

    No context manager, which would leave its own frames in the traceback of what the handler raises.
    """

    def __init__(self, span: "Span", hidden: Words) -> None:
        from opentelemetry import context, trace

        self._span = span
        self._hidden = hidden
        self._before = context.attach(trace.set_span_in_context(span))

    def succeeded(self) -> None:
        """The call has returned."""
        self._end("succeeded")

    def failed(self, error: BaseException) -> None:
        """It has raised; an order that the handler asked to have back later has not failed."""
        from opentelemetry.trace import Status, StatusCode

        failure = describe(error)
        reason = self._hidden.out_of_text(failure.reason, TextKind.ANY)
        self._span.set_attribute("orderflow.reason", reason)
        if failure.asked_for:
            self._end("postponed")
            return
        stack = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        told = {"exception.message": failure.message, "exception.stacktrace": stack}
        masked = {name: self._hidden.out_of_text(text) for name, text in told.items()}
        self._span.record_exception(error, masked)
        self._span.set_attribute("error.type", failure.error_class)
        self._span.set_status(Status(StatusCode.ERROR, reason))
        self._end("failed" if failure.retryable else "rejected")

    def _end(self, outcome: str) -> None:
        from opentelemetry import context

        self._span.set_attribute("orderflow.outcome", outcome)
        self._span.end()
        context.detach(self._before)


def _note_outcome(span: "Span", settlement: Settlement) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("orderflow.outcome", settlement.outcome.name.lower())
    if settlement.outcome not in (Outcome.SETTLED, Outcome.SENT):
        span.set_attribute("error.type", settlement.outcome.name.lower())
        span.set_status(Status(StatusCode.ERROR, settlement.detail))


def find_tracing(group: str, dlq_topic: str, mask: EventMask = NOTHING_HIDDEN) -> Optional[Tracing]:
    """What makes spans; None unless a tracer provider has been set up."""
    tracer = find_tracer()
    return None if tracer is None else Tracing(tracer, group, dlq_topic, mask)
