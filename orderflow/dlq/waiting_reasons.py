"""Finds what the owners of partitions told last of why orders wait, near the end of the ledger topic."""

import time
from typing import Dict, Optional, Sequence, Set

from orderflow.dlq.desk import Desk
from orderflow.exits import CommandError
from orderflow.kafka.reader import Reader, Span
from orderflow.model.reasons import Reasons, partition_of, read_reasons

FIRST_LOOK, WIDER, WIDEST = 64, 8, 4_096
"""Offsets before the end: they are told every minute, but pages may stand behind them, and many markers."""
MOST_S = 3.0
"""For so long it may take: it is good to know, and nobody should wait for it."""


def reasons_of(desk: Desk, partitions: Sequence[int]) -> Dict[int, Reasons]:
    """By partition of the orders topic, as far as it is found; nothing where the topic cannot be read."""
    if not partitions or not desk.ledger_topic:
        return {}
    try:
        with desk.reader(desk.ledger_topic) as reader:
            return _Search(desk, reader).find(set(partitions))
    except CommandError:
        return {}


class _Search:
    def __init__(self, desk: Desk, reader: Reader) -> None:
        self._desk = desk
        self._reader = reader
        self._until_s = time.monotonic() + MOST_S
        self._found: Dict[int, Reasons] = {}

    def find(self, wanted: Set[int]) -> Dict[int, Reasons]:
        """The last ones of each. Begins a few records before the end, and then further ahead."""
        count, size = len(self._reader.partitions()), FIRST_LOOK
        is_whole = False
        while size <= WIDEST and not is_whole and not self._is_late():
            missing = {number % count for number in wanted - set(self._found)}
            spans = [self._last(partition, size) for partition in sorted(missing)]
            is_whole = all(span.end - span.begin < size for span in spans)
            for records in self._reader.read(spans, self._is_late):
                for record in records:
                    self._take(record.key, record.value)
            size *= WIDER
        return {number: told for number, told in self._found.items() if number in wanted}

    def _is_late(self) -> bool:
        return time.monotonic() > self._until_s

    def _last(self, partition: int, size: int) -> Span:
        low, high = self._reader.bounds(partition)
        return Span(partition, max(low, high - size), high)

    def _take(self, key: Optional[bytes], value: Optional[bytes]) -> None:
        number = partition_of(self._desk.consumer_group, self._desk.orders_topic, key)
        told = None if number is None else read_reasons(value)
        if number is not None and told is not None:
            self._found[number] = told
