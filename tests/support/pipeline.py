"""The three scripts as a user runs them: in processes of their own, on topics that nothing else uses."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from confluent_kafka import Producer

from tests.support.account import Account, Line, Position, parse_position, read_topic, report, take_account

ROOT = Path(__file__).resolve().parent.parent.parent
HANDLERS = ROOT / "tests" / "support" / "handlers.py"
SAMPLE = ROOT / "examples" / "cdnow-sample.csv"
COLUMNS = "order_id,customer_id,product_id,quantity,price,timestamp"
QUICK = {
    "RETRY_BACKOFF": "0.2",
    "RETRY_BACKOFF_MAX": "0.5",
    "MAX_RETRIES": "3",
    "UNKNOWN_SCHEMA_BACKOFF": "0",
}
"""Settings under which a retry takes a fraction of a second."""


class Finished(NamedTuple):
    """A script that has ended."""

    code: int
    out: str
    err: str
    took_s: float


class Call(NamedTuple):
    """One line of the journal that tests/support/handlers.py keeps."""

    at_s: float
    pid: int
    delivery: str
    attempt: int
    outcome: str
    key: str

    @property
    def position(self) -> Position:
        """The position of this call's order."""
        found = parse_position(self.delivery)
        assert found is not None
        return found


class Running:
    """A script that is running, its output collected in files so that it never blocks on a full pipe."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], folder: Path, number: int) -> None:
        self.command = command
        self._out, self._err = (folder / f"{number}-{Path(command[1]).stem}.{end}" for end in ("out", "err"))
        self._began_s = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, env=dict(environ), stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )

    def send(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as kill -9 does, and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def abort(self) -> None:
        """End it with its stack on stderr: PYTHONFAULTHANDLER is set."""
        self.send(signal.SIGCONT)
        self.send(signal.SIGABRT)
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = 40) -> Finished:
        """Ask it to stop, and wait for it."""
        self.send(number)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 120) -> Finished:
        """Wait until it has ended by itself."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.abort()
            raise AssertionError(f"still running after {timeout_s:g} s: {self.describe()}") from None
        took_s = time.monotonic() - self._began_s
        return Finished(code, self._out.read_text("utf-8"), self._err.read_text("utf-8"), took_s)

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.poll() is None

    @property
    def out(self) -> str:
        """What it has written to stdout so far."""
        return self._out.read_text("utf-8")

    @property
    def err(self) -> str:
        """What it has written to stderr so far."""
        return self._err.read_text("utf-8")

    def describe(self) -> str:
        """For a failed test: the command and the end of its stderr."""
        return f"{' '.join(self.command)}\n{self.err[-3000:]}"


class Pipeline:
    """One set of topics and one consumer group, and the scripts that work on them."""

    def __init__(
        self, bootstrap_servers: str, topic: Callable[..., str], folder: Path, **settings: str
    ) -> None:
        self.client: Dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "log_level": 2}
        self.folder = folder
        self.orders_topic, self.dlq_topic = topic("orders"), topic("dlq")
        self.processed_topic, self.group = topic("processed"), topic("group")
        self.journal_path, self._trouble = folder / "journal", folder / "trouble"
        self.environ = {**bare_environment(), **self._settings(bootstrap_servers), **settings}
        self._started: List[Running] = []

    def _settings(self, bootstrap_servers: str) -> Dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
            "ORDERS_TOPIC": self.orders_topic,
            "DLQ_TOPIC": self.dlq_topic,
            "PROCESSED_TOPIC": self.processed_topic,
            "CONSUMER_GROUP": self.group,
            "JOURNAL": str(self.journal_path),
            "TROUBLE": str(self._trouble),
            "PYTHONFAULTHANDLER": "1",
        }

    # --- the scripts

    def start(self, script: str, *arguments: str, **settings: str) -> Running:
        """Start a script and let it run; what still runs when the test ends is killed."""
        command = [sys.executable, str(ROOT / script), *arguments]
        running = Running(command, {**self.environ, **settings}, self.folder, len(self._started))
        self._started.append(running)
        return running

    def run(self, script: str, *arguments: str, timeout_s: float = 120, **settings: str) -> Finished:
        """Run a script to its end."""
        return self.start(script, *arguments, **settings).wait(timeout_s)

    def succeed(self, script: str, *arguments: str, timeout_s: float = 120, **settings: str) -> Finished:
        """Run a script to its end, which has to be a good one."""
        running = self.start(script, *arguments, **settings)
        finished = running.wait(timeout_s)
        assert finished.code == 0, f"exit {finished.code}: {running.describe()}"
        return finished

    def consume(self, handler: str, *arguments: str, **settings: str) -> Running:
        """Start a consumer with a handler of tests/support/handlers.py."""
        return self.start("consumer.py", "--handler", f"{HANDLERS}:{handler}", *arguments, **settings)

    def drain(self, handler: str, *arguments: str, timeout_s: float = 120, **settings: str) -> Finished:
        """Run a consumer until nothing is left and nothing waits."""
        running = self.consume(handler, "--until-drained", *arguments, **settings)
        finished = running.wait(timeout_s)
        assert finished.code == 0, f"exit {finished.code}: {running.describe()}"
        return finished

    def kill_all(self) -> None:
        """End whatever still runs, which is a test's failure: its stack is then in its file of errors."""
        for running in self._started:
            if running.running:
                running.abort()

    # --- what goes in

    def publish(self, rows: Iterable[Tuple[str, str]]) -> None:
        """Publish one order for each (order id, customer id), in this sequence, by the producer."""
        path = self.folder / f"orders-{len(self._started)}.csv"
        lines = [f"{order},{customer},CD,1,9.99,852076800000" for order, customer in rows]
        path.write_text("\n".join([COLUMNS, *lines, ""]), encoding="utf-8")
        self.succeed("producer.py", "--input", str(path))

    def publish_bytes(self, values: Sequence[Optional[bytes]], key: Optional[bytes] = None) -> None:
        """Put bytes into the orders topic that no producer of ours would write."""
        producer = Producer(self.client)
        for value in values:
            producer.produce(self.orders_topic, value, key)
        assert producer.flush(20) == 0

    def begin_trouble(self) -> None:
        """From now on the troubled orders fail."""
        self._trouble.touch()

    def end_trouble(self) -> None:
        """From now on they are processed."""
        self._trouble.unlink()

    # --- what came out

    def calls(self) -> List[Call]:
        """Every call of a handler so far, in the order in which they began."""
        if not self.journal_path.exists():
            return []
        lines = self.journal_path.read_text("ascii").splitlines(keepends=True)
        # The last one may be read while it is being written.
        return [_call(line[:-1]) for line in lines if line.endswith("\n")]

    def orders(self) -> List[Line]:
        """Every order in the topic."""
        return read_topic(self.client, self.orders_topic)

    def results(self) -> List[Line]:
        """Everything that handlers returned."""
        return read_topic(self.client, self.processed_topic)

    def dead_letters(self) -> List[Line]:
        """Every dead letter."""
        return read_topic(self.client, self.dlq_topic)

    def account(self, repeats_allowed: bool = False) -> Account:
        """What became of every order, as the topics show it."""
        return take_account(self.orders(), self.results(), self.dead_letters(), repeats_allowed)

    def assert_account_closes(self, repeats_allowed: bool = False) -> Account:
        """Every order has exactly one fate (or, with repeats allowed, at least one)."""
        taken = self.account(repeats_allowed)
        assert taken.closes, report(taken)
        return taken


def eventually(condition: Callable[[], Any], timeout_s: float = 30, why: Callable[[], str] = str) -> Any:
    """Wait until `condition` gives something true, and return it."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {why()}"
        time.sleep(0.02)


def reason(letter: Line) -> Optional[str]:
    """The reason code of a dead letter."""
    return letter.header("orders.dlq.reason")


def without_colour(text: str) -> str:
    """What a terminal would show of a text with colours."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def bare_environment() -> Dict[str, str]:
    """What a script needs from the machine, and no setting of the person who runs the tests."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "SYSTEMROOT", "XDG_CACHE_HOME")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _call(line: str) -> Call:
    at_s, pid, delivery, attempt, outcome, key = line.split(" ", 5)
    return Call(float(at_s), int(pid), delivery, int(attempt), outcome, key)
