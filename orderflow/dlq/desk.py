"""What every verb of dlq_handler.py works with."""

import shlex
import time
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional

from orderflow.avro.codec import OrderDecoder, OrderEncoder
from orderflow.cli.output import Notes, Output
from orderflow.cli.signals import StopSignals
from orderflow.cli.status import StatusLine
from orderflow.cli.terminal import count, duration
from orderflow.dlq.masking import Mask
from orderflow.kafka.reachable import require_kafka
from orderflow.kafka.reader import Reader, consumer_config
from orderflow.model.text import escape

QUICK_S = 0.3
"""Work that is done by then needs no progress shown; a person who waits sees some within a second."""

FieldValues = Callable[[Mapping[str, Any]], Dict[str, Any]]
"""Fields of an order from JSON, as `producer.py --input` reads them. Raises ValueError."""


class Desk(NamedTuple):
    """What every verb works with; no verb knows where it comes from."""

    client: Dict[str, Any]
    """Properties of a Kafka client: address, security, whatever was passed through."""
    dlq_topic: str
    audit_topic: str
    orders_topic: str
    consumer_group: str
    decoder: OrderDecoder
    encoder: Callable[[], OrderEncoder]
    """Today's schema, asked for only where an order is repaired."""
    field_values: FieldValues
    out: Output
    err: Notes
    signals: StopSignals
    json: bool
    mask: Mask = Mask()
    """What is hidden in everything that is shown."""
    ledger_topic: str = ""
    """Where consumers hear what is asked of waiting orders."""
    typed: str = ""
    """The settings that were typed, to follow each command that is suggested."""

    @property
    def width(self) -> Optional[int]:
        """Columns of the terminal that `out` is, as it is now; None where it is none."""
        return self.out.width

    @property
    def colour(self) -> bool:
        """Whether `out` may get colour."""
        return self.out.colour

    def command(self, *words: str) -> str:
        """What to type next. It is about the same Kafka and topics as what was typed before."""
        return escape(f"python dlq_handler.py {' '.join(map(shlex.quote, words))}{self.typed}")

    def require_kafka(self) -> None:
        """Return once a broker answers, or raise KafkaUnreachable. Until then a signal ends it at once."""
        with self.signals.nothing_begun():
            require_kafka(self.client)

    def reader(self, topic: str, **properties: Any) -> Reader:
        """A topic, to be opened for reading, with these properties of the client besides.

        What has to be waited for is noted.
        """
        config = consumer_config(self.client, self.consumer_group)
        return Reader({**config, **properties}, topic, self.note)

    def say(self, line: str) -> None:
        """One line of data."""
        self.out.line(line)

    def premise(self, line: str) -> None:
        """One line of data about what is then acted upon, or judged, whether or not anybody reads it."""
        self.out.premise(line)

    def note(self, line: str) -> None:
        """One line that is no data."""
        self.err.line(line)

    def tell(self, event: str, **fields: object) -> None:
        """An event of the scripts' catalogue."""
        self.err.tell(event, **fields)

    def result(self, line: str) -> None:
        """One line of data that tells what was done, and that it was done is true even if nobody reads it."""
        self.out.result(line)


def now_ms() -> int:
    """Epoch milliseconds of this machine's clock."""
    return int(time.time() * 1000)


class Progress:
    """Count, rate and time left of reading, on the error stream."""

    def __init__(self, err: Notes, what: str = "read") -> None:
        self._line = StatusLine(err)
        self._what = what
        self._began_s = time.monotonic()
        self._expected = 0
        self._read = 0

    def expect(self, records: int) -> None:
        """How many records there are to read."""
        self._expected = records

    def add(self, records: int) -> None:
        """Count records that were read, and show it when it is time."""
        self._read += records
        took_s = time.monotonic() - self._began_s
        if took_s > QUICK_S and self._line.due():
            rate = self._read / took_s
            left_s = max(0, self._expected - self._read) / max(1.0, rate)
            of = f"of {count(self._expected)}"
            done = f"{count(self._read)} {of} {self._what}"
            self._line.show(f"{done}, {count(int(rate))}/s, {duration(left_s)} left", self._read)

    def clear(self) -> None:
        """Take the line away."""
        self._line.clear()
