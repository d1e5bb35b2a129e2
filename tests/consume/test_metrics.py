"""The metrics endpoint: what it tells, whom it answers, and what it does with those who do not ask."""

import socket
import threading
import urllib.error
import urllib.request
from typing import Iterator, List

import pytest

import orderflow.consume.metrics
from orderflow.consume.metrics import LONGEST_HEAD, QUEUED, THREADS, Figures, Metrics

pytest.importorskip("prometheus_client")

ASKED = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def metrics() -> Iterator[Metrics]:
    made = Metrics(0)
    yield made
    made.close()


def ask(port: int, path: str = "/metrics") -> str:
    """The page at this path."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
        return str(answer.read().decode())


def connect(port: int, said: bytes = b"") -> socket.socket:
    """A connection on which this much was said."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(said)
    return connection


def said_back(connection: socket.socket) -> bytes:
    """All that comes until the other side ends it."""
    found = b""
    while True:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            return found
        if not more:
            return found
        found += more


def test_the_figures_are_told_as_prometheus_reads_them(metrics: Metrics) -> None:
    """A counter is a total, a gauge is not."""
    metrics.show(Figures(7, 1, 2, 3, 4, True))
    page = ask(metrics.port)

    assert "orders_processed_total 7.0" in page
    assert "orders_lag 4.0" in page
    assert "orders_outage 1.0" in page


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metricsx", "/favicon.ico", "/../metrics"])
def test_every_other_path_is_not_there(metrics: Metrics, path: str) -> None:
    """Nobody takes a page of figures for something else."""
    with pytest.raises(urllib.error.HTTPError) as refusal:
        ask(metrics.port, path)

    assert refusal.value.code == 404


def test_only_this_machine_can_ask_unless_told_otherwise(metrics: Metrics) -> None:
    """The default listens on the loopback address, not on all of them."""
    listening = metrics._listener.getsockname()[0]

    assert listening == "127.0.0.1"


def test_an_address_can_be_chosen() -> None:
    """A scraper on another machine needs all addresses."""
    made = Metrics(0, "0.0.0.0")
    try:
        assert "orders_lag" in ask(made.port)
    finally:
        made.close()


@pytest.mark.parametrize(
    "said",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (4 * LONGEST_HEAD),
    ],
)
def test_nothing_that_is_said_ends_the_server(metrics: Metrics, said: bytes) -> None:
    """TLS, nothing, half a line, another method, a head without end: the next one is answered."""
    for _ in range(2 * THREADS):
        with connect(metrics.port) as connection:
            try:
                connection.sendall(said)
            except OSError:
                continue
            assert b"200 OK" not in said_back(connection)

    assert "orders_lag" in ask(metrics.port)


def test_unfinished_requests_hold_no_thread_each_and_are_ended(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More silent connections than there are threads: no thread more, and the figures come all the same."""
    monkeypatch.setattr(orderflow.consume.metrics, "REQUEST_TIMEOUT_S", 0.2)
    before = threading.active_count()
    silent: List[socket.socket] = [connect(metrics.port, ASKED[:9]) for _ in range(THREADS + QUEUED // 2)]

    assert threading.active_count() <= before
    assert "orders_lag" in ask(metrics.port)
    assert [said_back(connection) for connection in silent[:THREADS]] == [b""] * THREADS
    for connection in silent:
        connection.close()


def test_a_request_that_trickles_is_ended_too(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte in time is not the whole in time."""
    monkeypatch.setattr(orderflow.consume.metrics, "REQUEST_TIMEOUT_S", 0.3)
    never = threading.Event()
    with connect(metrics.port) as connection:
        sent = 0
        try:
            while sent < 100:
                connection.sendall(b"x")
                sent += 1
                never.wait(0.05)
        except OSError:
            pass

    assert sent < 20


def test_a_port_that_is_taken_is_an_error_of_the_system(metrics: Metrics) -> None:
    """The caller says it in one line."""
    with pytest.raises(OSError):
        Metrics(metrics.port)
