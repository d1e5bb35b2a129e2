"""The verdict of `health` and the facts behind it, for people and for machines."""

from typing import List, Optional, Tuple

from orderflow.dlq.health import GROWTH_MS, Copies, Facts, Partition, Verdict, trouble_of
from orderflow.dlq.output.envelope import Json
from orderflow.dlq.output.listing import Lines, columns, expiry_at
from orderflow.dlq.output.times import age, ago
from orderflow.model.cells import fit
from orderflow.model.open_transactions import Hidden
from orderflow.model.text import escape, plural

MOST_PARTITIONS = 20
"""Partitions that are well are left out beyond this."""


def health_row(facts: Facts, found: Verdict, most_age_ms: int) -> Json:
    """All of it as an object."""
    dead = facts.dead_letters
    return {
        "verdict": found.word,
        "exit_code": found.exit_code,
        "problems": found.problems,
        "unknown": found.unknown,
        "notes": found.notes,
        "group": facts.group.name,
        "state": facts.group.state,
        "consumers": facts.group.members,
        "topic": facts.topic,
        "partitions": None
        if facts.partitions is None
        else [_partition_row(one, facts, most_age_ms) for one in facts.partitions],
        "copies": [_copies_row(one) for one in facts.copies],
        "dead_letters": {
            "unresolved": dead.unresolved,
            "complete": dead.is_complete,
            "oldest_ts": dead.oldest_ms,
            "recent": dead.recent,
            "recent_ms": GROWTH_MS,
            "first_expiry_ts": dead.first_expiry_ms,
            "expired_unresolved_at_most": dead.expired_unresolved,
            "hidden": [_hidden_row(one) for one in dead.hidden],
        },
    }


def _hidden_row(hidden: Hidden) -> Json:
    return {
        "partition": hidden.partition,
        "begin": hidden.begin,
        "end": hidden.end,
        "since_ts": hidden.since_ms,
    }


def _copies_row(copies: Copies) -> Json:
    return {
        "topic": copies.topic,
        "partition": copies.partition,
        "leader": copies.leader,
        "in_sync": copies.in_sync,
        "replicas": copies.replicas,
        "min_insync_replicas": copies.least,
    }


def _partition_row(partition: Partition, facts: Facts, most_age_ms: int) -> Json:
    return {
        "partition": partition.number,
        "owner": partition.owner,
        "committed": partition.committed,
        "unseen": partition.unseen if facts.group.knows_commits else None,
        "oldest_unseen_ts": partition.oldest_unseen_ms,
        "waiting": partition.waiting if partition.knows_waiting else None,
        "committed_at": None if partition.commit is None else partition.commit.written_at_s * 1000,
        "braked": None if partition.commit is None else partition.commit.braked,
        "trouble": trouble_of(partition, facts, most_age_ms),
    }


def health_lines(facts: Facts, found: Verdict, most_age_ms: int, width: Optional[int]) -> Lines:
    """The verdict first, then what it rests on."""
    yield fit(escape(found.word.upper() if found.problems else found.word), width)
    for problem in found.problems:
        yield f"  {escape(problem)}"
    for unknown in found.unknown:
        yield f"  cannot tell {escape(unknown)}"
    for note in found.notes:
        yield f"  {escape(note)}"
    yield from _group_line(facts)
    if facts.partitions is not None:
        yield from _partition_lines(facts, most_age_ms, width)
    yield from _dead_letter_lines(facts)


def _group_line(facts: Facts) -> Lines:
    members = "not known" if facts.group.members is None else plural(facts.group.members, "consumer")
    state = "" if facts.group.state is None else f"  {escape(facts.group.state)}"
    yield f"group {escape(facts.group.name)}{state}  {members}"


def _partition_lines(facts: Facts, most_age_ms: int, width: Optional[int]) -> Lines:
    all_of_them = facts.partitions or []
    told = [(one, trouble_of(one, facts, most_age_ms)) for one in all_of_them]
    shown = told if len(told) <= MOST_PARTITIONS else [each for each in told if each[1] is not None]
    shown = shown[:MOST_PARTITIONS]
    table: List[Tuple[str, ...]] = [("PARTITION", "UNSEEN", "WAITING", "OLDEST", "OWNER", "")]
    table += [_partition_cells(one, trouble, facts) for one, trouble in shown]
    yield from columns(table, width, right=(1, 2))
    if len(shown) < len(told):
        yield f"and {plural(len(told) - len(shown), 'partition')} more; --json has them all"


def _partition_cells(partition: Partition, trouble: Optional[str], facts: Facts) -> Tuple[str, ...]:
    oldest = partition.oldest_unseen_ms
    return (
        str(partition.number),
        f"{partition.unseen:,}" if facts.group.knows_commits else "?",
        f"{partition.waiting:,}" if partition.knows_waiting else "-",
        "-" if oldest is None else age(max(0, facts.now_ms - oldest)),
        ("?" if facts.group.members is None else "-") if partition.owner is None else escape(partition.owner),
        "ok" if trouble is None else escape(trouble),
    )


def _dead_letter_lines(facts: Facts) -> Lines:
    dead = facts.dead_letters
    if dead.unresolved is None:
        yield "dead letters  not known"
        return
    more = "" if dead.is_complete else " or more"
    parts = [f"{dead.unresolved:,}{more} unresolved"]
    if dead.oldest_ms is not None:
        parts.append(f"the oldest {ago(dead.oldest_ms, facts.now_ms)}")
    if dead.recent is not None:
        parts.append(f"about {dead.recent:,} new in {age(GROWTH_MS)}")
    if dead.first_expiry_ms is not None:
        parts.append(expiry_at(dead.first_expiry_ms, facts.now_ms))
    yield f"dead letters  {', '.join(parts)}"
    if dead.expired_unresolved:
        yield f"expired       up to {dead.expired_unresolved:,} expired before anybody decided about them"
