"""The specification of the engine: failures, attempts, guarantees, brakes and deaths, as tables of cases.

Each case is a whole life of the real engine against the scripted session, in milliseconds.
tests/broker/test_specification.py runs the same scenes against a real broker.
"""

import asyncio
from typing import Any, Dict, List, Optional

import pytest

from orderflow.consume.retry import Policy
from tests.support.scenes import MAX_RETRIES, SCENES
from tests.support.scripted_session import DEAD_LETTERS, RESULTS, Killed, Life, Topic

POLICY = Policy(max_retries=MAX_RETRIES, backoff_s=1.0, backoff_max_s=8.0)
ROADS = ["alone", "behind another of its key", "without a key"]
GUARANTEES = ["exactly-once", "at-least-once"]
WAYS = [("inline", False), ("inline", True), ("four threads", True), ("async, four at a time", True)]
"""How the handler is called, and whether what waits is listed on a page."""


class Story:
    """A handler that tells the story of one order, and keeps every call; all other orders succeed."""

    def __init__(self, name: str) -> None:
        self.calls: List[bytes] = []
        self._does = SCENES[name].does

    def __call__(self, order: Dict[str, Any]) -> Any:
        """Process one order."""
        value: bytes = order["value"]
        self.calls.append(value)
        return self._does(self.calls.count(b"hero")) if value == b"hero" else None


class AsyncStory(Story):
    """The same story, told by an async handler: every other call waits for something first."""

    async def __call__(self, order: Dict[str, Any]) -> Any:
        """Process one order."""
        if len(self.calls) % 2:
            await asyncio.sleep(0)
        return super().__call__(order)


HANDLERS = {
    "inline": (Story, 1),
    "four threads": (Story, 4),
    "async, one at a time": (AsyncStory, 1),
    "async, four at a time": (AsyncStory, 4),
}


def reason(letters: List[Any]) -> Optional[str]:
    """The reason code of the one dead letter; None where there is none."""
    assert len(letters) <= 1
    return dict(letters[0].headers)["orders.dlq.reason"].decode() if letters else None


def told(road: str) -> Topic:
    """A topic in which the story's order has neighbours of other keys, and later ones of its own."""
    topic, key = Topic(), None if road == "without a key" else b"key"
    topic.fill(5)
    if road == "behind another of its key":
        topic.put(0, key, b"before")
    topic.put(0, key, b"hero")
    topic.put(0, key, b"after")
    topic.fill(5)
    return topic


@pytest.mark.parametrize(("handler", "pages"), WAYS)
@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("name", list(SCENES))
def test_each_failure_has_its_calls_and_its_fate(
    name: str, road: str, guarantee: str, handler: str, pages: bool
) -> None:
    """The number of calls, one outcome, the reason code; its neighbours are called once and not held up."""
    kind, workers = HANDLERS[handler]
    topic, story, expected = told(road), kind(name), SCENES[name].expected
    exactly_once = guarantee == "exactly-once"
    life = Life(
        topic, story, policy=POLICY, workers=workers, publishes=True, exactly_once=exactly_once, pages=pages
    ).drain()
    life.close()

    letters = topic.of(DEAD_LETTERS)
    assert (expected.calls, expected.reason) == (story.calls.count(b"hero"), reason(letters))
    assert all(story.calls.count(value) == 1 for value in set(story.calls) - {b"hero"})
    dead = len(letters)
    assert (len(story.calls) - expected.calls + 1 - dead, dead) == tuple(life.engine.settling.counts)
    if road != "without a key":
        last = max(index for index, value in enumerate(story.calls) if value == b"hero")
        assert story.calls.index(b"after") > last, "the order of a key"


@pytest.mark.parametrize("name", ["always-fails", "is-rejected", "breaks-a-rule"])
def test_a_dead_letter_counts_its_attempts(name: str) -> None:
    """In the header that the broker itself writes for share groups."""
    topic = told("alone")
    Life(topic, Story(name), policy=POLICY).drain()

    (letter,) = topic.of(DEAD_LETTERS)
    assert str(SCENES[name].expected.calls).encode() == dict(letter.headers)["__dlq.errors.delivery.count"]


@pytest.mark.parametrize("name", ["succeeds", "fails-once", "returns-nothing", "always-fails"])
def test_a_result_is_published_once_and_only_by_the_call_that_succeeds(name: str) -> None:
    """Nothing is published of a call that failed, or that returned nothing."""
    topic = told("alone")
    Life(topic, Story(name), policy=POLICY, publishes=True).drain()

    values = [b'{"attempt":%d}' % SCENES[name].expected.calls] if name in ("succeeds", "fails-once") else []
    assert values == [result.value for result in topic.of(RESULTS)]


# --- brakes


@pytest.mark.parametrize(
    ("dead_before", "calls", "code"),
    [
        (0, 4, "process.retries_exhausted"),
        (1, 4, "process.retries_exhausted"),
        (2, 4, "process.retries_exhausted"),
        (3, 1, "process.key_failing"),
        (4, 1, "process.key_failing"),
    ],
)
def test_a_key_that_keeps_failing_gets_one_call_after_three_dead_letters(
    dead_before: int, calls: int, code: str
) -> None:
    """The next order of a key after that many dead letters in a row."""
    topic = Topic()
    for number in range(dead_before + 1):
        topic.put(0, b"key", b"%d" % number)
    called: List[bytes] = []

    def fails(order: Dict[str, Any]) -> None:
        called.append(order["value"])
        raise ConnectionError("blocked")

    Life(topic, fails, policy=POLICY).drain()

    last = topic.of(DEAD_LETTERS)[-1]
    assert (calls, code.encode()) == (
        called.count(b"%d" % dead_before),
        dict(last.headers)["orders.dlq.reason"],
    )


@pytest.mark.parametrize(
    ("outage_s", "window_s", "most_dead"),
    [(0.0, 60.0, 0), (30.0, 60.0, 0), (90.0, 60.0, 1), (200.0, 60.0, 3), (90.0, 20.0, 4)],
)
def test_an_outage_dead_letters_one_order_a_window(outage_s: float, window_s: float, most_dead: int) -> None:
    """Everything fails for so long: what waits is processed after it, but for one order each window."""
    topic = Topic()
    topic.fill(200)
    done: List[bytes] = []

    def handler(order: Dict[str, Any]) -> None:
        if topic.clock() < outage_s:
            raise ConnectionError("down")
        done.append(order["value"])

    Life(topic, handler, policy=POLICY, outage_window_s=window_s).drain(steps=50_000)

    dead = len(topic.of(DEAD_LETTERS))
    assert dead <= most_dead
    assert len(done) == len(set(done)) == 200 - dead


# --- deaths


@pytest.mark.parametrize(("is_async", "pages"), [(False, False), (False, True), (True, True)])
@pytest.mark.parametrize("guarantee", GUARANTEES)
@pytest.mark.parametrize("death", range(1, 26))
def test_a_death_at_any_call_loses_and_doubles_nothing(
    death: int, guarantee: str, is_async: bool, pages: bool
) -> None:
    """The process dies at the n-th call of a topic with every scene; the next one continues."""
    topic = Topic()
    for name in SCENES:
        topic.put(0, name.encode(), name.encode())
    calls: Dict[bytes, int] = {}
    lived = [0]

    def handler(order: Dict[str, Any]) -> Any:
        lived[0] += 1
        if lived[0] == death:
            raise Killed
        value: bytes = order["value"]
        calls[value] = calls.get(value, 0) + 1
        return SCENES[value.decode()].does(calls[value])

    async def on_a_loop(order: Dict[str, Any]) -> Any:
        if lived[0] % 2:
            await asyncio.sleep(0)
        return handler(order)

    for _ in range(2):
        _live(topic, on_a_loop if is_async else handler, guarantee, pages)

    letters = [letter.value for letter in topic.of(DEAD_LETTERS)]
    processed = set(SCENES) - {(value or b"").decode() for value in letters}
    assert {name for name, scene in SCENES.items() if scene.expected.reason is None} == processed
    if guarantee == "exactly-once":
        assert len(letters) == len(set(letters))


def _live(topic: Topic, handler: Any, guarantee: str, pages: bool) -> None:
    """One process; it may die."""
    exactly_once = guarantee == "exactly-once"
    life = Life(topic, handler, policy=POLICY, publishes=True, exactly_once=exactly_once, pages=pages)
    try:
        life.drain(steps=20_000)
    except Killed:
        # What its settling thread had sent reached Kafka before the death; the next process comes after that.
        life.engine.settling.wait()
    life.close()
