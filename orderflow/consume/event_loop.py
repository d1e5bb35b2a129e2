"""The event loop of async handlers, in a thread of its own."""

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import Any, Awaitable, Callable, List, Optional

from orderflow.consume.liveness import read_frame
from orderflow.frames import frame_in

BEAT_S = 0.2
"""How often the loop shows that it is not blocked."""
STOP_S = 5.0
"""How long tasks that the handler left running may take to end once they are cancelled."""


class EventLoop:
    """One event loop that runs until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._beat_s = time.monotonic()
        self.is_closing = False
        """Whether everything that runs is being cancelled."""
        self._crashes: List[BaseException] = []
        self._on_beat: List[Callable[[], None]] = []
        self._on_end: List[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="event-loop", daemon=True)
        self._thread.start()

    # --- from outside the loop -------------------------------------------------------------------

    def call_soon(self, function: Callable[[], Any]) -> None:
        """Have the loop call this. Any thread may ask."""
        self._loop.call_soon_threadsafe(function)

    def start(self, awaitable: Awaitable[Any]) -> "Future[Any]":
        """Have the loop await this; its outcome arrives in the future. Any thread may ask."""
        return asyncio.run_coroutine_threadsafe(_awaited(awaitable), self._loop)

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Await this and return its result. Not from the loop's own thread. Any other may ask."""
        return self.start(awaitable).result()

    def on_beat(self, function: Callable[[], None]) -> None:
        """Have the loop call this several times a second."""
        self._on_beat.append(function)

    def on_end(self, function: Callable[[], None]) -> None:
        """Have `end_calls` call this."""
        self._on_end.append(function)

    def end_calls(self) -> None:
        """End the calls that still run, while what the handler opened is still there."""
        for function in self._on_end:
            function()

    def blocked_s(self) -> float:
        """For how long something has kept the loop from running anything else."""
        return max(0.0, time.monotonic() - self._beat_s - BEAT_S)

    def where(self) -> Optional[str]:
        """Where the loop's thread is now, as `frame_in` tells it; None if no code of the user runs there."""
        return read_frame(self._thread.ident or 0, lambda frame: None if frame is None else frame_in(frame))

    def take_crash(self) -> Optional[BaseException]:
        """What ended the loop's thread for a moment: a task that ended the process (sys.exit)."""
        return self._crashes.pop() if self._crashes else None

    def close(self, timeout_s: float = STOP_S) -> None:
        """Cancel what is left, and end the thread. A task that refuses to end is left behind."""
        self.is_closing = True
        asyncio.run_coroutine_threadsafe(self._wind_up(timeout_s), self._loop)
        self._thread.join(timeout_s + 1.0)
        if not self._thread.is_alive():
            self._loop.close()

    # --- in the loop -----------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._beat)
        while True:
            try:
                self._loop.run_forever()
            except SystemExit as crash:  # a task of the handler's ends the process
                self._crashes.append(crash)
            except KeyboardInterrupt:  # raised by the handler: signals arrive in the main thread
                pass
            else:
                if self.is_closing:
                    return  # else the handler stopped it, whose calls would then never end

    def _beat(self) -> None:
        self._beat_s = time.monotonic()
        if not self.is_closing:
            self._loop.call_later(BEAT_S, self._beat)
        for function in self._on_beat:
            function()

    async def _wind_up(self, timeout_s: float) -> None:
        try:
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=timeout_s)
            await self._loop.shutdown_asyncgens()
        finally:
            self._loop.stop()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
