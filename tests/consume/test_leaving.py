"""A consumer that stops has nothing left to settle when its client leaves the group."""

from typing import Any, Dict

import pytest

from orderflow.consume.settlement import Outcome, Settlement
from orderflow.model.commit_metadata import read_metadata
from tests.support.scripted_session import Answer, Life, Topic


def done(order: Dict[str, Any]) -> None:
    """Process one order."""


def is_marked_clean(topic: Topic) -> bool:
    """Whether the next owner finds that the last one stopped as it should."""
    offset, text = topic.committed[0]
    commit = read_metadata(text, offset)
    assert commit is not None
    return commit.clean


@pytest.fixture(params=[True, False], ids=["exactly-once", "at-least-once"])
def life(request: Any) -> Life:
    """A consumer that has worked for a while, and is told to stop."""
    topic = Topic()
    topic.fill(50)
    running = Life(topic, done, exactly_once=request.param).drain()
    assert not is_marked_clean(topic)
    return running


def test_all_is_committed_and_marked_before_the_client_leaves(life: Life) -> None:
    """In its last callback the client may never answer who it is in the group."""
    life.engine.leave()
    assert is_marked_clean(life.topic)
    committed = len(life.session.sends)

    life.engine.revoked({0})

    assert len(life.session.sends) == committed


def test_what_is_refused_is_tried_once_more_as_it_leaves(life: Life) -> None:
    """As between two generations of the group, where the last callback may succeed."""
    life.session.answers.append(Answer(Settlement(Outcome.NOT_COMMITTED, "rebalancing")))
    life.engine.leave()
    assert not is_marked_clean(life.topic)

    life.engine.revoked({0})

    assert is_marked_clean(life.topic)
