"""Whether all is well with a consumer group and its dead letters: the facts, and one verdict on them."""

from typing import List, NamedTuple, Optional, Tuple

from orderflow.exits import FAILED, OK, TRIPPED
from orderflow.model.commit_metadata import Commit
from orderflow.model.text import plural
from orderflow.model.time_spans import write_span

SILENT_MS = 60_000
"""Without a commit for so long, a consumer that has work to do is not doing it."""
GROWTH_MS = 600_000
"""The time in which dead letters are counted as new."""
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


class Facts(NamedTuple):
    """All that was found out, and what was not."""

    now_ms: int
    topic: str
    group: Group
    partitions: Optional[List[Partition]]
    dead_letters: DeadLetters
    unknown: Tuple[str, ...] = ()


class Verdict(NamedTuple):
    """What a person has to know."""

    problems: List[str]
    """What needs a person, the most urgent first."""
    unknown: List[str]

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
    problems = list(stopped)
    for partition in facts.partitions or ():
        # That nothing moves without any consumer is said once.
        trouble = _lasting(partition) if stopped else trouble_of(partition, facts, most_age_ms)
        if trouble is not None:
            problems.append(f"partition {partition.number}: {trouble}")
    problems += _of_the_dead_letters(facts)
    return Verdict(problems, list(facts.unknown))


def _of_the_group(facts: Facts) -> List[str]:
    if facts.group.members != 0:
        return []
    todo = sum(partition.unseen + partition.waiting for partition in facts.partitions or ())
    return [
        f"no consumer of group {facts.group.name} runs"
        + (f", and {plural(todo, 'order is', 'orders are')} to be processed" if todo else "")
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
    if partition.committed is not None and partition.committed > partition.high:
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
    return f"{since}, with {plural(partition.unseen, 'order')} unseen"


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
