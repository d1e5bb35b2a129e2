"""How large the batches of records may be, and the records that are to be sent once more."""

from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional

from orderflow.kafka.sizes import CLIENT_BYTES

_SMALLER = 16


class Record(NamedTuple):
    """A record as it is handed to the client."""

    key: Optional[bytes]
    value: Optional[bytes]
    line: int = 0
    """Where it stands in the input; 0 if it comes from none."""
    number: int = 0
    """The how-manieth it is of those that the client has taken."""

    @property
    def size_bytes(self) -> int:
        """Its key and value. The client counts more: a record as large as a batch may be is alone in one."""
        return max(1, len(self.key or b"") + len(self.value or b""))


class Batches:
    """The size of the batches, and what is to be sent once more since one was refused.

    Kafka applies a topic's `max.message.bytes` to a batch, and refuses it whole. Which of its records is too
    large, if any is, shows only once each has been sent in a batch of its own.
    """

    def __init__(self, conf: Mapping[str, Any]) -> None:
        self._conf = dict(conf)
        self._bytes = int(conf.get("batch.size", CLIENT_BYTES))
        self._largest_refused_bytes = 0
        """Of what was refused since batches were made smaller; 0 if nothing was."""
        self._again: List[Record] = []

    def __len__(self) -> int:
        """How many records are to be sent again."""
        return len(self._again)

    @property
    def conf(self) -> Dict[str, Any]:
        """The properties of a client that sends batches of the present size."""
        return {**self._conf, "batch.size": self._bytes}

    def put_back(self, record: Record) -> bool:
        """Keep a refused record, to be sent again. False if it was alone in its batch: it is too large."""
        if record.size_bytes >= self._bytes:
            return False
        self._largest_refused_bytes = max(self._largest_refused_bytes, record.size_bytes)
        self._again.append(record)
        return True

    def put_behind(self, records: Iterable[Record]) -> None:
        """Keep what was not sent since a batch before it was refused."""
        self._again.extend(records)

    def take(self) -> List[Record]:
        """The records to be sent again, as they were handed over first; none is kept any more."""
        taken, self._again = self._again, []
        return sorted(taken, key=lambda record: record.number)

    def shrink(self) -> None:
        """Make batches smaller from now on if some were refused, but not smaller than the largest record."""
        if self._largest_refused_bytes:
            smaller_bytes = max(self._largest_refused_bytes, self._bytes // _SMALLER)
            self._bytes = min(self._bytes, smaller_bytes)
            self._largest_refused_bytes = 0
