"""The bench: a Kafka, topics of orders, and consumers that run in processes of their own."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Sequence, Tuple

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from benchmarks.work import GOOD, REPORT, ROOT, Job, peak_kib

TIMEOUT_S = 300.0
HANDLERS = ROOT / "benchmarks" / "handlers.py"


class Void(Exception):
    """A run whose counts are wrong, so its measurements mean nothing."""


class Topic(NamedTuple):
    """A topic full of orders, and how many of them are good."""

    name: str
    partitions: int
    good: int
    bad: int
    published_per_s: float
    """How fast producer.py was."""

    @property
    def total(self) -> int:
        """Records in it."""
        return self.good + self.bad


class Run(NamedTuple):
    """What a contestant needed from its first to its last good order."""

    rate: float
    """Orders a second."""
    cpu_us: float
    """Processor time of the process for an order, in microseconds."""
    thread_us: float
    """The same of the thread that calls the handler."""
    peak_mib: float
    """The largest memory that it had."""
    first_s: float
    """When its first good order was handled, on the monotonic clock."""
    last_s: float


NO_NEW_SCHEMAS = {"UNKNOWN_SCHEMA_BACKOFF": "0"}
"""Nobody is about to deploy the schemas that broken orders name: by all they are dead-lettered at once."""


class Rig:
    """One Kafka and a folder. Every topic and group gets a name of its own."""

    def __init__(self, brokers: str, folder: Path) -> None:
        self.brokers = brokers
        self.folder = folder
        self.admin = AdminClient({"bootstrap.servers": brokers, "log_level": 2})
        self._shared: Dict[Tuple[int, int, str], Topic] = {}

    # --- topics ----------------------------------------------------------------------------------

    def create(self, name: str, partitions: int) -> str:
        """Create a topic; returns its name."""
        self.admin.create_topics([NewTopic(name, partitions, 1)])[name].result(30)
        return name

    def orders(self, count: int, partitions: int, invalid: str = "1%") -> Topic:
        """A topic of `count` orders, the same for all who ask for such a one."""
        wanted = (count, partitions, invalid)
        if wanted not in self._shared:
            self._shared[wanted] = self.publish(count, partitions, invalid)
        return self._shared[wanted]

    def publish(self, count: int, partitions: int, invalid: str = "1%", seed: int = 1) -> Topic:
        """A new topic with `count` orders of producer.py in it."""
        name = self.create(f"orders-{unique()}", partitions)
        arguments = ["--count", str(count), "--seed", str(seed), "--orders-topic", name]
        arguments += ["--invalid", invalid] if invalid else []
        said = self._succeed("producer.py", arguments)
        bad = _number(r"([\d,]+) broken on purpose", said) if invalid else 0.0
        if _number(r"published ([\d,]+),", said) != count:
            raise Void(f"producer.py did not publish {count} orders: {said}")
        per_s = _number(r"([\d,]+)/s", said.splitlines()[-1])
        return Topic(name, partitions, count - int(bad), int(bad), per_s)

    def records(self, topic: str, partitions: int = 1) -> int:
        """How many records a reader of committed transactions finds in a topic."""
        reader = Consumer(
            {
                "bootstrap.servers": self.brokers,
                "group.id": unique(),
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        reader.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        found = ends = 0
        while ends < partitions:
            for message in reader.consume(10_000, 0.5):
                error = message.error()
                found += error is None
                ends += error is not None and error.code() == KafkaError._PARTITION_EOF
        reader.close()
        return found

    def committed(self, topic: Topic, group: str) -> int:
        """The sum of the group's committed offsets."""
        reader = Consumer({"bootstrap.servers": self.brokers, "group.id": group})
        asked = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        places = reader.committed(asked, timeout=30)
        reader.close()
        return sum(max(0, place.offset) for place in places)

    # --- contestants -----------------------------------------------------------------------------

    def job(self, topic: Topic, settings: str) -> Job:
        """A job over a topic, with a group and a dead letter topic that nothing else uses."""
        name = unique()
        dlq = self.create(f"{topic.name}.{name}", 1)
        return Job(self.brokers, topic.name, dlq, f"group-{name}", topic.good, topic.bad, settings)

    def run_peer(self, topic: Topic, python: Path, script: Path, settings: str, *extra: str) -> Run:
        """Run a script of peers/ over a topic, to its end."""
        todo = self.job(topic, settings)
        command = [str(python), str(script), json.dumps(todo._asdict()), *extra]
        report = self.folder / f"{todo.group}.report"
        finish(self.start(command, self._environment(topic.good, report), todo.group), TIMEOUT_S)
        return self.verified(todo, topic, report)

    def run_ours(self, topic: Topic, *flags: str, handler: str = "nothing", **environ: str) -> Run:
        """Run consumer.py over a topic until it is drained."""
        todo = self.job(topic, "shipped")
        report = self.folder / f"{todo.group}.report"
        process = self.start_ours(todo, report, "--until-drained", *flags, handler=handler, **environ)
        finish(process, TIMEOUT_S)
        return self.verified(todo, topic, report)

    def start_ours(
        self, todo: Job, report: Path, *flags: str, handler: str = "nothing", **environ: str
    ) -> "Process":
        """Start consumer.py, as shipped, with one of the benchmark's handlers."""
        command = [
            *(sys.executable, str(ROOT / "consumer.py"), "-b", todo.brokers, "--orders-topic", todo.topic),
            *("--dlq-topic", todo.dlq, "--consumer-group", todo.group),
            *("--handler", f"{HANDLERS}:{handler}", *flags),
        ]
        shared = {**self._environment(todo.good, report), **NO_NEW_SCHEMAS}
        return self.start(command, {**shared, **environ}, todo.group)

    def start(self, command: Sequence[str], environ: Mapping[str, str], name: str) -> "Process":
        """Start a process in the bench's folder; what it says goes into a file there."""
        return Process(command, environ, self.folder, self.folder / f"{name}-{unique()}.log")

    def start_module(self, module: str, argument: object) -> "Process":
        """Start a module of the benchmarks with its argument as JSON."""
        return self.start([sys.executable, "-m", module, json.dumps(argument)], {}, module)

    def verified(self, todo: Job, topic: Topic, report: Path) -> Run:
        """What a run measured, if every order was handled, dead-lettered and committed; else Void."""
        dead, committed = self.records(todo.dlq), self.committed(topic, todo.group)
        if dead != topic.bad or committed != topic.total:
            raise Void(f"{dead} of {topic.bad} dead-lettered, {committed} of {topic.total} committed")
        return read_report(report, topic.good)

    def _environment(self, good: int, report: Path) -> Dict[str, str]:
        return {GOOD: str(good), REPORT: str(report)}

    def _succeed(self, script: str, arguments: Sequence[str]) -> str:
        command = [sys.executable, str(ROOT / script), "-b", self.brokers, *arguments]
        process = self.start(command, {}, script)
        finish(process, TIMEOUT_S)
        return process.said()


class Process:
    """A process that was started for a measurement."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path, log: Path) -> None:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self.log = log
        with log.open("wb") as stream:
            self._popen = subprocess.Popen(
                list(command),
                cwd=folder,
                env={**kept, "PYTHONPATH": str(ROOT), **environ},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._popen.pid

    def wait(self, timeout_s: float) -> int:
        """Its exit code. Raises `subprocess.TimeoutExpired`."""
        return self._popen.wait(timeout_s)

    def peak_mib(self) -> float:
        """The largest memory that it has had so far."""
        return peak_kib(str(self.pid)) / 1024

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._popen.poll() is None

    def kill(self) -> None:
        """End it with -9."""
        self._popen.kill()
        self._popen.wait()

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        self._popen.terminate()
        finish_any(self)

    def said(self) -> str:
        """All that it wrote so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")


def finish(process: Process, timeout_s: float) -> None:
    """Wait for a process; Void, with its last words, unless it ends well."""
    try:
        code = process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        code = -9
    if code:
        raise Void(f"ended with {code}: {process.said()[-500:]}")


def finish_any(process: Process) -> None:
    """Wait for a process, however it ends."""
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()


def read_report(report: Path, handled: int) -> Run:
    """What the marks of a process say. Raises Void if it did not handle that many orders."""
    lines = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
    if len(lines) != 1:
        raise Void(f"{len(lines)} reports instead of one: not every order was handled")
    spent: Dict[str, Any] = json.loads(lines[0])
    return Run(
        rate=handled / (spent["last_s"] - spent["first_s"]),
        cpu_us=spent["cpu_s"] / handled * 1e6,
        thread_us=spent["thread_cpu_s"] / handled * 1e6,
        peak_mib=spent["peak_kib"] / 1024,
        first_s=spent["first_s"],
        last_s=spent["last_s"],
    )


def eventually(condition: Callable[[], Any], timeout_s: float, what: str, every_s: float = 0.02) -> Any:
    """The first true value of `condition`; Void when it takes too long."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        value = condition()
        if value:
            return value
        time.sleep(every_s)
    raise Void(f"{what}: not within {timeout_s:g} s")


def lines_of(path: Path) -> List[str]:
    """The whole lines of a file that others write to."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]


def unique() -> str:
    """A name that nothing else has."""
    return uuid.uuid4().hex[:8]


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """A folder for logs and reports; gone at the end."""
    return tempfile.TemporaryDirectory(prefix="orderflow-bench-")


def _number(pattern: str, text: str) -> float:
    """What the last match says: those before it are progress."""
    found: List[str] = re.findall(pattern, text)
    if not found:
        raise Void(f"no {pattern} in {text[-300:]}")
    return float(found[-1].replace(",", ""))
