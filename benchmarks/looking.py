"""Looks at a consumer's port, as Prometheus and probes do, and times the answers."""

import http.client
import threading
import time
from contextlib import contextmanager
from typing import Iterator, List, NamedTuple, Sequence

PATIENCE_S = 5.0
"""How long an answer is waited for. Prometheus waits for 10 s, a kubelet for one."""


class Look(NamedTuple):
    """One request, and how it was answered."""

    path: str
    asked_s: float
    """When, on the monotonic clock."""
    took_ms: float
    status: int
    """Of HTTP; 0 if there was no whole answer."""
    size: int
    """Bytes of the answer's body."""


@contextmanager
def looking(port: int, paths: Sequence[str], every_s: float) -> Iterator[List[Look]]:
    """Ask for each of these paths so often in this block; the answers grow meanwhile.

    A port that is not open yet, or no longer, is not counted as asked.
    """
    looks: List[Look] = []
    is_over = threading.Event()
    thread = threading.Thread(target=_look, args=(port, paths, every_s, looks, is_over), daemon=True)
    thread.start()
    try:
        yield looks
    finally:
        is_over.set()
        thread.join(2 * PATIENCE_S)


def _look(
    port: int, paths: Sequence[str], every_s: float, looks: List[Look], is_over: threading.Event
) -> None:
    due_s = time.monotonic()
    while not is_over.wait(max(0.0, due_s - time.monotonic())):
        due_s = max(due_s + every_s, time.monotonic())
        for path in paths:
            looks.extend(_one(port, path))


def _one(port: int, path: str) -> List[Look]:
    """The look, or none where nothing listens."""
    asked_s, status, size = time.monotonic(), 0, 0
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        status, size = answer.status, len(answer.read())
    except ConnectionRefusedError:
        return []
    except (OSError, http.client.HTTPException):
        status = 0
    finally:
        connection.close()
    return [Look(path, asked_s, (time.monotonic() - asked_s) * 1000, status, size)]
