"""Delivers orders to a handler as a consumer would, one after the other, and tells the fate of each."""

import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple, Union

from orderflow.avro.codec import OrderDecoder, OrderEncoder, order_reader
from orderflow.avro.codec import single_object_prefix as prefix_of
from orderflow.avro.schema_store import READER_PATH, VERSIONS_DIR, SchemaStore
from orderflow.cli.values import UNLIMITED
from orderflow.consume.engine import Engine, Settings
from orderflow.consume.handler import Handler, require_handler_or_factory
from orderflow.consume.life_cycle import LifeCycle
from orderflow.consume.outcomes import Business, Destination
from orderflow.consume.own_rules import require_usable_rules
from orderflow.consume.publications import Targets
from orderflow.consume.restoring import Limits, Terms
from orderflow.consume.retry import Policy
from orderflow.consume.world import World
from orderflow.errors import Failure
from orderflow.model import dead_letter
from orderflow.model.orders import Order, OrderRules, own_rules
from orderflow.model.records import Headers, Outgoing
from orderflow.produce.record_key import key_bytes
from orderflow.testing.memory import RESULTS, Clock, MemorySession, Topic, engine_on

Given = Union[Order, bytes, None]
"""What is delivered: an order, to be encoded, or the bytes of a record as they are (None: a tombstone)."""

MAX_ORDER_BYTES = 1_048_576
MOST_STEPS = 100_000
OUTAGE_WINDOW_S = 60.0
TOPIC_ID = "in-memory"
UNKNOWN_SCHEMA_BACKOFF_S = 300.0


class Result(NamedTuple):
    """One record that the handler had published."""

    topic: str
    key: Optional[bytes]
    value: Optional[bytes]
    headers: Headers

    def json(self) -> Any:
        """Its value, decoded from JSON."""
        return json.loads(self.value or b"null")


class DeadLetter(NamedTuple):
    """Why an order could not be processed, as its dead letter says it."""

    reason: str
    """The reason code, such as `process.rejected`."""
    error_class: str
    message: str
    record: Outgoing
    """The whole dead letter as it would be sent."""


class Fate(NamedTuple):
    """What became of one order."""

    attempts: int
    """How often it was tried, as its dead letter says it. 1 for one that was refused before any call."""
    failures: Tuple[Failure, ...]
    """Each failure that was followed by a retry."""
    results: Tuple[Result, ...]
    dead_letter: Optional[DeadLetter]
    """None if it was processed."""
    waited_s: float
    """How long it waited for all its retries. None of it was really waited."""

    @property
    def processed(self) -> bool:
        """Whether it was processed, at whichever attempt."""
        return self.dead_letter is None

    @property
    def dead_lettered(self) -> Optional[str]:
        """The reason code of its dead letter; None if it was processed."""
        return None if self.dead_letter is None else self.dead_letter.reason

    @property
    def retries(self) -> int:
        """How often it waited for another try."""
        return len(self.failures)


def deliver(
    handler: Handler,
    orders: Iterable[Given],
    *,
    schema: Union[str, Path, None] = None,
    rules: Optional[Callable[[Order], Any]] = None,
    key: Optional[str] = None,
    headers: Sequence[Tuple[str, Optional[bytes]]] = (),
    max_retries: Union[int, str] = 3,
    retry_backoff_s: float = 5.0,
    retry_backoff_max_s: float = 60.0,
    processed_topic: Optional[str] = RESULTS,
) -> List[Fate]:
    """Deliver each order to the handler, one after the other, and return the fate of each.

    Orders are encoded, decoded, judged by the rules, called, retried and given up by the same code as in
    consumer.py. Time is made up: waits cost none. Every order meets an engine of its own, so that it is not
    taken for a part of an outage. A factory is opened before the first order and closed after the last; async
    handlers run on an event loop.

    `schema`: the path of the orders' schema, whose older versions are found in the folder `schemas`
    beside it; the shipped one if left out. `rules`: a function as RULES names it. `key`: the field that
    is the record's key, `order_id` where the schema has it. `processed_topic`: None for a consumer
    without PROCESSED_TOPIC, as they are unless it is set: plain results are dropped, and a Publish has to
    name its topic. The other settings are those of the same name in config.py.

    Raises HandlerUnusable for a handler or rules that a consumer would refuse at its start.
    """
    name = getattr(handler, "__name__", repr(handler))
    require_handler_or_factory(handler, name)
    find_rules = _finding(rules)
    policy = Policy(_retries(max_retries), retry_backoff_s, retry_backoff_max_s)
    life = LifeCycle(handler, name)
    try:
        sent = _Sent(processed_topic, list(headers))
        counter = _Counter(life, _schemas(schema), find_rules, policy, sent)
        return [counter.serve(number, order, key) for number, order in enumerate(orders)]
    finally:
        life.close()


def _schemas(given: Union[str, Path, None]) -> SchemaStore:
    """That schema, and the older versions in the folder beside it."""
    path = READER_PATH if given is None else Path(given)
    return SchemaStore(path, path.with_name(VERSIONS_DIR.name), hold_s=UNKNOWN_SCHEMA_BACKOFF_S)


def _retries(given: Union[int, str]) -> int:
    if isinstance(given, int):
        return given
    if given != "unlimited":
        raise ValueError(f"max_retries: {given!r} is neither a whole number nor 'unlimited'")
    return UNLIMITED


class _Sent(NamedTuple):
    """What goes with each order, and where its results go."""

    processed_topic: Optional[str]
    headers: Headers


class _Counter:
    """Where orders are handed over, each with a topic and an engine of its own."""

    def __init__(
        self,
        life: LifeCycle,
        schemas: SchemaStore,
        find_rules: Optional[Callable[[], OrderRules]],
        policy: Policy,
        sent: _Sent,
    ) -> None:
        self._policy = policy
        self._sent = sent
        self._encode = OrderEncoder(schemas.reader, prefix_of(schemas.reader)).encode
        decoder = OrderDecoder(schemas.reader, schemas.find_writer, MAX_ORDER_BYTES, find_rules)
        self._business = Business(
            order_reader(decoder), life.open(), decoder.writer_of, keep_stack=False, topic_id=TOPIC_ID
        )._replace(loop=life.calls_on)

    def serve(self, number: int, order: Given, key: Optional[str]) -> Fate:
        """Deliver one order, at its number as the offset."""
        topic = Topic()
        topic.leave_hole(0, number)
        value = self._encode(order) if isinstance(order, dict) else order
        topic.append(0, self._key(order, key), value, self._sent.headers)
        story, session = _Story(topic), MemorySession(topic)
        engine = self._engine(session, topic.clock, story)
        for _ in range(MOST_STEPS):
            engine.loop.step()
            if session.assigned and engine.loop.is_drained:
                return story.fate()
            topic.clock.pass_by(_next_due_s(engine) - topic.clock())
        raise AssertionError(f"no fate after {MOST_STEPS} steps: {story.failures[-1:]}")

    def _key(self, order: Given, key: Optional[str]) -> Optional[bytes]:
        if not isinstance(order, dict):
            return None
        field = key or ("order_id" if "order_id" in order else None)
        return None if field is None else key_bytes(order[field])

    def _engine(self, session: MemorySession, clock: Clock, story: "_Story") -> Engine:
        world = World(clock, clock.time_of_day, lambda: 0.5, story.report)
        targets = Targets(self._sent.processed_topic, MAX_ORDER_BYTES, lambda topic: MAX_ORDER_BYTES)
        destination = Destination(targets, "group", "test")
        limits = Terms(Limits(10_000, 64 * MAX_ORDER_BYTES))
        settings = Settings(self._policy, OUTAGE_WINDOW_S, limits, lambda: None)
        return engine_on(session, self._business, destination, settings, world)


def _next_due_s(engine: Engine) -> float:
    """When the waiting order may be called again; 0 if none waits."""
    dues_s = [partition.ledger.next_due_s() for partition in engine.assignment.ready.values()]
    return min((due_s for due_s in dues_s if due_s is not None), default=0.0)


def _finding(rules: Optional[Callable[[Order], Any]]) -> Optional[Callable[[], OrderRules]]:
    if rules is None:
        return None
    name = getattr(rules, "__name__", repr(rules))
    require_usable_rules(rules, name)
    found = own_rules(rules, name)
    return lambda: found


class _Story:
    """What the engine reports of one order, and what it sends."""

    def __init__(self, topic: Topic) -> None:
        self.failures: List[Failure] = []
        self._waited_s = 0.0
        self._topic = topic

    def report(self, event: str, **fields: Any) -> None:
        """An event of the engine."""
        if event == "retry":
            self.failures.append(fields["failure"])
            self._waited_s += fields["delay_s"]

    def fate(self) -> Fate:
        """The end of it, once everything is settled."""
        # Told from a dead letter by its source: a handler may send a result to any topic.
        dead = [_read(record) for record in self._topic.sent if record.source is None]
        results = [record for record in self._topic.sent if record.source is not None]
        tried = int(_header(dead[0].record, dead_letter.DELIVERY_COUNT)) if dead else len(self.failures) + 1
        return Fate(
            tried,
            tuple(self.failures),
            tuple(Result(record.topic, record.key, record.value, record.headers) for record in results),
            dead[0] if dead else None,
            self._waited_s,
        )


def _read(record: Outgoing) -> DeadLetter:
    return DeadLetter(
        _header(record, dead_letter.REASON),
        _header(record, dead_letter.CLASS),
        _header(record, dead_letter.MESSAGE),
        record,
    )


def _header(record: Outgoing, name: str) -> str:
    headers: Dict[str, Optional[bytes]] = dict(record.headers)
    return (headers.get(name) or b"").decode()
