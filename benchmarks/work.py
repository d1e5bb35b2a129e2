"""The work that every contestant does: the same decoding, the same rules, the same handler.

It runs in virtual environments that have fastavro and the peer, and of our code only this repository.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from orderflow.avro.codec import OrderDecoder, load_schema, order_reader  # noqa: E402
from orderflow.errors import Undecodable  # noqa: E402

MAX_ORDER_BYTES = 1_048_576
GOOD = "BENCH_GOOD"
REPORT = "BENCH_REPORT"
CALLS_A_TICK = 100
"""How many calls are written down as one where several processes are counted together."""
FROM = "BENCH_FROM"
NEW = "NEW-"
"""The ids of orders that are sent while others wait begin like this."""


class Job(NamedTuple):
    """What one run of a contestant has to do. It travels as JSON on the command line."""

    brokers: str
    topic: str
    dlq: str
    """Its name begins with the topic's, as one of the frameworks wants it."""
    group: str
    good: int
    bad: int
    settings: str
    """`defaults` or `best`."""

    @property
    def total(self) -> int:
        """Records in the topic."""
        return self.good + self.bad

    @property
    def is_best(self) -> bool:
        """Whether the documented best settings are wanted."""
        return self.settings == "best"


def job(argv: Sequence[str]) -> Job:
    """The job that the command line holds."""
    return Job(**json.loads(argv[1]))


class Marks:
    """When the first and the last good order were handled, and what the process cost between them."""

    def __init__(self, good: int, path: str, begin: int = 1) -> None:
        """`begin`: the order from which on time and cost are counted."""
        self._good = good
        self._begin = begin
        self._path = path
        self._first: Tuple[float, ...] = ()
        self.seen = 0

    def handle(self, order: Dict[str, Any]) -> None:
        """Do nothing, but for the count."""
        self.seen += 1
        if self.seen == self._begin:
            self._first = _clocks_s()
        elif self.seen == self._good:
            self._write()

    def _write(self) -> None:
        first, last = self._first, _clocks_s()
        spent = {
            "first_s": first[0],
            "last_s": last[0],
            "cpu_s": last[1] - first[1],
            "thread_cpu_s": last[2] - first[2],
            "peak_kib": peak_kib("self"),
        }
        with open(self._path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(spent) + "\n")


def peak_kib(process: str) -> int:
    """The largest memory that a process has had so far. Raises OSError once it has ended.

    Not what `getrusage` says: that begins with the memory of the process that started it.
    """
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0])


def marks() -> Marks:
    """The marks of this process, as the benchmark asked for them."""
    return Marks(int(os.environ[GOOD]), os.environ[REPORT], int(os.environ.get(FROM, "1")))


def _clocks_s() -> Tuple[float, float, float]:
    """The time, and the processor time of this process and of this thread so far."""
    return time.monotonic(), time.process_time(), time.thread_time()


class Work:
    """Decoding, rules, handler, and the count of what is done, for a contestant that is not ours."""

    def __init__(self, job: Job) -> None:
        self._marks = marks()
        self.handle = self._marks.handle
        self.read = order_reader(decoder())
        self.dead = 0
        self._total = job.total

    @property
    def is_done(self) -> bool:
        """Whether every record of the topic was handled or found bad."""
        return self._marks.seen + self.dead >= self._total

    def try_one(self, value: Optional[bytes]) -> Optional[Exception]:
        """Handle one record; the reason, where it must be dead-lettered."""
        try:
            self.handle(self.read(value))
        except Exception as error:  # noqa: BLE001 - every reason is one to dead-letter
            self.dead += 1
            return error
        return None


def number_of(order_id: str) -> int:
    """The number that an order's id ends with."""
    return int(order_id.rpartition("-")[2])


def decoder() -> OrderDecoder:
    """The decoder of the shipped schema."""
    schema = load_schema((ROOT / "order_schema.avsc").read_text(encoding="utf-8"))

    def find_writer(ref: Any) -> Any:
        if ref.fingerprint == schema.fingerprint:
            return schema
        raise Undecodable(f"{ref} unknown", "decode.unknown_schema")

    return OrderDecoder(schema, find_writer, MAX_ORDER_BYTES)


def reason_headers(topic: str, partition: int, offset: int, error: Exception) -> List[Tuple[str, bytes]]:
    """The least that a dead letter has to say: where it is from, and why it is one."""
    return [
        ("error", f"{type(error).__name__}: {error}".encode()),
        ("source", f"{topic}-{partition}-{offset}".encode()),
    ]
