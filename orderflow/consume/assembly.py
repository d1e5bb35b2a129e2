"""Assembles a consumer from its settings: its clients, its engine, and everything around them."""

import os
import random
import socket
import time
import uuid
from typing import Any, Dict, FrozenSet, List, NamedTuple, Optional, Tuple, Type

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer

from orderflow.avro.codec import OrderDecoder, order_reader
from orderflow.cli.outage import Outage
from orderflow.cli.signals import StopSignals
from orderflow.consume.client_config import (
    Clients,
    consumer_config,
    lasting_name,
    producer_config,
    require_plain_names,
    transactional_id,
)
from orderflow.consume.drain import Drain
from orderflow.consume.earlier_work import EarlierWork, last_dead
from orderflow.consume.engine import Engine, Sending, Settings
from orderflow.consume.event_loop import EventLoop
from orderflow.consume.handler import Handler
from orderflow.consume.kafka_watch import KafkaWatch, Topics
from orderflow.consume.ledger_topic import ledger_topic, require_few_retries
from orderflow.consume.ledger_watch import LedgerWatch
from orderflow.consume.masked_events import EventMask
from orderflow.consume.metrics import Metrics
from orderflow.consume.monitor import Monitor
from orderflow.consume.outcomes import Business, Destination
from orderflow.consume.pages import LedgerTopic
from orderflow.consume.progress import Display, Progress, Reports
from orderflow.consume.readiness import delay_of_start, until_ready
from orderflow.consume.reading_back import Recovery
from orderflow.consume.restoring import Connections, Limits, Terms
from orderflow.consume.retry import Policy
from orderflow.consume.run_log import RunLog
from orderflow.consume.run_settings import RunSettings
from orderflow.consume.service import End, Outlets, Service
from orderflow.consume.session import Session, partitions_from_end
from orderflow.consume.streams import HandlerStreams
from orderflow.consume.tracing import find_tracing
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.world import World
from orderflow.consume.written_topics import WrittenTopics
from orderflow.exits import CommandError, NotReady, UsageError
from orderflow.kafka import topics
from orderflow.kafka.client_properties import require_consistent
from orderflow.kafka.command_reader import CommandReader
from orderflow.kafka.ledger_pages import Group, LedgerPages
from orderflow.kafka.log_ends import LogEnds
from orderflow.kafka.topic_identity import Identity
from orderflow.model.commit_metadata import LONGEST_OWNER
from orderflow.model.hidden import hidden_names
from orderflow.shadowed import file_in_place_of
from orderflow.supervise.link import Link

LONGEST_CLIENT = LONGEST_OWNER - 9
"""Of a host and a process, where a random number follows."""

Opened = Tuple[Handler, Optional[EventLoop]]
"""A handler, and the event loop that it has to be called on if it is async."""


class Asked(NamedTuple):
    """What was asked of this run alone, besides the settings."""

    verbose: bool
    """A line for each processed order."""
    until_drained: bool
    """To end once every order in the topic at the start is done."""


class Cluster(NamedTuple):
    """What the topics and the group are like at the start."""

    topic_id: Optional[str]
    """Id of the orders topic; None of a Kafka that has none."""
    ledger_topic: Optional[LedgerTopic]
    from_end: FrozenSet[int]
    """Partitions that start at their end if nothing is committed for them."""


class Assembly:
    """Builds the parts of a consumer from the settings."""

    def __init__(
        self,
        settings: RunSettings,
        conf: Dict[str, Any],
        decoder: OrderDecoder,
        streams: HandlerStreams,
        log: RunLog,
        link: Optional[Link] = None,
    ) -> None:
        self._link = link
        self._progress: Optional[Progress] = None
        self._settings = settings
        self._conf = conf
        self._decoder = decoder
        self._streams = streams
        self.log = log
        self._mask = _mask(settings, decoder)
        self._world = World(time.monotonic, time.time, random.random, self.report)
        self._client = f"{socket.gethostname()}-{os.getpid()}"
        self._recovery = Recovery(settings.orders_topic, conf, settings.consumer_group)
        self._pages = LedgerPages(conf, settings.consumer_group)
        group = Group(settings.consumer_group, settings.orders_topic)
        self._inbox = CommandReader(conf, group, settings.ledger_topic)
        self._orders = Identity(conf, settings.orders_topic)
        self._ledger = LedgerWatch(
            lambda: Identity(conf, settings.ledger_topic),
            lambda: ledger_topic(
                conf, settings.ledger_topic, self._orders.partitions, settings.consumer_group
            ),
            time.monotonic,
            self.report,
        )
        self._written = WrittenTopics(conf, settings.dlq_topic, settings.processed_topic, self.report)

    def service(self, opened: Opened, asked: Asked, stop: StopSignals) -> Service:
        """The engine and everything around it, ready to run."""
        settings = self._settings
        metrics = None if self._link is not None else metrics_of(settings)
        handler, loop = opened
        tracing = find_tracing(settings.consumer_group, settings.dlq_topic, self._mask)
        if tracing is not None:
            handler = tracing.handler(handler)
        watchdog = Watchdog(settings.handler_timeout_s, self._report_stall)
        outage = Outage(self.report, settings.bootstrap_servers)
        found = Topics(self._orders, self._written.dead_letters, self._ledger)
        watch = KafkaWatch(self._conf, settings.consumer_group, found, outage, watchdog, self.report)
        cluster = until_ready(self._look, delay_of_start(self.report), lambda: stop.requested)
        business = self._business(handler, loop, cluster.topic_id)._replace(tells_each=asked.verbose)
        new_session = Session if tracing is None else tracing.session()
        engine, session = self._engine(new_session, business, cluster, watch, watchdog)
        watch.begin(session, engine.assignment.list_anew)
        ends = LogEnds(self._conf, settings.orders_topic)
        monitor = Monitor(
            ends,
            self.log.counts,
            lambda: outage.holds,
            self._world,
            is_topic_missing=lambda: watch.is_topic_missing,
        )
        if self._link is None:
            self._progress = Display(engine, monitor, self.log, metrics)
        else:
            self._progress = Reports(engine, monitor, self.log, self._link)
        monitor.start(self._progress.watched)
        drain = self._drain(session, business.topic_id) if asked.until_drained else None
        return Service(
            engine,
            session,
            watch,
            watchdog,
            Outlets(self._streams, self._progress, monitor, self.report),
            End(stop, settings.shutdown_timeout_s, drain),
        )

    def close(self) -> None:
        """Close what was opened beside the session, which its service closes."""
        self._recovery.close()
        self._pages.close()
        self._inbox.close()

    def _look(self) -> Cluster:
        """Look at the topics and the group. Raises NotReady where Kafka cannot say now."""
        topic_id = self._orders.learn()
        self._written.dead_letters.learn()
        from_end = _from_end(_reading(self._conf, self._settings), self._settings)
        return Cluster(topic_id, self._ledger_topic(), from_end)

    def _clients(self) -> Clients:
        """The properties of the clients. The transactional id is granted by its prefix, the group.

        Commits name the rest of it, so it is kept short: of a long host name, the end is what differs.
        """
        settings, conf = self._settings, self._conf
        lasting = lasting_name(conf, None if self._link is None else self._link.place)
        name = f"{self._client[-LONGEST_CLIENT:]}-{uuid.uuid4().hex[:8]}" if lasting is None else lasting
        return Clients(
            _reading(conf, settings),
            producer_config(conf, transactional_id(settings.consumer_group, name)),
            settings.guarantee == "exactly-once",
            has_predecessor=lasting is not None,
        )

    def _engine(
        self,
        new_session: Type[Session],
        business: Business,
        cluster: Cluster,
        watch: KafkaWatch,
        watchdog: Watchdog,
    ) -> Tuple[Engine, Session]:
        """The engine, and the session that notifies it of rebalances."""
        settings = self._settings
        engines: List[Engine] = []
        clients = self._clients()
        session = new_session(
            settings.orders_topic,
            clients,
            on_revoke=lambda partitions: engines[0].revoked(partitions),
            on_lost=lambda: engines[0].expired(),
            while_waiting=watch.waiting,
        )
        sending, ledger_topic = self._sending(), cluster.ledger_topic
        page_bytes = None if ledger_topic is None else ledger_topic.max_bytes
        session.expect(sending.outbox.max_bytes, sending.destination.targets.max_result_bytes, page_bytes)
        session.end_left_over()
        terms = Terms(
            Limits(settings.max_queued, settings.max_waiting_bytes),
            settings.consumer_group,
            ledger_topic,
            from_end=cluster.from_end,
            owner=clients.owner,
            find_trace=EarlierWork(session, self._last_dead).trace,
        )
        engine = Engine(
            Connections(session, self._recovery, self._pages, self._inbox),
            business,
            sending,
            Settings(_policy(settings), settings.outage_window_s, terms, self._written.ask_dead_letter_limit),
            watchdog,
            self._world,
        )
        engines.append(engine)
        return engine, session

    def _business(self, handler: Handler, loop: Optional[EventLoop], topic_id: Optional[str]) -> Business:
        settings, decoder = self._settings, self._decoder
        if topic_id is None:
            self.report("no_topic_ids")
        return Business(
            order_reader(decoder),
            handler,
            decoder.writer_of,
            settings.dead_letter_stack,
            topic_id,
            settings.workers,
            loop,
        )

    def _sending(self) -> Sending:
        outbox = self._written.outbox()
        targets = self._written.targets(outbox.max_bytes)
        return Sending(outbox, Destination(targets, self._settings.consumer_group, self._client))

    def _ledger_topic(self) -> Optional[LedgerTopic]:
        settings, found = self._settings, self._ledger.begin()
        if found.problem is not None:
            self.report("no_ledger_topic", detail=found.problem)
            require_few_retries(settings.max_retries, settings.ledger_topic)
        return found.topic

    def _drain(self, session: Session, topic_id: Optional[str]) -> Drain:
        log = LogEnds(self._conf, self._settings.orders_topic, IsolationLevel.READ_UNCOMMITTED)
        return Drain(session, log, range(self._orders.partitions), time.monotonic, self.report, topic_id)

    # --- callbacks -------------------------------------------------------------------------------

    def report(self, event: str, **fields: Any) -> None:
        """Log an event, and tell whoever follows the run."""
        self.log.report(event, **self._mask.fields(fields))
        if self._progress is not None:
            self._progress.heard(event)

    def _report_stall(self, timeout_s: float) -> None:
        self.report("stalled", timeout_s=timeout_s)

    def _last_dead(self) -> Dict[int, int]:
        settings = self._settings
        return last_dead(self._conf, settings.dlq_topic, settings.orders_topic, settings.consumer_group)


def require_consistent_clients(conf: Dict[str, Any], settings: RunSettings) -> None:
    """Raise UsageError where properties contradict each other, before anything is connected to."""
    reading = _reading(conf, settings)
    if settings.guarantee == "exactly-once":
        require_plain_names(reading)
    require_consistent(Consumer, reading)
    require_consistent(Producer, producer_config(conf, settings.consumer_group))


def metrics_of(settings: RunSettings) -> Optional[Metrics]:
    """What Prometheus is answered by, listening; None if no port is set. Raises CommandError."""
    port, address = settings.metrics_port, settings.metrics_address
    if port is None:
        return None
    try:
        return Metrics(port, address)
    except OSError as error:
        raise CommandError(f"METRICS_PORT {address}:{port}: cannot listen there: {error.strerror}") from error
    except ImportError as error:
        why = file_in_place_of(error) or f"{error}; next: pip install -r requirements.txt"
        raise CommandError(f"METRICS_PORT: what answers Prometheus cannot be loaded: {why}") from error


def _reading(conf: Dict[str, Any], settings: RunSettings) -> Dict[str, Any]:
    """The properties of the client that reads the orders."""
    return consumer_config(conf, settings.consumer_group, settings.handler_timeout_s + 300)


def _from_end(reading: Dict[str, Any], settings: RunSettings) -> FrozenSet[int]:
    try:
        return partitions_from_end(reading, settings.orders_topic)
    except KafkaException as error:
        what = f"cannot read the offsets {settings.consumer_group} has committed"
        raise _unanswered(what, error.args[0]) from error


def _unanswered(what: str, fault: KafkaError) -> CommandError:
    """The error for a question that Kafka does not answer: NotReady if it may in a moment."""
    kind = NotReady if topics.is_passing(fault) else CommandError
    return kind(f"{what}: {fault.str()}")


def _policy(settings: RunSettings) -> Policy:
    return Policy(
        settings.max_retries, settings.retry_backoff_s, settings.retry_backoff_max_s, settings.key_failures
    )


def _mask(settings: RunSettings, decoder: OrderDecoder) -> EventMask:
    """What the log does not show."""
    fields = [field["name"] for field in decoder.reader.parsed["fields"]]
    try:
        names = hidden_names(settings.masked_fields or (), fields, settings.order_key)
    except ValueError as error:
        raise UsageError(f"MASKED_FIELDS: {error}") from error
    return EventMask(names, decoder.decode)
