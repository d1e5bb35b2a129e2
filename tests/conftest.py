"""What all tests share: one real broker for the whole run, and names that no other test uses."""

import itertools
import logging
import os
import re
import signal
import socket
import sys
import uuid
import warnings
from collections import Counter
from pathlib import Path
from typing import Callable, Iterator, List, Mapping, NoReturn, Optional, Sequence, Union

import hypothesis
import pytest

from tests.support.engine_tools import MORTAL, STRICT, Shop
from tests.support.fault_proxy import FaultProxy
from tests.support.pipeline import QUICK, Pipeline
from tests.support.registered import registered
from tests.support.schemas_for_tests import field, order_schema
from tests.support.shared_kafka import KAFKA_ADDRESS, KAFKA_VERSION, STRICT_KAFKA_ADDRESS
from tests.support.troublemaker import QUICK_SESSIONS
from tools import jvm
from tools.local_kafka import DEFAULT_VERSION, LocalKafka
from tools.local_registry import LocalRegistry

# A property says what holds, not how fast the machine is that shows it.
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")
# What a script starts with `&` ignores Ctrl-C, what nohup starts a hang-up; what the tests start must not.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    """Have xdist hand out files in our order: its own, most tests first, leaves the long ones for the end."""
    config.option.loadscopereorder = False


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Where workers share the tests, a file at a time: those with most broker tests first; they take long."""
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("broker"))
        items.sort(key=lambda item: -slow[item.path])


class GivenKafka:
    """A broker that somebody else runs, at the address in ORDERFLOW_TEST_KAFKA."""

    def __init__(self, bootstrap_servers: str) -> None:
        self.bootstrap_servers = bootstrap_servers


Kafka = Union[LocalKafka, GivenKafka, FaultProxy]


def missing(reason: str) -> NoReturn:
    """Skip the test that needs what is missing; in CI, where everything has to be there, fail it."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def start_kafka(
    version: str = DEFAULT_VERSION,
    nodes: int = 1,
    settings: Optional[Mapping[str, str]] = None,
    listeners: Sequence[str] = (),
) -> LocalKafka:
    """A Kafka of the test's own, to be hurt or set up otherwise: use it with `with`."""
    try:
        return LocalKafka(version, nodes, settings, listeners=listeners)
    except jvm.MissingPiece as error:
        missing(str(error))


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What a test does to the standard library's logging ends with it, as do the streams that it logs to."""
    root, warn = logging.getLogger(), warnings.showwarning
    before, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(False)
    warnings.showwarning = warn
    root.handlers[:], root.level = before, level


@pytest.fixture(autouse=True)
def own_search_path() -> Iterator[None]:
    """Where a test's handler is loaded from ends with it: the next may have a file of the same name."""
    path, finders = list(sys.path), list(sys.meta_path)
    yield
    sys.path[:], sys.meta_path[:] = path, finders


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[Kafka]:
    """The broker of this test run: `kafka.bootstrap_servers`. Never hurt it: start one of your own."""
    given, version = os.environ.get(KAFKA_ADDRESS), os.environ.get(KAFKA_VERSION)
    if given:
        yield GivenKafka(given)
    elif version is None:
        # One broker less to start and to feed: short time-outs are only allowed, and nothing is denied yet.
        yield request.getfixturevalue("strict_kafka")
    else:
        with start_kafka(version) as broker:
            yield broker
            tell_of_logs(request, broker)


def tell_of_logs(request: pytest.FixtureRequest, broker: LocalKafka) -> None:
    """Keep what the broker wrote when a test has failed."""
    if request.session.testsfailed:
        print(f"\nbroker logs kept in {broker.keep_logs()}")


@pytest.fixture(scope="session")
def strict_kafka(request: pytest.FixtureRequest) -> Iterator[Kafka]:
    """A broker with short sessions and transactions, and with an authorizer. Never hurt it either."""
    given = os.environ.get(STRICT_KAFKA_ADDRESS)
    if given:
        yield GivenKafka(given)
        return
    with start_kafka(settings=STRICT) as broker:
        yield broker
        tell_of_logs(request, broker)


@pytest.fixture(scope="session")
def real() -> Iterator[LocalRegistry]:
    """A schema registry that has worked once: on a busy machine that takes longer than a script waits."""
    try:
        started = LocalRegistry()
    except jvm.MissingPiece as error:
        missing(str(error))
    with started:
        registered(started.url, "first", order_schema(field("first", "int")), timeout_s=60)
        yield started


_numbers = itertools.count(1)


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> Callable[..., str]:
    """Make topic (or group, or client) names that nothing else uses: `topic()`, `topic("orders-dlq")`."""
    test = re.sub(r"[^A-Za-z0-9_.-]", "-", request.node.name)[:80]
    run = uuid.uuid4().hex[:6]

    def unique(kind: str = "orders") -> str:
        return f"{kind}-{test}-{run}-{next(_numbers)}"

    return unique


@pytest.fixture
def pipeline(kafka: Kafka, topic: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """Make a pipeline with topics and a group of its own: `pipeline(WORKERS="4")`; it ends with the test."""
    made: List[Pipeline] = []

    def make(**settings: str) -> Pipeline:
        folder = tmp_path / f"pipeline-{len(made)}"
        folder.mkdir()
        made.append(Pipeline(kafka.bootstrap_servers, topic, folder, **{**QUICK, **settings}))
        return made[-1]

    yield make
    for each in made:
        each.kill_all()


@pytest.fixture
def nowhere(topic: Callable[..., str], tmp_path: Path) -> Pipeline:
    """A pipeline whose Kafka is not there: what is wrong before Kafka is needed must be told without it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    return Pipeline(f"127.0.0.1:{port}", topic, tmp_path)


@pytest.fixture
def sessions() -> Sequence[str]:
    """Client properties under which this run's broker notices a death as soon as it can."""
    given, strict = (os.environ.get(name) for name in (KAFKA_ADDRESS, STRICT_KAFKA_ADDRESS))
    is_strict = given == strict and not os.environ.get(KAFKA_VERSION)
    return MORTAL if is_strict else QUICK_SESSIONS


NewShop = Callable[..., Shop]


@pytest.fixture
def shop(kafka: Kafka, topic: Callable[..., str], tmp_path: Path) -> Iterator[NewShop]:
    """Make a shop with topics and a group of its own: `shop(WORKERS="4")`; it ends with the test."""
    yield from shops_on(kafka, topic, tmp_path)


@pytest.fixture
def strict_shop(strict_kafka: Kafka, topic: Callable[..., str], tmp_path: Path) -> Iterator[NewShop]:
    """The same on the broker with short time-outs."""
    yield from shops_on(strict_kafka, topic, tmp_path)


def shops_on(broker: Kafka, topic: Callable[..., str], folder: Path) -> Iterator[NewShop]:
    """What makes shops on this broker; nothing that they started outlives the test."""
    made: List[Shop] = []

    def make(**settings: str) -> Shop:
        own = folder / f"shop-{len(made)}"
        own.mkdir()
        made.append(Shop(broker.bootstrap_servers, topic, own, **{**QUICK, **settings}))
        return made[-1]

    yield make
    for each in made:
        each.kill_all()
