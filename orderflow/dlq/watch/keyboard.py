"""Textual's terminal and browser, changed in what an operator would feel.

A lone Escape, with which every longer key's bytes begin: Textual holds it back for ESCAPE_DELAY, but looks
whether that is over only every 100 ms. These drivers look when it is over. And a terminal that is gone, as
when ssh breaks off: its drivers would wait for it for ever. They are for the pinned release of Textual.
"""

import os
import selectors
import signal
from codecs import getincrementaldecoder
from contextlib import suppress
from typing import Any, Dict, Optional, TextIO, Type

from textual._xterm_parser import XTermParser
from textual.constants import ESCAPE_DELAY
from textual.driver import Driver
from textual.drivers._input_reader import InputReader
from textual.drivers.linux_driver import LinuxDriver
from textual.drivers.web_driver import WebDriver

HUNG_UP = 128 + signal.SIGHUP
IDLE_S = 0.1
"""Between two looks whether to end, while nothing is typed."""


class Terminal(LinuxDriver):
    """A terminal whose Escape is heard as soon as nothing has followed it. It may be gone at any time."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._file: Any = Screen(self._file)

    def run_input_thread(self) -> None:
        """Pass on what is typed, until it is told to end."""
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        wait_s = IDLE_S
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                typed = self._typed() if selector.select(wait_s) else b""
                if typed is None:
                    return self.is_gone()
                text = decode(typed)
                # An empty text would tell the parser that no more will come.
                for event in parser.feed(text) if text else ():
                    self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
                wait_s = ESCAPE_DELAY if typed else IDLE_S

    def _typed(self) -> Optional[bytes]:
        """What was typed; None once there is no terminal any more."""
        try:
            return os.read(self.fileno, 4096) or None
        except OSError:
            return None

    def is_gone(self) -> None:
        """Nobody can type or see anything, so the screen ends, as by the signal that mostly tells of it."""
        self._app.call_later(self._app.exit, return_code=HUNG_UP)


class Screen:
    """A terminal to write to. If it is gone, Textual's writer would end, and the screen wait for ever."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write it, if it can be."""
        with suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """The same."""
        with suppress(OSError):
            self._stream.flush()

    def fileno(self) -> int:
        """The descriptor."""
        return self._stream.fileno()


class Browser(WebDriver):
    """A browser's page, the same."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._input_reader = InputReader(timeout=ESCAPE_DELAY)


QUICK: Dict[Type[Driver], Type[Driver]] = {LinuxDriver: Terminal, WebDriver: Browser}
"""By Textual's own driver, the one that takes its place."""
