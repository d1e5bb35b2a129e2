"""How a consumer group sees one of its members."""

from typing import Any, Mapping, NamedTuple, Optional

from confluent_kafka import ConsumerGroupState, KafkaException

from orderflow.kafka.reachable import admin_client
from orderflow.model.text import plural


class Standing(NamedTuple):
    """How a group sees one of its members, or a consumer that wants to join."""

    is_idle: bool
    """It is a member without partitions."""
    is_settled: bool
    """The group is not rebalancing."""
    detail: str


def state_in_words(state: ConsumerGroupState) -> str:
    """As people say it. The client cannot name those of a `group.protocol=consumer` that rebalances."""
    if state == ConsumerGroupState.UNKNOWN:
        return "rebalancing"
    name: str = state.name
    return name.lower().replace("_", " ")


def standing(conf: Mapping[str, Any], group: str, member: Optional[str], timeout_s: float = 5.0) -> Standing:
    """Ask the group's coordinator, by a client of its own."""
    admin = admin_client(conf)
    try:
        found = admin.describe_consumer_groups([group], request_timeout=timeout_s)[group].result()
    except KafkaException as error:
        return Standing(False, False, f"no answer from the group's coordinator: {error.args[0].str()}")
    state = state_in_words(found.state)
    ours = [each for each in found.members if each.member_id == member]
    if not ours:
        members = plural(len(found.members), "member")
        detail = f"the group is {state}, with {members}, and this consumer is none of them"
    else:
        detail = f"the group is {state}, and this consumer a member of it"
    is_settled = found.state in (ConsumerGroupState.STABLE, ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)
    is_without = bool(ours) and is_settled and not ours[0].assignment.topic_partitions
    partitions = sum(len(each.assignment.topic_partitions) for each in found.members)
    is_idle = is_without and partitions > 0  # nobody has one: none is left only where others have them
    if is_without and not partitions:
        detail += "; nobody in it has a partition"
    if is_idle:
        detail = f"{plural(len(found.members), 'consumer')}, {plural(partitions, 'partition')}"
    return Standing(is_idle, is_settled, detail)
