"""The metrics port: what it tells, whom it answers, and what it does with those who do not ask."""

import socket
import threading
import urllib.error
import urllib.request
from itertools import accumulate
from typing import Any, Dict, Iterator, List, Optional, Tuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

import orderflow.cli.port
from orderflow.cli.exposition import Exposition
from orderflow.cli.port import LONGEST_HEAD, QUEUED, THREADS
from orderflow.consume.catalogue import METRICS, stage_of
from orderflow.consume.durations import SUCCEEDED, Durations
from orderflow.consume.figures import Figures, Health, PartitionFigures, Stop
from orderflow.consume.metrics import STALE_S, Metrics
from orderflow.model.metric import BOUNDS_S, COUNTER, GAUGE, HISTOGRAM, Histogram, Metric
from tests.support.scripted_session import Clock

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


def some_figures() -> Figures:
    """Figures that have something to say for every metric."""
    calls = Durations(SUCCEEDED)
    calls.add(SUCCEEDED, 0.2, 3)
    calls.add(SUCCEEDED, 400.0)
    stopped = PartitionFigures(3, 2, 9, unseen=4_037, stop=Stop("full", 61.0), is_braked=True)
    return Figures(
        processed=7,
        dead_lettered={"validate.price": 2, "shop.closed": 1},
        retries={"process.failed": 5},
        partitions={0: stopped, 1: PartitionFigures()},
        calls=calls.histograms(),
        settlements=calls.histograms(),
    )


def test_the_figures_are_told_as_prometheus_reads_them(metrics: Metrics) -> None:
    """A counter is a total, a gauge is not, a histogram is cumulated."""
    metrics.show(some_figures())
    page = ask(metrics.port).splitlines()

    assert "# TYPE orders_processed_total counter" in page
    assert "# TYPE orders_waiting gauge" in page
    assert "orders_processed_total 7.0" in page
    assert 'orders_dead_lettered_total{reason="validate.price",stage="validate"} 2.0' in page
    assert 'orders_dead_lettered_total{reason="shop.closed",stage="process"} 1.0' in page
    assert 'orders_unseen{partition="0"} 4037.0' in page
    assert 'orders_intake_stopped_seconds{partition="0",reason="full"} 61.0' in page
    assert 'orders_handler_seconds_bucket{le="0.1",outcome="succeeded"} 0.0' in page
    assert 'orders_handler_seconds_bucket{le="0.25",outcome="succeeded"} 3.0' in page
    assert 'orders_handler_seconds_bucket{le="300.0",outcome="succeeded"} 3.0' in page
    assert 'orders_handler_seconds_count{outcome="succeeded"} 4.0' in page
    assert any(line.startswith('orders_build_info{librdkafka="') for line in page)


def test_what_is_not_known_is_left_out() -> None:
    """Zero would say that nothing is unseen, and a partition that takes in orders has no reason not to."""
    page = Exposition(METRICS, some_figures).page().decode()

    assert 'orders_unseen{partition="1"}' not in page
    assert 'orders_intake_stopped_seconds{partition="1"' not in page
    assert 'orders_intake_stopped{partition="1"} 0.0' in page


def test_counters_have_no_time_of_creation() -> None:
    """It would double the page, and tells nothing that the start of the process does not."""
    assert "_created" not in Exposition(METRICS, some_figures).page().decode()


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_the_catalogue_keeps_the_conventions(metric: Metric) -> None:
    """Names by kind and unit, bounded labels, a meaning, and a sample with a value for each label."""
    assert metric.kind in (COUNTER, GAUGE, HISTOGRAM)
    assert metric.name.startswith(("orders_", "process_"))
    assert metric.name.endswith("_total") == (metric.kind == COUNTER)
    assert set(metric.labels) <= {"partition", "reason", "stage", "outcome"}
    assert metric.meaning and not metric.meaning.endswith(".")
    assert all(len(labels) == len(metric.labels) for labels, _ in metric.read(some_figures()))
    assert list(metric.read(some_figures()))


def test_names_are_unique() -> None:
    """Prometheus refuses a page on which a name comes twice."""
    names = [metric.name for metric in METRICS]

    assert len(set(names)) == len(names)


def test_a_page_of_64_partitions_is_made_in_a_fraction_of_what_a_scrape_may_take() -> None:
    """All of it, each time it is asked for."""
    partitions = {number: PartitionFigures(unseen=1, stop=Stop("full", 1.0)) for number in range(64)}
    exposition = Exposition(METRICS, lambda: some_figures()._replace(partitions=partitions))

    assert exposition.page().count(b"\n") < 1_300


FAMILIES: Dict[str, Any] = {
    COUNTER: CounterMetricFamily,
    GAUGE: GaugeMetricFamily,
    HISTOGRAM: HistogramMetricFamily,
}


def of_library(figures: Figures) -> str:
    """The page as the library writes it from nothing."""

    class Families:
        def collect(self) -> Iterator[Any]:
            """Every metric."""
            for metric in METRICS:
                family = FAMILIES[metric.kind](metric.name, metric.meaning, labels=metric.labels)
                for labels, value in metric.read(figures):
                    if isinstance(value, Histogram):
                        counts = zip([*map(repr, BOUNDS_S), "+Inf"], map(float, accumulate(value.counts)))
                        family.add_metric(labels, list(counts), value.sum_s)
                    else:
                        family.add_metric(labels, float(value))
                yield family

    registry = CollectorRegistry()
    registry.register(Families())
    return generate_latest(registry).decode()


def figures_of(reasons: List[str], partitions: List[int], unseen: Optional[int]) -> Figures:
    """Figures with these labels."""
    stop = None if unseen is None else Stop("full", unseen / 7)
    each = PartitionFigures(waiting=3, unseen=unseen, stop=stop)
    return some_figures()._replace(
        retries={reason: place for place, reason in enumerate(reasons)},
        partitions={number: each._replace(careful=number) for number in partitions},
    )


HOSTILE = ['a"b\\\n\u2028 7', "", " ", "#"]
LABELS = st.builds(
    figures_of,
    st.lists(st.one_of(st.text(max_size=6), st.sampled_from(HOSTILE)), max_size=3, unique=True),
    st.lists(st.integers(0, 99), max_size=3, unique=True),
    st.one_of(st.none(), st.integers(0, 10**15)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(LABELS, min_size=1, max_size=3))
@example([figures_of(HOSTILE, [1, 2], 7), figures_of(HOSTILE, [2, 1], 8), figures_of([], [], None)])
def test_every_page_is_the_one_that_the_library_would_write(shown: List[Figures]) -> None:
    """Whatever comes and goes between two scrapes, and whatever a handler calls its reasons."""
    now: List[Figures] = []
    exposition = Exposition(METRICS, lambda: now[-1])
    for figures in shown:
        now.append(figures)
        *lines, _, _, _ = exposition.page().decode().rstrip("\n").split("\n")
        assert "\n".join(lines) + "\n" == of_library(figures)


@pytest.mark.parametrize(
    ("reason", "stage"),
    [
        ("decode.framing", "decode"),
        ("process.failed", "process"),
        ("shop.closed", "process"),
        ("", "process"),
    ],
)
def test_a_reason_tells_the_stage(reason: str, stage: str) -> None:
    """Handlers make up reasons, while they process."""
    assert stage_of(reason) == stage


# --- probes


def answer(port: int, path: str) -> Tuple[int, str]:
    """Status and text of an answer, good or bad."""
    try:
        return 200, ask(port, path)
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode()


def test_before_the_first_figures_a_consumer_is_alive_and_not_ready(metrics: Metrics) -> None:
    """It may have to wait for Kafka before it can look at anything."""
    assert answer(metrics.port, "/livez") == (200, "alive\n")
    assert answer(metrics.port, "/readyz") == (503, "not ready\nstarting\n")


def test_a_healthy_consumer_is_alive_and_ready(metrics: Metrics) -> None:
    """What is worth knowing is noted below."""
    metrics.show(Figures(health=Health(notes=("partition 3: full",))))

    assert answer(metrics.port, "/livez") == (200, "alive\n")
    assert answer(metrics.port, "/readyz") == (200, "ready\npartition 3: full\n")


def test_a_consumer_that_is_not_ready_says_why_and_is_alive(metrics: Metrics) -> None:
    """A restart would not help."""
    metrics.show(Figures(health=Health(not_ready=("partitions 0-2: being restored",))))

    assert answer(metrics.port, "/livez")[0] == 200
    assert answer(metrics.port, "/readyz") == (503, "not ready\npartitions 0-2: being restored\n")


def test_a_loop_that_hangs_is_neither_alive_nor_ready(metrics: Metrics) -> None:
    """And where it hangs is said."""
    metrics.show(Figures(health=Health(hangs=("the loop is at loop.py:7",))))

    assert answer(metrics.port, "/livez") == (503, "hangs\nthe loop is at loop.py:7\n")
    assert answer(metrics.port, "/readyz")[0] == 503


def test_figures_that_nobody_renews_are_no_sign_of_life() -> None:
    """Whoever shows them hangs."""
    clock = Clock()
    made = Metrics(0, clock=clock)
    try:
        made.show(Figures())
        clock.pass_by(STALE_S + 1)
        assert answer(made.port, "/livez")[0] == 503
        made.show(Figures())
        assert answer(made.port, "/livez")[0] == 200
    finally:
        made.close()


# --- the port


@pytest.mark.parametrize(
    "path", ["/", "/metrics/", "/metricsx", "/favicon.ico", "/../metrics", "/livez/x", "/healthz", "/ready"]
)
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
        assert "orders_processed" in ask(made.port)
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

    assert "orders_processed" in ask(metrics.port)


def test_unfinished_requests_hold_no_thread_each_and_are_ended(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More silent connections than there are threads: no thread more, and the figures come all the same."""
    monkeypatch.setattr(orderflow.cli.port, "REQUEST_TIMEOUT_S", 0.2)
    before = threading.active_count()
    silent: List[socket.socket] = [connect(metrics.port, ASKED[:9]) for _ in range(THREADS + QUEUED // 2)]

    assert threading.active_count() <= before
    assert "orders_processed" in ask(metrics.port)
    assert [said_back(connection) for connection in silent[:THREADS]] == [b""] * THREADS
    for connection in silent:
        connection.close()


def test_a_request_that_trickles_is_ended_too(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte in time is not the whole in time."""
    monkeypatch.setattr(orderflow.cli.port, "REQUEST_TIMEOUT_S", 0.3)
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


def test_a_page_that_cannot_be_made_silences_no_other(metrics: Metrics) -> None:
    """It says so itself, as often as it is asked, and the probes are answered."""
    metrics.show(Figures(dead_lettered={"process.failed": "not a number"}))  # type: ignore[dict-item]
    for _ in range(2 * THREADS):
        assert answer(metrics.port, "/metrics")[0] == 500

    assert answer(metrics.port, "/livez")[0] == 200


def test_a_port_that_is_taken_is_an_error_of_the_system(metrics: Metrics) -> None:
    """The caller says it in one line."""
    with pytest.raises(OSError):
        Metrics(metrics.port)
