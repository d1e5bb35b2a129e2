#!/usr/bin/env python3
"""Process orders from Kafka: retry those that fail, and dead-letter those that cannot be processed.

Owns: the command line of the consumer, and the handler that runs where no other is named.
Does not know: how an order is decoded, retried, dead-lettered or committed; see orderflow/consume/loop.py.
Used by: people, tools/demo.py.
"""

import argparse
import contextlib
import gc
import os
import random
import socket
import sys
import time
import uuid
from typing import Any, Dict, FrozenSet, Optional, Sequence, Set, TextIO, Tuple

from confluent_kafka import KafkaError, KafkaException

import config
from orderflow import exits
from orderflow.avro.codec import OrderDecoder, SchemaRefused, order_reader, refuse_unruly
from orderflow.avro.schema_store import RegistryConfig, RegistryMisconfigured, SchemaStore
from orderflow.cli.run import arguments, run
from orderflow.cli.signals import StopSignals
from orderflow.cli.status import Outage, StatusLine
from orderflow.cli.terminal import count, duration
from orderflow.cli.values import argument, whole
from orderflow.consume.assignment import Assignment, Limits
from orderflow.consume.brakes import OutageBrake
from orderflow.consume.calls import Business, Caller, Destination
from orderflow.consume.client_config import Clients, consumer_config, producer_config
from orderflow.consume.drain import Drain
from orderflow.consume.earlier_work import EarlierWork, last_dead
from orderflow.consume.events import line_of
from orderflow.consume.failing import Failing
from orderflow.consume.forked import end_if_forked
from orderflow.consume.handler import Delivery, Handler, HandlerUnusable, load, require_usable, wants_delivery
from orderflow.consume.loop import Processor
from orderflow.consume.membership import Membership
from orderflow.consume.metrics import Figures, Metrics
from orderflow.consume.outbox import DEFAULT_MAX_BYTES, Outbox
from orderflow.consume.reading_back import Recovery
from orderflow.consume.results import require_outcome
from orderflow.consume.retry import Policy
from orderflow.consume.session import Session, partitions_from_end
from orderflow.consume.settlement import SessionLost
from orderflow.consume.settling import Settler
from orderflow.consume.streams import HandlerStreams
from orderflow.consume.watchdog import Watchdog
from orderflow.exits import CommandError, UsageError
from orderflow.kafka import topics
from orderflow.model.text import escape


def process(order: Dict[str, Any]) -> Any:
    """Your business logic goes here.

    Return when the order is done. Raise any exception to have it retried, `orderflow.RejectOrder` to
    have it dead-lettered at once, `orderflow.RetryLater(after=seconds)` to choose the delay. What you
    return is published to PROCESSED_TOPIC, if that is set.
    """
    return {"order_id": order["order_id"], "total": round(order["quantity"] * order["price"], 2)}


EXAMPLES = (
    "python consumer.py                                    until Ctrl-C, with process() of this file",
    "python consumer.py --handler shop.billing:charge      a function of a module",
    "python consumer.py --handler examples/checkout.py:charge --retry-backoff 1",
    "python consumer.py --workers 64                       for handlers that wait on I/O",
    "python consumer.py --processed-topic orders-processed publish what the handler returns",
    "python consumer.py --until-drained                    stop when all that is there is done",
    "python consumer.py --guarantee at-least-once          where transactions are not allowed",
)
SETTINGS = (
    "orders_topic",
    "dlq_topic",
    "processed_topic",
    "consumer_group",
    "handler",
    "workers",
    "guarantee",
    "max_retries",
    "retry_backoff_s",
    "retry_backoff_max_s",
    "key_failures",
    "handler_timeout_s",
    "shutdown_timeout_s",
    "outage_window_s",
    "max_queued",
    "max_order_bytes",
    "dead_letter_stack",
    "schema_registry_url",
)
GC_THRESHOLD = 50_000
EXITED = (
    "the handler ended the process (sys.exit); the order is tried again after a restart, and dead-lettered "
    "when it keeps doing this"
)
NO_TOPIC_ID = (
    "this Kafka gives topics no ids (it is older than 2.8): delivery.id is an order's place alone, and comes "
    "again when the topic is deleted and created anew"
)
METRICS_EVERY_S = 1.0
SILENCE_S = 5.0
LOOK_FOR_KAFKA_S = 2.0
DLQ_LOOK_S = 60.0
"""Partitions that are added to the dead letter topic are used after this time at the latest."""
ASK_AGAIN_S = 1.0
UNHEARD_S = 30.0
"""Longer than a client takes to find a broker again. One that does not (seen after a broker was frozen
for 20 s: "no broker available for coordinator query", for ever) has to be started again."""
READ_AGAIN_S = 10.0
STUCK_S = 600.0
"""No outage of Kafka has to end the process, but a client that never comes back from a call must."""
REPLACED = (
    "{topic} was deleted and created again while orders were processed: what the new one held before the old "
    "one's offsets may have been skipped. To process all that it holds, reset the group: "
    "kafka-consumer-groups.sh --reset-offsets --to-earliest --topic {topic} --execute"
)
MAX_QUEUED_BYTES = 64 * 1024 * 1024
BATCH_FRAME_BYTES = 12
"""`max.message.bytes` counts a batch with its log header."""


def main(argv: Sequence[str], out: TextIO, err: TextIO) -> int:
    """Consume as the arguments say; returns the exit code."""
    flags = _parser().parse_args(argv)
    settings = config.load(flags)
    with HandlerStreams(err) as streams:
        return _consume(settings, flags, streams)


def _consume(settings: config.Settings, flags: argparse.Namespace, streams: HandlerStreams) -> int:
    handler = _handler(settings)
    conf = config.client_config(settings)
    topics.require_kafka(conf)
    _ensure_topics(conf, settings)
    with StopSignals(streams.err) as stop:
        stop.limit(settings.shutdown_timeout_s)
        consumer = Consumer(settings, handler, flags, stop, streams)
        _collect_less_often()
        return consumer.run()


def _collect_less_often() -> None:
    """Spare the collector the records of a batch.

    There are thousands, none in a cycle, and by default it looks through them at every 700 new objects.
    Measured, this saves 8 % of the processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 20, 20)


def _parser() -> argparse.ArgumentParser:
    parser = arguments(__doc__ or "", EXAMPLES)
    parser.add_argument(
        "--until-drained",
        action="store_true",
        help="exit when all orders that are there are processed or dead-lettered and none waits",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="one line for each processed order")
    parser.add_argument(
        "--metrics-port",
        metavar="PORT",
        type=argument(whole(1, 65535)),
        help="answer Prometheus at this port, under /metrics",
    )
    config.add_flags(parser, SETTINGS)
    return parser


def _handler(settings: config.Settings) -> Handler:
    try:
        if settings.handler is None:
            require_usable(process, "process of consumer.py")
            return process
        sys.path.insert(0, os.getcwd())
        return load(settings.handler)
    except HandlerUnusable as error:
        raise UsageError(str(error)) from error


def _ensure_topics(conf: Dict[str, Any], settings: config.Settings) -> None:
    specs = [topics.orders(settings.orders_topic), topics.dead_letters(settings.dlq_topic)]
    if settings.processed_topic is not None:
        specs.append(topics.processed(settings.processed_topic))
    topics.ensure_topics(conf, specs)


def _is_there(settings: config.Settings) -> bool:
    """Whether a client that is made now finds Kafka."""
    try:
        topics.require_kafka(config.client_config(settings), timeout_s=3.0)
        return True
    except CommandError:
        return False


def _from_end(reading: Dict[str, Any], settings: config.Settings) -> FrozenSet[int]:
    try:
        return partitions_from_end(reading, settings.orders_topic)
    except KafkaException as error:
        group = settings.consumer_group
        raise CommandError(f"cannot ask what {group} has committed: {error.args[0].str()}") from error


def _metrics(port: Optional[int]) -> Optional[Metrics]:
    if port is None:
        return None
    try:
        return Metrics(port)
    except OSError as error:
        raise CommandError(f"--metrics-port {port}: cannot listen there: {error.strerror}") from error


def _told(handler: Handler, status: StatusLine) -> Handler:
    """The handler, with a line for each order that it has processed."""
    both = wants_delivery(handler)

    def told(order: Dict[str, Any], delivery: Delivery) -> Any:
        result = handler(order, delivery) if both else handler(order)
        require_outcome(result)
        place = f"{delivery.topic}-{delivery.partition}-{delivery.offset}"
        status.note(escape(f"done {place} key {_readable(delivery.key)}"))
        return result

    return told


def _readable(key: Optional[bytes]) -> str:
    return "none" if key is None else key.decode("utf-8", "backslashreplace")


class Consumer:
    """The parts of the engine, put together from settings, and the loop that runs them."""

    def __init__(
        self,
        settings: config.Settings,
        handler: Handler,
        flags: argparse.Namespace,
        stop: StopSignals,
        streams: HandlerStreams,
    ) -> None:
        self.settings = settings
        self.until_drained = flags.until_drained
        self.stop = stop
        self.streams = streams
        self.err = streams.err
        self.status = StatusLine(self.err)
        self.outage = Outage(self.status.note, settings.bootstrap_servers)
        self.pid = os.getpid()
        self.metrics = _metrics(flags.metrics_port)
        if flags.verbose:
            handler = _told(handler, self.status)
        conf = config.client_config(settings)
        client = f"{socket.gethostname()}-{os.getpid()}"
        reading = consumer_config(conf, settings.consumer_group, settings.handler_timeout_s + 300)
        from_end = _from_end(reading, settings)
        self.session = Session(
            settings.orders_topic,
            Clients(
                reading,
                producer_config(conf, f"{settings.consumer_group}.{client}-{uuid.uuid4().hex[:8]}"),
                settings.guarantee == "exactly-once",
            ),
            on_revoke=self._revoked,
            on_lost=self._lost,
            while_waiting=self._wait_for_kafka,
        )
        self.metrics_due_s = self.look_for_kafka_s = 0.0
        self.unheard_since_s: Optional[float] = None
        self.membership = Membership(time.monotonic, self._ask_group, self.report)
        self.read_fault_s = 0.0
        self.failing = Failing(time.monotonic, self.report)
        self.brake = OutageBrake(settings.outage_window_s)
        self.identity = topics.Identity(conf, settings.orders_topic)
        self.dead_letter_topic = topics.Identity(conf, settings.dlq_topic, DLQ_LOOK_S)
        self.recovery = Recovery(settings.orders_topic, conf, settings.consumer_group)
        self.assignment = Assignment(
            self.session,
            self.recovery,
            Limits(settings.max_queued, MAX_QUEUED_BYTES),
            self.brake,
            time.monotonic,
            time.time,
            self.report,
            from_end,
            EarlierWork(self.session, self._last_dead).trace,
        )
        self.processor, self.settler = self._engine(handler, conf, client)

    def _engine(self, handler: Handler, conf: Dict[str, Any], client: str) -> Tuple[Processor, Settler]:
        settings, decoder = self.settings, _decoder(self.settings)
        watchdog = Watchdog(settings.handler_timeout_s, self._stalled)
        topic_id = self.identity.learn()
        if topic_id is None:
            self.status.note(f"warn {NO_TOPIC_ID}")
        business = Business(
            order_reader(decoder), handler, decoder.writer_of, settings.dead_letter_stack, topic_id
        )
        self.dead_letter_topic.learn()
        outbox = Outbox(
            settings.dlq_topic,
            self._max_bytes(settings.dlq_topic) or DEFAULT_MAX_BYTES,
            partitions=lambda: self.dead_letter_topic.partitions,
        )
        destination = Destination(
            settings.processed_topic,
            self._max_bytes(settings.processed_topic) or DEFAULT_MAX_BYTES,
            settings.consumer_group,
            client,
        )
        self.session.expect(outbox.max_bytes, destination.max_result_bytes)
        self.caller = Caller(
            self.assignment,
            outbox,
            business,
            destination,
            Policy(
                settings.max_retries,
                settings.retry_backoff_s,
                settings.retry_backoff_max_s,
                settings.key_failures,
            ),
            self.brake,
            watchdog,
            time.monotonic,
            time.time,
            random.random,
            self.report,
            settings.workers,
        )
        settler = Settler(
            self.session,
            self.assignment,
            outbox,
            watchdog,
            time.monotonic,
            self.report,
            self._ask_dead_letter_topic,
        )
        self.watchdog = watchdog
        publishes = settings.processed_topic is not None
        processor = Processor(
            self.session,
            self.assignment,
            self.caller,
            settler,
            business,
            publishes,
            time.monotonic,
            self.report,
        )
        return processor, settler

    # --- running ---------------------------------------------------------------------------------

    def run(self) -> int:
        """Work until stopped, drained or lost; returns the exit code."""
        try:
            code = self._work()
        except SessionLost as lost:
            raise CommandError(str(lost)) from lost
        finally:
            self.status.clear()
            self.recovery.close()
        self._account()
        return code

    def _work(self) -> int:
        self.began_s = time.monotonic()
        try:
            code = self._step_until_done()
            if self.identity.has_changed_by_now():
                raise SessionLost(REPLACED.format(topic=self.settings.orders_topic))
            self.processor.finish_calls(time.monotonic() + max(0.0, self.settings.shutdown_timeout_s - 5))
            return code
        except BaseException as crash:
            end_if_forked(self.pid, crash)
            # No clean mark either: should an order be to blame, the next owner has to find out which.
            self.processor.abandon()
            if isinstance(crash, SystemExit):
                raise CommandError(EXITED) from crash
            raise
        finally:
            self.watchdog.idle()
            self.session.close()

    def _step_until_done(self) -> int:
        drain = self._drain() if self.until_drained else None
        while not self.stop.requested:
            self.processor.step()
            self._look_around()
            if self.streams.reader_left:
                return exits.OK
            if drain is None:
                continue
            if self.processor.is_drained() and drain.ours_are_done(self.assignment.ready):
                if drain.others_are_done(self.assignment.ready):
                    return exits.OK
            elif self.processor.has_only_held() and drain.ours_are_done(self.assignment.ready):
                return exits.TRIPPED
        return self.stop.exit_code

    def _drain(self) -> Drain:
        try:
            ends = topics.ends_of_log(config.client_config(self.settings), self.settings.orders_topic)
            return Drain(self.session, ends, time.monotonic, self.report)
        except KafkaException as error:
            raise CommandError(f"cannot ask where the orders end: {error.args[0].str()}") from error

    def _look_around(self) -> None:
        self._watch_kafka()
        if not self.outage.holds:
            self.dead_letter_topic.look()
        if not self.outage.holds and self.identity.has_changed():
            raise SessionLost(REPLACED.format(topic=self.settings.orders_topic))
        if self.status.due():
            self.status.show(self._status())
        lost = self.streams.take_loss()
        if lost is not None:
            self.report("output_lost", detail=lost)
        if self.metrics is not None and time.monotonic() >= self.metrics_due_s:
            self.metrics_due_s = time.monotonic() + METRICS_EVERY_S
            self.metrics.show(self._figures())

    def _wait_for_kafka(self, waited_s: float) -> None:
        """A settlement has had no answer for so long: say so, and never stall in silence."""
        self.watchdog.idle()
        if waited_s > SILENCE_S and time.monotonic() >= self.look_for_kafka_s:
            # Kafka may be there, and only what this commit needs is not: then the settlement says what.
            self.look_for_kafka_s = time.monotonic() + LOOK_FOR_KAFKA_S
            if not self.session.answers(timeout_s=1.0):
                self.outage.lost(f"no answer to a commit for {SILENCE_S:.0f} s")
        if waited_s > STUCK_S:
            self.report("settlement_stuck", after_s=STUCK_S)
            os._exit(exits.FAILED)

    def _watch_kafka(self) -> None:
        for error in self.session.take_errors():
            if error.code() == KafkaError._ALL_BROKERS_DOWN:
                self.outage.lost(topics.plain_reason(error))
        self._watch_reading()
        is_at_work = bool(self.session.assigned) or self.outage.holds
        self.membership.look(is_at_work, self.session.last_word)
        idle = not self.session.assigned
        if (idle or self.outage.holds) and time.monotonic() >= self.look_for_kafka_s:
            self.look_for_kafka_s = time.monotonic() + LOOK_FOR_KAFKA_S
            self._look_for_kafka()

    def _watch_reading(self) -> None:
        faults = self.session.take_faults()
        if faults:
            self.read_fault_s = time.monotonic()
            self.failing.failed("reading orders", faults[-1].str())
        elif time.monotonic() > self.read_fault_s + READ_AGAIN_S:
            self.failing.succeeded("reading orders")

    def _last_dead(self) -> Dict[int, int]:
        conf, settings = config.client_config(self.settings), self.settings
        return last_dead(conf, settings.dlq_topic, settings.orders_topic, settings.consumer_group)

    def _ask_group(self) -> topics.Standing:
        conf, group = config.client_config(self.settings), self.settings.consumer_group
        return topics.standing(conf, group, self.session.member_id())

    def _look_for_kafka(self) -> None:
        """Say that Kafka is lost or back; end if it is there, and only this client does not find it."""
        if self.session.answers(timeout_s=1.0):
            self.unheard_since_s = None
            self.outage.back()
            return
        self.outage.lost("no answer")
        if self.unheard_since_s is None:
            self.unheard_since_s = time.monotonic()
        if time.monotonic() - self.unheard_since_s > UNHEARD_S and _is_there(self.settings):
            raise SessionLost(
                f"Kafka at {self.settings.bootstrap_servers} answers others, but not this client, for "
                f"{UNHEARD_S:.0f} s. Nothing is lost: start the consumer again"
            )

    def _figures(self) -> Figures:
        counts, processor = self.settler.counts, self.processor
        return Figures(
            counts.processed,
            counts.dead_lettered,
            self.caller.retries,
            processor.waiting,
            processor.lag(),
            self.brake.is_on,
        )

    def _status(self) -> str:
        counts, processor = self.settler.counts, self.processor
        rate = counts.processed / max(0.001, time.monotonic() - self.began_s)
        return (
            f"processed {count(counts.processed)}  {rate:,.0f}/s  waiting {count(processor.waiting)}  "
            f"dead-lettered {count(counts.dead_lettered)}  lag {count(processor.lag())}"
        )

    def _account(self) -> None:
        counts = self.settler.counts
        took_s = time.monotonic() - self.began_s
        waiting = self.processor.waiting
        self.err.write(
            f"processed {count(counts.processed)}, dead-lettered {count(counts.dead_lettered)}, "
            f"retries {count(self.caller.retries)}, in {duration(took_s)}"
            + (f"; {count(waiting)} still wait and are taken up at the next start\n" if waiting else "\n")
        )

    # --- what the parts call ---------------------------------------------------------------------

    def report(self, event: str, **fields: Any) -> None:
        """Show an event of the engine."""
        self.status.note(line_of(event, fields))

    def _ask_dead_letter_topic(self) -> Optional[int]:
        """What it takes, and how many partitions it has: it refused something, and may be another by now."""
        with contextlib.suppress(CommandError):
            self.dead_letter_topic.learn(ASK_AGAIN_S)
        return self._max_bytes(self.settings.dlq_topic)

    def _max_bytes(self, topic: Optional[str]) -> Optional[int]:
        """What a topic takes, where we may read its settings."""
        conf = config.client_config(self.settings)
        limit = None if topic is None else topics.max_message_bytes(conf, topic)
        return None if limit is None else limit - BATCH_FRAME_BYTES

    def _revoked(self, partitions: Set[int]) -> None:
        self.settler.mark_clean(partitions)

    def _lost(self) -> None:
        """Nothing may be on its way any more when this returns: the partitions are others' already."""
        self.settler.wait()

    def _stalled(self, timeout_s: float) -> None:
        self.report("stalled", timeout_s=timeout_s)


def _decoder(settings: config.Settings) -> OrderDecoder:
    try:
        store = SchemaStore(config.ORDER_SCHEMA, config.SCHEMA_VERSIONS, RegistryConfig.of(settings))
        refuse_unruly(store.reader)
    except (SchemaRefused, RegistryMisconfigured) as error:
        raise UsageError(str(error)) from error
    return OrderDecoder(store.reader, store.find_writer, settings.max_order_bytes)


if __name__ == "__main__":
    sys.exit(run(main))
