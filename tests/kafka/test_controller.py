"""Answers of the controller, from a client that waits for one that is gone."""

from concurrent.futures import Future
from typing import Any, List

import pytest
from confluent_kafka import KafkaError, KafkaException

from orderflow.kafka.controller import answer_of, is_answered


class Admin:
    """A client that is stuck until it has asked for the cluster's nodes so often."""

    def __init__(self, answer: "Future[str]", needed: int) -> None:
        self.asked: List[float] = []
        self._answer = answer
        self._needed = needed

    def list_topics(self, timeout: float) -> None:
        """The nodes, and with them the controller; first without success."""
        self.asked.append(timeout)
        if len(self.asked) < self._needed:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        self._answer.set_result("told")


def stuck(needed: int) -> Any:
    answer: Future[str] = Future()
    return Admin(answer, needed), answer


def test_a_client_that_waits_for_a_controller_asks_for_the_nodes_until_it_has_its_answer() -> None:
    admin, answer = stuck(needed=2)

    assert answer_of(admin, answer) == "told"
    assert len(admin.asked) == 2


def test_an_answer_that_is_there_costs_no_question() -> None:
    admin, answer = stuck(needed=1)
    answer.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))

    with pytest.raises(KafkaException):
        answer_of(admin, answer)
    assert admin.asked == []


def test_no_longer_than_allowed() -> None:
    admin, answer = stuck(needed=99)

    assert not is_answered(admin, answer, timeout_s=0.0)
    assert admin.asked == []
