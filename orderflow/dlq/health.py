"""Whether all is well with a consumer group and its dead letters: the facts, and one verdict on them."""

from itertools import groupby
from typing import Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from orderflow.exits import FAILED, OK, TRIPPED
from orderflow.model.commit_metadata import Commit
from orderflow.model.open_transactions import Hidden
from orderflow.model.text import named, plural
from orderflow.model.time_spans import write_span

SILENT_MS = 60_000
"""Without a commit for so long, a consumer that has work to do is not doing it."""
GROWTH_MS = 600_000
"""The time in which dead letters are counted as new."""
MOST_NAMED = 10
"""Partitions that are named in a line."""
SOON_MS = 86_400_000
"""What expires within this time needs a decision now."""


class Partition(NamedTuple):
    """One partition of the orders topic. None: not known, unless it says otherwise."""

    number: int
    low: int
    high: int
    stable: int
    """Up to where a consumer can read."""
    committed: Optional[int]
    """None: the group has committed nothing, or it is not known what."""
    commit: Optional[Commit]
    """None: there is no metadata of ours."""
    owner: Optional[str]
    """None: no member owns it, or it is not known who does."""
    oldest_unseen_ms: Optional[int] = None

    @property
    def next(self) -> int:
        """The first offset that the group has not taken in."""
        if self.commit is not None:
            return self.commit.next
        return self.low if self.committed is None else max(self.low, self.committed)

    @property
    def unseen(self) -> int:
        """About how many orders it has not taken in; transactions' markers count too."""
        return max(0, self.high - self.next)

    @property
    def waiting(self) -> int:
        """Orders that wait for a retry, or are in flight."""
        return 0 if self.commit is None else len(self.commit.entries)

    @property
    def knows_waiting(self) -> bool:
        """Whether the commit lists what waits, itself or on a page that was found."""
        return self.commit is not None and self.commit.is_complete

    @property
    def is_behind(self) -> bool:
        """Whether the commit, made for this very topic, is beyond its end, as the leader knows it.

        A leader that has just taken over learns the end from its followers. One that led in an unclean
        election has lost records.
        """
        return self._is_beyond and self.commit is not None and self.commit.topic_id is not None

    @property
    def is_of_another_topic(self) -> bool:
        """Whether the commit can only have been made for another topic of this name."""
        return self._is_beyond and not self.is_behind

    @property
    def _is_beyond(self) -> bool:
        return self.committed is not None and self.committed > self.high

    def overdue(self, now_ms: int) -> int:
        """How many of them should have been called a while ago."""
        if self.commit is None:
            return 0
        due = [(self.commit.written_at_s + entry.delay_s) * 1000 for entry in self.commit.entries]
        return sum(at_ms + SILENT_MS < now_ms for at_ms in due)


class Group(NamedTuple):
    """The consumer group."""

    name: str
    state: Optional[str]
    """None: not known."""
    members: Optional[int]
    knows_commits: bool


class Copies(NamedTuple):
    """A partition of any of the topics that lacks a replica, or its leader."""

    topic: str
    partition: int
    leader: Optional[int]
    """The broker that leads it; None: none does."""
    in_sync: int
    replicas: int
    """How many there should be."""
    least: int
    """As many have to be in sync for a record to be accepted (min.insync.replicas)."""

    @property
    def takes_no_record(self) -> bool:
        """Whether what is written with acks=all, as all of ours is, is refused."""
        return self.in_sync < min(self.least, self.replicas)


class DeadLetters(NamedTuple):
    """The dead letters on their topic."""

    unresolved: Optional[int]
    """None: not known."""
    is_complete: bool
    """Whether all of them could be looked at in time; otherwise there may be more."""
    oldest_ms: Optional[int]
    """Of the unresolved ones."""
    recent: Optional[int]
    """About how many came in the last `GROWTH_MS`."""
    first_expiry_ms: Optional[int]
    """When the oldest unresolved one may be deleted; None: never, or not known."""
    expired_unresolved: int = 0
    """At most how many expired without a decision: transactions' markers take offsets too."""
    hidden: Tuple[Hidden, ...] = ()
    """What a transaction that somebody left open hides: nobody knows whether dead letters are there."""


class Facts(NamedTuple):
    """All that was found out, and what was not."""

    now_ms: int
    topic: str
    group: Group
    partitions: Optional[List[Partition]]
    dead_letters: DeadLetters
    unknown: Tuple[str, ...] = ()
    copies: Tuple[Copies, ...] = ()
    """Of the topics of orders, dead letters and what was done to them; none of partitions that are whole."""
    dead_letter_topic: str = ""


class Verdict(NamedTuple):
    """What a person has to know."""

    problems: List[str]
    """What needs a person, the most urgent first."""
    unknown: List[str]
    notes: List[str] = []
    """What is worth knowing, and needs nobody."""

    @property
    def exit_code(self) -> int:
        """0: all is well, 1: that cannot be told, 5: something needs a person."""
        if self.problems:
            return TRIPPED
        return FAILED if self.unknown else OK

    @property
    def word(self) -> str:
        """The same in words."""
        return {TRIPPED: "needs a person", FAILED: "cannot tell", OK: "all well"}[self.exit_code]


def verdict(facts: Facts, most_age_ms: int) -> Verdict:
    """The verdict; `most_age_ms` is how old an order may get before it is taken in."""
    stopped = _of_the_group(facts)
    problems = [*_of_the_brokers(facts), *stopped]
    for partition in facts.partitions or ():
        # That nothing moves without any consumer is said once.
        trouble = _lasting(partition) if stopped else trouble_of(partition, facts, most_age_ms)
        if trouble is not None:
            problems.append(f"partition {partition.number}: {trouble}")
    problems += (f"dead letters are hidden: {one}" for one in _hidden(facts, is_lasting=True))
    problems += _of_the_dead_letters(facts)
    unknown = [*facts.unknown, *_behind(facts), *_hidden(facts, is_lasting=False)]
    return Verdict(problems, unknown, list(_lacking(facts)))


def _behind(facts: Facts) -> Iterator[str]:
    for one in facts.partitions or ():
        if one.is_behind:
            yield (
                f"what partition {one.number} holds: committed at {one.committed}, and its leader knows of "
                f"{one.high} only; a new leader learns the rest in seconds, unless it went with the old one"
            )


def _hidden(facts: Facts, is_lasting: bool) -> Iterator[str]:
    """What is hidden of the dead letters: for so long that it needs a person, or not."""
    for one in facts.dead_letters.hidden:
        if one.is_lasting(facts.now_ms) is is_lasting:
            yield one.told(facts.dead_letter_topic, facts.now_ms)


def _of_the_brokers(facts: Facts) -> Iterator[str]:
    """What cannot be read or written until a broker is back."""
    for topic, lost in _by_topic(one for one in facts.copies if one.leader is None):
        yield f"topic {topic}: {_named(lost)} without a leader, so nothing can be read or written there"
    refusing = (one for one in facts.copies if one.leader is not None and one.takes_no_record)
    for topic, some in _by_topic(refusing):
        yield (
            f"topic {topic}: {_named(some)} with fewer replicas in sync than min.insync.replicas asks for "
            f"({_fewest(some)}), so nothing can be written there"
        )


def _lacking(facts: Facts) -> Iterator[str]:
    """What works, and would not if another broker went."""
    lacking = (one for one in facts.copies if one.leader is not None and not one.takes_no_record)
    for topic, some in _by_topic(lacking):
        yield f"topic {topic}: {_named(some)} under-replicated ({_fewest(some)} replicas in sync)"


def _by_topic(copies: Iterable[Copies]) -> Iterator[Tuple[str, List[Copies]]]:
    for topic, some in groupby(copies, key=lambda one: one.topic):
        yield topic, list(some)


def _named(copies: Sequence[Copies]) -> str:
    return named("partition", [str(one.partition) for one in copies], MOST_NAMED)


def _fewest(copies: Sequence[Copies]) -> str:
    worst = min(copies, key=lambda one: one.in_sync)
    return f"{worst.in_sync} of {worst.replicas}"


def _of_the_group(facts: Facts) -> List[str]:
    if facts.group.members != 0:
        return []
    partitions = facts.partitions or ()
    unseen, waiting = sum(one.unseen for one in partitions), sum(one.waiting for one in partitions)
    todo = ("about " if unseen else "") + plural(unseen + waiting, "order is", "orders are")
    return [
        f"no consumer of group {facts.group.name} runs"
        + (f", and {todo} to be processed" if unseen or waiting else "")
    ]


def trouble_of(partition: Partition, facts: Facts, most_age_ms: int) -> Optional[str]:
    """Why a partition does not get on as it should; None where it does, as far as Kafka's side can tell."""
    if facts.group.members and partition.owner is None:
        return _lasting(partition) or "no consumer owns it"
    reason = _lasting(partition) or _silence(partition, facts.now_ms)
    if reason is not None:
        return reason
    if partition.oldest_unseen_ms is not None:
        age_ms = facts.now_ms - partition.oldest_unseen_ms
        if age_ms > most_age_ms:
            return f"its oldest unseen order is {write_span(age_ms, 1)} old"
    return None


def _lasting(partition: Partition) -> Optional[str]:
    """What a consumer alone does not put right."""
    if partition.committed is not None and partition.committed < partition.low:
        lost = partition.low - partition.committed
        return f"{plural(lost, 'offset')} expired before the group was done with them"
    if partition.is_of_another_topic:
        return f"committed at {partition.committed}, beyond its end: was the topic created again?"
    if partition.commit is not None and partition.commit.braked:
        return "the outage brake holds it: what the handler calls does not work"
    return None


def _silence(partition: Partition, now_ms: int) -> Optional[str]:
    """Work is there, and nothing was committed for a while."""
    commit, overdue = partition.commit, partition.overdue(now_ms)
    if commit is None or not (partition.unseen or overdue):
        return None
    silent_ms = now_ms - commit.written_at_s * 1000
    if silent_ms < SILENT_MS:
        return None
    since = f"nothing was committed for {write_span(silent_ms, 1)}"
    if commit.alone is not None:
        return f"{since}: the order at {commit.alone} may hang or kill its consumer"
    if partition.stable < partition.high and partition.next >= partition.stable:
        return f"{since}: a transaction that is open from {partition.stable} on holds it back"
    if overdue:
        return f"{since}, and {plural(overdue, 'retry is', 'retries are')} overdue"
    return f"{since}, with about {plural(partition.unseen, 'order')} unseen"


def _of_the_dead_letters(facts: Facts) -> List[str]:
    found = facts.dead_letters
    if not found.unresolved:
        return []
    number = f"{found.unresolved:,}" + ("" if found.is_complete else " or more")
    told = [
        f"{number} dead letter{'' if found.unresolved == 1 and found.is_complete else 's'} to decide about"
    ]
    if found.recent:
        told.append(f"about {found.recent:,} new in {write_span(GROWTH_MS, 1)}")
    left_ms = None if found.first_expiry_ms is None else found.first_expiry_ms - facts.now_ms
    if left_ms is not None and left_ms < SOON_MS:
        told.append("the first expires " + ("now" if left_ms <= 0 else f"in {write_span(left_ms)}"))
    return [", ".join(told)]
