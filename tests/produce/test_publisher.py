"""The publisher's account: whatever the client does, each record is published or kept, and counted once."""

import io
import json
import math
import random
import re
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.avro.codec import OrderDecoder, OrderEncoder, single_object_prefix
from orderflow.avro.order_fields import fields_of
from orderflow.cli.outage import Outage
from orderflow.cli.output import Notes
from orderflow.cli.signals import StopSignals
from orderflow.cli.status import StatusLine
from orderflow.produce import publisher as produce_publisher
from orderflow.produce.order_file import BadLine, OrderFile
from orderflow.produce.publication import Faults, Publication, RunLimits
from orderflow.produce.publisher import CLIENT_PROFILE, Publisher
from orderflow.produce.record_key import key_reader
from orderflow.produce.record_source import RecordSource, Wire
from orderflow.produce.undelivered import Undelivered
from tests.support.schemas_for_tests import SHIPPED

REFUSALS = (
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.POLICY_VIOLATION,
    KafkaError.INVALID_RECORD,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._FATAL,
)
GAPS = (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.POLICY_VIOLATION, KafkaError.INVALID_RECORD)
Record = Tuple[Optional[bytes], Optional[bytes]]
OnDelivery = Callable[[KafkaError, Any], None]


class Report:
    """A message as the client hands it back."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def key(self) -> Optional[bytes]:
        """The record's key."""
        return self._record[0]

    def value(self) -> Optional[bytes]:
        """The record's value."""
        return self._record[1]


class ScriptedClient:
    """librdkafka's producer with every answer chosen by `choose`: what it takes, tells, raises, and when.

    As the real one, it raises a fatal error out of the call that serves it, and takes nothing after that. A
    record that Kafka refuses is one.
    """

    def __init__(
        self, conf: Dict[str, Any], choose: Callable[[List[str]], str], delivered: List[Record]
    ) -> None:
        self._choose = choose
        self._queue: List[Tuple[Record, OnDelivery]] = []
        self._purged = self._fatal = False
        self.delivered = delivered
        self.lose_brokers = partial(conf.get("error_cb", print), KafkaError(KafkaError._ALL_BROKERS_DOWN))
        self.news = 0
        """What it has to say of brokers, which the real one counts, too."""

    def __len__(self) -> int:
        return len(self._queue) + self.news

    def produce(
        self,
        topic: str,
        value: Optional[bytes],
        key: Optional[bytes],
        partition: int,
        on_delivery: OnDelivery,
    ) -> None:
        """Take it, have no room, or refuse it."""
        if self._fatal:
            raise KafkaException(KafkaError(KafkaError._FATAL))
        answer = self._choose(["take", "take", "full", "refuse"])
        if answer == "full":
            raise BufferError("Local: Queue full")
        if answer == "refuse":
            raise KafkaException(KafkaError(self._code()))
        self._queue.append(((key, value), on_delivery))

    def poll(self, seconds: float = 0.0) -> int:
        """Tell some of the news."""
        return self._serve()

    def report_last_first(self) -> None:
        """Change the order in which what is in flight is reported."""
        self._queue.reverse()

    def purge(self, in_flight: bool = True) -> None:
        """Hand back all that is left with the next news; nothing of it has been sent."""
        self._purged = True

    def _serve(self) -> int:
        while self._queue:
            answer = "purged" if self._purged else self._choose(["wait", "deliver", "fail", "die"])
            if answer == "wait" or (self._fatal and answer in ("deliver", "fail", "die")):
                break
            if answer == "die":
                self._fatal = True
                code = KafkaError.CLUSTER_AUTHORIZATION_FAILED
                raise KafkaException(KafkaError(code, "Failed to acquire idempotence PID", True))
            record, report = self._queue.pop(0)
            if answer == "deliver":
                self.delivered.append(record)
            else:
                code = KafkaError._PURGE_QUEUE if answer == "purged" else self._code()
                report(KafkaError(code), Report(record))
                self._stop_after(code)
        return len(self._queue)

    def _stop_after(self, code: int) -> None:
        """What Kafka has refused leaves a gap."""
        if code in GAPS:
            self._fatal = True
            raise KafkaException(KafkaError(KafkaError._GAPLESS_GUARANTEE, "a gap", True))

    def _code(self) -> int:
        return int(self._choose([str(code) for code in REFUSALS]))


Choose = Callable[[List[str]], str]
ORDER: Dict[str, Any] = {
    "customer_id": "C-1",
    "product_id": "P-1",
    "quantity": 2,
    "price": 9.5,
    "timestamp": 1,
}


def scripted(
    choose: Choose, outage: Optional[Outage] = None
) -> Tuple[Publisher, ScriptedClient, List[Record]]:
    """A publisher on a scripted client, and what it keeps."""
    clients: List[ScriptedClient] = []
    delivered: List[Record] = []
    kept: List[Record] = []

    def client(conf: Dict[str, Any]) -> ScriptedClient:
        clients.append(ScriptedClient(conf, choose, delivered))
        return clients[-1]

    def keep(key: Optional[bytes], value: Optional[bytes]) -> bool:
        kept.append((key, value))
        return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(produce_publisher, "Producer", client)
        publisher = Publisher({}, "orders", outage or quiet(), keep)
    return publisher, clients[0], kept


def quiet() -> Outage:
    """An outage of which nobody is told."""
    return Outage(lambda event, **fields: None, "nowhere")


def replies(*answers: str) -> Choose:
    """These answers, then the last one repeatedly."""
    script = iter(answers)
    return lambda choices: next(script, answers[-1])


def publish(publisher: Publisher, records: List[Record]) -> List[Record]:
    """Hand over as a run of the producer does; what was handed over."""
    handed_over = []
    for record in records:
        for _ in range(5):
            if publisher.send(*record):
                handed_over.append(record)
                break
            publisher.wait()
    for _ in range(5):
        if publisher.drain(0):
            return handed_over
    publisher.give_up()
    return handed_over


@settings(deadline=None)
@given(script=st.data())
def test_each_record_is_published_or_kept_whatever_the_client_does(script: st.DataObject) -> None:
    """Refusals, full queues and fatal errors at any point: nothing is raised, and the account adds up."""
    publisher, client, kept = scripted(lambda choices: script.draw(st.sampled_from(choices)))
    handed_over = publish(publisher, [(b"k", str(number).encode()) for number in range(6)])

    assert sorted([*client.delivered, *kept], key=str) == sorted(handed_over, key=str)
    assert (publisher.published, publisher.failed) == (len(client.delivered), len(kept))
    assert publisher.in_flight == 0
    assert bool(publisher.reasons) == bool(kept)


@settings(deadline=None)
@given(script=st.data())
def test_the_orders_of_a_key_stay_in_their_order_whatever_the_client_does(script: st.DataObject) -> None:
    """What is refused with its batch goes again before what was handed over after it."""
    publisher, client, _ = scripted(lambda choices: script.draw(st.sampled_from(choices)))
    publish(publisher, [(b"k", str(number).encode()) for number in range(6)])

    assert client.delivered == sorted(client.delivered, key=str)


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "the right WRITE on topic orders is missing"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "IDEMPOTENT_WRITE on the cluster"),
        (KafkaError._UNKNOWN_TOPIC, "Unknown topic"),
    ],
)
def test_what_every_further_order_would_meet_ends_it_and_names_what_is_missing(code: int, told: str) -> None:
    """Refused by the client at once, or by Kafka in its report."""
    for answers in (("refuse", str(code)), ("take", "fail", str(code))):
        publisher, _, kept = scripted(replies(*answers))
        publish(publisher, [(b"k", b"v")])

        assert told in (publisher.hopeless or "")
        assert publisher.reasons == {publisher.hopeless}
        assert kept == [(b"k", b"v")]


def test_a_fatal_error_is_reported_by_its_cause_wherever_it_surfaced_first() -> None:
    """The client knows only "Fatal error" for a record that it takes no more, or hands back."""
    publisher, _, kept = scripted(replies("take", "refuse", str(KafkaError._FATAL), "die"))
    publish(publisher, [(b"k", b"1"), (b"k", b"2"), (b"k", b"3")])

    assert len(kept) == 3
    assert publisher.reasons == {publisher.hopeless}
    assert "producer id" in (publisher.hopeless or "")


def test_a_client_that_stops_before_it_says_why_is_heard_out() -> None:
    """It takes no more records a moment before it tells of a gap, after which another client can go on."""
    too_large = str(KafkaError.MSG_SIZE_TOO_LARGE)
    answers = ("take", "refuse", str(KafkaError._FATAL), "wait", "fail", too_large, "deliver")
    publisher, client, kept = scripted(replies(*answers))
    publish(publisher, [(b"k", b"1"), (b"k", b"2")])

    assert (client.delivered, kept) == ([(b"k", b"1"), (b"k", b"2")], [])
    assert publisher.hopeless is None


def test_after_a_fatal_error_no_answer_is_waited_for() -> None:
    """None will come: what is in flight is taken back at once, not when the shutdown time-out ends."""
    publisher, _, kept = scripted(replies("take", "die"))
    publisher.send(b"k", b"v")
    publisher.drain(0)

    assert publisher.drain(0)
    assert kept == [(b"k", b"v")]


def test_what_the_client_says_of_brokers_at_the_end_is_no_order_in_flight() -> None:
    """A broker that leaves once all is published would make it "what became of 1 more order is not known"."""
    publisher, client, _ = scripted(replies("take", "deliver"))
    publish(publisher, [(b"k", b"v")])
    client.news = 3

    assert (publisher.published, publisher.in_flight) == (1, 0)


def test_kafka_is_not_back_because_the_client_has_said_what_it_had_to_say() -> None:
    """Only an order that is published shows that it is."""
    told: List[str] = []
    publisher, client, _ = scripted(
        replies("take", "wait"), Outage(lambda event, **fields: told.append(event), "nowhere")
    )
    publisher.send(b"k", b"v")
    client.news = 2
    client.lose_brokers()
    client.news = 0
    publisher.wait()

    assert len(told) == 1


@pytest.mark.parametrize("code", [KafkaError._MSG_TIMED_OUT, KafkaError.TOPIC_AUTHORIZATION_FAILED])
def test_orders_are_kept_as_they_stand_in_the_input_whatever_the_client_reports_first(code: int) -> None:
    """The real one reports what is still to be sent before what was sent; a key's orders changed places."""
    publisher, client, kept = scripted(replies("take", "take", "take", "fail", str(code)))
    for line in (2, 3, 4):
        publisher.send(b"k", str(line).encode(), line)
    client.report_last_first()
    while not publisher.drain(0):
        pass

    assert kept == [(b"k", b"2"), (b"k", b"3"), (b"k", b"4")]


def test_orders_are_kept_as_they_stand_in_the_input_after_a_request_to_stop() -> None:
    """What was sent is then taken back together with what was not."""
    publisher, client, kept = scripted(replies("take", "take", "wait"))
    publisher.send(b"k", b"2", 2)
    publisher.send(b"k", b"3", 3)
    client.report_last_first()
    publisher.give_up()

    assert kept == [(b"k", b"2"), (b"k", b"3")]


def test_nothing_is_sent_again_where_it_may_have_arrived() -> None:
    """What was sent over a connection that is lost is given back as if it had never been sent."""
    publisher, client, kept = scripted(replies("take", "take", "fail", str(KafkaError.MSG_SIZE_TOO_LARGE)))
    publisher.send(b"k", b"1")
    publisher.send(b"k", b"2")
    client.lose_brokers()
    while not publisher.drain(0):
        pass

    assert "refused a batch after a connection was lost" in (publisher.hopeless or "")
    assert (kept, client.delivered) == ([(b"k", b"1"), (b"k", b"2")], [])
    assert publisher.doubtful


def test_an_order_that_is_taken_back_has_not_been_refused() -> None:
    """It would be told as "the last 100 orders were all refused" after a request to stop."""
    publisher, _, kept = scripted(replies("take", "take", "wait"))
    publisher.send(b"k", b"1")
    publisher.send(b"k", b"2")
    publisher.give_up()

    assert len(kept) == 2
    assert publisher.refused_in_a_row == 0


def test_an_order_larger_than_the_whole_queue_is_refused() -> None:
    """There will never be room for it; waiting would never end."""
    kept: List[Record] = []

    def keep(key: Optional[bytes], value: Optional[bytes]) -> bool:
        kept.append((key, value))
        return True

    conf = {**CLIENT_PROFILE, "bootstrap.servers": "127.0.0.1:1", "log_level": 2}
    conf["queue.buffering.max.kbytes"] = 1
    publisher = Publisher(conf, "orders", quiet(), keep)

    assert publish(publisher, [(b"k", b"v" * 5000)]) == kept == [(b"k", b"v" * 5000)]
    assert publisher.reasons == {"larger than the whole queue: raise queue.buffering.max.kbytes"}
    assert publisher.hopeless is None


def test_a_record_is_too_large_only_if_it_is_refused_in_a_batch_of_its_own() -> None:
    """Before that, another record of its batch may be the one."""
    code = str(KafkaError.MSG_SIZE_TOO_LARGE)
    publisher, client, kept = scripted(replies("take", "take", "fail", code, "take", "take", "deliver"))
    publisher.send(b"k", b"1")
    publisher.send(b"k", b"2")
    while not publisher.drain(0):
        pass

    assert client.delivered == [(b"k", b"1"), (b"k", b"2")]
    assert (publisher.published, publisher.failed, kept) == (2, 0, [])


def test_orders_that_cannot_be_kept_end_it(tmp_path: Path) -> None:
    """Going on would lose each order that Kafka refuses."""
    nowhere = str(tmp_path / "none" / "undelivered")
    undelivered = Undelivered(json.loads, lambda order: b"", lambda order: b"", json.loads, nowhere)
    publisher, _, _ = scripted(replies("refuse", str(KafkaError.MSG_SIZE_TOO_LARGE)))
    publisher._keep = undelivered.keep
    publisher.send(b"k", b"v")

    assert publisher.hopeless == "what is not published cannot be kept"
    assert (undelivered.kept, publisher.failed) == (0, 1)
    assert "No such file or directory" in (undelivered.lost or "")


def test_a_fault_that_comes_again_and_again_is_told_a_few_times_and_then_counted() -> None:
    """Whatever the values; and a hostile file cannot make the list of faults endless."""
    faults = Faults()
    told = [faults.add(BadLine(f"f:{n}", f"price: '{n}x' is not a number")) for n in range(2, 1002)]

    assert told.count(True) == 5
    assert list(faults.untold()) == [
        "995 more lines with this fault, the last is f:1001: price: … is not a number"
    ]
    letters = [BadLine("f:1", "x" * n) for n in range(1, 1000)]
    assert 100 < [faults.add(line) for line in letters].count(True) < 110
    assert faults.count == 1999


def run_of(publisher: Publisher, file: Optional[OrderFile] = None) -> Publication:
    """A run of the producer to its end: made-up orders without one, or those of a file."""
    encoder = OrderEncoder(SHIPPED, single_object_prefix(SHIPPED))
    wire = Wire(
        encoder, OrderDecoder(SHIPPED, lambda ref: SHIPPED, 1_000_000), key_reader(SHIPPED, "order_id")
    )
    err = Notes(io.StringIO())
    limits = RunLimits(math.inf, 0.0, False, 1.0)
    source = RecordSource(wire, file, 0.0, 1)
    publication = Publication(publisher, source, limits, StopSignals(err), StatusLine(err))
    publication.run()
    return publication


def run_of_made_up_orders(choose: Choose) -> Publication:
    """An endless run of the producer, to its end."""
    return run_of(scripted(choose)[0])


def test_an_endless_run_ends_when_everything_is_refused() -> None:
    """More made-up orders would only fill the disk."""
    refusal = str(KafkaError.POLICY_VIOLATION)
    publication = run_of_made_up_orders(lambda choices: refusal if refusal in choices else "refuse")

    assert publication.exit_code == 1
    assert list(publication.troubles()) == ["stopped: the last 100 orders were all refused"]


@settings(deadline=None)
@given(seed=st.integers(0, 2**32))
def test_whoever_goes_on_where_it_stopped_loses_no_order(seed: int) -> None:
    """Whatever the client answers, whenever the disk is full: each order is delivered, kept, or follows."""
    choose = random.Random(seed).choice
    publisher, client, kept = scripted(choose)

    def keep(key: Optional[bytes], value: Optional[bytes]) -> bool:
        is_kept = choose(["kept", "full"]) == "kept"
        kept.extend([(key, value)] * is_kept)
        return is_kept

    publisher._keep = keep
    with tempfile.TemporaryFile() as stream:
        stream.writelines(json.dumps({**ORDER, "order_id": str(n)}).encode() + b"\n" for n in range(1, 9))
        stream.seek(0)
        fields = fields_of(SHIPPED.parsed)
        troubles = list(run_of(publisher, OrderFile(stream, "f", fields)).troubles())

    named = [re.search(r"stopped before f:(\d+)", told) for told in troubles]
    resume_from = min([int(found[1]) for found in named if found], default=9)
    safe = {int(key or b"") for key, _ in (*client.delivered, *kept)}
    assert safe >= set(range(1, resume_from)), troubles
