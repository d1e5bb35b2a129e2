#!/usr/bin/env python3
"""Real orders through a real Kafka: published, processed, failing, retried, dead-lettered, counted."""

import argparse
import contextlib
import itertools
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import IO, Any, Dict, Iterator, List, Optional, Sequence, cast

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

import config
from orderflow import exits
from orderflow.cli.output import Notes, Output
from orderflow.cli.run import run
from orderflow.cli.terminal import duration
from orderflow.exits import CommandError, KafkaUnreachable
from orderflow.kafka.reachable import require_kafka
from orderflow.model.text import Heading
from tools import jvm
from tools.local_kafka import LocalKafka

SAMPLE = "examples/cdnow-sample.csv"
BUGGY, FIXED = "examples/checkout.py:charge", "examples/checkout.py:charge_fixed"
LINES_SHOWN = 8


def main(argv: Sequence[str], out: Output, err: Notes) -> int:
    """Run the demo; 0 if its account closes."""
    flags = _parser().parse_args(argv)
    settings = config.load({})
    began_s = time.monotonic()
    with kafka(settings, out) as address, client_file(settings) as secrets:
        story = Story(config.client_config(settings, **{"bootstrap.servers": address}), secrets, out)
        try:
            closes = story.tell()
        finally:
            story.leave(flags.keep)
    first, *others = GOOD_END if closes else BAD_END
    out.lines(["", f"That took {duration(time.monotonic() - began_s)}. {first}", *others])
    return exits.OK if closes else exits.FAILED


GOOD_END = (
    "Your turn, in three terminals (make kafka in a fourth):",
    "  python producer.py --rate 10/s --invalid 5%",
    "  python consumer.py",
    "  python dlq_handler.py",
)
BAD_END = ("The account does not close: that is a bug, please report it with this output.",)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("--keep", action="store_true", help="leave the topics in a Kafka that was there")
    return parser


class Story:
    """The commands of one run, on topics and a group of its own."""

    def __init__(self, client: Dict[str, Any], client_file: Optional[str], out: Output) -> None:
        name = f"demo-{uuid.uuid4().hex[:6]}"
        self._out = out
        self._client = client
        self._client_file = client_file
        self.settings = {
            "KAFKA_BOOTSTRAP_SERVERS": client["bootstrap.servers"],
            "ORDERS_TOPIC": name,
            "PROCESSED_TOPIC": f"{name}-processed",
            "DLQ_TOPIC": f"{name}-dlq",
            "CONSUMER_GROUP": f"{name}-group",
            "RETRY_BACKOFF": "0.2",
            "UNKNOWN_SCHEMA_BACKOFF": "0",  # nobody is about to deploy the schemas that it does not know
        }

    def tell(self) -> bool:
        """Run it all; whether the account closes."""
        self._introduce()
        self._say("Publish 6,919 real orders of a music shop, with 2 % broken ones mixed in.")
        self._run("producer.py", "--input", SAMPLE, "--invalid", "2%", "--seed", "1")
        self._say(
            "Process them. The payment fails now and then, and a bug hits every order of ten CDs or more.",
            "Failed orders wait for their retry without holding up the others; those that keep failing are",
            "dead-lettered. Results, dead letters and offsets are committed together.",
        )
        self._run_abridged("consumer.py", "--handler", BUGGY, "--until-drained")
        self._say("What went wrong? One line per dead letter:")
        self._run("dlq_handler.py", "list", "-c", "5")
        self._say("The same, grouped by kind of failure:")
        self._run("dlq_handler.py", "groups")
        self._say("One of them in full:")
        failure = self._a_failure()
        self._run("dlq_handler.py", "show", f"{failure['partition']}:{failure['offset']}")
        self._say("The account, counted by a reader that shares no code with the toolkit:")
        return self._account() and self._put_right()

    def _put_right(self) -> bool:
        """Close the loop: fix the bug, replay the orders that it hit, and discard the broken ones."""
        self._say("Fix the bug: the consumer starts again with the fixed handler.")
        self._show("consumer.py", "--handler", FIXED)
        with self._in_background("consumer.py", "--handler", FIXED):
            self._say("Replay that group: ten orders first, and the others only if those do not come back.")
            group = self._a_failure()["fingerprint"][:4]
            self._run("dlq_handler.py", "replay", "-g", group, "--canary", "10", "--rate", "200/s", "--yes")
        self._run("consumer.py", "--handler", FIXED, "--until-drained")
        self._say("The others were broken on purpose: mark them as resolved.")
        broken = ["--reason-code", "decode.*", "--reason-code", "validate.*"]
        self._run("dlq_handler.py", "discard", *broken, "--reason", "broken on purpose", "--yes")
        self._run("dlq_handler.py", "groups")
        self._say("The account again. Now every real order has to be processed:")
        return self._account("--all-processed")

    def leave(self, keep: bool) -> None:
        """Delete the demo's topics and group."""
        names = [value for name, value in self.settings.items() if name.endswith("_TOPIC")]
        if keep:
            self._say(f"Kept: {', '.join(names)}")
            return
        admin = AdminClient(self._client)
        named_after = [self.settings["DLQ_TOPIC"] + "-audit", self.settings["ORDERS_TOPIC"] + "-waiting"]
        topics_gone = admin.delete_topics([*names, *named_after])
        group_gone = admin.delete_consumer_groups([self.settings["CONSUMER_GROUP"]])
        for answer in (*topics_gone.values(), *group_gone.values()):
            with contextlib.suppress(KafkaException):  # never created, or not ours to delete
                answer.result(timeout=10)

    def _introduce(self) -> None:
        self._say("Its own topics and group, so a shared Kafka is safe, and a short back-off to be quick:")
        for name, value in self.settings.items():
            self._out.line(f"  export {name}={value}")

    def _a_failure(self) -> Dict[str, Any]:
        """A dead letter whose retries were used up."""
        listed = self._captured("dlq_handler.py", "list", "--reason-code", "process.*", "-c", "1", "--json")
        return cast(Dict[str, Any], json.loads(listed))

    def _account(self, *demands: str) -> bool:
        shown = ["-b", self.settings["KAFKA_BOOTSTRAP_SERVERS"], "--input", SAMPLE]
        for kind in ("orders", "processed", "dlq"):
            shown += [f"--{kind}-topic", self.settings[f"{kind.upper()}_TOPIC"]]
        shown += demands
        hidden = ["-F", self._client_file] if self._client_file else []
        self._show("tests/support/account.py", *shown)
        return subprocess.run(_command("tests/support/account.py", *shown, *hidden), cwd=ROOT).returncode == 0

    # --- Output

    def _say(self, *lines: str) -> None:
        self._out.lines(["", *map(Heading, lines)])

    def _show(self, *arguments: str) -> None:
        self._out.line(f"$ {shlex.join(['python', *arguments])}")

    def _run(self, *arguments: str) -> None:
        self._show(*arguments)
        finished = subprocess.run(_command(*arguments), cwd=ROOT, env=self._environment())
        _must_succeed(arguments, finished.returncode)

    def _run_abridged(self, *arguments: str) -> None:
        """Run a command that prints a line per failure, and show only the first ones and the last."""
        self._show(*arguments)
        command = _command(*arguments)
        with subprocess.Popen(command, cwd=ROOT, env=self._environment(), stderr=subprocess.PIPE) as process:
            for line in _abridged(cast(IO[bytes], process.stderr)):
                self._out.line(line)
        _must_succeed(arguments, process.returncode)

    @contextlib.contextmanager
    def _in_background(self, *arguments: str) -> Iterator[None]:
        """Run a command meanwhile, with its output discarded, and stop it as SIGTERM does."""
        command, environ, nowhere = _command(*arguments), self._environment(), subprocess.DEVNULL
        with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=nowhere, stderr=nowhere) as process:
            try:
                yield
            finally:
                process.terminate()

    def _captured(self, *arguments: str) -> str:
        command = _command(*arguments)
        finished = subprocess.run(command, cwd=ROOT, env=self._environment(), stdout=subprocess.PIPE)
        if finished.returncode != 0 or not finished.stdout.strip():
            raise CommandError(f"{shlex.join(arguments)} found nothing (exit code {finished.returncode})")
        return finished.stdout.decode()

    def _environment(self) -> Dict[str, str]:
        return {**os.environ, **self.settings}


def _command(*arguments: str) -> List[str]:
    return [sys.executable, *arguments]


def _must_succeed(arguments: Sequence[str], code: int) -> None:
    if code != 0:
        raise CommandError(f"{arguments[0]} ended with exit code {code}")


def _abridged(stream: IO[bytes]) -> Iterator[str]:
    """The first lines of a stream as they arrive, how many were left out, and finally the last one."""
    lines = (line.decode("utf-8", "replace").rstrip("\n") for line in stream)
    yield from itertools.islice(lines, LINES_SHOWN)
    left_out, last = -1, ""
    for left_out, last in enumerate(lines):  # noqa: B007 (the last line is what is wanted)
        pass
    if left_out > 0:
        yield f"... {left_out:,} more lines, one for each failure ..."
    yield last


# --- Kafka: the one that is there, or one of our own


@contextlib.contextmanager
def kafka(settings: config.Settings, out: Output) -> Iterator[str]:
    """The address of a running Kafka: the configured one, else a local one that is stopped at the end."""
    if _answers(settings):
        out.line(f"Using the Kafka at {settings.bootstrap_servers}.")
        yield settings.bootstrap_servers
        return
    out.line(f"No Kafka at {settings.bootstrap_servers}: starting one here (the first time: 44 MB).")
    try:
        with LocalKafka() as kafka:
            out.line(f"Kafka {kafka.version} is ready.")
            yield kafka.bootstrap_servers
    except (jvm.MissingPiece, jvm.ProcessFailed) as error:
        raise CommandError(f"no local Kafka: {error}") from error


def _answers(settings: config.Settings) -> bool:
    try:
        require_kafka(config.client_config(settings), timeout_s=2)
        return True
    except KafkaUnreachable:
        if settings.client:  # credentials of another Kafka would not fit one of ours
            raise
        return False


@contextlib.contextmanager
def client_file(settings: config.Settings) -> Iterator[Optional[str]]:
    """A private file with the client properties that were configured, for the account; None without any."""
    if not settings.client:
        yield None
        return
    with tempfile.NamedTemporaryFile("w", prefix="demo-client-", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in settings.client.items())
        file.flush()
        yield file.name


if __name__ == "__main__":
    sys.exit(run(main))
