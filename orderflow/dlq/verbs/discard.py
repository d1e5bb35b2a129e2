"""The verb `discard`: marks dead letters as resolved without sending anything, and takes that back."""

import argparse
from typing import Iterator, List, NamedTuple, Optional

from orderflow.cli.terminal import count
from orderflow.dlq import audit
from orderflow.dlq.audit import Job
from orderflow.dlq.choice import Choice
from orderflow.dlq.confirmation import answer, can_ask, confirm
from orderflow.dlq.desk import Desk, now_ms
from orderflow.dlq.letter import DISCARDED, NEW, Letter
from orderflow.dlq.output.envelope import to_json
from orderflow.dlq.replay.confirmed import warn_of_others
from orderflow.dlq.replay.sending import new_job_id, who
from orderflow.dlq.replay.text import job_row
from orderflow.dlq.selection import Selection
from orderflow.dlq.selection_flags import POSITIONS, places_of, refuse_everything, selected
from orderflow.dlq.topic import Topic, refuse_successor, states_to_act_on
from orderflow.dlq.writer import open_writer
from orderflow.exits import OK, Refused, UsageError
from orderflow.kafka import topics
from orderflow.kafka.topic_identity import topic_id
from orderflow.kafka.transactions import Transactions
from orderflow.model.records import Outgoing
from orderflow.model.text import plural

MOST_IN_TRANSACTION = 10_000


class Action(NamedTuple):
    """One way of marking."""

    name: str
    """As the audit has it."""
    verb: str
    from_state: str
    """The others are left as they are."""


DISCARD = Action(audit.DISCARDED, "discard", NEW)
RESTORE = Action(audit.RESTORED, "restore", DISCARDED)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of discard, beside the selection."""
    parser.add_argument("positions", nargs="*", metavar="POSITION", help=POSITIONS)
    parser.add_argument("--all", action="store_true", help="really all of them, where nothing else selects")
    parser.add_argument("--reason", metavar="TEXT", help="why, for the audit; needed to discard")
    parser.add_argument("--restore", action="store_true", help="make discarded ones new again")
    parser.add_argument(
        "--confirm", metavar="TOPIC", help="with --all: the name of the topic, instead of typing it"
    )
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")


def run(desk: Desk, args: argparse.Namespace) -> int:
    """`discard`."""
    action = RESTORE if args.restore else DISCARD
    if action is DISCARD and not args.reason:
        raise UsageError("discard why? Say it with --reason; it is kept with who and when")
    places = places_of(desk, args.positions)
    selection = selected(desk, args, places)
    refuse_everything(selection, args, action.verb)
    with Topic(desk) as topic:
        topic.require(places)
        dlq_id = topic_id(desk.client, desk.dlq_topic)
        choice = _choose(topic, selection, action)
        if desk.signals.requested:
            return desk.signals.exit_code
        if not choice.count:
            desk.note(f"nothing to {action.verb}: none of the chosen is {action.from_state}")
            return OK
        topics.ensure_topics(desk.client, [topics.audit(desk.audit_topic)])
        warn_of_others(desk)
        _ask(desk, args, action, choice.count, selection.is_everything)
    return _mark(desk, choice, action, args.reason, dlq_id)


def _choose(topic: Topic, selection: Selection, action: Action) -> Choice:
    """Those that the selection takes now and whose state is to be changed."""
    spans = topic.spans_now(selection)
    choice = Choice(spans)
    for letters in topic.batches(selection, spans=spans):
        for letter in letters:
            choice.add(letter, letter.state == action.from_state)
    return choice


def _still_there(topic: Topic, choice: Choice, action: Action) -> Iterator[Letter]:
    """Those of the choice that are as they were."""
    for letters in topic.batches(Selection(), spans=choice.spans):
        yield from (each for each in letters if choice.holds(each) and each.state == action.from_state)


def _ask(desk: Desk, args: argparse.Namespace, action: Action, number: int, everything: bool) -> None:
    """Raise Refused unless it is confirmed; for everything a plain yes is too easily said."""
    what = f"{action.verb} {plural(number, 'dead letter')} of {desk.dlq_topic}"
    if not (everything and action is DISCARD):
        confirm(desk, f"{what}?", args.yes)
        return
    typed = args.confirm or (
        answer(desk, f"{what}: that is all of them. Type the topic's name: ") if can_ask(desk) else ""
    )
    if typed != desk.dlq_topic:
        raise Refused(f"nothing was changed: not confirmed; --confirm={desk.dlq_topic} would")


def _mark(desk: Desk, choice: Choice, action: Action, reason: str, dlq_id: Optional[str]) -> int:
    """Fence others, read the states anew, and write an entry for each that still is what it was.

    `dlq_id`: of the topic that the choice is of.
    """
    transactions = open_writer(desk)
    states = states_to_act_on(desk)
    refuse_successor(desk, dlq_id, states)
    at_ms = now_ms()
    job = Job(new_job_id(), action.name, who(), at_ms, at_ms, audit.RUNNING, choice.count, 0, reason=reason)
    marking = _Marking(desk, transactions, job, states.dlq_id)
    with Topic(desk, states.of) as topic:
        for letter in _still_there(topic, choice, action):
            marking.add(letter)
        job = marking.end(audit.STOPPED if desk.signals.requested else audit.DONE)
    desk.result(to_json(job_row(job)) if desk.json else f"{count(job.done)} {action.name}; job {job.id}")
    left = job.total - job.done
    if left and not desk.signals.requested:
        of, was = f"{left:,} of the {job.total:,}", action.from_state
        desk.note(f"{of} are no longer {was}, or no longer in {desk.dlq_topic}: left as they are")
    return desk.signals.exit_code


class _Marking:
    """Writes the entries of a job, so many in a transaction, each with the job's record."""

    def __init__(self, desk: Desk, transactions: Transactions, job: Job, dlq_id: Optional[str]) -> None:
        self._desk = desk
        self._transactions = transactions
        self._job = job
        self._dlq_id = dlq_id
        self._letters: List[Letter] = []

    def add(self, letter: Letter) -> None:
        """Mark one, with the next transaction."""
        self._letters.append(letter)
        if len(self._letters) >= MOST_IN_TRANSACTION:
            self._write(audit.RUNNING)

    def end(self, status: str) -> Job:
        """Write what is left; the job as it ended."""
        self._write(status)
        return self._job

    def _write(self, status: str) -> None:
        """One transaction: the entries and the job's record."""
        topic, job, letters = self._desk.audit_topic, self._job, self._letters
        value = audit.entry_value(job, now_ms(), None, self._dlq_id)
        for letter in letters:
            key = audit.entry_key(letter.record.partition, letter.record.offset)
            self._transactions.send(Outgoing(topic, key, value, []))
        job = job._replace(done=job.done + len(letters), status=status, changed_ms=now_ms())
        self._transactions.send(Outgoing(topic, audit.job_key(job.id), audit.job_value(job), []))
        self._transactions.commit()
        self._job, self._letters = job, []
