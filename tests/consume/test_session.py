"""A session outside its group: it has no member, and commits nothing."""

from typing import Any, Dict

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from orderflow.consume import session
from orderflow.consume.client_config import Clients, consumer_config, producer_config
from orderflow.consume.session import Session
from orderflow.consume.settlement import DROPPED

NOWHERE: Dict[str, Any] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
"""A broker that nobody runs: the group never lets us in."""


class Odd(Consumer):
    """A consumer whose side of the group can be closed while its handle is still open."""

    is_gone = False

    def consumer_group_metadata(self) -> Any:
        """What the client says then."""
        if self.is_gone:
            raise RuntimeError("Consumer group metadata not available")
        return super().consumer_group_metadata()

    def memberid(self) -> str:
        """The id that it had."""
        return "member"


class Denied(Odd):
    """A consumer in a group whose commits Kafka refuses."""

    code = KafkaError.GROUP_AUTHORIZATION_FAILED

    def commit(self, *_: Any, **__: Any) -> Any:
        """What the client says then."""
        raise KafkaException(KafkaError(self.code, "denied"))


def begun() -> Session:
    """A session that waits to be let in."""
    clients = Clients(consumer_config(NOWHERE, "group", 300), producer_config(NOWHERE, "name"), True)
    return Session("orders", clients, lambda gone: None, lambda: None, lambda waited_s: None)


def assert_is_no_member(tested: Session) -> None:
    """Neither way of settling does anything."""
    assert tested.member() is None
    assert tested.commit({0: (1, "")}) == DROPPED
    assert tested.send([], {0: (1, "")}, tested.member()) == DROPPED


def test_who_has_not_joined_yet_is_no_member() -> None:
    """Kafka would commit a transaction that names no member, whoever owns the partitions."""
    tested = begun()
    assert_is_no_member(tested)
    tested.close()


def test_a_closed_session_is_no_member() -> None:
    """What it did last is the next owner's to find out."""
    tested = begun()
    tested.close()
    assert_is_no_member(tested)


def test_who_has_left_the_group_for_good_is_no_member(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's side of the group ends before its handle does, and then it has no metadata to give."""
    monkeypatch.setattr(session, "Consumer", Odd)
    monkeypatch.setattr(Odd, "is_gone", False)
    tested = begun()
    tested._assigned(tested._consumer, [])
    assert tested.member() is not None

    monkeypatch.setattr(Odd, "is_gone", True)
    assert_is_no_member(tested)
    tested.close()


@pytest.mark.parametrize(
    ("code", "right"),
    [
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "; the right READ on group group is missing"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "; the right READ on topic orders is missing"),
        (KafkaError.REQUEST_TIMED_OUT, ""),
    ],
)
def test_a_commit_that_is_denied_names_the_right_that_it_takes(
    monkeypatch: pytest.MonkeyPatch, code: int, right: str
) -> None:
    """Kafka says only of what kind it is."""
    monkeypatch.setattr(session, "Consumer", Denied)
    monkeypatch.setattr(Denied, "code", code)
    tested = begun()
    tested._assigned(tested._consumer, [])

    assert tested.commit({0: (1, "")}).detail == f"commit: denied{right}"
    tested.close()
