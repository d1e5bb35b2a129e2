#!/usr/bin/env python3
"""Process orders from Kafka: retry those that fail, and dead-letter those that cannot be processed."""

if __name__ == "__main__":  # before the imports that take their time
    from orderflow.cli.signals import end_at_once

    end_at_once()

import argparse
import contextlib
import gc
import os
import random
import socket
import sys
import time
import uuid
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

import config
from orderflow.avro.codec import OrderDecoder, SchemaRefused, order_reader
from orderflow.avro.schema_store import RegistryConfig, RegistryMisconfigured, SchemaStore
from orderflow.cli.arguments import arguments
from orderflow.cli.outage import Outage
from orderflow.cli.output import Notes, Output
from orderflow.cli.run import run
from orderflow.cli.signals import StopSignals
from orderflow.consume.client_config import (
    Clients,
    as_member,
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
from orderflow.consume.events import readable
from orderflow.consume.handler import (
    Delivery,
    Handler,
    HandlerUnusable,
    is_factory,
    let_own_modules_win,
    load,
    require_usable,
    telling,
)
from orderflow.consume.kafka_watch import DLQ_LOOK_S, KafkaWatch, Topics
from orderflow.consume.ledger_topic import ledger_topic, require_few_retries
from orderflow.consume.life_cycle import LifeCycle
from orderflow.consume.masked_events import EventMask
from orderflow.consume.metrics import Metrics
from orderflow.consume.monitor import Monitor
from orderflow.consume.outbox import DEFAULT_MAX_BYTES, Outbox
from orderflow.consume.outcomes import Business, Destination
from orderflow.consume.own_rules import load_rules
from orderflow.consume.pages import LedgerTopic
from orderflow.consume.processes import run_processes
from orderflow.consume.progress import Display, Progress, Reports
from orderflow.consume.publications import Targets
from orderflow.consume.readiness import until_ready
from orderflow.consume.reading_back import Recovery
from orderflow.consume.restoring import Connections, Limits, Terms
from orderflow.consume.result_topics import ResultTopics
from orderflow.consume.retry import Policy
from orderflow.consume.run_log import RunLog
from orderflow.consume.service import End, Outlets, Service
from orderflow.consume.session import Session, partitions_from_end
from orderflow.consume.streams import HandlerStreams
from orderflow.consume.tracing import find_tracing
from orderflow.consume.watchdog import Watchdog
from orderflow.consume.world import Report, World
from orderflow.exits import FAILED, CodeUnusable, CommandError, NotReady, UsageError
from orderflow.kafka import topics
from orderflow.kafka.client_properties import require_consistent
from orderflow.kafka.command_reader import CommandReader
from orderflow.kafka.ledger_pages import Group, LedgerPages
from orderflow.kafka.log_ends import LogEnds
from orderflow.model.commit_metadata import LONGEST_OWNER
from orderflow.model.hidden import hidden_names
from orderflow.model.orders import OrderRules
from orderflow.supervise.link import SUPERVISED, Link, join
from orderflow.supervise.supervisor import Plan
from orderflow.version import VERSION


def process(order: Dict[str, Any]) -> Any:
    """Your business logic goes here; docs/handlers.md tells what else it may be.

    Return when the order is done. Raise any exception to have it retried, `orderflow.RejectOrder` to
    have it dead-lettered at once, `orderflow.RetryLater(after=seconds)` to choose the delay. What you
    return is published to PROCESSED_TOPIC, if that is set.
    """
    return {"order_id": order["order_id"], "total": round(order["quantity"] * order["price"], 2)}


EXAMPLES = (
    "python consumer.py                                    until Ctrl-C, with process() in this file",
    "python consumer.py --handler shop.billing:charge      a function in a module",
    "python consumer.py --handler examples/checkout.py:charge --retry-backoff 1",
    "python consumer.py --workers 64                       for handlers that wait on I/O",
    "python consumer.py --processes 4                      on four cores, each restarted if it dies",
    "python consumer.py --processed-topic orders-processed publish what the handler returns",
    "python consumer.py --until-drained                    stop when all orders are done",
    "python consumer.py --guarantee at-least-once          where transactions are not allowed",
)
SETTINGS = (
    "orders_topic",
    "dlq_topic",
    "processed_topic",
    "ledger_topic",
    "consumer_group",
    "handler",
    "order_schema",
    "schema_versions",
    "unknown_schema_backoff_s",
    "rules",
    "workers",
    "processes",
    "guarantee",
    "max_retries",
    "retry_backoff_s",
    "retry_backoff_max_s",
    "key_failures",
    "handler_timeout_s",
    "shutdown_timeout_s",
    "outage_window_s",
    "max_queued",
    "max_waiting_bytes",
    "max_order_bytes",
    "dead_letter_stack",
    "masked_fields",
    "schema_registry_url",
    "metrics_port",
    "metrics_address",
    "log_format",
    "log_level",
)
GC_THRESHOLD = 50_000
ASK_AGAIN_S = 1.0
BATCH_FRAME_BYTES = 12
"""`max.message.bytes` limits a batch including its log header."""


def main(argv: Sequence[str], out: Output, err: Notes) -> int:
    """Run the consumer with these arguments; returns the exit code."""
    flags = _parser().parse_args(argv)
    settings = config.load(flags)
    link = join(flags.supervised)
    with HandlerStreams(err) as streams:
        log = RunLog(streams.err, settings.log_format, settings.log_level, _is_watched(link))
        if settings.processes is not None and link is None:
            plan = Plan(settings.processes, settings.shutdown_timeout_s)
            return run_processes(argv, plan, _metrics(settings), streams, log)
        return _consume(settings, flags, streams, log, link)


def _is_watched(link: Optional[Link]) -> Optional[bool]:
    return None if link is None else link.is_watched


def _consume(
    settings: config.Settings,
    flags: argparse.Namespace,
    streams: HandlerStreams,
    log: RunLog,
    link: Optional[Link],
) -> int:
    life = _handler(settings)
    decoder = _decoder(settings)
    conf = config.client_config(settings)
    if link is not None:
        conf = as_member(conf, link.number)
    _require_consistent(conf, settings)
    topics.require_kafka(conf)
    until_ready(lambda: _ensure_topics(conf, settings), _delay_of_start(log.report))
    with StopSignals(log) as stop:
        stop.limit(settings.shutdown_timeout_s)
        if link is not None:
            link.on_stop(stop.request)
        parts = Parts(settings, conf, decoder, streams, log, link)
        try:
            if link is None or link.number == 1:
                _banner(settings, flags, log.report)
            return _run(life, parts, flags, stop)
        finally:
            parts.recovery.close()
            parts.pages.close()
            parts.inbox.close()


def _run(life: LifeCycle, parts: "Parts", flags: argparse.Namespace, stop: StopSignals) -> int:
    """Open the handler, process orders until the end, and close the handler whatever the end was."""
    try:
        service = parts.service(_opened(life), flags, stop)
        _collect_less_often()
        code = service.run()
    finally:
        is_closed = _closed(life, parts.log)
    return code if is_closed else FAILED


Opened = Tuple[Handler, Optional[EventLoop]]
"""A handler, and the event loop that it has to be called on if it is async."""


def _opened(life: LifeCycle) -> Opened:
    try:
        return life.open(), life.calls_on
    except HandlerUnusable as error:
        raise CodeUnusable(str(error), error.traceback) from error


def _closed(life: LifeCycle, log: RunLog) -> bool:
    """Close the handler; False, with a line, if that failed."""
    try:
        life.close()
    except HandlerUnusable as error:
        log.report("not_closed", detail=str(error), traceback=error.traceback)
        return False
    return True


def _collect_less_often() -> None:
    """Keep the garbage collector from scanning each batch's records.

    There are thousands, none of them in a cycle, and by default it runs at every 700 new objects. This saves
    8 % of CPU time (measured).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def _parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__ or "", EXAMPLES)
    parser.add_argument(
        "--until-drained",
        action="store_true",
        help="exit once every order in the topic at the start is processed or dead-lettered",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="one line for each processed order")
    parser.add_argument(SUPERVISED, help=argparse.SUPPRESS)
    config.add_flags(parser, SETTINGS)
    return parser


def _handler(settings: config.Settings) -> LifeCycle:
    try:
        if settings.handler is None:
            if not is_factory(process):
                require_usable(process, "process of consumer.py")
            return LifeCycle(process, "process of consumer.py")
        let_own_modules_win(settings.handler.rpartition(":")[0])
        return LifeCycle(load(settings.handler), settings.handler)
    except HandlerUnusable as error:
        raise CodeUnusable(str(error), error.traceback) from error


def _require_consistent(conf: Dict[str, Any], settings: config.Settings) -> None:
    """Raises UsageError where properties contradict each other, before anything is connected to."""
    reading = _reading(conf, settings)
    if settings.guarantee == "exactly-once":
        require_plain_names(reading)
    require_consistent(Consumer, reading)
    require_consistent(Producer, producer_config(conf, settings.consumer_group))


def _reading(conf: Dict[str, Any], settings: config.Settings) -> Dict[str, Any]:
    """The properties of the client that reads the orders."""
    return consumer_config(conf, settings.consumer_group, settings.handler_timeout_s + 300)


def _ensure_topics(conf: Dict[str, Any], settings: config.Settings) -> None:
    specs = [topics.orders(settings.orders_topic), topics.dead_letters(settings.dlq_topic)]
    if settings.processed_topic is not None:
        specs.append(topics.processed(settings.processed_topic))
    topics.ensure_topics(conf, specs)


def _delay_of_start(report: Report) -> Callable[[str], None]:
    return lambda detail: report("start_delayed", detail=detail)


def _from_end(reading: Dict[str, Any], settings: config.Settings) -> FrozenSet[int]:
    try:
        return partitions_from_end(reading, settings.orders_topic)
    except KafkaException as error:
        what = f"cannot read the offsets {settings.consumer_group} has committed"
        raise _unanswered(what, error.args[0]) from error


def _unanswered(what: str, fault: KafkaError) -> CommandError:
    """The error for a question that Kafka does not answer: NotReady if it may in a moment."""
    kind = NotReady if topics.is_passing(fault) else CommandError
    return kind(f"{what}: {fault.str()}")


def _metrics(settings: config.Settings) -> Optional[Metrics]:
    port, address = settings.metrics_port, settings.metrics_address
    if port is None:
        return None
    try:
        return Metrics(port, address)
    except OSError as error:
        raise CommandError(f"METRICS_PORT {address}:{port}: cannot listen there: {error.strerror}") from error


def _banner(settings: config.Settings, flags: argparse.Namespace, report: Report) -> None:
    """Log what begins, and where its settings come from."""
    report(
        "started",
        version=VERSION,
        brokers=settings.bootstrap_servers,
        topic=settings.orders_topic,
        group=settings.consumer_group,
        handler=settings.handler or "process() of consumer.py",
        guarantee=settings.guarantee,
        workers=settings.workers,
        max_retries=settings.max_retries,
        backoff_s=settings.retry_backoff_s,
        backoff_max_s=settings.retry_backoff_max_s,
        dead_letter_topic=settings.dlq_topic,
        results_topic=settings.processed_topic,
    )
    origins = config.origins(flags)
    if origins:
        report("settings", settings=origins)


LONGEST_CLIENT = LONGEST_OWNER - 9
"""Of a host and a process, where a random number follows."""


class Cluster(NamedTuple):
    """What the topics and the group are like at the start."""

    topic_id: Optional[str]
    """Id of the orders topic; None of a Kafka that has none."""
    ledger_topic: Optional[LedgerTopic]
    from_end: FrozenSet[int]
    """Partitions that start at their end if nothing is committed for them."""


class Parts:
    """Builds the parts of a consumer from the settings."""

    def __init__(
        self,
        settings: config.Settings,
        conf: Dict[str, Any],
        decoder: OrderDecoder,
        streams: HandlerStreams,
        log: RunLog,
        link: Optional[Link] = None,
    ) -> None:
        self.link = link
        self.progress: Optional[Progress] = None
        self.settings = settings
        self.conf = conf
        self.decoder = decoder
        self.streams = streams
        self.log = log
        self._mask = _mask(settings, decoder)
        self.world = World(time.monotonic, time.time, random.random, self.report)
        self.client = f"{socket.gethostname()}-{os.getpid()}"
        self.recovery = Recovery(settings.orders_topic, conf, settings.consumer_group)
        self.pages = LedgerPages(conf, settings.consumer_group)
        group = Group(settings.consumer_group, settings.orders_topic)
        self.inbox = CommandReader(conf, group, settings.ledger_topic)
        self.orders = topics.Identity(conf, settings.orders_topic)
        self.dead_letters = topics.Identity(conf, settings.dlq_topic, DLQ_LOOK_S)

    def service(self, opened: "Opened", flags: argparse.Namespace, stop: StopSignals) -> Service:
        """The engine and everything around it, ready to run."""
        settings = self.settings
        metrics = None if self.link is not None else _metrics(settings)
        handler, loop = opened
        tracing = find_tracing(settings.consumer_group, settings.dlq_topic, self._mask)
        if tracing is not None:
            handler = tracing.handler(handler)
        if flags.verbose:
            handler = telling(handler, self._tell)
        watchdog = Watchdog(settings.handler_timeout_s, self._report_stall)
        outage = Outage(self.report, settings.bootstrap_servers)
        found = Topics(self.orders, self.dead_letters)
        watch = KafkaWatch(self.conf, settings.consumer_group, found, outage, watchdog, self.report)
        cluster = until_ready(self._look, _delay_of_start(self.report), lambda: stop.requested)
        business = self._business(handler, loop, cluster.topic_id)
        new_session = Session if tracing is None else tracing.session()
        engine, session = self._engine(new_session, business, cluster, watch, watchdog)
        watch.begin(session)
        ends = LogEnds(self.conf, settings.orders_topic)
        monitor = Monitor(ends, self.log.counts, lambda: outage.holds, self.world)
        if self.link is None:
            self.progress = Display(engine, monitor, self.log, metrics)
        else:
            self.progress = Reports(engine, monitor, self.log.counts, self.link)
        monitor.start(self.progress.watched)
        drain = (lambda: self._drain(session, business.topic_id, stop)) if flags.until_drained else None
        return Service(
            engine,
            session,
            watch,
            watchdog,
            Outlets(self.streams, self.progress, monitor, self.report),
            End(stop, settings.shutdown_timeout_s, drain),
        )

    def _look(self) -> Cluster:
        """Look at the topics and the group. Raises NotReady where Kafka cannot say now."""
        topic_id = self.orders.learn()
        self.dead_letters.learn()
        from_end = _from_end(_reading(self.conf, self.settings), self.settings)
        return Cluster(topic_id, self._ledger_topic(), from_end)

    def _clients(self) -> Clients:
        """The properties of the clients. The transactional id is granted by its prefix, the group.

        Commits name the rest of it, so it is kept short: of a long host name, the end is what differs.
        """
        settings, conf = self.settings, self.conf
        lasting = lasting_name(conf, None if self.link is None else self.link.place)
        name = f"{self.client[-LONGEST_CLIENT:]}-{uuid.uuid4().hex[:8]}" if lasting is None else lasting
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
        settings = self.settings
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
            Connections(session, self.recovery, self.pages, self.inbox),
            business,
            sending,
            Settings(_policy(settings), settings.outage_window_s, terms, self._ask_dead_letter_topic),
            watchdog,
            self.world,
        )
        engines.append(engine)
        return engine, session

    def _business(self, handler: Handler, loop: Optional[EventLoop], topic_id: Optional[str]) -> Business:
        settings, decoder = self.settings, self.decoder
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
        settings = self.settings
        of_dead_letters = topics.settings_of(self.conf, settings.dlq_topic)
        self._report_compaction(settings.dlq_topic, of_dead_letters.get("cleanup.policy"))
        outbox = Outbox(
            settings.dlq_topic,
            _record_limit(of_dead_letters) or DEFAULT_MAX_BYTES,
            partitions=lambda: self.dead_letters.partitions,
        )
        max_result_bytes = self._max_bytes(settings.processed_topic) or DEFAULT_MAX_BYTES
        sizes = (outbox.max_bytes, max_result_bytes)
        chosen = ResultTopics(
            lambda topic: topics.exists(self.conf, topic), self._max_bytes, self._cleanup_policy, sizes
        )
        targets = Targets(settings.processed_topic, max_result_bytes, chosen.limit_of, chosen.needs_key)
        return Sending(outbox, Destination(targets, settings.consumer_group, self.client))

    def _report_compaction(self, topic: str, policy: Optional[str]) -> None:
        """Say so if dead letters would get lost by compaction."""
        if policy is not None and "compact" in policy:
            self.report("dead_letters_compacted", topic=topic, policy=policy)

    def _ledger_topic(self) -> Optional[LedgerTopic]:
        settings = self.settings
        group, partitions = settings.consumer_group, self.orders.partitions
        found = ledger_topic(self.conf, settings.ledger_topic, partitions, group)
        if found.problem is not None:
            self.report("no_ledger_topic", detail=found.problem)
            require_few_retries(settings.max_retries, settings.ledger_topic)
        return found.topic

    def _drain(self, session: Session, topic_id: Optional[str], stop: StopSignals) -> Drain:
        return until_ready(
            lambda: self._drain_now(session, topic_id),
            _delay_of_start(self.report),
            lambda: stop.requested,
        )

    def _drain_now(self, session: Session, topic_id: Optional[str]) -> Drain:
        """From where the orders end by now. Raises NotReady where Kafka cannot say now."""
        try:
            ends = topics.ends_of_log(self.conf, self.settings.orders_topic)
            return Drain(session, ends, time.monotonic, self.report, topic_id)
        except KafkaException as error:
            raise _unanswered("cannot find the end of the orders topic", error.args[0]) from error

    def _tell(self, order: Dict[str, Any], delivery: Delivery) -> None:
        """Log a processed order."""
        self.report(
            "order_done",
            topic=delivery.topic,
            partition=delivery.partition,
            offset=delivery.offset,
            key=readable(self._mask.key(delivery.key, order)),
        )

    # --- callbacks -------------------------------------------------------------------------------

    def report(self, event: str, **fields: Any) -> None:
        """Log an event, and tell whoever follows the run."""
        self.log.report(event, **self._mask.fields(fields))
        if self.progress is not None:
            self.progress.heard(event)

    def _report_stall(self, timeout_s: float) -> None:
        self.report("stalled", timeout_s=timeout_s)

    def _last_dead(self) -> Dict[int, int]:
        settings = self.settings
        return last_dead(self.conf, settings.dlq_topic, settings.orders_topic, settings.consumer_group)

    def _ask_dead_letter_topic(self) -> Optional[int]:
        """Look up its record limit and partition count again, since it may have been recreated."""
        with contextlib.suppress(CommandError):
            self.dead_letters.learn(ASK_AGAIN_S)
        return self._max_bytes(self.settings.dlq_topic)

    def _max_bytes(self, topic: Optional[str]) -> Optional[int]:
        """The largest record a topic accepts, or None if its settings may not be read."""
        return None if topic is None else _record_limit(topics.settings_of(self.conf, topic))

    def _cleanup_policy(self, topic: str) -> Optional[str]:
        """What becomes of a topic's old records, or None if its settings may not be read."""
        return topics.settings_of(self.conf, topic).get("cleanup.policy")


def _record_limit(found: Mapping[str, str]) -> Optional[int]:
    """The largest record that a topic of these settings accepts; None if they may not be read."""
    limit = topics.numbers_of(found).get("max.message.bytes")
    return None if limit is None else limit - BATCH_FRAME_BYTES


def _policy(settings: config.Settings) -> Policy:
    return Policy(
        settings.max_retries, settings.retry_backoff_s, settings.retry_backoff_max_s, settings.key_failures
    )


def _mask(settings: config.Settings, decoder: OrderDecoder) -> EventMask:
    """What the log does not show."""
    fields = [field["name"] for field in decoder.reader.parsed["fields"]]
    try:
        names = hidden_names(settings.masked_fields or (), fields, settings.order_key)
    except ValueError as error:
        raise UsageError(f"MASKED_FIELDS: {error}") from error
    return EventMask(names, decoder.decode)


def _decoder(settings: config.Settings) -> OrderDecoder:
    try:
        store = SchemaStore(
            settings.order_schema,
            settings.schema_versions,
            RegistryConfig.of(settings),
            settings.unknown_schema_backoff_s,
        )
    except (SchemaRefused, RegistryMisconfigured) as error:
        raise UsageError(str(error)) from error
    rules = None if settings.rules is None else _rules(settings.rules)
    find_rules = None if rules is None else (lambda: rules)
    return OrderDecoder(store.reader, store.find_writer, settings.max_order_bytes, find_rules)


def _rules(name: str) -> OrderRules:
    try:
        return load_rules(name)
    except HandlerUnusable as error:
        raise CodeUnusable(str(error), error.traceback) from error


if __name__ == "__main__":
    sys.exit(run(main, log_format=config.log_format))
