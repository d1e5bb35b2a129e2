"""The verb `tail`: the last few dead letters, then each new one, and the alarm for new kinds of failure."""

import argparse
from functools import partial
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

from confluent_kafka import KafkaError

from orderflow.cli.command import Command
from orderflow.cli.outage import Outage
from orderflow.cli.terminal import duration
from orderflow.dlq.desk import Desk, Progress
from orderflow.dlq.letter import Letter
from orderflow.dlq.output.envelope import envelope, to_json
from orderflow.dlq.output.printer import printer
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.topic import Limit, Topic
from orderflow.exits import OK, TRIPPED, UsageError
from orderflow.kafka.places import spans_of
from orderflow.kafka.positions import Position, Range
from orderflow.model.text import plural

LAST_SHOWN = 10
"""Dead letters that `tail` shows before it follows."""


class Tail(NamedTuple):
    """How `tail` behaves."""

    selection: Selection
    exit_at_end: bool = False
    new_groups: bool = False
    """Only kinds of failure that were never seen before."""
    command: Optional[Command] = None
    """Run for each dead letter that is shown after the start, which it gets as JSON on its input."""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of tail, beside the selection."""
    parser.add_argument("-e", "--exit", action="store_true", help="end instead of following")
    parser.add_argument(
        "--new-groups",
        action="store_true",
        help="only failures of a kind never seen before; ends with 5 at the first, unless --exec",
    )
    parser.add_argument(
        "--exec", metavar="CMD", help="run for each new one, which it reads as JSON from its input"
    )


def run(desk: Desk, args: argparse.Namespace) -> int:
    """The last few dead letters, then each new one, until stopped."""
    if args.exit and (args.new_groups or args.exec is not None):
        flag = "--new-groups" if args.new_groups else "--exec"
        raise UsageError(f"{flag} is about what comes, and --exit ends before anything does: leave one out")
    command = None if args.exec is None else Command("--exec", args.exec)
    how = Tail(selected(desk, args), args.exit, args.new_groups, command)
    outage = Outage(desk.tell, str(desk.client["bootstrap.servers"]))
    with Topic(desk, error_cb=lambda error: note_loss(outage, error)) as topic:
        if how.exit_at_end:
            return _list_last(desk, topic, how.selection)
        follow = _follow_new_groups if how.new_groups else _follow
        return follow(desk, topic, how, outage)


def note_loss(outage: Outage, error: KafkaError) -> None:
    """What the client calls for its errors: notice that Kafka is away."""
    if error.code() == KafkaError._ALL_BROKERS_DOWN:
        outage.lost("all brokers are down")


def _list_last(desk: Desk, topic: Topic, selection: Selection) -> int:
    show = printer(desk)
    for letters in topic.batches(selection._replace(range=_from_the_last(selection.range))):
        show(letters)
    return desk.signals.exit_code


def _from_the_last(wanted: Range) -> Range:
    """Where tail begins: at the last few, unless told otherwise."""
    return (
        wanted._replace(begin=Position("back", LAST_SHOWN)) if wanted == Range(wanted.partitions) else wanted
    )


def _follow(desk: Desk, topic: Topic, how: Tail, outage: Outage) -> int:
    show = printer(desk, is_premise=how.command is not None)
    spans = spans_of(topic.reader, _from_the_last(how.selection.range))
    begun = {span.partition: span.end for span in spans}
    limit = Limit(how.selection)
    grows = not how.selection.range.partitions
    for records in topic.follow(spans, _until(desk, limit), grows, heard=partial(note_silence, outage)):
        letters = limit.take([topic.letter(record) for record in records])
        show(letters)
        fresh = [one for one in letters if one.record.offset >= begun.get(one.record.partition, 0)]
        _run_for(desk, how.command, fresh)
    return OK if limit.reached else desk.signals.exit_code


def _until(desk: Desk, limit: Limit) -> Callable[[], bool]:
    """When to stop: once asked to, or when there are as many as were asked for."""
    return lambda: desk.signals.requested or limit.reached


def _follow_new_groups(desk: Desk, topic: Topic, how: Tail, outage: Outage) -> int:
    """Learn every kind of failure that is there, then speak only of those that are not among them."""
    spans = spans_of(topic.reader, how.selection.range)
    known = _known_groups(desk, topic, how.selection)
    if desk.signals.requested:
        return desk.signals.exit_code
    desk.note(f"{plural(len(known), 'group')} known; waiting for one that is not")
    show, grows = printer(desk, heading=False, is_premise=True), not how.selection.range.partitions
    ends = [span._replace(begin=span.end) for span in spans]
    limit = Limit(how.selection)
    for records in topic.follow(ends, _until(desk, limit), grows, heard=partial(note_silence, outage)):
        chosen = [one for one in map(topic.letter, records) if how.selection.takes(one)]
        unseen = limit.take(_first_of_each(chosen, known))
        show(unseen)
        _ring(desk, len(unseen))
        _run_for(desk, how.command, unseen)
        if unseen and how.command is None:
            return TRIPPED
    return OK if limit.reached else desk.signals.exit_code


def _known_groups(desk: Desk, topic: Topic, selection: Selection) -> Dict[str, None]:
    progress = Progress(desk.err)
    known: Dict[str, None] = {}
    for letters in topic.batches(selection._replace(limit=None), progress):
        known.update(dict.fromkeys(one.fingerprint for one in letters))
    progress.clear()
    return known


def _first_of_each(letters: Sequence[Letter], known: Dict[str, None]) -> List[Letter]:
    unseen = []
    for one in letters:
        if one.fingerprint not in known:
            known[one.fingerprint] = None
            unseen.append(one)
    return unseen


def _ring(desk: Desk, times: int) -> None:
    if times and desk.err.can_rewrite:
        desk.err.bell()


def _run_for(desk: Desk, command: Optional[Command], letters: Sequence[Letter]) -> None:
    """Run the command for each; that it fails is told, and following goes on."""
    for letter in letters if command else ():
        if desk.signals.requested:
            return
        data = (to_json(envelope(desk.mask.letter(letter))) + "\n").encode()
        fault = command and command.run(data, desk.err.descriptor, lambda: desk.signals.requested)
        if fault:
            record = letter.record
            desk.tell("exec_failed", detail=fault, partition=record.partition, offset=record.offset)


def note_silence(outage: Outage, silent_s: float) -> None:
    """What the reader hears every few seconds: notice that Kafka does not answer, and that it does again."""
    if silent_s:
        outage.lost(f"no answer for {duration(silent_s)}", silent_s)
    else:
        outage.back()
