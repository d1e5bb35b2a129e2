"""LOG_FORMAT=json, to the end: each line of a running consumer is an object, however it ends."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest

from tests.support.engine_tools import rows
from tests.support.pipeline import Finished, Pipeline, eventually

HANDLER = """
import logging, threading, warnings
from contextlib import contextmanager

def die():
    raise KeyError("in a thread")

@contextmanager
def open_shop():
    def handle(order):
        logging.getLogger("shop").warning("charged", extra={"order_id": order["order_id"]})
        warnings.warn("old", DeprecationWarning)
        threading.Thread(target=die).start()
        raise ValueError("no")
    yield handle
    raise OSError("cannot close")
"""


def events(ended: Finished) -> "Counter[str]":
    """What was said, by event; each line of both streams is an object."""
    said: List[Dict[str, Any]] = [json.loads(line) for line in (ended.out + ended.err).splitlines()]
    assert all(each["time"] and each["level"] and each["event"] for each in said)
    return Counter(each["event"] for each in said)


@pytest.mark.broker
def test_every_line_of_a_run_that_is_stopped_is_an_object(
    pipeline: Callable[..., Pipeline], tmp_path: Path
) -> None:
    """Although its handler fails, warns, has a thread that dies, and cannot be closed."""
    shop = pipeline(LOG_FORMAT="json", PYTHONWARNINGS="always")
    shop.publish(rows(2))
    (tmp_path / "shop.py").write_text(HANDLER, encoding="utf-8")
    running = shop.start("consumer.py", "--handler", f"{tmp_path / 'shop.py'}:open_shop", "-v")
    eventually(lambda: '"retry"' in running.err, why=running.describe)
    ended = running.stop(signal.SIGINT)

    told = events(ended)
    assert ended.code == 1, "it could not be closed"
    assert (told["stopping"], told["not_closed"], told["failed"]) == (1, 1, 0)
    assert min(told["started"], told["retry"], told["first_of_its_kind"], told["ended"]) >= 1
    assert "in a thread" in ended.err


@pytest.mark.broker
def test_every_line_of_processes_that_are_ended_at_once_is_an_object(
    pipeline: Callable[..., Pipeline],
) -> None:
    """Ctrl-C, and again."""
    shop = pipeline(LOG_FORMAT="json")
    shop.publish([("POISON-1", "C")])
    running = shop.consume("poison_hangs", "--processes", "2")
    eventually(shop.calls, why=running.describe)
    running.send(signal.SIGINT)
    eventually(lambda: '"stopping"' in running.err, why=running.describe)
    running.send(signal.SIGINT)

    ended = running.wait(30)
    assert (ended.code, events(ended)["stopping"]) == (130, 1)
