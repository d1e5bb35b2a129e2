"""Answers that only the controller gives, while a node is away.

Every broker names a controller, and goes on naming one that has died until the others notice: for 9 s by
default (`broker.session.timeout.ms`). A client that is told such a name waits for that node to come back, and
asks for another name only every five minutes: of three nodes with one dead, every third client that begins
within these seconds is stuck (seen with librdkafka 2.16 and Kafka 4.3: longer than 90 s). Asked for the
cluster's nodes, it learns a name that answers.
"""

import contextlib
import math
import threading
import time
from concurrent.futures import Future, wait
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

ASK_AFTER_S = 0.3
"""An answer comes sooner than this, unless Kafka is slow or its controller is away."""
NODES_TIMEOUT_S = 0.5


def answer_of(admin: AdminClient, answer: "Future[Any]") -> Any:
    """The controller's answer. Raises KafkaException: what Kafka says, or that the request's time is over."""
    is_answered(admin, answer)
    return answer.result()


def is_answered(admin: AdminClient, answer: "Future[Any]", timeout_s: float = math.inf) -> bool:
    """Wait for an answer of the controller, and have the client learn another one meanwhile."""
    until_s = time.monotonic() + timeout_s
    while not wait([answer], max(0.0, min(ASK_AFTER_S, until_s - time.monotonic()))).done:
        if time.monotonic() >= until_s:
            return False
        learn_controller(admin)
    return True


def learn_controller(admin: AdminClient) -> None:
    """Ask for the cluster's nodes, of which one is named as the controller."""
    with contextlib.suppress(KafkaException):  # the request itself tells what is wrong
        admin.list_topics(timeout=NODES_TIMEOUT_S)


def learn_controller_meanwhile(admin: AdminClient) -> None:
    """The same without waiting for it."""
    threading.Thread(target=learn_controller, args=(admin,), daemon=True).start()
