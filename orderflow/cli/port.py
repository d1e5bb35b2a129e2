"""A port that answers a few paths over HTTP, to Prometheus and to probes.

The library's own server answers any path on all addresses, with a thread per connection, which may stay open
forever. This one has a fixed number of threads, and no connection can hold one for long.
"""

import contextlib
import errno
import socket
import threading
import time
from typing import Callable, Mapping, NamedTuple, Tuple

THREADS = 4
"""Requests answered at the same time. Others wait in the system's queue, which is short."""
QUEUED = 16
REQUEST_TIMEOUT_S = 2.0
"""How long a client may take from connecting to receiving its answer."""
LONGEST_HEAD = 16_384

_CONTENT = "text/plain; version=0.0.4; charset=utf-8"
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Page(NamedTuple):
    """An answer."""

    status: str
    body: bytes


OK_STATUS, UNAVAILABLE = "200 OK", "503 Service Unavailable"


class Port:
    """Answers until it is closed, in threads of its own."""

    def __init__(self, port: int, address: str, pages: Mapping[str, Callable[[], Page]]) -> None:
        """`pages` by path; any other path is 404. Raises OSError if the port is not available."""
        self._pages = pages
        self._listener = _listening(address, port)
        self.port = int(self._listener.getsockname()[1])
        for _ in range(THREADS):
            threading.Thread(target=self._serve, name="port", daemon=True).start()

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
        status, body = self._page(method, path)
        head = f"HTTP/1.1 {status}\r\nContent-Type: {_CONTENT}\r\nContent-Length: {len(body)}\r\n"
        answer = (head + "Connection: close\r\n\r\n").encode() + (b"" if method == "HEAD" else body)
        _set_time_left(connection, deadline_s)
        connection.sendall(answer)

    def _page(self, method: str, path: str) -> Page:
        if method not in ("GET", "HEAD"):
            return Page("405 Method Not Allowed", b"there is only GET\n")
        if path not in self._pages:
            return Page("404 Not Found", f"there is only {', '.join(self._pages)}\n".encode())
        try:
            return self._pages[path]()
        except Exception as error:  # noqa: BLE001 - one page that cannot be made must not silence the port
            return Page("500 Internal Server Error", f"{path} cannot be made: {error!r}\n".encode())


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
