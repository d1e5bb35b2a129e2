"""The catalogue of what scripts log: events of all three, and those of producer.py and dlq_handler.py alone.

Event names are stable: alert on them. What only the consumer logs is in its own catalogue.
"""

import signal as signals
from typing import Mapping

from orderflow.cli.terminal import duration
from orderflow.model.log_entry import Event

COMMON: Mapping[str, Event] = {
    "kafka_lost": Event(
        "ERROR",
        "no broker is reached",
        lambda brokers, detail: f"Kafka at {brokers} is lost ({detail}); trying until it is back",
    ),
    "kafka_back": Event(
        "info",
        "a broker is reached again",
        lambda brokers, for_s: f"Kafka at {brokers} is back after {duration(for_s)}",
    ),
    "stopping": Event(
        "info",
        "a signal has asked the script to stop: it finishes what is running",
        lambda signal: f"stopping ({signals.Signals(signal).name}); again to stop at once",
    ),
    "not_done": Event(
        "warn",
        "what was running did not finish in time after a request to stop; the process ends",
        lambda timeout_s: f"not done within {timeout_s:g} s: ending as it is; nothing is lost",
    ),
    "failed": Event(
        "ERROR",
        "the script ends with an error; `traceback` has lines where code is to blame, a handler's or ours",
        lambda detail, traceback: detail,
    ),
}
"""Events of every script."""

SCRIPT_EVENTS: Mapping[str, Event] = {
    **COMMON,
    "progress": Event(
        "info",
        "how it goes, every 10 s: `done` counts records that were published, read or sent",
        lambda text, done: text,
    ),
    "bad_line": Event(
        "warn",
        "a line of the producer's input is no order; of each kind of fault the first five are told",
        lambda where, reason: f"{where}: {reason}",
    ),
    "trouble": Event(
        "ERROR",
        "the producer has not published all there was; its exit code says so too",
        lambda detail: detail,
    ),
    "undelivered": Event(
        "warn",
        "orders that could not be published are kept in a file, which the next run can publish",
        lambda path, orders, command: f"next: {command}",
    ),
    "ended": Event(
        "info",
        "the producer's account of its run",
        lambda text, published, failed, broken, bad_lines, took_s: text,
    ),
    "serving": Event(
        "info",
        "dlq_handler.py serve listens",
        lambda address: f"http://{address}/metrics, /livez and /readyz until stopped",
    ),
    "exec_failed": Event(
        "ERROR",
        "the command of --exec failed for a dead letter; following goes on",
        lambda detail, partition, offset: f"{detail} for {partition}:{offset}",
    ),
    "note": Event("info", "what else a person would be told", lambda text: text),
}
"""Every event of producer.py and dlq_handler.py."""

NAMED = frozenset((*COMMON, "trouble", "exec_failed"))
"""Events whose line starts with the script's name where it is no object."""


def line_of(event: str, **fields: object) -> str:
    """The line for people."""
    return SCRIPT_EVENTS[event].line(**fields)
