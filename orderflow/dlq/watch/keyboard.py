"""How soon Textual hears a lone Escape, with which every longer key's bytes begin.

Textual holds it back for ESCAPE_DELAY, but looks whether that is over only every 100 ms. These drivers look
when it is over. They are for the pinned release of Textual, whose own they change in one respect each.
"""

import os
import selectors
from codecs import getincrementaldecoder
from typing import Any, Dict, Type

from textual._xterm_parser import XTermParser
from textual.constants import ESCAPE_DELAY
from textual.driver import Driver
from textual.drivers._input_reader import InputReader
from textual.drivers.linux_driver import LinuxDriver
from textual.drivers.web_driver import WebDriver

IDLE_S = 0.1
"""Between two looks whether to end, while nothing is typed."""


class Terminal(LinuxDriver):
    """A terminal whose Escape is heard as soon as nothing has followed it."""

    def run_input_thread(self) -> None:
        """Pass on what is typed, until it is told to end."""
        parser, decode = XTermParser(self._debug), getincrementaldecoder("utf-8")("replace").decode
        wait_s = IDLE_S
        with selectors.SelectSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                typed = os.read(self.fileno, 4096) if selector.select(wait_s) else b""
                text = decode(typed)
                # An empty text would tell the parser that no more will come.
                for event in parser.feed(text) if text else ():
                    self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
                wait_s = ESCAPE_DELAY if typed else IDLE_S


class Browser(WebDriver):
    """A browser's page, the same."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._input_reader = InputReader(timeout=ESCAPE_DELAY)


QUICK: Dict[Type[Driver], Type[Driver]] = {LinuxDriver: Terminal, WebDriver: Browser}
"""By Textual's own driver, the one that takes its place."""
