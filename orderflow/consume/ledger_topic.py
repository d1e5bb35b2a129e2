"""Looks at the ledger topic when a consumer starts, and creates it if it is missing."""

from typing import Any, Mapping, NamedTuple, Optional

from orderflow.consume.outbox import DEFAULT_MAX_BYTES
from orderflow.consume.pages import LedgerTopic
from orderflow.exits import CommandError, NotReady, TopicMissing
from orderflow.kafka import topics
from orderflow.model.commit_metadata import MAX_ATTEMPTS

FEW = "no more than several hundred orders of a partition can wait at a time"


class Look(NamedTuple):
    """What was found."""

    topic: Optional[LedgerTopic]
    problem: Optional[str] = None
    """Why there is no such topic: the list of waiting orders has to fit into commit metadata then."""


def ledger_topic(conf: Mapping[str, Any], name: str, partitions: int, group: str) -> Look:
    """The ledger topic, created with so many partitions if it is missing.

    Raises CommandError if the topic does not keep what it is for: a topic that deletes old records would
    forget what waits. Raises NotReady where Kafka cannot say now: to go on without the topic until the next
    start would be a lasting answer to a passing trouble.
    """
    try:
        topics.ensure_topics(conf, [topics.ledger(name, partitions)])
        count, missing = topics.partition_count(conf, name), topics.missing_rights(conf, name)
    except NotReady:
        raise
    except TopicMissing as absent:
        told = " ".join(str(absent).split())
        return Look(None, f"{told}; until then, {FEW}")
    except CommandError as denied:
        return Look(None, f"{denied}; without it, {FEW}")
    if missing:
        rights = " and ".join(missing)
        return Look(None, f"the right {rights} on topic {name} (LEDGER_TOPIC) is missing; without it, {FEW}")
    found = topics.settings_of(conf, name)
    _require_compaction(name, found.get("cleanup.policy"))
    limit = topics.record_limit_of(found)
    return Look(LedgerTopic(name, count, DEFAULT_MAX_BYTES if limit is None else limit, group))


def _require_compaction(name: str, policy: Optional[str]) -> None:
    if policy in ("compact", None):  # None: we may not read it
        return
    raise CommandError(
        f"LEDGER_TOPIC {name} has cleanup.policy={policy}: Kafka would delete the list of waiting orders. "
        f"Set it to compact: kafka-configs.sh --alter --entity-type topics --entity-name {name} "
        "--add-config cleanup.policy=compact"
    )


def require_few_retries(max_retries: int, name: str) -> None:
    """Without pages, no more attempts than this are remembered. Raises CommandError."""
    if max_retries >= MAX_ATTEMPTS:
        raise CommandError(
            f"MAX_RETRIES above {MAX_ATTEMPTS - 1} needs the topic {name} (LEDGER_TOPIC), which cannot be "
            f"used: commit metadata alone counts no more than {MAX_ATTEMPTS} attempts of a waiting order"
        )
