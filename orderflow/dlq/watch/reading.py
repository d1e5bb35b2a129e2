"""Keeps the live screen's model up to date, in a thread of its own."""

import sys
import threading
import time
from functools import partial
from typing import Dict, Optional, Sequence

from orderflow.cli.terminal import duration
from orderflow.dlq.desk import Desk
from orderflow.dlq.letter import Letter
from orderflow.dlq.selection import Selection
from orderflow.dlq.topic import Topic
from orderflow.dlq.watch.model import Model
from orderflow.exits import CommandError
from orderflow.kafka.places import spans_of
from orderflow.kafka.reader import Span

WAY_S = 0.1
"""After a key, for which nothing is read: its answer alone needs half of that."""
PART = 50
"""Records between two looks whether somebody waits: 1 ms."""
SWITCH_S = 0.0005
"""After which the interpreter lets another thread run, instead of 5 ms: an answer takes several turns."""
AGAIN_S = 2.0
DRAW_UP_S, REST = 0.5, 4
"""Between two tables, and how many times as long as drawing one up took."""


class Reading:
    """Reads the topic from its beginning, and then what is added, until it is stopped."""

    def __init__(self, desk: Desk, selection: Selection, model: Model) -> None:
        self._desk = desk
        self._selection = selection
        self._model = model
        self._stopping = threading.Event()
        self._reloading = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch-reading", daemon=True)
        self._unread: Dict[int, int] = {}
        """By partition that is not read to its end, where that was at the start."""
        self._due_s = self._way_until_s = 0.0
        self._has_rested = False
        self.trouble: Optional[str] = None
        """Why nothing is read at the moment, or not all."""
        self.read = 0
        self.expected = 0
        """At most so many: what the log skips is not known before."""
        self.is_behind = True

    def start(self) -> None:
        """Begin."""
        sys.setswitchinterval(SWITCH_S)
        self._thread.start()

    def stop(self) -> None:
        """End, within a moment."""
        self._stopping.set()
        self._thread.join(AGAIN_S)

    def reload(self) -> None:
        """Read everything again, with what was done to dead letters meanwhile."""
        self._reloading.set()

    def give_way(self) -> None:
        """Rest for a moment: somebody waits for the screen, and Python runs one thread at a time."""
        self._way_until_s = time.monotonic() + WAY_S

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._reloading.clear()
            self.is_behind = True
            try:
                self._follow()
            except CommandError as error:  # Kafka is away: what is known stays on the screen
                self.trouble = str(error)
                self._stopping.wait(AGAIN_S)

    def _follow(self) -> None:
        with Topic(self._desk) as topic:
            spans = spans_of(topic.reader, self._selection.range)
            self._begin(spans)
            grows = not self._selection.range.partitions
            heard = partial(self._hear, topic)
            heard(0.0)
            for records in topic.follow(spans, self._is_over, grows, self._at_end, heard):
                self._has_rested = False
                for begin in range(0, len(records), PART):
                    self._rest()
                    self._take([topic.letter(record) for record in records[begin : begin + PART]])
                self._draw_up()

    def _hear(self, topic: Topic, silent_s: float) -> None:
        self.trouble = f"Kafka has not answered for {duration(silent_s)}" if silent_s else topic.left_out

    def _take(self, letters: Sequence[Letter]) -> None:
        self._model.add([one for one in letters if self._selection.takes(one)])
        self.read += len(letters)

    def _rest(self) -> None:
        """If somebody waits. Once a batch, so that a key that is held down does not stop the reading."""
        left_s = self._way_until_s - time.monotonic()
        if left_s > 0 and not self._has_rested:
            self._has_rested = True
            self._stopping.wait(left_s)

    def _begin(self, spans: Sequence[Span]) -> None:
        self._unread = {span.partition: span.end for span in spans if span.begin < span.end}
        self.trouble, self.read, self._due_s = None, 0, 0.0
        self.expected = sum(max(0, span.end - span.begin) for span in spans)
        self.is_behind = bool(self._unread)
        self._model.clear()

    def _at_end(self, partition: int, offset: int) -> None:
        if offset >= self._unread.get(partition, 0):
            self._unread.pop(partition, None)
            self.is_behind = bool(self._unread)

    def _draw_up(self) -> None:
        """Not so often that reading would be held up by it."""
        now_s = time.monotonic()
        if now_s >= max(self._due_s, min(self._way_until_s, self._due_s + DRAW_UP_S)):
            began_s = time.thread_time()
            self._model.draw_up(self._rest)
            took_s = time.thread_time() - began_s
            self._due_s = time.monotonic() + max(DRAW_UP_S, REST * took_s)

    def _is_over(self) -> bool:
        return self._stopping.is_set() or self._reloading.is_set()
