"""Keeps the live screen's model up to date, in a thread of its own."""

import threading
import time
from typing import Optional

from orderflow.dlq.desk import Desk
from orderflow.dlq.selection import Selection
from orderflow.dlq.topic import Topic
from orderflow.dlq.watch.model import Model
from orderflow.exits import CommandError

PAUSE_S = 0.001
"""After each batch, so that a key is answered at once however much there is to read."""
AGAIN_S = 2.0


class Reading:
    """Reads the topic from its beginning, and then what is added, until it is stopped."""

    def __init__(self, desk: Desk, selection: Selection, model: Model) -> None:
        self._desk = desk
        self._selection = selection
        self._model = model
        self._stopping = threading.Event()
        self._reloading = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch-reading", daemon=True)
        self.trouble: Optional[str] = None
        """Why nothing is read at the moment."""
        self.read = 0
        self.expected = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, within a moment."""
        self._stopping.set()
        self._thread.join(AGAIN_S)

    def reload(self) -> None:
        """Read everything again, with what was done to dead letters meanwhile."""
        self._reloading.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._reloading.clear()
            try:
                self._follow()
            except CommandError as error:  # Kafka is away: what is known stays on the screen
                self.trouble = str(error)
                self._stopping.wait(AGAIN_S)

    def _follow(self) -> None:
        with Topic(self._desk) as topic:
            spans = topic.reader.spans(self._selection.range)
            self._model.clear()
            self.trouble, self.read = None, 0
            self.expected = sum(max(0, span.end - span.begin) for span in spans)
            grows = not self._selection.range.partitions
            for records in topic.reader.follow(spans, self._is_over, grows):
                letters = [topic.letter(record) for record in records]
                self._model.add([one for one in letters if self._selection.takes(one)])
                self.read += len(records)
                time.sleep(PAUSE_S)

    def _is_over(self) -> bool:
        return self._stopping.is_set() or self._reloading.is_set()
