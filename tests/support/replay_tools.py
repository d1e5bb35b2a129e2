"""What the black-box tests of replay share: a dead letter topic, its orders topic, and what was sent."""

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional
from typing import Counter as CounterOf

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from orderflow.model.dead_letter import REPLAY_FROM, REPLAY_JOB
from orderflow.model.records import Outgoing
from tests.support.account import Line, read_topic
from tests.support.dlq_tools import ROOT, Handler, Json, Run, make_topic, send

ORDER_PARTITIONS = 3


class Desk(Handler):
    """dlq_handler.py on a dead letter topic of its own, with an orders topic beside it."""

    def __init__(self, bootstrap_servers: str, dlq_topic: str, folder: Path, partitions: int = 1) -> None:
        super().__init__(bootstrap_servers, dlq_topic, folder)
        self.folder = folder
        self.orders_topic = f"{dlq_topic}-orders"
        self.audit_topic = f"{dlq_topic}-audit"
        self.client: Dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "log_level": 2}
        self._environ["ORDERS_TOPIC"] = self.orders_topic
        make_topic(bootstrap_servers, dlq_topic, partitions)
        make_topic(bootstrap_servers, self.orders_topic, ORDER_PARTITIONS)

    def fill(self, letters: Iterable[Outgoing]) -> None:
        """Put dead letters on the topic."""
        send(self.bootstrap_servers, self.topic, letters)

    def publish(self, orders: Iterable[Outgoing]) -> None:
        """Put orders on the orders topic."""
        send(self.bootstrap_servers, self.orders_topic, orders)

    def sent(self, topic: Optional[str] = None) -> List[Line]:
        """The replayed records in the orders topic or another."""
        lines = read_topic(self.client, topic or self.orders_topic)
        return [line for line in lines if line.header(REPLAY_JOB) is not None]

    def sent_from(self) -> CounterOf[str]:
        """How often each dead letter was sent, by `partition:offset`."""
        prefix = f"{self.topic}-"
        origins = [line.header(REPLAY_FROM) or "" for line in self.sent()]
        return Counter(origin[len(prefix) :].replace("-", ":") for origin in origins)

    def states(self) -> Dict[str, str]:
        """The state of each dead letter, by `partition:offset`."""
        rows = self.run("list", "--json").rows
        return {f"{row['partition']}:{row['offset']}": row["state"] for row in rows}

    def jobs(self) -> List[Json]:
        """All jobs, the latest first."""
        return self.run("jobs", "--json").rows

    def audit(self) -> Dict[str, Json]:
        """The newest entry of each key of the audit topic."""
        lines = read_topic(self.client, self.audit_topic)
        return {(line.key or b"").decode(): json.loads(line.value or b"{}") for line in lines}

    def start_dying(self, gap: str, number: int, *args: str) -> int:
        """Run it up to its death at a gap; the exit code, negative as for a signal."""
        script = str(ROOT / "tests" / "support" / "dying_replayer.py")
        command = [sys.executable, script, gap, str(number), "--", *args]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environ, capture_output=True, timeout=60, check=False
        )
        return done.returncode

    def expire(self, before: int, partition: int = 0) -> None:
        """Delete the dead letters before this offset, as retention does."""
        place = TopicPartition(self.topic, partition, before)
        admin = AdminClient(self.client)
        admin.delete_records([place])[place].result(20)

    def run_and_type(
        self,
        typed: str,
        *args: str,
        prompt: str = "[y/N]",
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Run:
        """Run it in a terminal and answer when it asks; `meanwhile` happens while the question stands."""
        control, terminal = pty.openpty()
        streams: Any = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
        process = subprocess.Popen(self.command(*args), cwd=self.folder, env=self._environ, **streams)
        os.close(terminal)
        shown = _until(control, prompt)
        meanwhile()
        os.write(control, typed.encode() + b"\n")
        shown += _until(control, None)
        os.close(control)
        return Run(process.wait(30), shown.replace("\r\n", "\n"), "")


def _until(control: int, prompt: Optional[str], timeout_s: float = 30) -> str:
    """What a terminal shows up to a prompt, or to the end."""
    shown, deadline_s = "", time.monotonic() + timeout_s
    while prompt is None or prompt not in shown:
        assert time.monotonic() < deadline_s, shown
        if not select.select([control], [], [], 0.2)[0]:
            continue
        try:
            chunk = os.read(control, 65_536)
        except OSError:  # the other side is closed
            break
        shown += chunk.decode("utf-8", "replace")
        if not chunk:
            break
    return shown
