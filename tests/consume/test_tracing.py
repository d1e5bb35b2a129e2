"""OpenTelemetry spans, where a tracer provider has been set up: of calls, settlements and dead letters."""

import asyncio
import json
import subprocess
import sys
import threading
from typing import Any, Callable, Dict, FrozenSet, Iterator, List, Sequence

import pytest
from confluent_kafka import KafkaException

from orderflow.consume.handler import Delivery, DeliveryWithoutHeaders
from orderflow.consume.masked_events import EventMask
from orderflow.consume.retry import Policy
from orderflow.consume.settlement import Outcome, Settlement
from orderflow.consume.tracing import MOST_LINKS, Tracing
from orderflow.errors import RejectOrder, RetryLater
from orderflow.frames import frame_of, roots_of
from orderflow.model.dead_letter import REASON
from orderflow.model.records import Headers, Outgoing
from orderflow.produce.tracing import traced
from tests.support.pipeline import ROOT
from tests.support.scripted_session import DEAD_LETTERS, ORDERS, Answer, Life, ScriptedSession, Topic

pytest.importorskip("opentelemetry.sdk", reason="the SDK has no wheel for this Python")

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CARRIED: Headers = [("traceparent", f"00-{TRACE}-{PARENT}-01".encode())]


class Spans:
    """A tracer whose spans can be looked at."""

    def __init__(self, hidden: FrozenSet[str] = frozenset()) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        mask = EventMask(hidden, lambda value: json.loads(value or b""))
        self.tracing = Tracing(self.provider.get_tracer("test"), "shop", "orders-dlq", mask)

    def ended(self) -> Sequence[ReadableSpan]:
        """All that have ended, in that order."""
        return self._exporter.get_finished_spans()


@pytest.fixture
def spans() -> Iterator[Spans]:
    """A tracer of the test's own."""
    made = Spans()
    yield made
    made.provider.shutdown()


def delivery(headers: Sequence[Any] = (), attempt: int = 1) -> Delivery:
    """Of an order with these headers."""
    return Delivery("T-0-41", "orders", 0, 41, b"ann", list(headers), None, attempt)


def outcome_of(span: ReadableSpan) -> Any:
    """What it says came of the call or settlement."""
    return (span.attributes or {})["orderflow.outcome"]


# --- calls


def test_a_call_continues_the_trace_of_its_order(spans: Spans) -> None:
    """And says which order it was, and which attempt."""
    seen: List[int] = []

    def handle(order: Dict[str, Any]) -> str:
        seen.append(trace.get_current_span().get_span_context().trace_id)
        return "done"

    assert spans.tracing.handler(handle)({}, delivery(CARRIED, attempt=2)) == "done"

    (span,) = spans.ended()
    assert (span.name, span.kind, outcome_of(span)) == ("process orders", SpanKind.CONSUMER, "succeeded")
    assert span.parent is not None
    assert (f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, PARENT)
    assert seen == [int(TRACE, 16)], "the handler runs inside it"
    attributes = dict(span.attributes or {})
    assert attributes["messaging.kafka.offset"] == 41
    assert attributes["messaging.consumer.group.name"] == "shop"
    assert attributes["orderflow.attempt"] == 2
    assert not trace.get_current_span().get_span_context().is_valid, "and only the handler"


@pytest.mark.parametrize(
    "headers",
    [[], [("traceparent", None)], [("traceparent", b"\xff")], [("traceparent", b"00-0-0-01")], [("x", b"y")]],
)
def test_an_order_without_a_context_begins_a_trace(spans: Spans, headers: Headers) -> None:
    """So does one whose context is nonsense."""
    spans.tracing.handler(lambda order: None)({}, delivery(headers))

    assert spans.ended()[0].parent is None


def test_an_order_whose_headers_cannot_be_read_has_a_span_too(spans: Spans) -> None:
    """To ask for them would dead-letter it."""
    unreadable = DeliveryWithoutHeaders(*delivery()[:-1], headers_left_out="not UTF-8")
    spans.tracing.handler(lambda order: None)({}, unreadable)

    assert outcome_of(spans.ended()[0]) == "succeeded"


@pytest.mark.parametrize(
    ("error", "outcome", "reason", "status", "events"),
    [
        (ValueError("no"), "failed", "process.failed", StatusCode.ERROR, ["exception"]),
        (RejectOrder("no"), "rejected", "process.rejected", StatusCode.ERROR, ["exception"]),
        (RetryLater("closed", after=5), "postponed", "process.retry_later", StatusCode.UNSET, []),
        (KeyboardInterrupt(), "failed", "process.failed", StatusCode.ERROR, ["exception"]),
    ],
)
def test_what_a_call_raises_is_recorded_and_raised(
    spans: Spans, error: BaseException, outcome: str, reason: str, status: StatusCode, events: List[str]
) -> None:
    """An order that is asked for again later has not failed. Where it began stays what it was."""

    def handle(order: Dict[str, Any], delivery: Delivery) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        spans.tracing.handler(handle)({}, delivery())

    (span,) = spans.ended()
    assert (outcome_of(span), (span.attributes or {})["orderflow.reason"]) == (outcome, reason)
    assert (span.status.status_code, [event.name for event in span.events]) == (status, events)
    assert "in handle" in (frame_of(raised.value, roots_of(raised.value)) or "")


def test_what_is_hidden_is_in_no_span() -> None:
    """Neither what the handler raised and quoted, nor its reason; and it changed its order before."""
    spans, order = Spans(frozenset({"email"})), {"email": "anna@shop.example", "item": "CD"}
    value = json.dumps(order).encode()

    def handle(order: Dict[str, Any]) -> None:
        email = order.pop("email")
        try:
            raise KeyError(email)
        except KeyError as error:
            raise RejectOrder(f"{email} wants no CD", reason=f"process.of_{email}") from error

    with pytest.raises(RejectOrder):
        spans.tracing.handler(handle)(order, delivery())
    life = Life(Topic(), lambda order: None, connect=spans.tracing.session(ScriptedSession))
    headers: Headers = [(REASON, b"process.of_anna@shop.example")]
    life.session.send([Outgoing(DEAD_LETTERS, b"ann", value, headers)], {0: (1, "")}, None)

    told = [span.to_json() for span in spans.ended()]
    assert len(told) >= 2 and not [text for text in told if "anna@shop.example" in text]
    assert "wants no CD" in told[0], "the rest is told"


def test_a_result_whose_work_has_not_been_done_is_a_failure(spans: Spans) -> None:
    """As it is for the engine."""
    with pytest.raises(Exception, match="returned"):
        spans.tracing.handler(lambda order: (each for each in order))({}, delivery())

    assert (
        outcome_of(spans.ended()[0]) == "rejected" or spans.ended()[0].status.status_code is StatusCode.ERROR
    )


def test_calls_of_threads_do_not_mix(spans: Spans) -> None:
    """Each thread has its own current span."""
    barrier = threading.Barrier(8)

    def handle(order: Dict[str, Any]) -> None:
        barrier.wait(20)
        with spans.provider.get_tracer("shop").start_as_current_span(f"charge {order['id']}"):
            barrier.wait(20)

    traced = spans.tracing.handler(handle)
    threads = [threading.Thread(target=traced, args=({"id": n}, delivery(attempt=n + 1))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    _assert_each_charge_is_in_its_call(spans.ended(), 8)


def test_calls_of_an_event_loop_do_not_mix(spans: Spans) -> None:
    """They are under way at the same time, and in one thread."""

    async def handle(order: Dict[str, Any]) -> None:
        await asyncio.sleep(0)
        with spans.provider.get_tracer("shop").start_as_current_span(f"charge {order['id']}"):
            await asyncio.sleep(0.001)

    traced = spans.tracing.handler(handle)
    assert asyncio.iscoroutinefunction(traced)

    async def all_of_them() -> None:
        await asyncio.gather(*(traced({"id": number}, delivery(attempt=number + 1)) for number in range(8)))

    asyncio.run(all_of_them())

    _assert_each_charge_is_in_its_call(spans.ended(), 8)


def _assert_each_charge_is_in_its_call(ended: Sequence[ReadableSpan], calls: int) -> None:
    numbers = {
        span.context.span_id: (span.attributes or {})["orderflow.attempt"]
        for span in ended
        if span.name == "process orders" and span.context is not None
    }
    charges = [span for span in ended if span.name.startswith("charge")]
    assert len(charges) == len(numbers) == calls
    for span in charges:
        assert span.parent is not None
        assert span.name == f"charge {int(str(numbers[span.parent.span_id])) - 1}"


# --- settlements


def shop(spans: Spans, handler: Callable[..., Any], **options: Any) -> Life:
    """The real engine, traced."""
    topic = Topic()
    traced = spans.tracing.handler(handler)
    return Life(topic, traced, connect=spans.tracing.session(ScriptedSession), **options)


def settled(spans: Spans) -> List[ReadableSpan]:
    """The settlements so far."""
    return [span for span in spans.ended() if span.name == f"settle {ORDERS}"]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_settlement_is_linked_to_the_calls_that_it_settles(
    spans: Spans, workers: int, is_async: bool
) -> None:
    """Inline, by threads and on a loop: every call has its span, every one is linked to once."""

    def handle(order: Any) -> None:
        pass

    async def handle_async(order: Any) -> None:
        await asyncio.sleep(0)

    life = shop(spans, handle_async if is_async else handle, workers=workers)
    for number in range(20):
        life.topic.append(0, b"key%d" % number, b"value", CARRIED)
    life.drain().close()

    calls = [
        span.context.span_id for span in spans.ended() if span.kind is SpanKind.CONSUMER and span.context
    ]
    links = [link.context.span_id for span in settled(spans) for link in span.links]
    assert len(calls) == 20
    assert sorted(links) == sorted(calls)
    assert {outcome_of(span) for span in settled(spans)} == {"settled"}
    assert {span.parent for span in settled(spans)} == {None}


def test_an_order_shows_its_attempts_and_its_dead_letter_in_one_trace(spans: Spans) -> None:
    """Each call by its number, then the dead letter with its reason."""

    def handle(order: Any) -> None:
        raise ValueError("no")

    life = shop(spans, handle, policy=Policy(2, 1.0, 1.0))
    life.topic.append(0, b"key", b"value", CARRIED)
    life.drain()

    trace_of_order = [
        span for span in spans.ended() if span.context and span.context.trace_id == int(TRACE, 16)
    ]
    *calls, dead = trace_of_order
    assert [(span.attributes or {})["orderflow.attempt"] for span in calls] == [1, 2, 3]
    assert {outcome_of(span) for span in calls} == {"failed"}
    assert (dead.name, dead.kind) == (f"send {DEAD_LETTERS}", SpanKind.PRODUCER)
    about = dict(dead.attributes or {})
    assert (about["orderflow.reason"], about["orderflow.attempts"]) == ("process.retries_exhausted", "3")
    (letter,) = life.topic.of(DEAD_LETTERS)
    assert CARRIED[0] in letter.headers, "which a replay passes on"


def test_a_settlement_that_failed_says_so(spans: Spans) -> None:
    """And the dead letter is told of when it is there."""

    def handle(order: Any) -> None:
        raise RejectOrder("no")

    life = shop(spans, handle)
    life.session.answers.append(Answer(Settlement(Outcome.REFUSED, "no right")))
    life.topic.append(0, b"key", b"value", CARRIED)
    life.drain()

    assert "refused" in [outcome_of(span) for span in settled(spans)]
    (refused,) = [span for span in settled(spans) if outcome_of(span) == "refused"]
    assert (refused.status.status_code, refused.status.description) == (StatusCode.ERROR, "no right")
    assert len([span for span in spans.ended() if span.name == f"send {DEAD_LETTERS}"]) == 1


def test_links_are_bounded(spans: Spans) -> None:
    """A settlement of a thousand orders has as many as the SDK keeps."""
    life = shop(spans, lambda order: None)
    for _ in range(MOST_LINKS * 3):
        life.topic.put(0, None, b"value")
    life.drain()

    assert max(len(span.links) for span in settled(spans)) <= MOST_LINKS


# --- what is published


def test_what_is_published_carries_the_context_of_its_span(spans: Spans) -> None:
    """Below the current span, if there is one."""
    sent: List[Any] = []

    def produce(topic: str, value: Any, key: Any, headers: Any) -> None:
        sent.append((topic, value, key, dict(headers)))

    tracer = spans.provider.get_tracer("test")
    with tracer.start_as_current_span("import"):
        traced(produce, tracer)("orders", b"value", b"key")

    order, whole = spans.ended()
    assert order.context is not None and order.parent is not None and whole.context is not None
    assert order.parent.span_id == whole.context.span_id
    ((topic, value, key, headers),) = sent
    assert (topic, value, key) == ("orders", b"value", b"key")
    place = f"00-{order.context.trace_id:032x}-{order.context.span_id:016x}-"
    assert headers["traceparent"].decode().startswith(place)


@pytest.mark.parametrize(("error", "ended"), [(BufferError(), 0), (KafkaException("no"), 1)])
def test_what_the_client_does_not_take_is_told_to_whoever_publishes(
    spans: Spans, error: Exception, ended: int
) -> None:
    """While its queue is full, an order is offered again and again: that is no failure, and no span."""

    def produce(topic: str, value: Any, key: Any, headers: Any) -> None:
        raise error

    with pytest.raises(type(error)):
        traced(produce, spans.provider.get_tracer("test"))("orders", b"value", b"key")

    assert [span.status.status_code for span in spans.ended()] == [StatusCode.ERROR] * ended


# --- off, unless somebody wants it

FOUND = """
import sys
{before}
import consumer, producer
from orderflow.consume.tracing import find_tracing
print(find_tracing("group", "dlq") is not None, "opentelemetry" in sys.modules)
"""
PROVIDER = "from opentelemetry import trace; from opentelemetry.sdk.trace import TracerProvider; "


@pytest.mark.parametrize(
    ("before", "is_on", "is_imported"),
    [
        ("", False, False),
        ("from opentelemetry import trace", False, True),
        (PROVIDER + "trace.set_tracer_provider(trace.NoOpTracerProvider())", False, True),
        (PROVIDER + "trace.set_tracer_provider(TracerProvider())", True, True),
    ],
)
def test_spans_are_off_unless_a_provider_was_set_up(before: str, is_on: bool, is_imported: bool) -> None:
    """The scripts themselves import nothing of it."""
    code = FOUND.format(before=before)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)

    assert ended.stdout.split() == [str(is_on), str(is_imported)], ended.stderr
