"""A consumer that stops has nothing left to settle when its client leaves the group."""

import asyncio
import threading
from typing import Any, Callable, Dict, Iterator, List

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


# --- with workers, which are given orders ahead


class Gated:
    """A handler whose calls, in two workers, go on until the gate opens."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.called: List[Any] = []

    def plain(self, order: Dict[str, Any]) -> None:
        """Wait in a thread."""
        self.called.append(order["value"])
        assert self.gate.wait(20)

    async def on_loop(self, order: Dict[str, Any]) -> None:
        """Wait on the event loop."""
        self.called.append(order["value"])
        while not self.gate.is_set():
            await asyncio.sleep(0.001)

    def opens_soon(self) -> None:
        """Open the gate once whoever waits for the calls has begun to."""
        threading.Timer(0.3, self.gate.set).start()


@pytest.fixture
def gated() -> Iterator[Gated]:
    """Its gate opens when the test ends, so that no thread stays behind."""
    one = Gated()
    yield one
    one.gate.set()


Begin = Callable[[], Life]


@pytest.fixture(params=["threads", "event loop"])
def begin(request: Any, gated: Gated) -> Iterator[Begin]:
    """Begin a consumer of two workers, both of which have a call, and further orders given ahead."""
    lives: List[Life] = []

    def busy() -> Life:
        topic = Topic()
        topic.fill(50)
        handler = gated.plain if request.param == "threads" else gated.on_loop
        lives.append(Life(topic, handler, workers=2))
        lives[-1].until(lambda: lives[-1].engine.waiting > 4 and len(gated.called) == 2)
        return lives[-1]

    yield busy
    for life in lives:
        life.close()


def test_no_call_begins_once_it_is_told_to_stop(begin: Begin, gated: Gated) -> None:
    """Those that were given ahead would use up the time to stop in, and be cut off in the middle."""
    life = begin()
    gated.opens_soon()
    life.loop.finish_calls(life.clock() + 1e9)
    life.engine.leave()

    assert [b"0:0", b"0:1"] == sorted(gated.called)
    assert is_marked_clean(life.topic)


def test_what_was_not_called_when_it_stopped_is_called_by_the_next_one(begin: Begin, gated: Gated) -> None:
    """Each order once."""
    life = begin()
    gated.opens_soon()
    life.loop.finish_calls(life.clock() + 1e9)
    life.engine.leave()
    Life(life.topic, gated.plain).drain()

    assert sorted(f"0:{number}".encode() for number in range(50)) == sorted(gated.called)


def test_no_call_begins_for_a_partition_that_was_given_up(begin: Begin, gated: Gated) -> None:
    """Its next owner calls them."""
    life = begin()
    life.session.revoke(0)
    life.until(lambda: "partition_given_up" in life.names())
    gated.gate.set()
    life.until(lambda: not life.engine.assignment.ready and life.engine.settling.is_idle)
    life.step(20)

    assert [b"0:0", b"0:1"] == sorted(gated.called)
