"""The broker that the processes of a test run share, and the variables by which they are told of it."""

import contextlib
import os
from typing import Iterator, Mapping, Optional

from tests.support.engine_tools import STRICT
from tools import jvm
from tools.local_kafka import LocalKafka

KAFKA_ADDRESS = "ORDERFLOW_TEST_KAFKA"
KAFKA_VERSION = "ORDERFLOW_TEST_KAFKA_VERSION"
STRICT_KAFKA_ADDRESS = "ORDERFLOW_TEST_STRICT_KAFKA"


@contextlib.contextmanager
def shared_kafka() -> Iterator[Optional[LocalKafka]]:
    """One broker for all processes; None where one is given or none can be had, which the tests tell."""
    with contextlib.ExitStack() as stack:
        broker = None
        if not (KAFKA_ADDRESS in os.environ or KAFKA_VERSION in os.environ):
            with contextlib.suppress(jvm.MissingPiece):
                broker = stack.enter_context(LocalKafka(settings=STRICT))
        yield broker


def addresses(broker: Optional[LocalKafka]) -> Mapping[str, str]:
    """The environment variables that tell the tests of this broker."""
    return dict.fromkeys((KAFKA_ADDRESS, STRICT_KAFKA_ADDRESS), broker.bootstrap_servers) if broker else {}
