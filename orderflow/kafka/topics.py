"""Looks at topics: whether they exist, what they are like, where they end; creates those that are missing."""

import re
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, ConfigResource, NewTopic, OffsetSpec

from orderflow.exits import CommandError, NotReady, TopicMissing
from orderflow.kafka import leaders, refusals
from orderflow.kafka.controller import answer_of
from orderflow.kafka.reachable import address_of, admin_client
from orderflow.kafka.sizes import record_limit
from orderflow.model.text import did_you_mean

_BROKER_DEFAULT = -1
_WHOLE = re.compile("-?[0-9]{1,19}")
_LEADERLESS = (*leaders.LEADERLESS, *leaders.MOVED)
_PASSING = (
    *_LEADERLESS,
    *refusals.AWAY,
    *refusals.MOVING,
    KafkaError.NOT_CONTROLLER,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.INVALID_REPLICATION_FACTOR,  # too few brokers are there for a new topic
)
"""What a cluster says while a node is away, and no longer says when it is back."""

_Answer = TypeVar("_Answer")


class TopicSpec(NamedTuple):
    """How a missing topic is created. The replication factor is the broker's default."""

    name: str
    partitions: int
    config: Mapping[str, str] = {}


BY_BROKERS_CLOCK = {"message.timestamp.type": "LogAppendTime"}
"""The broker sets the timestamps: one whose clock differs too much from ours would reject ours."""


def orders(name: str) -> TopicSpec:
    """The topic of the orders: three partitions, so that three consumers can share the work."""
    return TopicSpec(name, 3)


def processed(name: str) -> TopicSpec:
    """The topic of the handlers' results, with as many partitions as the orders."""
    return TopicSpec(name, 3, BY_BROKERS_CLOCK)


def dead_letters(name: str) -> TopicSpec:
    """The topic of the dead letters: one partition, so that they read in the order in which they failed."""
    return TopicSpec(name, 1, BY_BROKERS_CLOCK)


def audit(name: str) -> TopicSpec:
    """The topic that records what was done with each dead letter: compacted, so the latest entry stays."""
    return TopicSpec(name, 1, {"cleanup.policy": "compact"})


def ledger(name: str, partitions: int) -> TopicSpec:
    """The topic of the ledger's pages, partitioned like the orders, so that a page is quickly found.

    Of each source partition only the latest page matters: small segments let the cleaner keep it small.
    """
    config = {
        **BY_BROKERS_CLOCK,
        "cleanup.policy": "compact",
        "max.message.bytes": str(LEDGER_RECORD_BYTES),
        "segment.bytes": str(64 * 1024 * 1024),
        "min.cleanable.dirty.ratio": "0.1",
    }
    return TopicSpec(name, partitions, config)


LEDGER_RECORD_BYTES = 4 * 1024 * 1024
"""Room for some 170,000 waiting orders of one partition."""


def ensure_topics(conf: Mapping[str, Any], specs: Sequence[TopicSpec], timeout_s: float = 10.0) -> List[str]:
    """Create the missing topics, wait until they can be used, and return their names.

    An existing topic is left unchanged. If we may not create one, raises TopicMissing with the command for
    someone who may; NotReady if Kafka cannot do it now.
    """
    admin = admin_client(conf)
    missing = [spec for spec in specs if not _exists(admin, spec.name, timeout_s)]
    refusals = _create(admin, missing, timeout_s)
    denials = {name: error for name, error in refusals.items() if not is_passing(error)}
    if denials:
        raise TopicMissing(*_how_to_create(missing, denials, address_of(conf)))
    for name, error in refusals.items():
        raise NotReady(f"topic {name} is missing and cannot be created now: {error.str()}")
    _wait_for(admin, missing, timeout_s)
    return [spec.name for spec in missing]


def is_passing(error: KafkaError) -> bool:
    """Whether a cluster answers so only while a node of it is away."""
    return error.code() in _PASSING


def require_topic(conf: Mapping[str, Any], name: str, hint: str, timeout_s: float = 10.0) -> None:
    """Return if there is such a topic. Raises TopicMissing with the nearest name, or else the hint."""
    admin = admin_client(conf)
    if _exists(admin, name, timeout_s):
        return
    try:
        known = sorted(admin.list_topics(timeout=timeout_s).topics)
    except KafkaException:
        known = []
    raise TopicMissing(f"topic {name} does not exist{did_you_mean(name, known) or f'; {hint}'}")


def _exists(admin: AdminClient, name: str, timeout_s: float) -> bool:
    """Describe a topic by a request that never makes a broker auto-create it."""
    try:
        describe(admin, name, timeout_s)
        return True
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return False
        raise unseen(name, error.args[0]) from error


def describe(admin: AdminClient, name: str, timeout_s: float) -> Any:
    """What a topic is like, as the client says it. Raises KafkaException."""
    asked = admin.describe_topics(TopicCollection([name]), request_timeout=timeout_s)
    return answer_of(admin, asked[name])


def _create(admin: AdminClient, specs: Sequence[TopicSpec], timeout_s: float) -> Dict[str, KafkaError]:
    """Create the topics; returns the reasons, by name, for those that were refused."""
    if not specs:
        return {}
    wanted = [
        NewTopic(spec.name, spec.partitions, _BROKER_DEFAULT, config=dict(spec.config)) for spec in specs
    ]
    refusals = {}
    for name, future in admin.create_topics(wanted, request_timeout=timeout_s).items():
        try:
            answer_of(admin, future)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # someone else was quicker
                refusals[name] = error.args[0]
    return refusals


def _how_to_create(
    missing: Sequence[TopicSpec], refusals: Mapping[str, KafkaError], address: str
) -> List[str]:
    refused = [spec for spec in missing if spec.name in refusals]
    lines = [
        f"topic {spec.name} is missing and could not be created: {refusals[spec.name].str()}"
        for spec in refused
    ]
    return [*lines, "someone who may create topics runs:", *(f"  {_command(s, address)}" for s in refused)]


def _command(spec: TopicSpec, address: str) -> str:
    config = "".join(f" --config {name}={value}" for name, value in spec.config.items())
    return (
        f"kafka-topics.sh --bootstrap-server {address} --create --topic {spec.name} "
        f"--partitions {spec.partitions}{config}"
    )


def _wait_for(admin: AdminClient, specs: Sequence[TopicSpec], timeout_s: float) -> None:
    """Wait until every partition has a leader: a controller answers before the brokers know the topic."""
    deadline_s = time.monotonic() + timeout_s
    for spec in specs:
        while not _is_led(admin, spec.name, timeout_s):
            if time.monotonic() >= deadline_s:
                raise NotReady(f"topic {spec.name} was created, but has no leader after {timeout_s:g} s")
            time.sleep(0.02)


def _is_led(admin: AdminClient, name: str, timeout_s: float) -> bool:
    try:
        partitions = describe(admin, name, timeout_s).partitions
    except KafkaException:
        return False
    return bool(partitions) and all(partition.leader is not None for partition in partitions)


def ends_of_log(conf: Mapping[str, Any], name: str, timeout_s: float = 5.0) -> Dict[int, int]:
    """The end of each partition, open transactions included. Raises KafkaException.

    The end that a `read_committed` consumer sees lies before the first open transaction. Of a topic that was
    just created, or whose leader has just moved, the broker first says that it does not lead it.
    """
    return while_leaderless(lambda: _ends_of_log(conf, name, timeout_s), timeout_s)


def while_leaderless(ask: Callable[[], _Answer], timeout_s: float) -> _Answer:
    """Ask again while a partition has no leader. Raises KafkaException, also where that lasts too long."""
    return refusals.ask_again(ask, _LEADERLESS, time.monotonic() + timeout_s, pause_s=0.05)


def _ends_of_log(conf: Mapping[str, Any], name: str, timeout_s: float) -> Dict[int, int]:
    admin = admin_client(conf)
    described = describe(admin, name, timeout_s).partitions
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    asked = {TopicPartition(name, partition.id): latest for partition in described}
    if not asked:
        return {}
    futures = admin.list_offsets(
        asked, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=timeout_s
    )
    return {place.partition: offset_of(future) for place, future in futures.items()}


def offset_of(answer: Any) -> int:
    """The offset that was asked for. Raises KafkaException, also where the leader has not answered.

    Of a leader that died or froze a moment ago, the client says -1001 without an error.
    """
    offset: int = answer.result().offset
    if offset < 0:
        raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
    return offset


def exists(conf: Mapping[str, Any], name: str, timeout_s: float = 5.0) -> bool:
    """Whether there is such a topic. Raises CommandError where Kafka does not say."""
    return _exists(admin_client(conf), name, timeout_s)


def partition_count(conf: Mapping[str, Any], name: str, timeout_s: float = 10.0) -> int:
    """How many partitions a topic has. Raises CommandError if that cannot be determined."""
    admin = admin_client(conf)
    try:
        return len(describe(admin, name, timeout_s).partitions)
    except KafkaException as error:
        raise unseen(name, error.args[0]) from error


def missing_rights(conf: Mapping[str, Any], name: str, timeout_s: float = 10.0) -> List[str]:
    """Which of READ and WRITE on a topic we lack. Raises CommandError if that cannot be determined."""
    admin = admin_client(conf)
    asked = TopicCollection([name])
    try:
        told = admin.describe_topics(asked, include_authorized_operations=True, request_timeout=timeout_s)
        granted = answer_of(admin, told[name]).authorized_operations
    except KafkaException as error:
        raise unseen(name, error.args[0]) from error
    wanted = (AclOperation.READ, AclOperation.WRITE)
    return [] if granted is None else [right.name for right in wanted if right not in granted]


def unseen(name: str, error: KafkaError) -> CommandError:
    """The error for a topic that cannot be described. Without rights, Kafka hides whether it exists.

    A topic that was created a moment ago is not known to every node yet (seen with three busy ones).
    """
    if is_passing(error) or error.code() in refusals.NO_SUCH_TOPIC:
        return NotReady(f"cannot look at topic {name} now: {error.str()}")
    denied = error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    hint = f"; if it is there, the right READ or WRITE on topic {name} is missing" if denied else ""
    return CommandError(f"cannot look at topic {name}: {error.str()}{hint}")


DEFAULT_MAX_BYTES = 1_048_588
"""A broker's `max.message.bytes` where nobody has set another."""


def max_message_bytes(conf: Mapping[str, Any], name: str, timeout_s: float = 5.0) -> Optional[int]:
    """The topic's `max.message.bytes`; None if we may not read its settings."""
    return numbers_set(conf, name, timeout_s).get("max.message.bytes")


def numbers_set(conf: Mapping[str, Any], name: str, timeout_s: float = 5.0) -> Dict[str, int]:
    """The topic's settings that are whole numbers; empty if we may not read them."""
    return numbers_of(settings_of(conf, name, timeout_s))


def numbers_of(found: Mapping[str, str]) -> Dict[str, int]:
    """Of settings, those that are whole numbers."""
    return {setting: int(value) for setting, value in found.items() if _WHOLE.fullmatch(value)}


def record_limit_of(found: Mapping[str, str]) -> Optional[int]:
    """The largest record that a topic of these settings accepts; None if they may not be read."""
    return record_limit(numbers_of(found).get("max.message.bytes"))


def settings_of(conf: Mapping[str, Any], name: str, timeout_s: float = 5.0) -> Dict[str, str]:
    """The topic's settings; empty if there is no such topic, or if we may not read them."""
    admin, resource = admin_client(conf), ConfigResource(ConfigResource.Type.TOPIC, name)
    try:
        asked = admin.describe_configs([resource], request_timeout=timeout_s)
        entries = answer_of(admin, asked[resource])
    except KafkaException:
        return {}
    return {setting: str(entry.value) for setting, entry in entries.items()}
