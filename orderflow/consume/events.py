"""The engine's events, and the log line printed for each.

Event names are stable: alert on them.
"""

from typing import Dict, Mapping, Optional, Sequence, Tuple, Union

from orderflow.consume.intake_states import WHY
from orderflow.errors import Failure
from orderflow.model.command import RETRY_NOW
from orderflow.model.log_entry import Event
from orderflow.model.records import Message, Record
from orderflow.model.text import listed, named, plural

MESSAGE_LENGTH = 200
MOST_PARTITIONS = 20
"""The most partition numbers listed in a line."""
MOST_KINDS = 5
"""The most kinds of failure listed in a line."""
MOST_SUSPECTS = 8
"""The most orders listed in a line."""


def _retry(record: Union[Record, Message], failure: Failure, attempt: int, delay_s: float) -> str:
    where = place_and_key(record)
    if failure.asked_for:
        asked = f"{failure.reason}: {_shortened(failure.message)}"
        return f"{where}: {asked}; the handler asked for it at attempt {attempt}, next try in {delay_s:.1f} s"
    return f"{where}: {_why(failure)}; attempt {attempt} failed, next try in {delay_s:.1f} s"


def _dead_lettered(record: Record, failure: Failure, attempt: int) -> str:
    tries = "" if failure.stage != "process" else f" after {attempt} attempt{'' if attempt == 1 else 's'}"
    return f"{place_and_key(record)}: dead-lettered{tries}: {_why(failure)}"


def place_of(record: Union[Record, Message]) -> Tuple[str, int, int, Optional[bytes]]:
    """Where a record is, and its key."""
    if isinstance(record, Record):
        return record.topic, record.partition, record.offset, record.key
    return record.topic(), record.partition(), record.offset(), record.key()


def _why(failure: Failure) -> str:
    message = _shortened(failure.message)
    if failure.stage != "process":
        return f"{failure.reason}: {message}"
    cause = f", caused by {_shortened(failure.cause)}" if failure.cause else ""
    return f"{failure.reason}: {failure.error_class}: {message}{cause}{_at(failure)}"


def _at(failure: Failure) -> str:
    return f" ({failure.frame})" if failure.frame else ""


def _key(key: Optional[bytes]) -> str:
    text = readable(key)
    return "none" if text is None else _shortened(text)


def _kinds(kinds: Mapping[str, int]) -> str:
    most = sorted(kinds.items(), key=lambda kind: -kind[1])
    return listed([f"{count:,} {_shortened(kind)}" for kind, count in most], MOST_KINDS)


def place_and_key(record: Union[Record, Message]) -> str:
    """Where a record is, and its key, as lines have them."""
    topic, partition, offset, key = place_of(record)
    return f"{topic}-{partition}-{offset} key {_key(key)}"


def readable(key: Optional[bytes]) -> Optional[str]:
    """A key as text; bytes that are no text are written as escapes."""
    return None if key is None else key.decode("utf-8", "backslashreplace")


def _shortened(text: str) -> str:
    return text if len(text) <= MESSAGE_LENGTH else text[:MESSAGE_LENGTH] + "…"


def _partitions(numbers: Sequence[int]) -> str:
    return named("partition", [*map(str, numbers)], MOST_PARTITIONS)


def _waiting_lost(partition: int, offset: int, more: bool) -> str:
    lost = f"partition {partition}: the order at offset {offset} was waiting, but is no longer in the log"
    # Only the record holds its key, and without the key its followers look like finished orders.
    return lost + (
        "; orders of its key were waiting behind it, so all from there on is called again" if more else ""
    )


def _orders(places: Sequence[Tuple[int, int]]) -> str:
    return listed([f"{partition}-{offset}" for partition, offset in places], MOST_SUSPECTS)


def _ready(partition: int, offset: int, waiting: int, careful: bool) -> str:
    care = ", its last owner did not stop cleanly" if careful else ""
    return f"partition {partition} is ready at offset {offset}, {waiting} waiting{care}"


def _ledger_full(partition: int, waiting: int, limit: str) -> str:
    return (
        f"partition {partition}: {plural(waiting, 'order is', 'orders are')} waiting, which is as many as "
        f"{LIMITS[limit]} allows; admitting no more until some are done"
    )


def _page_lost(partition: int, offset: int, until: int, topic: str) -> str:
    return (
        f"partition {partition}: the page of {topic} that lists the waiting orders is gone or damaged. "
        f"Which of the orders from offset {offset} to {until} were done is not known: "
        f"every order from there on is called ({plural(until - offset, 'offset')}), including any "
        "already done"
    )


def _ledger_lost(partition: int, committed: Optional[int], offset: int, until: int, trace: str) -> str:
    what = "no longer has an offset (expired?)"
    if committed is not None:
        what = f"has offset {committed} without the list of waiting orders (reset?)"
    return (
        f"partition {partition}: the group {what}, but it has worked here before, as {trace} shows. Which "
        "orders were done and which were waiting is not known: "
        f"every order from offset {offset} to the end is called ({plural(until - offset, 'offset')}), "
        f"including any already done; orders that were waiting before {offset} are not"
    )


def _of_another_topic(partition: int, committed: int, offset: int, until: int) -> str:
    begins = "" if offset == committed else f"; what was published since then begins at offset {offset}"
    before = (
        f". Orders before {offset} are taken for done, by their timestamps. If the topic was created again "
        "and filled with older ones (a backup, a mirror), they were not: then stop all consumers of the "
        "group, run kafka-consumer-groups.sh --reset-offsets --to-earliest for it, and start again"
    )
    return (
        f"partition {partition}: the list of waiting orders that is committed with offset {committed} was "
        "written for another topic of this name, one that was deleted or is in another cluster, so it is "
        f"ignored{begins}; every order from offset {offset} to the end is called "
        f"({plural(until - offset, 'offset')}), including any already done{before if offset else ''}"
    )


def _command(partition: int, do: str, orders: int, asked: int, by: str) -> str:
    left = asked - orders
    others = f"; {left:,} no longer waited as they did when that was asked" if left else ""
    what = "tried now" if do == RETRY_NOW else "given up"
    which = plural(orders, "waiting order is", "waiting orders are")
    return f"partition {partition}: {which} {what}, as {by} asked{others}"


LIMITS = {
    "heads": "the list of them (commit metadata, or max.message.bytes of LEDGER_TOPIC)",
    "queued": "MAX_QUEUED",
    "bytes": "MAX_WAITING_BYTES (shared by all partitions of a consumer)",
}
"""What a partition may run out of, and what sets it."""

EVENTS: Dict[str, Event] = {
    "retry": Event("retry", "a call failed or the handler asked for a later one; it will be retried", _retry),
    "retries_untold": Event(
        "retry",
        "more calls failed in a second than get a line each, which is 100; LOG_LEVEL=debug lists all",
        lambda retries, kinds: (
            f"{retries:,} more failed within a second, and each will be retried: {_kinds(kinds)}"
        ),
    ),
    "first_of_its_kind": Event(
        "warn",
        "the handler raised an error of a kind that was not seen before; its traceback is printed once",
        lambda record, failure, traceback: (
            f"first {_shortened(failure.error_class)}{_at(failure)}, its traceback is shown this once:"
        ),
    ),
    "loop_blocked": Event(
        "ERROR",
        "the handler blocks its event loop, so all its calls stand still; repeated every minute",
        lambda for_s, where: (
            f"the event loop has been blocked for {for_s:.1f} s by {where}: every call waits for it; "
            "await it, or run it in a thread (asyncio.to_thread)"
        ),
    ),
    "dead_lettered": Event("dead", "an order was forwarded to the dead letter topic", _dead_lettered),
    "partition_ready": Event("info", "a partition is restored and being processed", _ready),
    "partition_given_up": Event(
        "info",
        "a partition went to another member of the group, or is on its way there",
        lambda partition, offset: f"partition {partition} is given up at offset {offset}",
    ),
    "stands_by": Event(
        "info",
        "the group has more consumers than the topic has partitions, and none is left for this one",
        lambda detail: f"no partition is left for this consumer ({detail}): it stands by",
    ),
    "topic_missing": Event(
        "ERROR",
        "the topic of the orders does not exist any more; repeated every minute",
        lambda topic, for_s: (
            f"topic {topic} does not exist any more ({for_s:.0f} s): it was deleted, or Kafka has lost its "
            "data, and nothing is processed here. Look at Kafka, and create the topic again; if it should be "
            "there, check KAFKA_BOOTSTRAP_SERVERS"
        ),
    ),
    "topic_back": Event(
        "info", "the topic of the orders is there again", lambda topic: f"topic {topic} is there again"
    ),
    "called_alone": Event(
        "warn",
        "after processes died, an order that may be to blame is called with nothing else in flight",
        lambda suspects: f"order {_orders(suspects)} is called alone: it may be what ended the process",
    ),
    "called_in_company": Event(
        "debug",
        "the same of a few orders, to find out among which of them the one to blame is",
        lambda suspects: f"orders {_orders(suspects)} are called with nothing beside them",
    ),
    "ledger_full": Event(
        "warn",
        "a partition has reached its limit of waiting orders, and nothing more is admitted",
        _ledger_full,
    ),
    "intake_stopped": Event(
        "warn",
        "partitions have taken in nothing for ten seconds; `reason` is that of orders_intake_stopped_seconds",
        lambda partitions, reason, for_s, since_ms: (
            f"taking in nothing from {_partitions(partitions)} for {for_s:.0f} s now: {WHY[reason].words}"
        ),
    ),
    "intake_resumed": Event(
        "info",
        "partitions of which that was said take in orders again",
        lambda partitions, reason, for_s, since_ms: (
            f"taking in orders from {_partitions(partitions)} again after {for_s:.0f} s: {WHY[reason].words}"
        ),
    ),
    "outage_begins": Event(
        "ERROR",
        "nearly every fresh order in these partitions fails: the handler's dependency seems to be down",
        lambda partitions: (
            f"nearly every order fails in {_partitions(partitions)}: holding back there, trying one order a "
            "second and dead-lettering hardly any"
        ),
    ),
    "outage_ends": Event(
        "info",
        "calls in these partitions succeed again after an outage",
        lambda partitions: (
            f"orders succeed again in {_partitions(partitions)}: back to full speed, and waiting orders get "
            "all their retries back"
        ),
    ),
    "command": Event(
        "warn",
        "an operator has asked for waiting orders to be tried now, or given up, and so it was done",
        _command,
    ),
    "command_foreign": Event(
        "warn",
        "a record of the ledger topic looks like an operator's command, and is none; told once a minute",
        lambda partition: (
            f"partition {partition}: ignored a record of the ledger topic that is no command of "
            "`dlq_handler.py waiting`: another version may have written it, or somebody else"
        ),
    ),
    "commands_unheard": Event(
        "warn",
        "operators' commands for waiting orders cannot be read",
        lambda detail: f"cannot read what operators ask of waiting orders: {detail}; all else goes on",
    ),
    "list_on_page": Event(
        "info",
        "commit metadata cannot list what waits in a partition: the list is in the ledger topic now",
        lambda partition, waiting, topic: (
            f"partition {partition}: what waits ({plural(waiting, 'order')}) is listed in topic {topic} now"
        ),
    ),
    "page_lost": Event(
        "ERROR",
        "the page of the ledger topic that lists a partition's waiting orders is gone or damaged",
        _page_lost,
    ),
    "registry_down": Event(
        "ERROR",
        "the schema registry does not answer properly",
        lambda partition, detail: f"partition {partition} waits for the schema registry: {detail}",
    ),
    "blocked": Event(
        "ERROR",
        "Kafka refuses dead letters or results; nothing is committed until it accepts them",
        lambda detail, retry_s: (
            f"cannot forward dead letters or results: {detail}; nothing is lost or committed, "
            f"next try in {retry_s:.0f} s"
        ),
    ),
    "unblocked": Event(
        "info", "Kafka accepts dead letters and results again", lambda: "forwarding works again"
    ),
    "settlement_delayed": Event(
        "warn",
        "finished work could not be written or committed; it is kept, and only the writing is retried",
        lambda detail: f"not settled yet ({detail}): finished work is kept, and only the writing is retried",
    ),
    "time_refused": Event(
        "warn",
        "the broker refuses our timestamps: this machine's clock or the broker's is wrong",
        lambda detail: (
            f"Kafka refuses a record, most likely because of its timestamp ({detail}): check this machine's "
            "clock and the broker's. Dead letters now get their order's timestamp or none, results none; "
            "failed-at keeps our time"
        ),
    ),
    "out_of_group": Event(
        "ERROR",
        "the consumer has no partitions, and not because there are none left for it",
        lambda for_s, detail: f"no partitions for {for_s:.0f} s, so nothing is processed here: {detail}",
    ),
    "open_transaction": Event(
        "warn",
        "--until-drained is waiting for a producer's open transaction",
        lambda partition, offset, until: (
            f"partition {partition}: a producer's open transaction holds back offsets {offset} to "
            f"{until - 1}; waiting for it to end (kafka-transactions.sh find-hanging shows whose it is)"
        ),
    ),
    "end_unknown": Event(
        "warn",
        "--until-drained is waiting for partitions of which no broker tells where they end",
        lambda partitions: (
            f"--until-drained waits for {_partitions(partitions)}: no broker tells where the log ends; "
            "is one away? All others are worked on"
        ),
    ),
    "failing": Event(
        "ERROR",
        "a step has been failing for a minute; repeated every minute",
        lambda step, detail, for_s: (
            f"{step} has failed for {for_s:.0f} s: {detail}; nothing is lost, still retrying"
        ),
    ),
    "dead_letter_too_large": Event(
        "warn",
        "a dead letter was too large for its topic and is sent shrunk",
        lambda max_bytes: f"dead letters are shrunk to {max_bytes} bytes, the most their topic accepts",
    ),
    "start_again": Event(
        "warn",
        "unsettled work can no longer be committed by us; whoever owns the partitions now repeats it",
        lambda detail: f"not committed ({detail}): restarting from the committed offsets",
    ),
    "restore_delayed": Event(
        "warn",
        "a partition could not be restored yet",
        lambda detail: f"restoring is delayed: {detail}",
    ),
    "metadata_foreign": Event(
        "warn",
        "the committed offset has foreign metadata, which is ignored",
        lambda partition, offset, metadata: (
            f"partition {partition}: the metadata of the committed offset {offset} is not "
            f"ours ({metadata}), so any waiting orders it lists are not known; continuing at {offset}"
        ),
    ),
    "list_of_another_topic": Event(
        "ERROR",
        "the list of waiting orders was written for a topic that was deleted, or copied from another cluster",
        _of_another_topic,
    ),
    "ledger_lost": Event(
        "ERROR",
        "the group has worked on a partition whose offset or list of waiting orders is gone",
        _ledger_lost,
    ),
    "handed_over_again": Event(
        "warn",
        "the Kafka client delivered orders a second time; they were ignored",
        lambda partition, first, last: (
            f"partition {partition}: the Kafka client delivered offsets {first} to {last} again; "
            "nothing was processed twice"
        ),
    ),
    "came_late": Event(
        "ERROR",
        "the Kafka client delivered an order after later ones; it is processed out of order",
        lambda partition, offset: (
            f"partition {partition}: the Kafka client delivered offset {offset} after later ones; it is "
            "processed now, perhaps after later orders of its key"
        ),
    ),
    "lost_by_retention": Event(
        "ERROR",
        "orders were deleted by retention before they were processed",
        lambda partition, offset, until: (
            f"partition {partition}: retention deleted offsets {offset} to {until - 1} unprocessed"
        ),
    ),
    "waiting_order_lost": Event(
        "ERROR", "an order waiting for a retry was deleted by retention or compaction", _waiting_lost
    ),
    "settlement_stuck": Event(
        "ERROR",
        "a settlement never returned from the Kafka client; the process ends",
        lambda after_s: (
            f"a settlement has not returned for {after_s:.0f} s: ending the process; its "
            "orders are processed again after a restart unless Kafka has committed them"
        ),
    ),
    "output_lost": Event(
        "warn",
        "stdout or stderr cannot be written (disk full, terminal gone); output is dropped",
        lambda detail: f"output is being lost ({detail}); orders are still processed",
    ),
    "stalled": Event(
        "ERROR",
        "a handler call did not return in time; the process ends",
        lambda timeout_s: (
            f"a handler has not returned for {timeout_s:.0f} s (HANDLER_TIMEOUT): ending the process; "
            "the order is retried after a restart, and dead-lettered if it keeps doing this"
        ),
    ),
}
"""Every event, roughly in the order of an order's life."""
