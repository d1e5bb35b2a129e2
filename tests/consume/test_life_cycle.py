"""A handler from its factory to its end: opened once before the first order, closed once after the last."""

import asyncio
import contextlib
import functools
import threading
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Tuple

import pytest

from orderflow.consume.handler import Delivery, HandlerUnusable, is_factory, wants_delivery
from orderflow.consume.life_cycle import LifeCycle
from orderflow.consume.loop_workers import LoopWorkers
from orderflow.consume.partition import Task
from orderflow.errors import NothingRan

Order = Dict[str, Any]
DELIVERY = Delivery("orders-0-41", "orders", 0, 41, b"ann", [], None, 1)
LOG: List[str] = []


@pytest.fixture(autouse=True)
def _empty_log() -> None:
    LOG.clear()


def charge(order: Order) -> str:
    """A plain handler."""
    return "charged"


def opened(given: Any) -> str:
    """Open, call and close a handler; returns what the call gave."""
    life = LifeCycle(given, "shop.py:handler")
    try:
        handler = life.open()
        arguments: Tuple[Any, ...] = ({}, DELIVERY) if wants_delivery(handler) else ({},)
        if life.calls_on is None:
            return str(handler(*arguments))
        return str(life.calls_on.run(handler(*arguments)))
    finally:
        life.close()


# --- what is a factory


@contextlib.contextmanager
def billing_at(path: str = ":memory:") -> Iterator[Any]:
    """All parameters have a default."""
    LOG.append(f"open {path}")
    yield charge
    LOG.append("close")


@contextlib.asynccontextmanager
async def async_billing_at(path: str = ":memory:") -> AsyncIterator[Any]:
    """The same on an event loop."""
    LOG.append(f"open {path}")
    yield later
    LOG.append("close")


class PoolAt:
    """A context manager of its own, whose constructor needs nothing."""

    def __init__(self, path: str = ":memory:") -> None:
        self.path = path

    def __enter__(self) -> Callable[..., str]:
        LOG.append(f"open {self.path}")
        return charge

    def __exit__(self, *error: object) -> None:
        LOG.append("close")


@pytest.mark.parametrize(
    ("given", "is_one"),
    [
        (lambda: charge, True),
        (billing_at, True),
        (async_billing_at, True),
        (functools.partial(billing_at), True),
        (PoolAt, True),
        (functools.partial(lambda bank: charge, "bank"), True),
        (lambda **options: charge, True),
        (type("Billing", (), {"__call__": lambda self, order: 1}), True),
        (charge, False),
        (lambda order=None: None, False),
        (lambda *arguments: None, False),
        (lambda *, order: None, False),
        (print, False),
    ],
)
def test_what_takes_no_parameter_is_a_factory(given: Callable[..., Any], is_one: bool) -> None:
    """Whatever can take an order is a handler, unless it makes a context manager."""
    assert is_one == is_factory(given)


@pytest.mark.parametrize("given", [billing_at, async_billing_at, PoolAt])
def test_a_context_manager_whose_parameters_have_defaults_is_opened(given: Any) -> None:
    """An order never gets into their place."""
    assert "charged" == opened(given)
    assert ["open :memory:", "close"] == LOG


def pool_of(path: str = ":memory:") -> Any:
    """A factory that looks like a handler."""
    return PoolAt(path)


async def async_pool_of(path: str = ":memory:") -> Any:
    """The same, async."""
    return PoolAt(path)


@pytest.mark.parametrize("given", [pool_of, async_pool_of, lambda *arguments: PoolAt()])
def test_a_context_manager_of_what_could_be_a_factory_is_no_result(given: Any) -> None:
    """Nobody has entered it, so nothing was done for the order."""
    with pytest.raises(NothingRan, match="a PoolAt, a context manager that was not entered"):
        opened(given)


def test_what_needs_an_order_may_return_what_can_be_closed() -> None:
    """A response and a cursor are context managers as well, and their work is done."""
    assert "PoolAt" in opened(lambda order: PoolAt())


# --- opening and closing


@contextlib.contextmanager
def billing() -> Iterator[Any]:
    """All there is to learn."""
    LOG.append("open")
    yield charge
    LOG.append("close")


@contextlib.asynccontextmanager
async def async_billing() -> AsyncIterator[Any]:
    """The same on an event loop, on which its handler runs too."""
    LOG.append(f"open on {id(asyncio.get_event_loop())}")
    bank = asyncio.Event()

    async def pay(order: Order) -> str:
        bank.set()
        await bank.wait()
        LOG.append(f"pay on {id(asyncio.get_event_loop())}")
        return "charged"

    yield pay
    LOG.append(f"close on {id(asyncio.get_event_loop())}")


class Billing:
    """A class is a factory of its instances."""

    def __call__(self, order: Order) -> str:
        """Charge."""
        return "charged"


class Pool:
    """A context manager of its own, which gives a handler."""

    def __enter__(self) -> Callable[..., str]:
        LOG.append("open")
        return charge

    def __exit__(self, *error: object) -> None:
        LOG.append(f"close {error}")


async def connected() -> Callable[..., str]:
    """A factory that is async."""
    await asyncio.sleep(0)
    return charge


async def later(order: Order) -> str:
    """An async handler."""
    await asyncio.sleep(0)
    return "charged"


@functools.wraps(later)
def handing_back(order: Order) -> Any:
    """A wrapper that hands the coroutine back."""
    return later(order)


@functools.wraps(later)
def running(order: Order) -> Any:
    """A wrapper that runs it."""
    return asyncio.run(later(order))


HANDLERS: Dict[str, Any] = {
    "a handler": charge,
    "a factory": lambda: charge,
    "a context manager": billing,
    "an async context manager": async_billing,
    "a class": Billing,
    "a class that is a context manager": Pool,
    "an async factory": connected,
    "an async handler": later,
    "a factory of an async handler": lambda: later,
    "a wrapper of an async handler": handing_back,
    "a wrapper that runs an async handler": running,
}


@pytest.mark.parametrize("given", HANDLERS.values(), ids=HANDLERS.keys())
def test_each_form_of_handler_is_opened_called_and_closed(given: Any) -> None:
    """And leaves no thread behind."""
    before = threading.active_count()

    assert "charged" == opened(given)
    assert before == threading.active_count()


def test_a_context_manager_is_left_as_after_a_success() -> None:
    """Whatever ended the consumer, so that closing needs no `finally`."""
    assert "charged" == opened(billing)
    assert ["open", "close"] == LOG
    opened(Pool)
    assert "close (None, None, None)" == LOG[-1]


def test_an_async_context_manager_shares_the_loop_of_its_handler() -> None:
    """Pools belong to the loop that they were opened on."""
    opened(async_billing)

    assert ["open", "pay", "close"] == [line.split(" ")[0] for line in LOG]
    assert 1 == len({line.split(" ")[-1] for line in LOG})


def test_an_async_context_manager_is_left_in_the_task_that_entered_it() -> None:
    """Cancel scopes and task groups insist on that."""
    tasks: List[Any] = []

    @contextlib.asynccontextmanager
    async def scoped() -> AsyncIterator[Any]:
        tasks.append(asyncio.current_task())
        yield later
        tasks.append(asyncio.current_task())

    opened(scoped)

    assert 2 == len(tasks)
    assert tasks[0] is tasks[1]


def test_tasks_that_a_handler_left_running_are_cancelled_at_the_end() -> None:
    """After the context manager has been left: its own tasks belong to it."""

    async def careless(order: Order) -> str:
        async def linger() -> None:
            try:
                await asyncio.sleep(60)
            finally:
                LOG.append("cancelled")

        LOG.append(str(asyncio.ensure_future(linger()) is None))
        await asyncio.sleep(0)
        return "charged"

    opened(careless)

    assert "cancelled" == LOG[-1]


def test_calls_that_still_run_end_before_what_they_use_is_closed() -> None:
    """A call that is cancelled may still need the database to tidy up."""
    begun = threading.Event()

    async def call(task: Any) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            LOG.append("call ended")

    life = LifeCycle(async_billing, "shop.py:handler")
    life.open()
    assert life.calls_on is not None
    workers = LoopWorkers(1, call, life.calls_on, timeout_s=60)
    workers.submit(Task(0, 0))  # type: ignore[arg-type]
    assert begun.wait(10)
    life.close()

    assert ["open", "call", "close"] == [line.split(" ")[0] for line in LOG]


# --- what goes wrong


def raising(where: str) -> Callable[[], Any]:
    """A context manager that fails at one point."""

    @contextlib.contextmanager
    def manager() -> Iterator[Any]:
        if where == "open":
            raise OSError("no database")
        yield charge if where == "close" else where
        LOG.append("closed")
        raise OSError("gone away")

    return manager


def async_raising(where: str) -> Callable[[], Any]:
    """The same on an event loop."""

    @contextlib.asynccontextmanager
    async def manager() -> AsyncIterator[Any]:
        if where == "open":
            raise OSError("no database")
        yield charge
        raise OSError("gone away")

    return manager


def failing() -> Any:
    """A factory that fails."""
    raise OSError("no database")


def exiting() -> Any:
    """A factory that ends the process."""
    raise SystemExit("no database")


@pytest.mark.parametrize("given", [failing, exiting, raising("open"), async_raising("open")])
def test_a_factory_that_fails_shows_where(given: Any) -> None:
    """Before any order: with the traceback of its own code."""
    life = LifeCycle(given, "shop.py:handler")
    with pytest.raises(HandlerUnusable, match=r"shop.py:handler.* cannot be opened: .*no database") as caught:
        life.open()
    life.close()

    assert any("no database" in line for line in caught.value.traceback)
    assert not any("orderflow/consume" in line for line in caught.value.traceback)


@pytest.mark.parametrize("given", [raising("close"), async_raising("close")])
def test_a_context_manager_that_fails_at_the_end_says_so(given: Any) -> None:
    """Its thread ends all the same."""
    before = threading.active_count()
    with pytest.raises(HandlerUnusable, match="failed while it was closed: OSError: gone away") as caught:
        opened(given)

    assert any("raise OSError" in line for line in caught.value.traceback)
    assert before == threading.active_count()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (lambda: None, "it gave None instead of a handler"),
        (lambda: 7, "it gave a int instead of a handler"),
        (lambda: lambda: charge, "takes neither"),
        (lambda: lambda order, delivery, bank: 1, "takes neither"),
    ],
)
def test_a_factory_that_gives_no_handler_is_refused(given: Any, says: str) -> None:
    life = LifeCycle(given, "shop.py:handler")
    with pytest.raises(HandlerUnusable, match=says):
        life.open()
    life.close()


def test_what_was_entered_is_left_even_if_it_gave_no_handler() -> None:
    """Its pool is open by then."""
    life = LifeCycle(raising("7"), "shop.py:handler")
    with pytest.raises(HandlerUnusable, match="instead of a handler"):
        life.open()
    with pytest.raises(HandlerUnusable, match="gone away"):
        life.close()

    assert ["closed"] == LOG
