"""What becomes of a send: each call of the client fails with each kind of error; the outcome is the truth.

The client is a script here, so that every row takes a moment; tests/broker/test_engine_session.py holds the
same promises against a real broker behind a wire with accidents.
"""

import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional, Sequence, Tuple

import pytest
from confluent_kafka import KafkaError, KafkaException

import orderflow.consume.producers
from orderflow.consume.client_config import Clients, producer_config
from orderflow.consume.producers import TIMEOUT_S, Producers
from orderflow.consume.settlement import DROPPED, Offsets, Outcome, Settlement, outcome_of
from orderflow.consume.transaction import Transaction
from orderflow.kafka.sizes import FRAME_BYTES
from orderflow.model.records import Outgoing
from tests.support.pipeline import eventually

RETRIABLE = KafkaError(KafkaError._TIMED_OUT, "timed out", retriable=True)
ABORTABLE = KafkaError(KafkaError.COORDINATOR_NOT_AVAILABLE, "no coordinator", txn_requires_abort=True)
FATAL = KafkaError(KafkaError._FENCED, "fenced", fatal=True)
MOVED_ON = KafkaError(KafkaError.ILLEGAL_GENERATION, "a new generation", txn_requires_abort=True)
KINDS = {"retriable": RETRIABLE, "abortable": ABORTABLE, "fatal": FATAL}
BEFORE_COMMIT = ("init_transactions", "begin_transaction", "send_offsets_to_transaction", "produce")
STEPS = (*BEFORE_COMMIT, "commit_transaction")
TOPIC, RESULTS, LETTERS = "orders", "results", "letters"


class Kafka:
    """What the broker has, what its calls answer, and every producer that was made."""

    def __init__(self) -> None:
        self.failures: Dict[str, Deque[Exception]] = {}
        """By call: what its next calls raise."""
        self.reports: Dict[str, KafkaError] = {}
        """By topic: why a record for it is not delivered."""
        self.takes_effect = False
        """Whether a commit that fails has been carried out all the same."""
        self.is_silent = False
        """Whether no record is ever confirmed or refused."""
        self.records: List[Outgoing] = []
        self.committed: Dict[int, Tuple[Optional[int], str]] = {}
        self.may_begin = threading.Event()
        """Unset while the broker keeps `init_transactions` waiting."""
        self.may_begin.set()
        self.began_in: Optional[threading.Thread] = None
        """The thread that called `init_transactions` last."""
        self.made: List[Client] = []
        self.calls: List[str] = []

    def fail(self, call: str, *errors: KafkaError) -> None:
        """The next calls fail so."""
        self.failures.setdefault(call, deque()).extend(map(KafkaException, errors))

    def called(self, call: str) -> None:
        """Note a call, and raise what the script says."""
        self.calls.append(call)
        self.answer(call)

    def answer(self, call: str) -> None:
        """Raise what the script says."""
        if self.failures.get(call):
            raise self.failures[call].popleft()

    def ask(self, partitions: Sequence[int], timeout_s: float) -> Dict[int, Tuple[Optional[int], str]]:
        """What is committed."""
        self.called("committed")
        return {number: self.committed.get(number, (None, "")) for number in partitions}


class Client:
    """The producer, as the script has it."""

    def __init__(self, kafka: Kafka, config: Dict[str, Any]) -> None:
        self.config = config
        self._kafka = kafka
        self._open: List[Outgoing] = []
        self._offsets: Dict[int, Tuple[Optional[int], str]] = {}
        self._reports: List[Callable[[], None]] = []
        self.has_room = True
        kafka.made.append(self)

    def init_transactions(self, timeout_s: float) -> None:
        """The broker ends what others left open."""
        self._kafka.called("init_transactions")
        self._kafka.began_in = threading.current_thread()
        assert self._kafka.may_begin.wait(10)

    def begin_transaction(self) -> None:
        """A new one."""
        self._kafka.called("begin_transaction")
        self._open, self._offsets = [], {}

    def send_offsets_to_transaction(self, places: List[Any], member: Any, timeout_s: float) -> None:
        """Offsets of one topic."""
        self._kafka.called("send_offsets_to_transaction")
        assert {place.topic for place in places} == {TOPIC}
        self._offsets = {place.partition: (place.offset, place.metadata) for place in places}

    def produce(self, topic: str, value: bytes, key: bytes, **options: Any) -> None:
        """One record; its fate is reported when the client polls or commits."""
        self._kafka.called("produce")
        if not self.has_room:
            raise BufferError
        record = Outgoing(topic, key, value, options["headers"])
        report = options.get("on_delivery", self.config["on_delivery"])
        failure = self._kafka.reports.get(topic)
        if self._kafka.is_silent:
            return
        if "transactional.id" in self.config:
            self._open.append(record)
        elif failure is None:
            self._kafka.records.append(record)
        self._reports.append(lambda: report(failure, _Delivered(topic)))

    def __len__(self) -> int:
        return len(self._reports)

    def __bool__(self) -> bool:
        return True

    def poll(self, timeout_s: float) -> None:
        """Report."""
        self._kafka.answer("poll")
        self.has_room = True
        reports, self._reports = self._reports, []
        for report in reports:
            report()

    def commit_transaction(self, timeout_s: float) -> None:
        """All of it, unless a record was not delivered."""
        self.poll(0)
        try:
            self._kafka.called("commit_transaction")
        except KafkaException:
            if self._kafka.takes_effect:
                self._carry_out()
            raise
        if any(self._kafka.reports.get(record.topic) for record in self._open):
            raise KafkaException(KafkaError(KafkaError._STATE, "a delivery failed", txn_requires_abort=True))
        self._carry_out()

    def _carry_out(self) -> None:
        self._kafka.records.extend(self._open)
        self._kafka.committed.update(self._offsets)

    def abort_transaction(self, timeout_s: float) -> None:
        """Nothing of it."""
        self._kafka.called("abort_transaction")
        self._open = []

    def purge(self) -> None:
        """Forget what is not delivered."""
        self._kafka.called("purge")


class _Delivered:
    """A record that the client reports on."""

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def topic(self) -> str:
        """Where it was sent."""
        return self._topic


class Bench:
    """A transaction over the script; `send` sends one result and one dead letter."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, exactly_once: bool, has_predecessor: bool = False
    ) -> None:
        self.kafka = Kafka()
        monkeypatch.setattr(
            orderflow.consume.producers, "Producer", lambda config: Client(self.kafka, config)
        )
        clients = Clients({"group.id": "group"}, producer_config({}, "name"), exactly_once, has_predecessor)
        self.errors: List[KafkaError] = []
        self.transaction = Transaction(TOPIC, clients, self.kafka.ask, self.errors.append)
        self._sent = 0

    def offsets(self) -> Offsets:
        """Those of the last send."""
        return {0: (self._sent, f"of {self._sent}")}

    def send(self, member: Any = b"member") -> Settlement:
        """The next two records."""
        self._sent += 1
        value = b"%d" % self._sent
        records = [Outgoing(topic, b"key", value, []) for topic in (RESULTS, LETTERS)]
        return self.transaction.send(records, self.offsets(), member)

    def values(self) -> List[Optional[bytes]]:
        """What the broker has of the results, in order."""
        return [record.value for record in self.kafka.records if record.topic == RESULTS]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A transaction with exactly-once."""
    return Bench(monkeypatch, exactly_once=True)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The same with at-least-once."""
    return Bench(monkeypatch, exactly_once=False)


# --- exactly-once


def test_records_and_offsets_are_committed_together(bench: Bench) -> None:
    """The offsets first, which is quicker; one producer serves every settlement."""
    assert [bench.send().outcome for _ in range(2)] == [Outcome.SETTLED] * 2

    assert bench.values() == [b"1", b"2"]
    assert bench.kafka.committed == bench.offsets()
    assert len(bench.kafka.made) == 1
    steps = ["begin_transaction", "send_offsets_to_transaction", "produce", "produce", "commit_transaction"]
    assert bench.kafka.calls == ["init_transactions", *steps, *steps]


@pytest.mark.parametrize("aborts", [True, False], ids=["aborts", "cannot abort"])
@pytest.mark.parametrize("error", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("step", STEPS)
def test_what_fails_anywhere_is_not_committed_and_the_next_is(
    bench: Bench, step: str, error: KafkaError, aborts: bool
) -> None:
    """Nothing of it is there, and the next settlement finds a producer that works."""
    bench.send()
    if step == "init_transactions":
        bench.transaction.expect(1_000)
    bench.kafka.fail(step, error)
    if not aborts:
        bench.kafka.fail("abort_transaction", FATAL)

    assert bench.send().outcome is Outcome.NOT_COMMITTED
    assert (bench.values(), bench.kafka.committed[0][0]) == ([b"1"], 1)
    bench.kafka.failures.clear()
    assert bench.send().outcome is Outcome.SETTLED
    assert bench.values() == [b"1", b"3"]


@pytest.mark.parametrize("error", [*KINDS.values(), MOVED_ON], ids=[*KINDS, "moved on"])
@pytest.mark.parametrize("step", STEPS[1:])
def test_a_producer_is_kept_only_where_the_group_has_moved_on(
    bench: Bench, step: str, error: KafkaError
) -> None:
    """A new one costs half a second; one that is broken, although it aborts, costs every settlement."""
    bench.kafka.fail(step, error)
    bench.send()
    bench.send()

    assert len(bench.kafka.made) == (1 if error is MOVED_ON else 2)
    assert ("abort_transaction" in bench.kafka.calls) == (error in (ABORTABLE, MOVED_ON))


@pytest.mark.parametrize("error", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("step", BEFORE_COMMIT)
def test_before_the_commit_nobody_has_to_be_asked(bench: Bench, step: str, error: KafkaError) -> None:
    """It costs nothing to know that nothing is committed which was never asked for."""
    bench.kafka.fail(step, error)
    bench.kafka.fail("abort_transaction", FATAL)

    settlement = bench.send()

    assert "committed" not in bench.kafka.calls
    named = "init_transactions" if step == "begin_transaction" else step
    assert settlement.detail == f"{named}: {error.str()}"


@pytest.mark.parametrize("error", [RETRIABLE, FATAL], ids=["retriable", "fatal"])
def test_a_commit_without_an_answer_is_looked_up(bench: Bench, error: KafkaError) -> None:
    """Committed although the call failed: settled, and not sent again."""
    bench.kafka.fail("commit_transaction", error)
    bench.kafka.takes_effect = True

    assert bench.send().outcome is Outcome.SETTLED
    assert bench.values() == [b"1"]
    assert bench.kafka.calls[-2:] == ["init_transactions", "committed"]


@pytest.mark.parametrize("takes_effect", [True, False])
@pytest.mark.parametrize("step", ["init_transactions", "committed"])
@pytest.mark.parametrize("error", KINDS.values(), ids=KINDS.keys())
def test_where_nobody_answers_the_outcome_is_unknown_until_somebody_does(
    bench: Bench, error: KafkaError, step: str, takes_effect: bool
) -> None:
    """Never guessed, however often it is asked; then it is what Kafka says."""
    bench.send()
    bench.kafka.takes_effect = takes_effect
    bench.kafka.fail("commit_transaction", RETRIABLE)
    bench.kafka.fail(step, error, error)

    settlement = bench.send()
    assert (settlement.outcome, settlement.detail) == (Outcome.UNKNOWN, f"{step}: {error.str()}")
    assert bench.transaction.find_out(bench.offsets()).outcome is Outcome.UNKNOWN
    found = bench.transaction.find_out(bench.offsets()).outcome
    assert found is (Outcome.SETTLED if takes_effect else Outcome.NOT_COMMITTED)


def test_an_abort_that_fails_after_a_commit_leaves_it_to_kafka(bench: Bench) -> None:
    """The commit may have been carried out by then."""
    bench.kafka.takes_effect = True
    bench.kafka.fail("commit_transaction", ABORTABLE)
    bench.kafka.fail("abort_transaction", RETRIABLE)

    assert bench.send().outcome is Outcome.SETTLED


def test_the_metadata_tells_whose_offset_is_committed(bench: Bench) -> None:
    """The same offset in other words is another member's commit."""
    bench.send()
    assert bench.transaction.find_out(bench.offsets()).outcome is Outcome.SETTLED
    bench.kafka.committed[0] = (1, "another's")

    assert bench.transaction.find_out(bench.offsets()).outcome is Outcome.NOT_COMMITTED


def test_kafka_is_asked_only_once_a_new_producer_has_ended_what_the_old_one_left(bench: Bench) -> None:
    """Before that, what is committed may still change."""
    bench.send()
    bench.transaction.find_out(bench.offsets())

    assert bench.kafka.calls[-2:] == ["init_transactions", "committed"]
    assert len(bench.kafka.made) == 2


def test_a_failed_delivery_says_why_the_commit_failed(bench: Bench) -> None:
    """The first that is no consequence; what the client purged because of it says nothing."""
    bench.kafka.reports[RESULTS] = KafkaError(KafkaError._PURGE_QUEUE, "purged")
    bench.kafka.reports[LETTERS] = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")

    settlement = bench.send()

    assert settlement == Settlement(
        Outcome.TOO_LARGE, f"commit_transaction: too large (a record for topic {LETTERS})", topic=LETTERS
    )
    assert bench.values() == []


TAKES_NONE = ", which takes none without a key if it is compacted"


@pytest.mark.parametrize(
    ("key", "code", "hint"),
    [
        (None, KafkaError.INVALID_RECORD, TAKES_NONE),
        (b"", KafkaError.INVALID_RECORD, ""),
        (None, KafkaError.INVALID_TIMESTAMP, ""),
    ],
)
def test_an_invalid_record_without_a_key_may_be_for_a_compacted_topic(
    bench: Bench, key: Optional[bytes], code: int, hint: str
) -> None:
    """Kafka says only that it is invalid, as it does of a timestamp."""
    bench.kafka.reports[LETTERS] = KafkaError(code, "invalid")

    settlement = bench.transaction.send([Outgoing(LETTERS, key, b"1", [])], bench.offsets(), b"member")

    assert settlement.detail == f"commit_transaction: invalid (a record for topic {LETTERS}{hint})"


@pytest.mark.parametrize("aborts", [True, False])
def test_a_producer_with_a_failed_delivery_is_replaced(bench: Bench, aborts: bool) -> None:
    """Though it could abort; and of what was not delivered no commit was asked for, so nobody is asked."""
    bench.kafka.reports[LETTERS] = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")
    if not aborts:
        bench.kafka.fail("abort_transaction", FATAL)
    bench.send()
    bench.kafka.reports.clear()

    assert bench.send().outcome is Outcome.SETTLED
    assert "committed" not in bench.kafka.calls
    assert len(bench.kafka.made) == 2


def test_who_is_no_member_sends_nothing(bench: Bench) -> None:
    """What it did is void, and its offsets are the next owner's to commit."""
    assert bench.send(member=None) == DROPPED
    assert bench.kafka.calls == []


def test_a_fatal_error_that_python_reports_as_its_own_is_understood(bench: Bench) -> None:
    """The client raises it inside its error callback, which surfaces as a SystemError."""
    odd = SystemError("returned a result with an exception set")
    odd.__cause__ = KafkaException(FATAL)
    bench.kafka.failures["produce"] = deque([odd])

    assert bench.send() == Settlement(Outcome.NOT_COMMITTED, "produce: fenced")


def test_a_fatal_error_that_is_lost_on_the_way_is_no_end(bench: Bench) -> None:
    """Python only says that the call returned NULL: not committed, and a new producer tries again."""
    lost = SystemError("<method 'poll'> returned NULL without setting an exception")
    bench.kafka.failures["produce"] = deque([lost])

    assert bench.send().outcome is Outcome.NOT_COMMITTED
    assert bench.send().outcome is Outcome.SETTLED


def test_an_error_of_our_own_is_raised(bench: Bench) -> None:
    """It is no answer of Kafka's."""
    bench.kafka.failures["produce"] = deque([SystemError("broken")])

    with pytest.raises(SystemError, match="broken"):
        bench.send()


def test_a_full_queue_is_waited_for(bench: Bench) -> None:
    """The client takes the record once it has room."""
    bench.transaction.expect(1_000)
    bench.kafka.made[0].has_room = False

    assert bench.send().outcome is Outcome.SETTLED
    assert bench.values() == [b"1"]


# --- at-least-once


def test_records_are_confirmed_and_offsets_are_left_to_the_caller(plain: Bench) -> None:
    """No transaction, and no offsets."""
    settlement = plain.send()

    assert settlement == Settlement(Outcome.SENT, confirmed=frozenset({0, 1}))
    assert plain.kafka.calls == ["produce", "produce"]
    assert plain.kafka.committed == {}


@pytest.mark.parametrize("error", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("call", ["produce", "poll"])
def test_a_send_that_fails_is_not_committed_and_the_next_is_sent(
    plain: Bench, call: str, error: KafkaError
) -> None:
    """The producer goes, with all that it has not delivered."""
    plain.kafka.fail(call, error)

    settlement = plain.send()

    assert (settlement.outcome, settlement.detail) == (Outcome.NOT_COMMITTED, f"produce: {error.str()}")
    assert plain.kafka.calls[-1] == "purge"
    assert plain.send().outcome is Outcome.SENT
    assert len(plain.kafka.made) == 2


def test_it_says_which_records_are_there_although_the_rest_is_not(plain: Bench) -> None:
    """They need not be sent again."""
    plain.kafka.reports[LETTERS] = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")

    why = f"produce: too large (a record for topic {LETTERS})"
    assert plain.send() == Settlement(Outcome.TOO_LARGE, why, frozenset({0}), LETTERS)


def test_what_is_never_confirmed_is_not_sent(plain: Bench) -> None:
    """No report within the time is a failure like any other."""
    plain.kafka.is_silent = True

    settlement = plain.send()

    assert (settlement.outcome, settlement.confirmed) == (Outcome.NOT_COMMITTED, frozenset())


def test_a_plain_producer_has_no_transaction_and_gives_up_before_we_do(plain: Bench) -> None:
    """What is not confirmed then is not delivered either, or a retry could double it."""
    plain.send()
    (client,) = plain.kafka.made

    assert not {"transactional.id", "transaction.timeout.ms", "delivery.report.only.error"} & set(
        client.config
    )
    assert client.config["delivery.timeout.ms"] < TIMEOUT_S * 1000


# --- what a predecessor has left open


@pytest.fixture
def successor(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The same as `bench`, under a transactional id that a dead process may have had."""
    return Bench(monkeypatch, exactly_once=True, has_predecessor=True)


def test_a_successor_ends_what_was_left_open_before_it_has_anything_to_send(successor: Bench) -> None:
    """The broker does so when the transactional id is initialised again; that producer then serves."""
    successor.transaction.end_left_over()
    eventually(lambda: successor.kafka.calls == ["init_transactions"])

    assert successor.send().outcome is Outcome.SETTLED
    assert successor.kafka.calls.count("init_transactions") == 1
    assert len(successor.kafka.made) == 1


def test_a_successor_sends_nothing_until_that_has_ended(successor: Bench) -> None:
    """Two that initialise at a time would fence each other."""
    successor.kafka.may_begin.clear()
    successor.transaction.end_left_over()
    sending = threading.Thread(target=successor.send, daemon=True)
    sending.start()
    sending.join(0.2)
    called = list(successor.kafka.calls)
    successor.kafka.may_begin.set()
    sending.join(10)

    assert called == ["init_transactions"]
    assert successor.values() == [b"1"]


def test_a_successor_that_could_not_end_it_tries_again_with_its_first_settlement(successor: Bench) -> None:
    """And then it is said: nobody hears the first time."""
    successor.kafka.fail("init_transactions", RETRIABLE, FATAL)
    successor.transaction.end_left_over()

    assert successor.send().detail == "init_transactions: fenced"
    assert successor.send().outcome is Outcome.SETTLED


def test_what_a_producer_left_open_that_was_dropped_is_ended(bench: Bench) -> None:
    """Its successor begins, by whichever thread that is asked for, and serves the next settlement."""
    bench.kafka.fail("send_offsets_to_transaction", RETRIABLE)
    assert bench.send().outcome is Outcome.NOT_COMMITTED
    before = bench.kafka.calls.count("init_transactions")

    bench.transaction.end_ours()
    assert bench.kafka.calls.count("init_transactions") == before + 1
    assert bench.send().outcome is Outcome.SETTLED
    assert bench.kafka.calls.count("init_transactions") == before + 1


def test_what_is_being_settled_is_not_ended(bench: Bench) -> None:
    """It would be fenced."""
    assert bench.send().outcome is Outcome.SETTLED
    bench.transaction.end_ours()

    assert bench.kafka.calls.count("init_transactions") == 1


def test_threads_that_begin_at_the_same_time_begin_once(bench: Bench) -> None:
    """Two that initialise would fence each other."""
    bench.kafka.may_begin.clear()
    others = [threading.Thread(target=bench.transaction.end_ours, daemon=True) for _ in range(3)]
    for other in others:
        other.start()
    eventually(lambda: bench.kafka.calls == ["init_transactions"])
    bench.kafka.may_begin.set()
    for other in others:
        other.join(10)

    assert bench.send().outcome is Outcome.SETTLED
    assert bench.kafka.calls.count("init_transactions") == 1


@pytest.mark.parametrize(("exactly_once", "has_predecessor"), [(True, False), (False, True), (False, False)])
def test_who_has_no_predecessor_or_no_transactions_asks_for_nothing(
    monkeypatch: pytest.MonkeyPatch, exactly_once: bool, has_predecessor: bool
) -> None:
    """It needs a transactional id, and the right to it, only when it first sends something."""
    tested = Bench(monkeypatch, exactly_once, has_predecessor)
    tested.transaction.end_left_over()
    settlement = tested.send()

    assert settlement.outcome is (Outcome.SETTLED if exactly_once else Outcome.SENT)
    assert tested.kafka.calls.count("init_transactions") == exactly_once
    assert len(tested.kafka.made) == 1
    assert threading.current_thread() is tested.kafka.began_in or not exactly_once


# --- producers


def test_the_next_producer_is_made_ahead_and_knows_the_sizes(bench: Bench) -> None:
    """A batch counts against a topic's limit as a record does; a size that is not given stays."""
    bench.transaction.expect(2_000_000, 500_000)
    bench.transaction.expect(3_000)
    assert bench.kafka.calls == []
    assert bench.send().outcome is Outcome.SETTLED

    first, second = (client.config for client in bench.kafka.made)
    assert (first["batch.size"], first["message.max.bytes"]) == (500_000, 2_000_000 + FRAME_BYTES)
    assert (second["batch.size"], second["message.max.bytes"]) == (3_000, 1_000_000 + FRAME_BYTES)
    second["error_cb"](RETRIABLE)
    assert bench.errors == [RETRIABLE]


# --- what errors mean


MEANINGS = {
    KafkaError.MSG_SIZE_TOO_LARGE: Outcome.TOO_LARGE,
    KafkaError.ILLEGAL_GENERATION: Outcome.MOVED_ON,
    KafkaError.UNKNOWN_MEMBER_ID: Outcome.EXPELLED,
    KafkaError.FENCED_INSTANCE_ID: Outcome.EXPELLED,
    KafkaError.OFFSET_METADATA_TOO_LARGE: Outcome.METADATA_TOO_LARGE,
    KafkaError.INVALID_TIMESTAMP: Outcome.TIME_REFUSED,
    KafkaError.INVALID_RECORD: Outcome.TIME_REFUSED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED: Outcome.REFUSED,
    KafkaError.UNKNOWN_TOPIC_OR_PART: Outcome.REFUSED,
    KafkaError._TRANSPORT: Outcome.NOT_COMMITTED,
    KafkaError.UNKNOWN: Outcome.NOT_COMMITTED,
}


@pytest.mark.parametrize(("code", "outcome"), MEANINGS.items())
def test_an_answer_of_kafkas_has_one_meaning(code: int, outcome: Outcome) -> None:
    """And one that nobody knows means that nothing was committed."""
    assert outcome_of(KafkaError(code)) is outcome


def test_a_missing_right_is_named_with_the_topics_that_lack_it(bench: Bench) -> None:
    """Kafka only says that something is denied."""
    denied = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied")
    bench.kafka.reports[LETTERS] = denied
    assert bench.send().detail.endswith("it takes the right WRITE on topic letters")

    bench.kafka.reports.clear()
    bench.kafka.fail("produce", denied)
    assert bench.send().detail.endswith("it takes the right WRITE on topic letters and results")


def test_offsets_that_are_denied_take_a_right_on_the_topic_that_they_are_of(bench: Bench) -> None:
    bench.kafka.fail(
        "send_offsets_to_transaction", KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "denied")
    )
    assert bench.send().detail.endswith("it takes the right READ on topic orders")


@pytest.mark.parametrize(
    ("code", "right"),
    [
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "the right WRITE on transactional id name"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "the right READ on group group"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "on the cluster, or WRITE on topic letters and results"),
    ],
)
def test_every_right_is_named(bench: Bench, code: int, right: str) -> None:
    """With the name that an operator has to enter."""
    bench.kafka.fail("send_offsets_to_transaction", KafkaError(code, "denied"))

    settlement = bench.send()

    assert settlement.outcome is Outcome.REFUSED
    assert settlement.detail.endswith(right)


# --- how long a transaction may take


def times_given(bench: Bench) -> List[Any]:
    """How long the broker leaves transactions of each producer open, in ms, in the order they were made."""
    return [made.config["transaction.timeout.ms"] for made in bench.kafka.made]


@pytest.fixture
def producers(bench: Bench) -> Producers:
    """The producers of a transaction with exactly-once."""
    return bench.transaction._producers


def test_a_transaction_that_used_all_its_time_up_is_given_twice_as_much(
    bench: Bench, producers: Producers
) -> None:
    """And so on, up to a limit: what a killed process leaves open stays open for as long."""
    for _ in range(6):
        producers.ready()
        producers.took(producers.commit_s, is_committed=False)

    assert [1, 2, 4, 8, 16] == [given // 10_000 for given in times_given(bench)]
    assert 160.0 == producers.commit_s


def test_a_failure_that_came_soon_changes_no_time(bench: Bench, producers: Producers) -> None:
    """It has another cause."""
    bench.send()
    producers.took(9.0, is_committed=False)
    bench.send()

    assert [10_000] == times_given(bench)


def test_a_short_transaction_takes_half_of_the_time_back(bench: Bench, producers: Producers) -> None:
    """Down to what is configured."""
    producers.took(10.0, is_committed=False)
    for _ in range(3):
        bench.send()

    assert [20_000, 10_000] == times_given(bench)


def test_a_broker_that_allows_no_such_time_is_asked_for_less(bench: Bench, producers: Producers) -> None:
    """And is not asked for it again."""
    producers.took(10.0, is_committed=False)
    bench.kafka.fail("init_transactions", KafkaError(KafkaError.INVALID_TRANSACTION_TIMEOUT, "too long"))
    bench.send()
    producers.took(10.0, is_committed=False)

    assert Outcome.SETTLED is bench.send().outcome
    assert [20_000, 10_000] == times_given(bench)


# --- how much goes into a batch


def test_a_refused_batch_is_sent_in_smaller_ones(bench: Bench) -> None:
    """A sixteenth at a time, down to its largest value, which cannot be divided."""
    bench.send()
    bench.kafka.reports[RESULTS] = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")
    for _ in range(12):
        assert Outcome.TOO_LARGE is bench.send().outcome

    sizes = [made.config["batch.size"] for made in bench.kafka.made]
    assert [1_000_000, 62_500, 3_906] == sizes[:3]
    assert 1 == sizes[-1]


def test_a_refused_record_without_a_value_leaves_a_batch_of_some_size(bench: Bench) -> None:
    """As a dead letter that only points to its source: no client can be created with batches of nothing."""
    pointer = Outgoing(LETTERS, b"K1", None, [])
    bench.kafka.reports[LETTERS] = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE, "too large")
    for _ in range(12):
        assert Outcome.TOO_LARGE is bench.transaction.send([pointer], bench.offsets(), b"member").outcome

    assert 1 == bench.kafka.made[-1].config["batch.size"]
