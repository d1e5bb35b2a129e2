"""The verb `show`: dead letters in full, with their source and what the order was before."""

import argparse
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

from orderflow.dlq.audit import AuditEntry
from orderflow.dlq.audit_topic import read_entries
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.letter import Letter
from orderflow.dlq.output import portrait
from orderflow.dlq.output.envelope import envelope, to_json
from orderflow.dlq.output.portrait import Shown
from orderflow.dlq.pointer import AGREES, compare, doubt
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import POSITIONS, places_of, selected
from orderflow.dlq.topic import Topic, audit_topics
from orderflow.exits import CommandError, UsageError
from orderflow.model.records import Record, place_in

LONGEST_STORY = 100


class Show(NamedTuple):
    """What `show` is asked for."""

    positions: Sequence[Any]
    """Places as (partition, offset)."""
    selection: Selection
    stack: bool = False
    history: bool = False
    raw: bool = False
    headers: bool = False


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of show, beside the selection."""
    parser.add_argument("positions", nargs="*", metavar="POSITION", help=POSITIONS)
    parser.add_argument("--stack", action="store_true", help="with the stack trace, if it carries one")
    parser.add_argument(
        "--headers", dest="with_headers", action="store_true", help="with its diagnostic headers, as they are"
    )
    parser.add_argument("--history", action="store_true", help="with its earlier deaths, if it was replayed")
    parser.add_argument(
        "--raw", action="store_true", help="the bytes of its value, nothing else; not to a terminal"
    )


def run(desk: Desk, args: argparse.Namespace) -> int:
    """Dead letters in full: those at the given places, else those that are selected."""
    what = _what(desk, args)
    if what.raw and desk.out.is_terminal:
        raise CommandError("--raw writes the bytes as they are, so not to a terminal: redirect the output")
    with Topic(desk) as topic:
        for place, letter in enumerate(_asked_for(topic, what)):
            if place and not desk.json and not what.raw:
                desk.say("")
            _show_one(desk, topic, letter, what)
    return desk.signals.exit_code


def _what(desk: Desk, args: argparse.Namespace) -> Show:
    chosen = selected(desk, args)
    places = places_of(desk, args.positions)
    if not places and chosen.is_everything:
        raise UsageError("show what? Give PARTITION:OFFSET, or choose with -g, --key and the like")
    if places and not chosen.is_everything:
        raise UsageError("show which? Give positions, or choose with -g, --key and the like, not both")
    return Show(places, chosen, args.stack, args.history, args.raw, args.with_headers)


def _asked_for(topic: Topic, what: Show) -> Iterator[Letter]:
    for partition, offset in what.positions:
        yield topic.at(partition, offset)
    if not what.positions:
        chosen = [letter for letters in topic.batches(what.selection) for letter in letters]
        yield from chosen
        if not chosen:
            raise CommandError("no dead letter is selected")


def _show_one(desk: Desk, topic: Topic, letter: Letter, what: Show) -> None:
    if what.raw:
        if desk.mask.names:
            raise CommandError("--raw writes the whole value, of which fields are hidden: --unmask asks")
        desk.out.data(letter.record.value or b"")
        return
    if desk.json:
        for each in _story(topic, letter) if what.history else [letter]:
            desk.say(to_json(envelope(desk.mask.letter(each))))
        return
    for line in portrait.show_lines(look_closer(desk, letter), now_ms(), what.stack, what.headers):
        desk.say(line)
    if what.history:
        story = list(desk.mask.letters(_story(topic, letter)))
        for line in portrait.history_lines(story, _entries_of(desk, story)):
            desk.say(line)


def _entries_of(desk: Desk, letters: List[Letter]) -> Dict[str, AuditEntry]:
    """What was last done to each of them, by `partition:offset`; nothing where nobody may read it."""
    wanted = {letter.position for letter in letters}
    try:
        entries = read_entries(audit_topics(desk))
        return {entry.position: entry for entry in entries if entry.position in wanted}
    except CommandError:  # the states could not be read either, which was said
        return {}


def look_closer(desk: Desk, letter: Letter) -> Shown:
    """Decode the value; where the dead letter does not carry the source's, try to fetch it there."""
    looked = letter.told.value_is_original is False and letter.told.topic is not None
    found = fetch_source(desk, letter) if looked else None
    comparison = compare(letter, found) if found else AGREES
    fetched = None if comparison.differs else found
    value = fetched.value if fetched else letter.record.value
    inspection = desk.decoder.inspect(value)
    if desk.mask.names and inspection.order is not None:
        inspection = inspection._replace(order=desk.mask.order(inspection.order))
    return Shown(desk.mask.letter(letter), inspection, fetched, looked, doubt(comparison))


def fetch_source(desk: Desk, letter: Letter) -> Optional[Record]:
    """The record that died, from its own topic; None where that does not hold it any more."""
    told = letter.told
    if told.topic is None or told.partition is None or told.offset is None:
        return None
    with desk.reader(told.topic) as reader:
        try:
            return (
                reader.fetch(told.partition, told.offset) if told.partition in reader.partitions() else None
            )
        except CommandError as error:
            desk.note(f"the source of {letter.position} cannot be read: {error}")
            return None


def _story(topic: Topic, letter: Letter) -> List[Letter]:
    """The dead letters that this order was before, as far as they are still there, and this one."""
    story = [letter]
    while len(story) < LONGEST_STORY:
        before = place_in(topic.reader.topic, story[0].told.replay_from)
        record = topic.reader.fetch(*before) if before and before[0] in topic.reader.partitions() else None
        if record is None:
            break
        story.insert(0, topic.letter(record))
    return story
