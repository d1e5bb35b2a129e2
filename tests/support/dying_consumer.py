"""consumer.py, dying as by kill -9 at a gap: `dying_consumer.py "before commit_transaction" 2 -- ARGUMENTS`.

The engine has no hooks for this: its clients are replaced by subclasses of the real ones, and methods of
its parts by functions that call them, each with a gap before and one behind it. With PAGED in the
environment, whatever waits is listed on a page of the ledger topic.
"""

import functools
import os
import signal
import sys
from pathlib import Path
from typing import Any, Callable, Tuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import confluent_kafka

import consumer
from orderflow.cli.run import run
from orderflow.consume import assembly, producers, session, transaction
from orderflow.consume.assignment import Assignment
from orderflow.consume.loop import Loop
from orderflow.consume.reading_back import Recovery
from orderflow.consume.restoring import Restoration, Terms
from orderflow.consume.session import Session
from orderflow.consume.settling import Settling
from orderflow.kafka.ledger_pages import LedgerPages

OF_PRODUCER = (
    "init_transactions",
    "begin_transaction",
    "produce",
    "send_offsets_to_transaction",
    "commit_transaction",
    "abort_transaction",
)
OF_CONSUMER = ("consume", "commit", "committed", "get_watermark_offsets", "seek", "pause", "resume", "close")
OF_PARTS: Tuple[Tuple[Any, str], ...] = (
    (transaction, "deliver"),
    (Session, "send"),
    (Session, "commit"),
    (Session, "_assigned"),
    (Session, "_revoked"),
    (Assignment, "refresh"),
    (Restoration, "_commit_open"),
    (Recovery, "poll"),
    (LedgerPages, "start"),
    (Loop, "step"),
    (Loop, "finish_calls"),
    (Settling, "mark_clean"),
    (Settling, "_settled"),
)
HANDLER = "handler"
PLACES = (HANDLER, *OF_PRODUCER, *OF_CONSUMER, *(name for _, name in OF_PARTS))
GAPS = tuple(f"{side} {place}" for place in PLACES for side in ("before", "after"))

_passed = 0
_deadly = ("", 0)


def main(gap: str, number: int) -> int:
    """Run the script, up to its death."""
    global _deadly
    assert gap in GAPS, gap
    _deadly = (gap, number)
    _replace(producers, "Producer", _mortal_client(confluent_kafka.Producer, OF_PRODUCER))
    _replace(session, "Consumer", _mortal_client(confluent_kafka.Consumer, OF_CONSUMER))
    for part, name in OF_PARTS:
        _replace(part, name, _mortal(getattr(part, name), name))
    if "PAGED" in os.environ:
        _replace(assembly, "Terms", functools.partial(Terms, metadata_limit=0))
    load = getattr(consumer, "load")  # noqa: B009 - the script does not offer it, it only uses it
    _replace(consumer, "load", lambda name: _mortal(load(name), HANDLER))
    return run(consumer.main)


def _replace(owner: Any, name: str, mortal: Any) -> None:
    setattr(owner, name, mortal)


def _mortal_client(client: Any, names: Tuple[str, ...]) -> Any:
    return type("Mortal", (client,), {name: _mortal(getattr(client, name), name) for name in names})


def _mortal(call: Callable[..., Any], place: str) -> Callable[..., Any]:
    @functools.wraps(call)
    def mortal(*arguments: Any, **named: Any) -> Any:
        _pass(f"before {place}")
        result = call(*arguments, **named)
        _pass(f"after {place}")
        return result

    return mortal


def _pass(gap: str) -> None:
    global _passed
    if gap != _deadly[0]:
        return
    _passed += 1
    if _passed == _deadly[1]:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    chosen, passing = sys.argv[1], int(sys.argv[2])
    sys.argv = ["consumer.py", *sys.argv[4:]]
    sys.exit(main(chosen, passing))
