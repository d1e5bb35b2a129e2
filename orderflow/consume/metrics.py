"""Serves a running consumer's figures to Prometheus, at `http://HOST:PORT/metrics`.

The library's own server answers any path on all addresses, with a thread per connection, which may stay open
forever. This one has a fixed number of threads, and no connection can hold one for long.
"""

import contextlib
import errno
import socket
import threading
import time
from typing import Any, Dict, NamedTuple, Tuple

PREFIX = "orders_"
PATH = "/metrics"
THREADS = 4
"""Requests answered at the same time. Others wait in the system's queue, which is short."""
QUEUED = 16
REQUEST_TIMEOUT_S = 2.0
"""How long a client may take from connecting to receiving its answer."""
LONGEST_HEAD = 16_384

_CONTENT = "text/plain; version=0.0.4; charset=utf-8"
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Figures(NamedTuple):
    """The consumer's figures, updated about once a second."""

    processed: int
    dead_lettered: int
    retries: int
    waiting: int
    lag: int
    outage: bool


MEANINGS: Dict[str, str] = {
    "processed": "orders processed since the start, counted when settled",
    "dead_lettered": "orders forwarded to the dead letter topic since the start",
    "retries": "failed calls that will be retried, since the start",
    "waiting": "orders waiting for a retry now, including those behind them",
    "lag": "records in this consumer's partitions that have not been admitted yet",
    "outage": "1 while the outage brake holds any partition",
}
"""The help text of each metric, by its field in `Figures`."""
COUNTERS = ("processed", "dead_lettered", "retries")


class Metrics:
    """The metrics endpoint. The loop supplies figures; its own threads answer requests."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        """Raises OSError if the port is not available."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        self._families = (CounterMetricFamily, GaugeMetricFamily)
        self._figures = Figures(0, 0, 0, 0, 0, False)
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._listener = _listening(address, port)
        self.port = int(self._listener.getsockname()[1])
        for _ in range(THREADS):
            threading.Thread(target=self._serve, daemon=True).start()

    def show(self, figures: Figures) -> None:
        """Serve these figures from now on."""
        self._figures = figures

    def collect(self) -> Any:
        """The figures as metric families; the library calls this for each request."""
        counter, gauge = self._families
        figures = self._figures
        for name, meaning in MEANINGS.items():
            family = counter if name in COUNTERS else gauge
            yield family(PREFIX + name, meaning, value=float(getattr(figures, name)))

    def page(self) -> bytes:
        """The figures in Prometheus's text format."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def close(self) -> None:
        """Stop serving."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the threads waiting in accept()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
                with connection:
                    self._answer(connection)
            except OSError as error:  # the listener's, or a client went away or was too slow
                if self._listener.fileno() < 0:
                    return
                if error.errno in _NO_ROOM:  # trying again at once would fail, too
                    time.sleep(REQUEST_TIMEOUT_S)

    def _answer(self, connection: socket.socket) -> None:
        """Answer one request, valid or not, and end the connection."""
        deadline_s = time.monotonic() + REQUEST_TIMEOUT_S
        method, path = _asked(connection, deadline_s)
        if method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b"there is only GET\n"
        elif path != PATH:
            status, body = "404 Not Found", b"there is only /metrics\n"
        else:
            status, body = "200 OK", self.page()
        head = f"HTTP/1.1 {status}\r\nContent-Type: {_CONTENT}\r\nContent-Length: {len(body)}\r\n"
        answer = (head + "Connection: close\r\n\r\n").encode() + (b"" if method == "HEAD" else body)
        _set_time_left(connection, deadline_s)
        connection.sendall(answer)


def _listening(address: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, place = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(QUEUED)
    except OSError:
        listener.close()
        raise
    return listener


def _asked(connection: socket.socket, deadline_s: float) -> Tuple[str, str]:
    """Read a request's method and path. Raises OSError if its head does not arrive complete in time."""
    head = b""
    while b"\r\n\r\n" not in head:
        _set_time_left(connection, deadline_s)
        more = connection.recv(4096)
        if not more or len(head) > LONGEST_HEAD:
            raise ConnectionAbortedError("no request")
        head += more
    words = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    return (words[0], words[1].split("?")[0]) if len(words) == 3 else ("", "")


def _set_time_left(connection: socket.socket, deadline_s: float) -> None:
    """Limit the next read or write to the time left: a socket's time-out restarts with each call."""
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise socket.timeout("too slow")
    connection.settimeout(left_s)
