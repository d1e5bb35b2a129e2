"""The verb `health`: one verdict on consumers and dead letters, with an exit code, within three seconds."""

import argparse
import time
from functools import partial
from typing import Dict, Iterator, List, Mapping, NamedTuple, Optional, Set, Tuple

from orderflow.dlq.audit import RESTORED
from orderflow.dlq.audit_topic import entries_in
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.health import GROWTH_MS, Copies, DeadLetters, Facts, Group, Partition, verdict
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.output.health_lines import health_lines, health_row
from orderflow.dlq.retention import Retention
from orderflow.dlq.topic import audit_topics
from orderflow.exits import CommandError, KafkaUnreachable, UsageError
from orderflow.kafka import topics
from orderflow.kafka.group_view import GroupView, View
from orderflow.kafka.open_transactions import look, look_again
from orderflow.kafka.reachable import answering_broker
from orderflow.kafka.reader import Reader, Span, consumer_config
from orderflow.model.open_transactions import Ends
from orderflow.model.time_spans import FORMS, read_span, write_span

CONNECT_S = 1.2
LOOK_S = 1.9
"""For all of it, from the start of the verb on: the promise of 3 s has to cover the start of Python too."""
ANSWER_S = 1.0
READ_S = 0.8
"""For the dead letters that are looked at one by one."""
MOST_ENTRIES = 100_000
"""Entries of the audit topic that can be read in time."""
MOST_AGE_MS = 300_000
"""How old an unseen order may get where nobody says."""


class Unresolved(NamedTuple):
    """The dead letters that nobody has decided about, as far as they could be read in time."""

    number: int
    recent: int
    """Dead letters of the last `GROWTH_MS`, whatever was decided about them."""
    oldest_ms: Optional[int]
    is_complete: bool
    expired: int


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of health. There is no selection: it is about all of them."""
    default = write_span(MOST_AGE_MS)
    parser.add_argument(
        "--max-age",
        default=default,
        metavar="SPAN",
        help=f"how old an unseen order may get: {FORMS} ({default})",
    )


def run(desk: Desk, args: argparse.Namespace) -> int:
    """0: all well, 1: cannot tell, 5: something needs a person."""
    most_age_ms = read_span(args.max_age)
    if most_age_ms is None:
        raise UsageError(f"--max-age {args.max_age}: give a span as {FORMS}")
    until_s = time.monotonic() + LOOK_S
    try:
        address = answering_broker(desk.client, CONNECT_S)
    except KafkaUnreachable as error:
        raise CommandError(f"cannot tell: {error}") from error
    desk = desk._replace(client={**desk.client, "bootstrap.servers": address})
    facts = facts_of(desk, until_s)
    found = verdict(facts, most_age_ms)
    if desk.json:
        desk.premise(to_json(health_row(facts, found, most_age_ms)))
    else:
        for line in health_lines(facts, found, most_age_ms, desk.width):
            desk.premise(line)
    return found.exit_code


def facts_of(desk: Desk, until_s: float) -> Facts:
    """All that can be found out in time. `until_s` is on the monotonic clock."""
    asking = GroupView(desk.client, desk.consumer_group, desk.orders_topic, ANSWER_S, until_s)
    asking.topics.describe(desk.orders_topic, desk.dlq_topic, desk.audit_topic)
    view = asking.look()
    partitions = _partitions(view)
    if partitions is not None and view.committed is not None:
        times = asking.times({one.number: one.next for one in partitions if one.next < one.stable})
        partitions = [one._replace(oldest_unseen_ms=times.get(one.number)) for one in partitions]
    unknown: List[str] = []
    names = (desk.orders_topic, desk.dlq_topic, desk.audit_topic)
    settings = asking.topics.settings_of(*names)
    dead_letters = _dead_letters(desk, asking, settings[desk.dlq_topic], unknown)
    copies = [one for name in names for one in _copies(asking, name, settings[name])]
    members = None if view.members is None else len(view.members)
    group = Group(desk.consumer_group, view.state, members, view.committed is not None)
    told = (*asking.unknown, *unknown)
    return Facts(
        now_ms(), desk.orders_topic, group, partitions, dead_letters, told, tuple(copies), desk.dlq_topic
    )


def _copies(asking: GroupView, topic: str, settings: Mapping[str, str]) -> Iterator[Copies]:
    """The partitions that are not whole."""
    least = int(settings.get("min.insync.replicas", "1"))
    for number, each in sorted(asking.topics.replicas_of(topic).items()):
        if each.leader is None or each.in_sync < each.number:
            yield Copies(topic, number, each.leader, each.in_sync, each.number, least)


def _partitions(view: View) -> Optional[List[Partition]]:
    if view.ends is None:
        return None
    owners = {number: one.client_id for one in view.members or () for number in one.partitions}
    return [_partition(number, ends, view, owners.get(number)) for number, ends in sorted(view.ends.items())]


def _partition(number: int, ends: Ends, view: View, owner: Optional[str]) -> Partition:
    committed = (view.committed or {}).get(number)
    offset = None if committed is None else committed.offset
    return Partition(number, *ends, offset, view.commits.get(number), owner)


def _dead_letters(
    desk: Desk, asking: GroupView, settings: Mapping[str, str], unknown: List[str]
) -> DeadLetters:
    ends = asking.topics.ends_of(desk.dlq_topic)
    if not ends:
        return DeadLetters(None, False, None, None, None)
    recent = asking.topics.grown_since(desk.dlq_topic, now_ms() - GROWTH_MS)
    config = consumer_config(desk.client, desk.consumer_group)
    first_look = look(config, desk.dlq_topic, ends, asking.until_s)
    found = None
    try:
        found = _unresolved(desk, asking, ends)
    except CommandError as error:
        unknown.append(f"which dead letters are resolved: {error}")
    again = partial(asking.topics.ends_of, desk.dlq_topic)
    hidden = tuple(look_again(first_look, again, asking.until_s))
    if found is None:
        return DeadLetters(None, False, None, recent, None, hidden=hidden)
    if found.is_complete:
        recent = found.recent  # by the offsets alone, transactions' markers count too
    retention = Retention.of(topics.numbers_of(settings))
    return DeadLetters(
        found.number,
        found.is_complete and not hidden,
        found.oldest_ms,
        recent,
        retention.first_expiry_ms(found.oldest_ms),
        found.expired,
        hidden,
    )


def _unresolved(desk: Desk, asking: GroupView, ends: Dict[int, Ends]) -> Unresolved:
    """Those without an entry that resolves them. Raises CommandError where that cannot be found out."""
    resolved = _resolved(desk, asking)
    deadline_s = min(time.monotonic() + READ_S, asking.until_s)
    spans = [Span(partition, one.low, one.stable) for partition, one in ends.items()]
    count = recent = 0
    since_ms = now_ms() - GROWTH_MS
    oldest_ms: Optional[int] = None
    with Reader(consumer_config(desk.client, desk.consumer_group), desk.dlq_topic) as reader:
        for batch in reader.read(spans, lambda: time.monotonic() > deadline_s):
            for record in batch:
                recent += (record.timestamp_ms or 0) >= since_ms
                if (record.partition, record.offset) in resolved:
                    continue
                count += 1
                at_ms = record.timestamp_ms
                oldest_ms = at_ms if oldest_ms is None else min(oldest_ms, at_ms or oldest_ms)
    expired = sum(one.low for one in ends.values())
    decided = sum(offset < ends[partition].low for partition, offset in resolved if partition in ends)
    is_complete = time.monotonic() <= deadline_s and len(ends) == len(
        asking.topics.replicas_of(desk.dlq_topic)
    )
    return Unresolved(count, recent, oldest_ms, is_complete, max(0, expired - decided))


def _resolved(desk: Desk, asking: GroupView) -> Set[Tuple[int, int]]:
    """The places of the dead letters that were replayed or discarded."""
    if not asking.topics.has(desk.audit_topic):
        return set()
    ends = asking.topics.ends_of(desk.audit_topic)
    if ends is None or len(ends) < len(asking.topics.replicas_of(desk.audit_topic)):
        raise CommandError(f"{desk.audit_topic} cannot be read now")
    size = sum(one.high - one.low for one in ends.values())
    if size > MOST_ENTRIES:
        raise CommandError(f"{desk.audit_topic} has {size:,} entries, too many to read in time")
    spans = [Span(partition, one.low, one.stable) for partition, one in ends.items()]
    entries = entries_in(audit_topics(desk), asking.topics.id_of(desk.dlq_topic), spans, asking.until_s)
    last = {(one.partition, one.offset): one.action for one in entries}
    return {place for place, action in last.items() if action != RESTORED}
