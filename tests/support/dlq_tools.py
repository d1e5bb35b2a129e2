"""What the black-box tests of dlq_handler.py share: dead letters to publish, and runs of the script."""

import base64
import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.avro.codec import OrderEncoder, load_schema, single_object_prefix
from orderflow.errors import Failure
from orderflow.model.dead_letter import Circumstances, Shrink, dead_letter
from orderflow.model.records import Headers, Outgoing, Record

ROOT = Path(__file__).resolve().parent.parent.parent
FIXTURES = ROOT / "tests" / "fixtures" / "dead_letters"
Json = Dict[str, Any]
T0_MS = 1_795_564_800_000
"""2026-11-25T00:00:00Z"""
SCHEMA = load_schema((ROOT / "order_schema.avsc").read_text("utf-8"))
ENCODER = OrderEncoder(SCHEMA, single_object_prefix(SCHEMA))


# --- Dead letters ---


def json_lines(path: Path) -> List[Json]:
    """The objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def record_of(row: Json) -> Record:
    """A record of a dump."""
    headers = [(name, _bytes(value)) for name, value in row["headers"]]
    place = (row["topic"], row["partition"], row["offset"], row["timestamp"], row["timestamp_type"])
    return Record(*place, _bytes(row["key_b64"]), _bytes(row["value_b64"]), headers)


def _bytes(text: Optional[str]) -> Optional[bytes]:
    return None if text is None else base64.b64decode(text)


def order(number: int, **changes: Any) -> bytes:
    """An order as the producer would write it."""
    fields = {"order_id": f"O-{number}", "customer_id": "C-1", "product_id": "P-1", "quantity": number}
    return ENCODER.encode({**fields, "price": 2.5, "timestamp": T0_MS, **changes})


def ours(
    number: int,
    reason: str = "process.failed",
    message: str = "no stock for order {}",
    died_ms: Optional[int] = None,
    value: Optional[bytes] = None,
    key: Optional[bytes] = None,
    headers: Optional[Headers] = None,
    topic: str = "orders",
    partition: int = 0,
    shrink: Shrink = Shrink.NOTHING,
    stack: Optional[str] = None,
) -> Outgoing:
    """A dead letter as the engine writes it; the topic to send it to is set when it is sent."""
    source = Record(
        topic,
        partition,
        number,
        T0_MS,
        "CreateTime",
        f"O-{number}".encode() if key is None else key,
        order(number) if value is None else value,
        headers or [],
    )
    stage, told = reason.split(".")[0], message.format(number)
    failure = Failure(reason, stage, "app.OutOfStock", told, True, None, stack)
    died_ms = T0_MS + number * 60_000 if died_ms is None else died_ms
    about = Circumstances("order-processing-group", "host-1", 4, died_ms - 9_000, died_ms, None, 1)
    return dead_letter(source, failure, about, "", shrink)


# --- Topics ---


def make_topic(bootstrap_servers: str, topic: str, partitions: int = 1) -> None:
    """Create a topic that keeps records however old they claim to be."""
    for_ever = str(2**63 - 1)
    any_time = {"message.timestamp.before.max.ms": for_ever, "message.timestamp.after.max.ms": for_ever}
    try:
        _create(bootstrap_servers, topic, partitions, {"retention.ms": "-1", **any_time})
    except KafkaException as error:
        if error.args[0].code() != KafkaError.INVALID_CONFIG:
            raise
        # Brokers before 3.6 have no such limits, and no names for them.
        _create(bootstrap_servers, topic, partitions, {"retention.ms": "-1"})


def _create(bootstrap_servers: str, topic: str, partitions: int, config: Dict[str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(10)


def send(bootstrap_servers: str, topic: str, records: Iterable[Outgoing], **conf: Any) -> None:
    """Put records on a topic, in order, byte for byte."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True, **conf})
    if "transactional.id" in conf:
        producer.init_transactions()
        producer.begin_transaction()
    for one in records:
        stamp: Any = {} if one.timestamp_ms is None else {"timestamp": one.timestamp_ms}
        headers: Any = list(one.headers)
        producer.produce(topic, one.value, one.key, one.partition or 0, headers=headers, **stamp)
    assert producer.flush(20) == 0
    if "transactional.id" in conf:
        producer.commit_transaction()


@contextlib.contextmanager
def left_open(address: str, name: str, records: List[Outgoing]) -> Iterator[Producer]:
    """A transaction that has written these records, and is open until the end unless somebody ends it."""
    producer = Producer({"bootstrap.servers": address, "transactional.id": f"{name}-left-open"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for one in records:
        stamp: Any = {} if one.timestamp_ms is None else {"timestamp": one.timestamp_ms}
        producer.produce(name, one.value, one.key, 0, **stamp)
    assert producer.flush(20) == 0
    try:
        yield producer
    finally:
        with contextlib.suppress(KafkaException):  # it was ended
            producer.abort_transaction(20)


def outgoing(record: Record) -> Outgoing:
    """A record of a dump, to be sent."""
    return Outgoing("", record.key, record.value, record.headers, 0, record.timestamp_ms)


# --- Runs ---

PROGRESS = re.compile(r"\r\x1b\[K[^\r\n]*\r\x1b\[K")
"""A status line, which takes itself away in the end."""


class Run(NamedTuple):
    """A run of the script that has ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> List[str]:
        """The lines of its output."""
        return self.out.splitlines()

    @property
    def rows(self) -> List[Json]:
        """The objects of its output."""
        return [json.loads(line) for line in self.lines]


class Handler:
    """dlq_handler.py, against one broker and one topic of dead letters."""

    def __init__(self, bootstrap_servers: str, topic: str, folder: Path) -> None:
        self.bootstrap_servers = bootstrap_servers
        self.topic = topic
        self.folder = folder
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KAFKA_")},
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "DLQ_TOPIC": topic,
            "CONSUMER_GROUP": f"{topic}-group",
            "PYTHONIOENCODING": "utf-8",
            "TERM": "xterm",
            "COLUMNS": "",
            "PAGER": "cat",
        }

    def setting(self, **environ: str) -> None:
        """From now on, with these settings too."""
        self._environ.update(environ)

    def command(self, *args: str) -> List[str]:
        """The command line of a run."""
        return [sys.executable, str(ROOT / "dlq_handler.py"), *args]

    def run(self, *args: str, **environ: str) -> Run:
        """Run to the end, with pipes."""
        done = subprocess.run(
            self.command(*args),
            cwd=self.folder,
            env={**self._environ, **environ},
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Run(done.returncode, done.stdout.decode("utf-8"), done.stderr.decode("utf-8"))

    def run_unread(self, *args: str) -> int:
        """Run to the end with a pipe for output that nobody reads; the exit code."""
        reading, writing = os.pipe()
        os.close(reading)
        try:
            return subprocess.run(
                self.command(*args),
                cwd=self.folder,
                env=self._environ,
                stdout=writing,
                timeout=60,
                check=False,
            ).returncode
        finally:
            os.close(writing)

    def start(self, *args: str) -> "Started":
        """Start, with pipes."""
        return Started(self.command(*args), self.folder, self._environ)

    def run_in_terminal(self, *args: str, columns: int = 100, **environ: str) -> Run:
        """Run to the end with a terminal for output and errors, which come back together."""
        control, terminal = pty.openpty()
        environ = {**self._environ, "COLUMNS": str(columns), **environ}
        streams: Any = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
        process = subprocess.Popen(self.command(*args), cwd=self.folder, env=environ, **streams)
        os.close(terminal)
        shown = _read_all(control)
        return Run(process.wait(30), PROGRESS.sub("", shown.replace("\r\n", "\n")), "")


def _read_all(control: int) -> str:
    chunks = []
    while True:
        try:
            chunk = os.read(control, 65_536)
        except OSError:  # the other side is closed
            break
        if not chunk:
            break
        chunks.append(chunk)
    os.close(control)
    return b"".join(chunks).decode("utf-8")


class Started:
    """A run of the script that goes on."""

    def __init__(self, command: Sequence[str], folder: Path, environ: Dict[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._text = {1: "", 2: ""}

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()

    @property
    def out(self) -> str:
        """Its output so far."""
        return self._text[1]

    @property
    def err(self) -> str:
        """Its errors so far."""
        return self._text[2]

    def wait_for(self, what: Callable[["Started"], bool], timeout_s: float = 20.0) -> None:
        """Read on until this holds, or fail."""
        deadline_s = time.monotonic() + timeout_s
        while not what(self):
            assert time.monotonic() < deadline_s, f"out: {self.out}\nerr: {self.err}"
            self._read(0.05)

    def _read(self, wait_s: float) -> None:
        streams = ((1, self.process.stdout), (2, self.process.stderr))
        pipes = {one.fileno(): number for number, one in streams if one and not one.closed}
        for pipe in select.select(list(pipes), [], [], wait_s)[0]:
            self._text[pipes[pipe]] += os.read(pipe, 65_536).decode("utf-8")

    def leave(self) -> None:
        """Read no more of its output, as `head` does."""
        assert self.process.stdout
        self.process.stdout.close()

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and wait for the end; the exit code."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, timeout_s: float = 20.0) -> int:
        """The exit code, once it has ended by itself."""
        return self.process.wait(timeout_s)


def handler_of_one(bootstrap_servers: str, topic: str, folder: Path) -> Handler:
    """A topic with one dead letter, which is made for it."""
    make_topic(bootstrap_servers, topic)
    send(bootstrap_servers, topic, [ours(1)])
    return Handler(bootstrap_servers, topic, folder)
