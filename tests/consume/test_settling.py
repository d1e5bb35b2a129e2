"""Whatever Kafka answers to a settlement, a finished call is not repeated: only the writing is retried."""

from collections import Counter
from typing import Any, Dict, List
from typing import Counter as Count

import pytest

from orderflow.consume.outbox import NO_TIMESTAMP
from orderflow.consume.settlement import SETTLED, Outcome, Settlement
from tests.support.scripted_session import DEAD_LETTERS, RESULTS, Answer, Life, Topic

ORDERS = 40
POISON = b"0:7"
STEPS = 100_000
"""A round takes 10 ms while nothing can be settled."""


class Shop:
    """A handler that counts its calls; one order fails at each of them."""

    def __init__(self, **options: Any) -> None:
        self.topic = Topic()
        self.topic.fill(ORDERS)
        self.calls: Count[bytes] = Counter()
        self.life = Life(self.topic, self.handle, publishes=True, **options)

    def handle(self, order: Dict[str, Any]) -> Dict[str, str]:
        """One result for each order."""
        self.calls[order["value"]] += 1
        if order["value"] == POISON:
            raise ValueError("never")
        return {"of": order["value"].decode()}

    def answer(self, outcome: Outcome, times: int = 1, took_effect: bool = False) -> None:
        """How the next settlements end."""
        answer = Answer(Settlement(outcome, "some answer of Kafka's"), took_effect)
        self.life.session.answers.extend([answer] * times)

    def assert_each_once(self) -> None:
        """Nothing was called beyond its budget, nothing is missing and nothing is there twice."""
        assert self.calls.pop(POISON) == 4
        assert set(self.calls.values()) == {1}
        results = [record.value for record in self.topic.of(RESULTS)]
        assert len(results) == len(set(results)) == ORDERS - 1
        assert [record.value for record in self.topic.of(DEAD_LETTERS)] == [POISON]
        assert self.topic.committed[0][0] == ORDERS


def begun(**options: Any) -> Shop:
    """A shop whose partition is ready, with nothing called yet."""
    shop = Shop(**options)
    shop.life.session.pause([0])
    shop.life.until(lambda: "partition_ready" in shop.life.names())
    return shop


FAILURES = [
    Outcome.NOT_COMMITTED,
    Outcome.REFUSED,
    Outcome.TOO_LARGE,
    Outcome.TIME_REFUSED,
    Outcome.MOVED_ON,
]


@pytest.mark.parametrize("times", [1, 2, 12])
@pytest.mark.parametrize("exactly_once", [True, False])
@pytest.mark.parametrize("outcome", FAILURES)
def test_no_failure_of_a_settlement_calls_an_order_again(
    outcome: Outcome, exactly_once: bool, times: int
) -> None:
    """However often it fails, and in whatever words."""
    shop = begun(exactly_once=exactly_once)
    shop.answer(outcome, times)

    shop.life.drain(STEPS)

    shop.assert_each_once()


@pytest.mark.parametrize("exactly_once", [True, False])
def test_what_the_topic_of_results_refuses_takes_nothing_from_dead_letters(exactly_once: bool) -> None:
    """Their own topic accepts them whole."""
    shop = begun(exactly_once=exactly_once)
    refused = Settlement(Outcome.TOO_LARGE, "too large", topic=RESULTS)
    shop.life.until(lambda: shop.calls[POISON] == 3)
    shop.life.session.answers.extend([Answer(refused)] * 3)

    shop.life.drain(STEPS)

    assert "dead_letter_too_large" not in shop.life.names()
    shop.assert_each_once()


@pytest.mark.parametrize("took_effect", [True, False])
@pytest.mark.parametrize("silent", [0, 1, 12])
def test_an_unknown_outcome_is_found_out_before_anything_else_is_sent(silent: int, took_effect: bool) -> None:
    """Committed after all: it is not sent again. Not committed: it is. Neither calls an order again."""
    shop = begun()
    shop.answer(Outcome.UNKNOWN, took_effect=took_effect)
    shop.life.session.doubts.extend([Settlement(Outcome.UNKNOWN, "no answer")] * silent)
    shop.life.until(lambda: len(shop.life.session.sends) == 2)

    shop.life.drain(STEPS)

    shop.assert_each_once()


def test_partitions_that_are_taken_away_take_an_unknown_outcome_with_them() -> None:
    """What is not known to be committed is the next owner's to read; nothing of it is sent by us."""
    shop = begun()
    shop.answer(Outcome.UNKNOWN)
    shop.life.session.doubts.extend([Settlement(Outcome.UNKNOWN, "no answer")] * 10_000)
    shop.life.until(lambda: "settlement_delayed" in shop.life.names())
    tries = len(shop.life.session.sends)

    shop.life.session.revoke(0)
    shop.life.step(200)
    assert len(shop.life.session.sends) == tries

    shop.life.session.doubts.clear()
    shop.life.session.assign(0)
    shop.life.drain(STEPS)
    assert len(shop.topic.of(RESULTS)) == ORDERS - 1


@pytest.mark.parametrize(
    "outcome", [Outcome.NOT_COMMITTED, Outcome.REFUSED, Outcome.MOVED_ON, Outcome.UNKNOWN]
)
def test_what_was_done_for_partitions_that_stay_is_kept(outcome: Outcome) -> None:
    """One of two partitions is revoked meanwhile: the other's orders are settled without a second call."""
    topic = Topic(partitions=2)
    calls: Count[bytes] = Counter()
    topic.fill(ORDERS, 0)
    topic.fill(ORDERS, 1)

    def handle(order: Dict[str, Any]) -> Dict[str, str]:
        calls[order["value"]] += 1
        return {"of": order["value"].decode()}

    life = Life(topic, handle, publishes=True)
    life.session.pause([0, 1])
    life.until(lambda: life.names().count("partition_ready") == 2)
    life.session.answers.extend([Answer(Settlement(outcome, "no"))] * 100)
    life.session.doubts.extend([Settlement(Outcome.UNKNOWN, "no")] * 100)
    life.until(lambda: len(calls) == 2 * ORDERS)
    life.step(3)
    life.session.revoke(0)
    life.step(3)
    life.session.answers.clear()
    life.session.doubts.clear()
    life.drain(STEPS)

    assert [count for value, count in calls.items() if count > 1] == []
    results = [record.value for record in topic.of(RESULTS)]
    assert len(results) == len(set(results)) == ORDERS
    assert 0 not in topic.committed or topic.committed[0][0] == 0
    assert topic.committed[1][0] == ORDERS


def test_what_a_dropped_member_did_is_void() -> None:
    """The group may have given its partitions to others: it starts again from what is committed."""
    shop = begun()
    shop.answer(Outcome.EXPELLED)

    shop.life.drain(STEPS)

    assert "start_again" in shop.life.names()
    assert len(shop.topic.of(RESULTS)) == ORDERS - 1
    assert set(shop.calls.values()) - {2, 5, 4, 1} == set()


def test_a_refused_timestamp_is_left_out() -> None:
    """First a dead letter gets that of its order, which Kafka took once; then none."""
    shop = begun()
    shop.answer(Outcome.TIME_REFUSED)
    shop.life.drain(STEPS)
    assert {record.timestamp_ms for record in shop.topic.of(RESULTS)} == {NO_TIMESTAMP}
    (letter,) = shop.topic.of(DEAD_LETTERS)
    assert letter.timestamp_ms == shop.topic.records[0][7].timestamp()[1]

    shop = begun()
    shop.answer(Outcome.TIME_REFUSED, times=2)
    shop.life.drain(STEPS)
    assert {record.timestamp_ms for record in shop.topic.sent} == {NO_TIMESTAMP}


def test_what_has_failed_for_a_minute_is_said_loudly_with_kafkas_answer() -> None:
    """Once a minute, with the step; and no more when it works."""
    shop = begun()
    shop.answer(Outcome.NOT_COMMITTED, times=10_000)
    shop.life.until(lambda: shop.life.clock() > 200.0, steps=100_000)
    shop.life.session.answers.clear()
    shop.life.drain(STEPS)

    told: List[Dict[str, Any]] = [fields for name, fields in shop.life.events if name == "failing"]
    assert [round(fields["for_s"] / 60) for fields in told] == [1, 2, 3]
    assert {(fields["step"], fields["detail"]) for fields in told} == {("settling", "some answer of Kafka's")}
    assert shop.life.names().count("settlement_delayed") == 1
    assert shop.life.names().count("unblocked") == 1
    shop.assert_each_once()


def test_partitions_flow_again_whatever_ended_the_trouble() -> None:
    """A new generation after a refusal, or revoked partitions, must not leave a hold behind."""
    shop = begun()
    shop.answer(Outcome.NOT_COMMITTED, times=2)
    shop.answer(Outcome.MOVED_ON)
    shop.life.drain(STEPS)
    assert not shop.life.engine.assignment.ready[0].holds

    shop = begun()
    shop.answer(Outcome.REFUSED, times=50)
    shop.life.until(lambda: "blocked" in shop.life.names())
    shop.life.session.revoke(0)
    shop.life.step(3)
    shop.life.session.answers.clear()
    assert not shop.life.engine.settling.is_held
    shop.life.session.assign(0)
    shop.life.drain(STEPS)
    assert shop.topic.of(DEAD_LETTERS)


def test_a_settlement_that_succeeds_says_nothing() -> None:
    """No line where nothing is wrong."""
    shop = begun()
    shop.life.drain(STEPS)
    assert SETTLED.outcome is Outcome.SETTLED
    assert not {"settlement_delayed", "blocked", "failing", "unblocked"} & set(shop.life.names())
