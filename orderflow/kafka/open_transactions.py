"""Looks for transactions that somebody left open in a topic, with the second look that it takes."""

import contextlib
import math
import time
from functools import partial
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from orderflow.exits import CommandError
from orderflow.kafka.questions import Questions
from orderflow.kafka.reachable import admin_client
from orderflow.kafka.reader import Reader, Span
from orderflow.kafka.topics_view import TopicsView
from orderflow.model.open_transactions import Ends, Hidden, hidden_by, may_be_left, may_be_open
from orderflow.model.records import Record

LOOK_AGAIN_S = 0.5
"""Between the two looks: a writer at work commits meanwhile."""
READ_S = 1.0
ANSWER_S = 2.0


class OpenTransactions:
    """Those of one topic, whenever somebody asks."""

    def __init__(self, client: Mapping[str, Any], config: Mapping[str, Any], topic: str) -> None:
        """`config` is a reader's."""
        self._admin = admin_client(client)
        self._config = config
        self._topic = topic

    def hidden(self) -> List[Hidden]:
        """What they hide now; nothing while Kafka does not answer."""
        ends = partial(TopicsView(self._admin, Questions(ANSWER_S)).ends_of, self._topic)
        return look_again(look(self._config, self._topic, ends() or {}, math.inf), ends, math.inf)


class FirstLook(NamedTuple):
    """Transactions that may have been left open."""

    firsts: Mapping[int, Record]
    """By partition, the record with which each begins."""
    at_s: float
    """On the monotonic clock."""


def look(config: Mapping[str, Any], topic: str, ends: Mapping[int, Ends], until_s: float) -> FirstLook:
    """Those that are open in a topic with these ends, and are too old to be at work.

    `config` is a reader's, `until_s` on the monotonic clock.
    """
    at_s = time.monotonic()
    firsts = _first_records(config, topic, may_be_open(ends), min(until_s, at_s + READ_S))
    now_ms = int(time.time() * 1000)
    old = {number: first for number, first in firsts.items() if may_be_left(first, now_ms)}
    return FirstLook(old, at_s)


def look_again(
    first: FirstLook, ends: Callable[[], Optional[Mapping[int, Ends]]], until_s: float
) -> List[Hidden]:
    """What those still hide that were found at the first look. `ends` asks for the topic's ends now."""
    if not first.firsts:
        return []
    time.sleep(max(0.0, min(first.at_s + LOOK_AGAIN_S, until_s) - time.monotonic()))
    return hidden_by(first.firsts, ends() or {})


def _first_records(
    config: Mapping[str, Any], topic: str, suspected: Mapping[int, Ends], until_s: float
) -> Dict[int, Record]:
    """Where each transaction begins; without those that cannot be read in time."""
    found: Dict[int, Record] = {}
    if not suspected:
        return found
    spans = [Span(partition, one.stable, one.stable + 1) for partition, one in suspected.items()]
    reader = Reader({**config, "isolation.level": "read_uncommitted"}, topic)
    with contextlib.suppress(CommandError), reader:
        for batch in reader.read(spans, lambda: time.monotonic() >= until_s):
            found.update((record.partition, record) for record in batch)
    return found
