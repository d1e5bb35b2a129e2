"""What is typed, byte by byte, as the screen hears it. Needs Textual, which is optional."""

import os
import pty
import queue
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import Any, Iterator, List

import pytest

pytest.importorskip("textual")

from textual.events import Key

from orderflow.dlq.watch import keyboard
from orderflow.dlq.watch.keyboard import Terminal

PATIENCE_S = 10.0


class Typewriter(Terminal):
    """A keyboard that is a pipe, and what was heard of it."""

    def __init__(self) -> None:
        self.fileno, self._types = os.pipe()
        self.exit_event = threading.Event()
        self._debug = False
        self.heard: queue.Queue[Any] = queue.Queue()

    def process_message(self, message: Any) -> None:
        """Somebody looks at it later."""
        self.heard.put(message)

    def type(self, typed: bytes) -> None:
        """All of it at once."""
        os.write(self._types, typed)

    def keys(self, number: int) -> List[str]:
        """The next so many."""
        found = (self.heard.get(timeout=PATIENCE_S) for _ in range(number))
        return [one.key for one in found if isinstance(one, Key)]

    def end(self) -> None:
        """As when the screen ends."""
        self.exit_event.set()
        self.type(b"q")


@contextmanager
def typewriter() -> Iterator[Typewriter]:
    made = Typewriter()
    hearing = threading.Thread(target=made.run_input_thread, daemon=True)
    hearing.start()
    yield made
    made.end()
    hearing.join(PATIENCE_S)
    assert not hearing.is_alive()


def test_a_lone_escape_does_not_wait_for_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is heard once nothing has followed it, however rarely an idle keyboard is looked at."""
    monkeypatch.setattr(keyboard, "IDLE_S", 3_600.0)

    with typewriter() as made:
        made.type(b"s")
        assert made.keys(1) == ["s"]
        made.type(b"\x1b")
        assert made.keys(1) == ["escape"]


def test_a_key_of_several_bytes_is_one_key() -> None:
    """Though it begins with Escape, and a character may come in two parts."""
    with typewriter() as made:
        made.type(b"\x1b[A\x1b[15~\xc3")
        made.type(b"\xa9")
        assert made.keys(3) == ["up", "f5", "é"]


A_SCREEN = """
from textual.app import App
from textual.widgets import Static
from orderflow.dlq.watch.keyboard import Terminal

class Busy(App):
    def compose(self):
        yield Static()

    def on_mount(self):
        self.count = 0
        self.set_interval(0.01, self.redraw)

    def redraw(self):
        self.count += 1
        self.query_one(Static).update(str(self.count))

app = Busy(driver_class=Terminal)
app.run()
raise SystemExit(app.return_code)
"""


def test_a_screen_ends_with_its_terminal() -> None:
    """As when ssh breaks off. It neither waits for a writer that has ended, nor asks for keys without end."""
    own, its = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", A_SCREEN], stdin=its, stdout=its, stderr=its) as screen:
        os.close(its)
        try:
            while b"42" not in os.read(own, 65_536):
                pass
            os.close(own)
            assert screen.wait(PATIENCE_S) == keyboard.HUNG_UP
        finally:
            screen.kill()
