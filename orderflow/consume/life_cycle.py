"""A handler from its factory to its end: what is opened before the first order and closed after the last."""

import asyncio
import contextlib
import functools
import inspect
from concurrent.futures import Future, wait
from typing import Any, Callable, Optional

from orderflow.consume.event_loop import EventLoop
from orderflow.consume.handler import (
    Handler,
    HandlerUnusable,
    by_position,
    is_async,
    is_async_inside,
    is_factory,
    needs_no_order,
    require_usable,
    unusable,
    wants_delivery,
)
from orderflow.consume.own_modules import step_back
from orderflow.consume.results import require_no_manager

CLOSE_S = 60.0
"""How long an async context manager may take to end before it is left behind."""


class LifeCycle:
    """Makes the handler of a factory, enters its context manager, and leaves it at the end.

    `open` once, before the first order, and `close` once, after the last. Both run the handler's own code.
    """

    def __init__(self, given: Handler, name: str) -> None:
        """`given` is the handler or its factory, `name` what messages call it."""
        self._given = given
        self._name = name
        self._entered = contextlib.ExitStack()
        self._life: Optional[_AsyncLife] = None
        self._loop: Optional[EventLoop] = None
        self.calls_on: Optional[EventLoop] = None
        """The event loop on which an async handler has to be called; None for any other, once it is open."""

    # --- the beginning ---------------------------------------------------------------------------

    def open(self) -> Handler:
        """The handler, ready to be called. Raises HandlerUnusable."""
        handler = self._given
        if is_factory(handler):
            try:
                handler = self._made()
            except HandlerUnusable:
                raise
            except BaseException as error:
                raise unusable(f"handler {self._name!r} cannot be opened", error) from error
            finally:
                step_back()
            self._require_handler(handler)
        may_be_factory, wraps_async = needs_no_order(handler), is_async_inside(handler)
        handler = by_position(handler)
        if is_async(handler):
            self.calls_on = self._running_loop()
        elif wraps_async:
            handler = self._awaiting(handler)
        return _refusing_managers(handler) if may_be_factory else handler

    def _made(self) -> Handler:
        """What the factory returned, or what its context manager gave."""
        made: Any = self._given()
        if inspect.isawaitable(made):
            made = self._running_loop().run(made)
        if hasattr(type(made), "__aenter__"):
            self._life = _AsyncLife(made, self._running_loop())
            return self._life.begin()  # type: ignore[no-any-return]
        if hasattr(type(made), "__enter__"):
            return self._entered.enter_context(made)  # type: ignore[no-any-return]
        return made  # type: ignore[no-any-return]

    def _require_handler(self, handler: Any) -> None:
        if not callable(handler):
            raise HandlerUnusable(
                f"handler {self._name!r} takes no order, so it is a factory; it gave "
                f"{_a(handler)} instead of a handler"
            )
        require_usable(handler, self._name)

    def _running_loop(self) -> EventLoop:
        if self._loop is None:
            self._loop = EventLoop()
        return self._loop

    def _awaiting(self, handler: Handler) -> Handler:
        """A plain handler that has the loop await what the wrapper of an async function hands back."""
        loop = self._running_loop()

        def outcome(result: Any) -> Any:
            return loop.run(result) if inspect.isawaitable(result) else result

        if wants_delivery(handler):
            return lambda order, delivery: outcome(handler(order, delivery))
        return lambda order: outcome(handler(order))

    # --- the end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the context manager. Raises HandlerUnusable where it fails, once everything is closed."""
        try:
            if self._loop is not None:
                self._loop.end_calls()
            if self._life is not None:
                self._life.end()
            self._entered.close()
        except BaseException as error:
            raise unusable(f"handler {self._name!r}: it failed while it was closed", error) from error
        finally:
            if self._loop is not None:
                self._loop.close()


class _AsyncLife:
    """An async context manager, entered and left in one task, as cancel scopes and task groups need it."""

    def __init__(self, manager: Any, loop: EventLoop) -> None:
        self._manager = manager
        self._loop = loop
        self._opened: Future[Any] = Future()
        self._stop: Optional[Callable[[], None]] = None
        self._ended: Optional[Future[Any]] = None

    def begin(self) -> Any:
        """Enter it; returns what it gives."""
        self._ended = self._loop.start(self._live())
        wait([self._opened, self._ended], return_when="FIRST_COMPLETED")
        if not self._opened.done():
            ended, self._ended = self._ended, None
            ended.result()
        return self._opened.result()

    async def _live(self) -> None:
        stop = asyncio.Event()
        self._stop = stop.set
        async with self._manager as handler:
            self._opened.set_result(handler)
            await stop.wait()

    def end(self) -> None:
        """Leave it. Raises what it raises, also if it has ended before it was asked to."""
        if self._stop is None or self._ended is None:
            return
        self._loop.call_soon(self._stop)
        self._ended.result(CLOSE_S)


def _refusing_managers(handler: Handler) -> Handler:
    """A handler that may be a factory, whose context manager is no result: nobody would enter it."""

    @functools.wraps(handler)  # it wants what the handler wants
    def call(*given: Any) -> Any:
        result = handler(*given)
        require_no_manager(result)
        return result

    @functools.wraps(handler)
    async def call_async(*given: Any) -> Any:
        result = handler(*given)
        if inspect.isawaitable(result):
            result = await result
        require_no_manager(result)
        return result

    return call_async if is_async(handler) else call


def _a(thing: object) -> str:
    return "None" if thing is None else f"a {type(thing).__name__}"
