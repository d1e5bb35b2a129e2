"""How the engine treats whatever a handler does: each call has exactly one outcome."""

import asyncio
import concurrent.futures
import contextlib
import functools
import sys
from typing import Any, Dict, Iterator, List, Tuple

import pytest

from orderflow import Publish
from orderflow.consume.retry import Policy
from orderflow.errors import RegistryUnavailable, TopicUnusable
from tests.support.scripted_session import DEAD_LETTERS, RESULTS, Life, Topic

Order = Dict[str, Any]
SOON = Policy(max_retries=1, backoff_s=0.01, backoff_max_s=0.01)
WORKERS = pytest.mark.parametrize("workers", [1, 3])


def fates(life: Life) -> List[Tuple[bytes, str]]:
    """The dead letters, by value, and the reason code of each."""
    letters = life.topic.of(DEAD_LETTERS)
    reasons = ((dict(letter.headers)["orders.dlq.reason"] or b"").decode() for letter in letters)
    return sorted(zip((letter.value or b"" for letter in letters), reasons))


async def charge(order: Order) -> None:
    """Charge, but only when it is awaited."""


@contextlib.contextmanager
def contextless() -> Iterator[None]:
    """Nobody enters it."""
    yield


# --- nothing ran


@WORKERS
@pytest.mark.parametrize("publishes", [False, True])
def test_an_order_of_which_nothing_ran_is_not_processed(workers: int, publishes: bool) -> None:
    """A forgotten `await` in one branch: those orders are dead-lettered at once, others continue."""
    topic, called = Topic(), []
    topic.fill(10)

    @functools.wraps(charge)
    def handler(order: Order) -> Any:
        called.append(order["value"])
        return charge(order) if order["value"] in (b"0:0", b"0:7") else {"paid": True}

    life = Life(topic, handler, workers=workers, publishes=publishes).drain()

    assert [(b"0:0", "process.not_run"), (b"0:7", "process.not_run")] == fates(life)
    assert 10 == len(called)
    assert (8 if publishes else 0) == len(topic.of(RESULTS))


@WORKERS
@pytest.mark.parametrize("publishes", [False, True])
@pytest.mark.parametrize("part", [lambda: map(charge, [{}]), lambda: charge({}), contextless])
def test_work_that_is_not_done_is_found_at_any_depth(workers: int, publishes: bool, part: Any) -> None:
    """Whether results are published or not: what was forgotten is the same."""
    topic = Topic()
    topic.fill(3)

    def handler(order: Order) -> Any:
        return {"order": 1, "detail": {"charges": part()}}

    life = Life(topic, handler, workers=workers, publishes=publishes).drain()

    assert ["process.not_run"] * 3 == [reason for _, reason in fates(life)]


# --- the schema registry is down


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("is_async", [False, True])
def test_while_the_registry_does_not_answer_a_partition_takes_in_nothing(
    workers: int, is_async: bool
) -> None:
    """Whoever decodes its orders: they stay in Kafka and do not fill the ledger; no attempt counts."""
    topic, is_down = Topic(), [True]
    topic.fill(3_000)

    def handler(order: Order) -> None:
        if is_down:
            raise RegistryUnavailable("it does not answer")

    async def handler_async(order: Order) -> None:
        await asyncio.sleep(0)
        handler(order)

    life = Life(topic, handler_async if is_async else handler, workers=workers)
    life.until(lambda: "registry_down" in life.names())
    life.step(500)
    waiting, said, passed_s = life.engine.waiting, life.names(), life.clock()
    is_down.clear()
    life.drain(50_000).close()

    assert waiting <= 10 * workers
    assert "ledger_full" not in said
    assert said.count("registry_down") <= 1 + passed_s / 30
    assert (topic.of(DEAD_LETTERS), life.engine.settling.counts.processed) == ([], 3_000)


# --- results that cannot be published


@WORKERS
def test_a_result_that_cannot_be_published_is_the_failure_of_its_order(workers: int) -> None:
    """At once: the handler has done its work, and would do it again for the same result."""
    topic, called = Topic(), []
    topic.fill(6)

    def handler(order: Order) -> Any:
        called.append(order["value"])
        return {"total": float("nan")} if order["value"] == b"0:2" else {"total": 1.0}

    life = Life(topic, handler, workers=workers, publishes=True).drain()

    assert [(b"0:2", "publish.unencodable")] == fates(life)
    assert (6, 5) == (len(called), len(topic.of(RESULTS)))


@WORKERS
@pytest.mark.parametrize("exactly_once", [True, False])
def test_all_results_of_an_order_are_sent_before_its_offset_is_committed(
    workers: int, exactly_once: bool
) -> None:
    """In one settlement, whatever their topics, also where no topic for results is set."""
    topic = Topic()
    topic.fill(4)

    def handler(order: Order) -> Any:
        return [Publish(order["value"], topic=name) for name in ("mail", "stock")]

    life = Life(topic, handler, workers=workers, exactly_once=exactly_once).drain()

    for name in ("mail", "stock"):
        assert [b"0:0", b"0:1", b"0:2", b"0:3"] == sorted(record.value or b"" for record in topic.of(name))
    for sent, _ in life.session.sends:
        assert sent == () or len({record.topic for record in sent}) == 2
    assert 4 == life.engine.settling.counts.processed


@WORKERS
def test_an_order_for_a_topic_that_is_missing_waits_for_it_and_is_never_lost(workers: int) -> None:
    """Others go on; it is retried, then dead-lettered with the topic's name."""
    topic = Topic()
    topic.fill(5)

    def limit_of(name: str) -> int:
        raise TopicUnusable(f"topic {name} does not exist")

    def handler(order: Order) -> Any:
        return Publish(1, topic="nowhere") if order["value"] == b"0:2" else None

    life = Life(topic, handler, workers=workers, policy=SOON, limit_of=limit_of).drain()

    assert [(b"0:2", "publish.unknown_topic")] == fates(life)
    assert (1, 4) == (life.names().count("retry"), life.engine.settling.counts.processed)


def handed_out(result: Any, is_async: bool) -> Any:
    """A handler that returns it, plain or async."""

    async def handle_async(order: Order) -> Any:
        return result

    return handle_async if is_async else lambda order: result


@WORKERS
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("publishes", [False, True])
@pytest.mark.parametrize("result", [{"mail": Publish(1)}, {"all": {"mail": [Publish(1)]}}])
def test_a_publish_inside_a_dict_is_never_dropped(
    workers: int, is_async: bool, publishes: bool, result: Any
) -> None:
    """However its order is called, and whether plain results are published or not."""
    topic = Topic()
    topic.fill(3)

    life = Life(topic, handed_out(result, is_async), workers=workers, publishes=publishes).drain()

    assert ["publish.invalid"] * 3 == [reason for _, reason in fates(life)]


def test_a_result_that_nobody_publishes_may_be_anything_that_has_run() -> None:
    """A row, a response, a session: it is dropped."""
    topic = Topic()
    topic.fill(3)

    life = Life(topic, lambda order: object()).drain()

    assert [] == fates(life)


# --- each processed order is told, if that is asked for


def handlers_of_totals() -> Dict[str, Any]:
    """Of six orders, the result of one cannot be published, and one fails at its first call."""
    failed: List[Order] = []

    def total(order: Order) -> Any:
        if order["value"] == b"0:4" and not failed:
            failed.append(order)
            raise TimeoutError("no answer")
        return {"total": float("nan") if order["value"] == b"0:2" else 1.0}

    async def total_at_once(order: Order) -> Any:
        return total(order)

    async def total_later(order: Order) -> Any:
        await asyncio.sleep(0.001)
        return total(order)

    return {"plain": total, "async": total_at_once, "async that waits": total_later}


@WORKERS
@pytest.mark.parametrize("kind", handlers_of_totals())
def test_an_order_is_told_as_processed_once_its_result_can_be_published(workers: int, kind: str) -> None:
    """Not one that is dead-lettered after all, and no order for each of its calls."""
    topic = Topic()
    topic.fill(6)
    handler = handlers_of_totals()[kind]

    life = Life(topic, handler, workers=workers, publishes=True, policy=SOON, tells_each=True).drain()

    told = sorted(fields["record"].offset() for name, fields in life.events if name == "order_done")
    assert [0, 1, 3, 4, 5] == told


# --- whatever a handler raises


class PanicException(BaseException):
    """As extensions written in Rust raise it."""


def too_deep(order: Order) -> Any:
    """Call itself without an end."""
    return too_deep(order)


RAISED: List[BaseException] = [
    asyncio.CancelledError(),
    GeneratorExit(),
    KeyboardInterrupt(),
    PanicException("a bug in Rust"),
    MemoryError(),
    StopIteration(),
    StopAsyncIteration(),
    concurrent.futures.CancelledError(),
]


@WORKERS
@pytest.mark.parametrize("error", RAISED, ids=repr)
def test_whatever_a_handler_raises_is_the_failure_of_its_order(workers: int, error: BaseException) -> None:
    """A cancelled task, a closed generator, a panic in Rust: retried, then dead-lettered, a line each."""
    topic, called = Topic(), []
    topic.fill(5)

    def handler(order: Order) -> None:
        called.append(order["value"])
        if order["value"] == b"0:1":
            raise error

    life = Life(topic, handler, workers=workers, policy=SOON).drain()

    assert [(b"0:1", "process.retries_exhausted")] == fates(life)
    assert (2, 4) == (called.count(b"0:1"), len(set(called) - {b"0:1"}))
    assert 1 == life.names().count("retry")


@WORKERS
def test_the_first_traceback_of_a_kind_is_reported_once(workers: int) -> None:
    """However many orders fail of it and however often; the failure keeps its frame."""
    topic = Topic()
    topic.fill(5)

    def handler(order: Order) -> None:
        {}[order["value"]]

    life = Life(topic, handler, workers=workers, policy=SOON).drain()

    (shown,) = [fields["traceback"] for name, fields in life.events if name == "first_of_its_kind"]
    assert 1 == sum(line.startswith("  File ") for line in shown), "only the handler's own frames"
    frames = {dict(letter.headers)["orders.dlq.frame"] for letter in topic.of(DEAD_LETTERS)}
    marks = {dict(letter.headers)["orders.dlq.fingerprint"] for letter in topic.of(DEAD_LETTERS)}
    assert (1, 1) == (len(frames), len(marks))
    assert (frames.pop() or b"").startswith(b"tests/consume/test_engine_handlers.py:")


@WORKERS
def test_a_handler_that_recurses_for_ever_fails(workers: int) -> None:
    """The interpreter ends it, and its order is handled like any other failure."""
    topic = Topic()
    topic.fill(3)

    def handler(order: Order) -> Any:
        return order["value"] == b"0:1" and too_deep(order)

    life = Life(topic, handler, workers=workers, policy=SOON).drain()

    assert [(b"0:1", "process.retries_exhausted")] == fates(life)


@WORKERS
def test_a_handler_that_ends_the_process_ends_it(workers: int) -> None:
    """sys.exit is no failure of the order yet: after a restart it is called alone, as every killer is."""
    topic = Topic()
    topic.fill(3)

    def handler(order: Order) -> None:
        if order["value"] == b"0:1":
            sys.exit("no more")

    with pytest.raises(SystemExit, match="no more"):
        Life(topic, handler, workers=workers).drain(steps=500)
    assert [] == topic.of(DEAD_LETTERS)
