"""The catalogue of all events of the consumer, and what is logged of each.

Those of the engine are in events.py. Here are those of a run: how it begins, goes on and ends.
"""

import inspect
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Union

from orderflow.cli.script_events import COMMON
from orderflow.cli.terminal import count, duration
from orderflow.cli.values import UNLIMITED
from orderflow.consume.events import EVENTS, place_and_key, place_of, readable
from orderflow.errors import Failure
from orderflow.model.log_entry import WORD_LEVELS, Event, LogEntry
from orderflow.model.records import Message, Record

# --- the run ---


def _started(
    version: str,
    brokers: str,
    topic: str,
    group: str,
    handler: str,
    guarantee: str,
    workers: int,
    max_retries: int,
    backoff_s: float,
    backoff_max_s: float,
    dead_letter_topic: str,
    results_topic: Optional[str],
) -> str:
    threads = f", {workers} workers" if workers > 1 else ""
    times = "unlimited" if max_retries >= UNLIMITED else str(max_retries)
    apart = f"{times} {'retry' if times == '1' else 'retries'} {backoff_s:g} to {backoff_max_s:g} s apart"
    results = "" if results_topic is None else f", results to {results_topic}"
    return (
        f"orderflow {version}: {handler} for {topic} at {brokers}, group {group}, {guarantee}{threads}; "
        f"{apart if max_retries else 'no retries'}, dead letters to {dead_letter_topic}{results}"
    )


def _ended(processed: int, dead_lettered: int, retries: int, waiting: int, took_s: float) -> str:
    left = f"; {count(waiting)} still waiting, to be resumed at the next start" if waiting else ""
    return (
        f"processed {count(processed)}, dead-lettered {count(dead_lettered)}, "
        f"retries {count(retries)}, in {duration(took_s)}{left}"
    )


RUN_EVENTS: Mapping[str, Event] = {
    "started": Event(
        "info", "the consumer has begun: as what, and what becomes of orders that fail", _started
    ),
    "settings": Event(
        "info",
        "what is not at its default, and where that was said; never a secret",
        lambda settings: "set: " + ", ".join(settings),
    ),
    "start_delayed": Event(
        "warn",
        "Kafka cannot do yet what the start needs, as while a node is away; tried for a minute",
        lambda detail: f"start is delayed: {detail}; trying again",
    ),
    "no_topic_ids": Event(
        "warn",
        "the broker is older than 2.8",
        lambda: (
            "this Kafka is older than 2.8 and has no topic ids: delivery.id is built from an order's "
            "position alone, and is reused if the topic is deleted and recreated"
        ),
    ),
    "dead_letters_compacted": Event(
        "ERROR",
        "the dead letter topic is compacted: of each key, all dead letters but the newest get lost",
        lambda topic, policy: (
            f"{topic} has cleanup.policy={policy}: Kafka deletes a dead letter once its key has a newer one, "
            "and takes none without a key; set it to delete: kafka-configs.sh --alter --entity-type topics "
            f"--entity-name {topic} --add-config cleanup.policy=delete"
        ),
    ),
    "order_done": Event(
        "info",
        "an order was processed; logged with -v",
        lambda record: f"done {place_and_key(record)}",
    ),
    "progress": Event(
        "info",
        "how it goes, every 10 s where there is no terminal",
        lambda text, processed, dead_lettered, waiting, in_flight, queued, unseen: text,
    ),
    "no_ledger_topic": Event(
        "warn",
        "the list of waiting orders has to fit into commit metadata",
        lambda detail: detail,
    ),
    "ledger_topic_anew": Event(
        "warn",
        "the ledger topic was deleted and created again, by us or by somebody",
        lambda topic: (
            f"{topic} (LEDGER_TOPIC) was deleted, and is there again: what waits is listed there anew"
        ),
    ),
    "ledger_topic_unfit": Event(
        "ERROR",
        "the ledger topic was deleted, and cannot be created, or was created as one that forgets what waits; "
        "repeated every minute",
        lambda detail: f"LEDGER_TOPIC was deleted while this consumer runs: {detail}",
    ),
    "process": Event(
        "warn",
        "a process of --processes has ended, or could not be started",
        lambda process, detail: f"process {process} {detail}",
    ),
    "ended": Event("info", "the consumer has ended as it should", _ended),
    "not_closed": Event(
        "ERROR",
        "the handler could not be closed at the end; the exit code says so too",
        lambda detail, traceback: f"{detail}; every order was settled before, nothing is lost",
    ),
    "exit_waits": Event(
        "warn",
        "all is done, but a thread that the handler left running, or a function of atexit, holds up the exit",
        lambda detail, left_s: f"all is done, but the exit waits for {detail}; {left_s:.0f} s at most",
    ),
    "exit_forced": Event(
        "warn",
        "what holds up the exit has not ended in time; the process ends, with the exit code of its work",
        lambda detail: (
            f"ending without waiting any longer for {detail}; nothing is lost. End it where the handler is "
            "closed, or make it a daemon"
        ),
    ),
    **COMMON,
}
"""Every event of a run."""

ALL: Mapping[str, Event] = {**RUN_EVENTS, **EVENTS}

# --- what is logged ---

EXPANDED: Mapping[str, Sequence[str]] = {
    "record": ("topic", "partition", "offset", "key"),
    "failure": ("reason", "stage", "error_class", "error"),
}
"""Fields for an order and a failure, which events are given as a whole."""


def entry_of(name: str, fields: Mapping[str, Any], for_machines: bool = True) -> LogEntry:
    """What to log of an event. Only a log for machines shows an order and a failure as fields."""
    event = ALL[name]
    shown = _expanded(fields) if for_machines else fields
    return LogEntry(name, event.severity, event.line(**fields), shown)


def _expanded(fields: Mapping[str, Any]) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for name, value in fields.items():
        if name == "record":
            found.update(zip(EXPANDED[name], _place(value)))
        elif isinstance(value, Failure):
            found.update(zip(EXPANDED[name], (value.reason, value.stage, value.error_class, value.message)))
        else:
            found[name] = value
    return found


def _place(record: Union[Record, Message]) -> Sequence[Any]:
    topic, partition, offset, key = place_of(record)
    return topic, partition, offset, readable(key)


# --- the documents ---


class Row(NamedTuple):
    """An event as the documents list it."""

    name: str
    word: str
    level: str
    fields: Sequence[str]
    meaning: str


def rows() -> List[Row]:
    """All events, in the order of the catalogue."""
    return rows_of(ALL)


def rows_of(events: Mapping[str, Event]) -> List[Row]:
    """Those of a catalogue."""
    return [
        Row(name, event.severity, WORD_LEVELS[event.severity], _fields(event), event.meaning)
        for name, event in events.items()
    ]


def _fields(event: Event) -> Sequence[str]:
    return [
        field for name in inspect.signature(event.line).parameters for field in EXPANDED.get(name, (name,))
    ]
