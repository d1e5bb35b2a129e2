#!/usr/bin/env python3
"""The shop with a database: real orders charged in a real PostgreSQL, each once, whatever is killed."""

import contextlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config
from orderflow import exits
from orderflow.cli.output import Notes, Output
from orderflow.cli.run import run
from orderflow.cli.terminal import duration
from orderflow.exits import CommandError
from tools.demo import SAMPLE, Story, client_file, kafka
from tools.local_postgres import LocalPostgres, PostgresFailed, PostgresMissing

WITH_MAIL, BILLING = "examples/postgres.py:billing_with_mail", "examples/postgres.py:billing"
TABLES = ROOT / "examples" / "postgres.sql"
COUNTS = """select count(*) charges, count(distinct order_id) orders,
  count(*) - count(distinct order_id) too_many from charges"""
PATIENCE_S = 120.0


def main(argv: Sequence[str], out: Output, err: Notes) -> int:
    """Run the demo; 0 if every order was charged once."""
    settings = config.load({})
    began_s = time.monotonic()
    with _postgres() as database, kafka(settings, out) as address, client_file(settings) as secrets:
        story = Shop(config.client_config(settings, **{"bootstrap.servers": address}), secrets, out, database)
        try:
            closes = story.tell()
        finally:
            story.leave(keep=False)
    end = GOOD_END if closes else BAD_END
    out.lines(["", f"That took {duration(time.monotonic() - began_s)}. {end}"])
    return exits.OK if closes else exits.FAILED


GOOD_END = "The handler is examples/postgres.py: make it yours."
BAD_END = "An order was charged twice or not at all: that is a bug, please report it with this output."


class Shop(Story):
    """The commands of one run, on topics, a group and a database of its own."""

    def __init__(
        self, client: Dict[str, Any], secrets: Optional[str], out: Output, database: LocalPostgres
    ) -> None:
        super().__init__(client, secrets, out)
        self._database = database
        self.settings.update(DATABASE_URL=database.url, WORKERS="8", MAX_RETRIES="2", OUTAGE_WINDOW="1")
        self.settings.update(KAFKA_SESSION_TIMEOUT_MS="6000")  # how long a killed consumer is waited for

    def tell(self) -> bool:
        """Run it all; whether every order was charged once."""
        self._introduce()
        self._query(TABLES.read_text(encoding="utf-8"))
        self._say("Publish 6,919 real orders of a music shop.")
        self._run("producer.py", "--input", SAMPLE)
        self._say(
            "Charge them: the handler writes the charge and the order's id in one database transaction, then",
            "mails a receipt, which the mail server refuses for some. Kill the consumer in the middle.",
        )
        with self._charging() as consumer:
            self._until(lambda: self._charged() >= 2_000)
            consumer.kill()
        self._shell("kill -9 <the consumer>")
        self._show_counts()
        self._say("Start it again, and kill the database in the middle.")
        with self._charging("--until-drained") as consumer:
            self._until(lambda: self._charged() >= 4_000)
            self._database.kill()
            self._shell("kill -9 <PostgreSQL>, and start it again")
            self._database.start()
            consumer.wait(PATIENCE_S)
        self._show_counts()
        return self._replay()

    def _replay(self) -> bool:
        self._say("Some orders were charged, and dead-lettered all the same, since their receipt failed:")
        self._run("dlq_handler.py", "groups")
        self._say(
            "Replay them with the mail server mended. Their ids are in the database, so nobody pays twice."
        )
        self._run(
            "dlq_handler.py",
            "replay",
            "--all",
            "--reason",
            "the mail server is back",
            "--rate",
            "none",
            "--yes",
        )
        self._run("consumer.py", "--handler", BILLING, "--until-drained")
        self._show_counts()
        return bool(self._query(COUNTS) == (6_919, 6_919, 0))

    # --- the consumer

    @contextlib.contextmanager
    def _charging(self, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
        """A consumer in the background; its lines, one for each failure, are not shown."""
        given = ("consumer.py", "--handler", WITH_MAIL, *arguments)
        self._show(*given)
        with subprocess.Popen(
            [sys.executable, *given],
            cwd=ROOT,
            env=self._environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _until(self, holds: Callable[[], bool]) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while not holds():
            if time.monotonic() > deadline_s:
                raise CommandError(f"the consumer does not get on: {self._charged()} orders are charged")
            time.sleep(0.05)

    # --- the database

    def _charged(self) -> int:
        return int(self._query("select count(*) from charges")[0])

    def _query(self, text: str) -> Any:
        import psycopg

        with psycopg.connect(self._database.url) as connection:
            answer = connection.execute(text)
            return answer.fetchone() if answer.description else None

    def _show_counts(self) -> None:
        charges, orders, too_many = self._query(COUNTS)
        self._shell("psql \"$DATABASE_URL\" -c 'select … from charges'")
        self._out.line(f"{charges:,} charges of {orders:,} orders: {too_many} charged twice")

    def _shell(self, line: str) -> None:
        self._out.line(f"$ {line}")


@contextlib.contextmanager
def _postgres() -> Iterator[LocalPostgres]:
    try:
        with LocalPostgres() as database:
            yield database
    except PostgresMissing as error:
        raise CommandError(str(error)) from error
    except PostgresFailed as error:
        raise CommandError(f"PostgreSQL does not work here: {error}") from error


if __name__ == "__main__":
    sys.exit(run(main))
