"""The verb `erase`: finds what Kafka holds of one key, and deletes as much of it as Kafka can."""

import argparse
from typing import AbstractSet, Any, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from orderflow.dlq.confirmation import confirm
from orderflow.dlq.desk import Desk, Progress
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.output.erasure import Behind, Holding, Trace, all_lines, behind_line, holding_row
from orderflow.exits import OK, CommandError, Refused, UsageError
from orderflow.kafka import topics
from orderflow.kafka.client_properties import started
from orderflow.kafka.group_view import GroupView, View
from orderflow.kafka.other_groups import Offsets, committed_by_groups
from orderflow.kafka.places import spans_of
from orderflow.kafka.plain_sending import send_all
from orderflow.kafka.positions import Range
from orderflow.kafka.refusals import missing_right, on_topic
from orderflow.model.records import Outgoing
from orderflow.model.text import escape, keys_shown_as, plural

ALL_THAT_IS_THERE = {"isolation.level": "read_uncommitted"}
"""Kafka also holds what no transaction has committed, and what stands behind an open one."""
TIMEOUT_S = 30.0
ASK_S = 5.0


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of erase. Of the selection only `--key`: by another it would delete more than was meant."""
    parser.add_argument(
        "--key",
        dest="keys",
        action="append",
        default=[],
        metavar="KEY",
        help="key of the records; exactly one",
    )
    parser.add_argument(
        "--topic", dest="topics", action="append", metavar="TOPIC", help="look there too; may be repeated"
    )
    parser.add_argument(
        "--tombstone", action="store_true", help="in compacted topics: publish that the key has no value"
    )
    parser.add_argument(
        "--delete-up-to-it",
        action="store_true",
        help="in other topics: delete every record up to the last one with the key",
    )
    parser.add_argument(
        "--despite-group",
        dest="despite",
        action="append",
        default=[],
        metavar="GROUP",
        help="delete although this group has not processed all of it; may be repeated",
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(desk: Desk, args: argparse.Namespace) -> int:
    """Without --tombstone or --delete-up-to-it it only looks."""
    if len(args.keys) != 1:
        raise UsageError("erase what? Give one --key")
    meant = keys_shown_as(args.keys[0]) - {None}
    desk.require_kafka()
    names = list(dict.fromkeys([desk.orders_topic, desk.dlq_topic, *(args.topics or ())]))
    holdings = [_look(desk, name, meant) for name in names]
    if desk.signals.requested:
        return desk.signals.exit_code
    holdings = _with_behind(desk, holdings)
    for line in map(to_json, map(holding_row, holdings)) if desk.json else all_lines(holdings):
        desk.premise(line)
    held = [one for one in holdings if one.traces]
    if args.tombstone or args.delete_up_to_it:
        _require_one_key(held, args.keys[0])
    if args.tombstone:
        _tombstone(desk, [one for one in held if one.is_compacted and one.values], args.yes)
    if args.delete_up_to_it:
        _delete(desk, [one for one in held if not one.is_compacted], args.despite, args.yes)
    return OK


def _require_one_key(held: List[Holding], text: str) -> None:
    """Raise Refused where several keys show alike, as the bytes ff and the text `0xff`."""
    if len({key for one in held for key in one.keys}) > 1:
        raise Refused(
            f"nothing was changed: different keys are shown as {escape(text)}; one is text, one bytes"
        )


def _look(desk: Desk, topic: str, keys: AbstractSet[Optional[bytes]]) -> Holding:
    """Read all of the topic: a record with one of these keys may stand in any partition."""
    found: Dict[int, Trace] = {}
    there: Set[bytes] = set()
    others: Dict[int, int] = {}
    progress = Progress(desk.err, f"of {topic} read")
    with desk.reader(topic, **ALL_THAT_IS_THERE) as reader:
        spans = spans_of(reader, Range())
        progress.expect(sum(span.end - span.begin for span in spans))
        lows = {span.partition: span.begin for span in spans}
        for batch in reader.read(spans, lambda: desk.signals.requested):
            for record in batch:
                number = record.partition
                if record.key is None or record.key not in keys:
                    others[number] = others.get(number, 0) + 1
                    continue
                there.add(record.key)
                before = found.get(number) or Trace(number, lows[number], 0, 0, 0, None, 0)
                has_value = record.value is not None
                found[number] = before._replace(
                    last=record.offset,
                    values=before.values + has_value,
                    tombstones=before.tombstones + (not has_value),
                    newest_ms=max(before.newest_ms or 0, record.timestamp_ms or 0) or None,
                    others=others.get(number, 0),
                )
            progress.add(len(batch))
    progress.clear()
    settings = topics.settings_of(desk.client, topic)
    retention = settings.get("retention.ms")
    traces = tuple(found[number] for number in sorted(found))
    if topic == desk.orders_topic:
        traces = _with_undone(desk, traces)
    policy = settings.get("cleanup.policy")
    return Holding(
        topic, traces, policy, None if retention is None else int(retention), keys=frozenset(there)
    )


def _with_undone(desk: Desk, traces: Tuple[Trace, ...]) -> Tuple[Trace, ...]:
    """How much of the orders before each trace the group has still to be done with."""
    view = GroupView(desk.client, desk.consumer_group, desk.orders_topic, ASK_S).look()
    if view.committed is None:
        raise CommandError(f"cannot tell what is processed: {'; '.join(view.unknown)}")
    return tuple(one._replace(undone=_undone(one, view)) for one in traces)


def _undone(trace: Trace, view: View) -> int:
    committed = (view.committed or {}).get(trace.partition)
    if committed is None:
        return _left(trace, trace.low)
    commit = view.commits.get(trace.partition)
    done = committed.offset if commit is None or not commit.is_complete else commit.next
    waiting = sum(entry.offset <= trace.last for entry in commit.entries) if commit else 0
    return _left(trace, done) + waiting


def _left(trace: Trace, done: int) -> int:
    """Offsets up to the key's last record for whoever has processed all before `done`."""
    return max(0, trace.last + 1 - max(done, trace.low))


def _with_behind(desk: Desk, holdings: List[Holding]) -> List[Holding]:
    """With the other groups that have still to process what would be deleted."""
    places = [(one.topic, trace.partition) for one in holdings for trace in one.traces]
    try:
        committed = committed_by_groups(desk.client, places, ASK_S) if places else {}
    except KafkaException as error:
        reason = error.args[0].str()
        raise CommandError(f"cannot tell what other groups have processed: {reason}") from error
    committed.pop(desk.consumer_group, None)
    return [one._replace(behind=tuple(_behind(one, committed))) for one in holdings]


def _behind(holding: Holding, committed: Dict[str, Offsets]) -> Iterator[Behind]:
    for group, offsets in committed.items():
        places = ((trace, offsets.get((holding.topic, trace.partition))) for trace in holding.traces)
        left = sum(_left(trace, done) for trace, done in places if done is not None)
        if left:
            yield Behind(group, left)


def _tombstone(desk: Desk, holdings: List[Holding], yes: bool) -> None:
    if not holdings:
        desk.note("no compacted topic holds a value of this key: no tombstone was published")
        return
    names = ", ".join(one.topic for one in holdings)
    confirm(desk, f"publish a tombstone for this key in {names}?", yes)
    tombstones = [  # where the values are, whoever chose the partition
        Outgoing(one.topic, key, None, [], trace.partition)
        for one in holdings
        for key in one.keys
        for trace in one.traces
    ]
    try:
        send_all(desk.client, tombstones)
    except CommandError as error:
        raise CommandError(f"not every tombstone was published: {error}") from error
    desk.note(f"tombstones published in {names}; the values go when Kafka compacts closed segments")


def _delete(desk: Desk, holdings: List[Holding], despite: Sequence[str], yes: bool) -> None:
    if not holdings:
        desk.note("no topic that is not compacted holds this key: nothing was deleted")
        return
    for one in holdings:
        if one.undone:
            raise Refused(
                f"nothing was deleted: {plural(one.undone, 'offset is', 'offsets are')} not processed yet of "
                f"{one.topic} before it"
            )
        for late in one.behind:
            if late.group not in despite:
                raise Refused(f"nothing was deleted: of {one.topic}, {behind_line(late)}")
    others = sum(trace.others for one in holdings for trace in one.traces)
    names = ", ".join(one.topic for one in holdings)
    more = plural(others, "other")
    confirm(desk, f"delete from {names} up to the last record with the key, {more} with it?", yes)
    admin: Any = started(AdminClient, desk.client)
    for one in holdings:
        places = [TopicPartition(one.topic, partition, end) for partition, end in one.ends.items()]
        for place, future in admin.delete_records(places, request_timeout=TIMEOUT_S).items():
            _deleted(place, future)
    desk.note(f"deleted from {names}, with {plural(others, 'other record')}")


def _deleted(place: TopicPartition, future: Any) -> None:
    try:
        future.result()
    except KafkaException as error:
        reason = error.args[0]
        right = missing_right(reason, on_topic("DELETE", place.topic))
        where = f"{place.topic}-{place.partition}"
        raise CommandError(f"cannot delete from {where}: {reason.str()}{right}") from error
