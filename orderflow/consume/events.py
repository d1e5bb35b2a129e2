"""What the engine reports while it works: the list of events, and the line that a person reads of each.

The names of the events are stable: they are the names to alert on.
"""

from typing import Any, Callable, Dict, NamedTuple, Optional, Sequence

from orderflow.errors import Failure
from orderflow.model.records import Message, Record
from orderflow.model.text import escape

MESSAGE_LENGTH = 200
MOST_PARTITIONS = 20
"""So many numbers are listed in a line."""


class Event(NamedTuple):
    """One kind of event: how grave it is, when it comes, and its line from the fields it carries."""

    severity: str
    meaning: str
    line: Callable[..., str]


def line_of(name: str, fields: Dict[str, Any]) -> str:
    """The line to show for an event, free of control characters."""
    event = EVENTS[name]
    return escape(f"{event.severity} {event.line(**fields)}")


def _retry(record: Message, failure: Failure, attempt: int, delay_s: float) -> str:
    where = f"{record.topic()}-{record.partition()}-{record.offset()} key {_key(record.key())}"
    if failure.asked_for:
        asked = f"{failure.reason}: {_shortened(failure.message)}"
        return f"{where}: {asked}; the handler asked for it at attempt {attempt}, next try in {delay_s:.1f} s"
    return f"{where}: {_why(failure)}; attempt {attempt} failed, next try in {delay_s:.1f} s"


def _dead_lettered(record: Record, failure: Failure, attempt: int) -> str:
    tries = "" if failure.stage != "process" else f" after {attempt} attempt{'' if attempt == 1 else 's'}"
    return f"{record.position} key {_key(record.key)}: dead-lettered{tries}: {_why(failure)}"


def _why(failure: Failure) -> str:
    message = _shortened(failure.message)
    if failure.stage != "process":
        return f"{failure.reason}: {message}"
    return f"{failure.reason}: {failure.error_class}: {message}"


def _key(key: Optional[bytes]) -> str:
    return "none" if key is None else _shortened(key.decode("utf-8", "backslashreplace"))


def _shortened(text: str) -> str:
    return text if len(text) <= MESSAGE_LENGTH else text[:MESSAGE_LENGTH] + "…"


def _partitions(numbers: Sequence[int]) -> str:
    listed = ", ".join(map(str, numbers[:MOST_PARTITIONS]))
    more = f" and {len(numbers) - MOST_PARTITIONS} more" if len(numbers) > MOST_PARTITIONS else ""
    return f"partition{'' if len(numbers) == 1 else 's'} {listed}{more}"


def _waiting_lost(partition: int, offset: int, more: bool) -> str:
    lost = f"partition {partition}: the order at offset {offset} waited, but the log no longer holds it"
    # Its key is in the record alone, and without it those behind it look like finished ones.
    return lost + ("; orders of its key waited behind it and are not known any more either" if more else "")


def _ready(partition: int, offset: int, waiting: int, careful: bool) -> str:
    care = ", its last owner did not stop properly" if careful else ""
    return f"partition {partition} is ready at offset {offset}, {waiting} waiting{care}"


def _ledger_lost(partition: int, committed: Optional[int], offset: int, until: int, trace: str) -> str:
    what = "has no offset any more (expired?)"
    if committed is not None:
        what = f"has offset {committed} without the list of the orders that waited (reset?)"
    return (
        f"partition {partition}: the group {what}, but it worked here before, as {trace} shows; which orders "
        f"were done and which waited is not known: all {until - offset} offsets from {offset} to the end are "
        f"called, those that were done again; what waited before {offset} is not"
    )


EVENTS: Dict[str, Event] = {
    "retry": Event(
        "retry", "a call failed, or the handler asked for a later one; it will be made again", _retry
    ),
    "dead_lettered": Event("dead", "an order was forwarded to the dead letter topic", _dead_lettered),
    "partition_ready": Event("info", "a partition is restored and taken in", _ready),
    "ledger_full": Event(
        "warn",
        "so many orders of a partition wait that nothing more of it is taken in",
        lambda partition, waiting: (
            f"partition {partition}: {waiting} orders wait, taking in no more until some are done"
        ),
    ),
    "outage_begins": Event(
        "ERROR",
        "nearly every fresh order of these partitions fails: what the handler needs seems to be down",
        lambda partitions: (
            f"nearly every order fails in {_partitions(partitions)}: holding back there, trying one a "
            "second, dead-lettering next to nothing"
        ),
    ),
    "outage_ends": Event(
        "info",
        "calls succeed again after an outage in these partitions",
        lambda partitions: (
            f"orders succeed again in {_partitions(partitions)}: going on at full speed, those that waited "
            "have their full budget back"
        ),
    ),
    "registry_down": Event(
        "ERROR",
        "the schema registry does not answer properly",
        lambda partition, detail: f"partition {partition} waits for the schema registry: {detail}",
    ),
    "blocked": Event(
        "ERROR",
        "Kafka refuses dead letters or results; nothing is committed until it takes them",
        lambda detail, retry_s: (
            f"cannot forward dead letters or results: {detail}; nothing is lost or committed, "
            f"trying again in {retry_s:.0f} s"
        ),
    ),
    "unblocked": Event(
        "info", "Kafka takes dead letters and results again", lambda: "forwarding works again"
    ),
    "settlement_delayed": Event(
        "warn",
        "what was done could not be written or committed; it is kept, and only the writing is tried again",
        lambda detail: f"not settled yet ({detail}): what was done is kept, and written again until it is",
    ),
    "time_refused": Event(
        "warn",
        "the broker refuses the timestamp of what we write: this machine's clock, or the broker's, is wrong",
        lambda detail: (
            f"Kafka refuses a record, most likely for its time of day ({detail}): check this machine's clock "
            "and the broker's. Dead letters get their order's timestamp or none, results none; failed-at "
            "keeps our time"
        ),
    ),
    "out_of_group": Event(
        "ERROR",
        "the consumer has no partitions, and was not simply given none",
        lambda for_s, detail: f"no partitions for {for_s:.0f} s, and nothing is processed here: {detail}",
    ),
    "open_transaction": Event(
        "warn",
        "--until-drained waits for a transaction of a producer of orders that is still open",
        lambda partition, offset, until: (
            f"partition {partition}: a producer's open transaction holds back offsets {offset} to "
            f"{until - 1}; waiting until it ends (kafka-transactions.sh find-hanging shows whose it is)"
        ),
    ),
    "failing": Event(
        "ERROR",
        "a step has failed for a minute, and for every minute more",
        lambda step, detail, for_s: (
            f"{step} has failed for {for_s:.0f} s: {detail}; nothing is lost, it is tried again"
        ),
    ),
    "dead_letter_too_large": Event(
        "warn",
        "a dead letter was larger than its topic takes and is sent shrunk",
        lambda max_bytes: f"dead letters are shrunk to {max_bytes} bytes, which is what their topic takes",
    ),
    "start_again": Event(
        "warn",
        "what was done can not be committed by us any more; it is done again by whoever has the partitions",
        lambda detail: f"not committed ({detail}): going back to what is committed",
    ),
    "restore_delayed": Event(
        "warn",
        "a partition could not be restored yet",
        lambda detail: f"restoring waits: {detail}",
    ),
    "metadata_foreign": Event(
        "warn",
        "the committed offset carries metadata that is not ours; it is treated as none",
        lambda partition, offset, metadata: (
            f"partition {partition}: the metadata of the committed offset {offset} is not "
            f"ours ({metadata}), so orders listed in it as waiting are not known; going on at {offset}"
        ),
    ),
    "ledger_lost": Event(
        "ERROR",
        "the group has worked on a partition, but its offset or the list of its waiting orders is gone",
        _ledger_lost,
    ),
    "handed_over_again": Event(
        "warn",
        "the Kafka client handed over orders a second time; they were left alone",
        lambda partition, first, last: (
            f"partition {partition}: the client handed over offsets {first} to {last} again; "
            "nothing was processed twice"
        ),
    ),
    "came_late": Event(
        "ERROR",
        "the Kafka client handed over an order after later ones; it is processed out of order",
        lambda partition, offset: (
            f"partition {partition}: the client handed over offset {offset} after later ones; it is "
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
        "ERROR", "an order that waited for a retry was deleted by retention or compaction", _waiting_lost
    ),
    "settlement_stuck": Event(
        "ERROR",
        "the Kafka client did not come back from a settlement; the process ends",
        lambda after_s: (
            f"a settlement has not returned for {after_s:.0f} s: ending the process; what it "
            "held is done again after a restart, unless Kafka has it"
        ),
    ),
    "output_lost": Event(
        "warn",
        "stdout or stderr takes nothing, because the disk is full or the terminal gone; it is dropped",
        lambda detail: f"what is printed gets lost ({detail}); orders are processed all the same",
    ),
    "stalled": Event(
        "ERROR",
        "a handler call did not return in time; the process ends",
        lambda timeout_s: (
            f"a handler has not returned for {timeout_s:.0f} s (HANDLER_TIMEOUT): ending the process; "
            "the order is tried again after a restart, and dead-lettered when it keeps doing this"
        ),
    ),
}
"""Every event, in about the order of an order's life."""
