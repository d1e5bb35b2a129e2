"""`serve` goes on through a partial outage, and ends only where the topic really is another one."""

from typing import Optional

import pytest

from orderflow.cli.values import LISTEN_AT
from orderflow.dlq.verbs.serve import authority, has_successor
from orderflow.exits import CommandError, TopicMissing

THEN, NOW = "hbXq0-3TQ_2m5k9aJv7cUw", "Zp4n8s1yT0aRk6LxWq2bEg"


@pytest.mark.parametrize(
    ("then", "now", "is_another"),
    [(THEN, NOW, True), (THEN, THEN, False), (THEN, None, False), (None, NOW, False), (None, None, False)],
)
def test_only_another_id_is_another_topic(then: Optional[str], now: Optional[str], is_another: bool) -> None:
    """None: a broker that gives no ids, or that has not heard of the topic since it started."""
    assert has_successor(then, lambda: now) is is_another


@pytest.mark.parametrize("typed", ["127.0.0.1:9311", "localhost:1", "[::1]:9311"])
def test_the_address_is_said_as_it_was_typed(typed: str) -> None:
    """Between `http://` and `/metrics`, to be opened."""
    assert authority(*LISTEN_AT.read(typed)) == typed


def test_what_cannot_be_asked_now_is_asked_again_later() -> None:
    """One broker of several is down: the stock stays as it is."""

    def ask() -> Optional[str]:
        raise CommandError("cannot look at topic orders-dlq: timed out")

    assert has_successor(THEN, ask) is False


def test_a_topic_that_is_missing_is_not_passed_over() -> None:
    """It was deleted: whoever watches the alerts has to know."""

    def ask() -> Optional[str]:
        raise TopicMissing("orders-dlq does not exist")

    with pytest.raises(TopicMissing):
        has_successor(THEN, ask)
