"""How large the batches of records may be, and the records that were refused with their batch."""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from orderflow.kafka.sizes import CLIENT_BYTES

_SMALLER = 16


class Returned(NamedTuple):
    """A record that the client has given back undelivered."""

    key: Optional[bytes]
    value: Optional[bytes]
    line: int = 0
    """Where it stands in the input; 0 if it comes from none."""

    @property
    def size_bytes(self) -> int:
        """Its key and value. The client counts more: a record as large as a batch may be is alone in one."""
        return max(1, len(self.key or b"") + len(self.value or b""))


class Batches:
    """The size of the batches, and what was refused with one.

    Kafka applies a topic's `max.message.bytes` to a batch, and refuses it whole. Which of its records is too
    large, if any is, shows only once each has been sent in a batch of its own.
    """

    def __init__(self, conf: Mapping[str, Any]) -> None:
        self._conf = dict(conf)
        self._bytes = int(conf.get("batch.size", CLIENT_BYTES))
        self._refused: List[Returned] = []

    def __len__(self) -> int:
        """How many records are to be sent again."""
        return len(self._refused)

    @property
    def conf(self) -> Dict[str, Any]:
        """The properties of a client that sends batches of the present size."""
        return {**self._conf, "batch.size": self._bytes}

    def put_back(self, key: Optional[bytes], value: Optional[bytes], line: int = 0) -> bool:
        """Keep a refused record, to be sent again. False if it was alone in its batch: it is too large."""
        record = Returned(key, value, line)
        if record.size_bytes >= self._bytes:
            return False
        self._refused.append(record)
        return True

    def take(self) -> List[Returned]:
        """The records to be sent again, in their order; none is kept any more."""
        taken, self._refused = self._refused, []
        return taken

    def shrink(self, refused: List[Returned]) -> None:
        """Make batches smaller from now on, but not smaller than the largest of these records."""
        largest = max(record.size_bytes for record in refused)
        self._bytes = min(self._bytes, max(largest, self._bytes // _SMALLER))
