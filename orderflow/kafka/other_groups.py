"""Which groups read a topic, and how far they have got, as far as one may see them.

Kafka leaves out groups that we may not describe, and who reads without committing is in no group.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Collection, Dict, List, Mapping, Sequence, Set, Tuple

from confluent_kafka import ConsumerGroupState, TopicPartition

from orderflow.kafka.group_view import committed_places
from orderflow.kafka.reachable import admin_client

AT_ONCE = 8
"""Groups that are asked at the same time: a cluster may have hundreds."""

WITHOUT_MEMBERS = (ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD)

Places = Sequence[Tuple[str, int]]
"""Topics and the numbers of their partitions."""
Offsets = Dict[Tuple[str, int], int]


def committed_by_groups(client: Mapping[str, Any], places: Places, timeout_s: float) -> Dict[str, Offsets]:
    """By group that has committed for any of these places: the offset by place. Raises KafkaException."""
    groups = [one.group_id for one in _listed(admin_client(client), timeout_s)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = threads.map(partial(_committed, client, places, timeout_s), groups)
        return {group: offsets for group, offsets in zip(groups, found) if offsets}


def _listed(admin: Any, timeout_s: float) -> List[Any]:
    """All groups, by name. Raises KafkaException."""
    listed = admin.list_consumer_groups(request_timeout=timeout_s).result()
    if listed.errors:
        raise listed.errors[0]
    return sorted(listed.valid, key=lambda one: str(one.group_id))


def groups_reading(
    client: Mapping[str, Any], topics: Collection[str], timeout_s: float
) -> Dict[str, List[str]]:
    """By topic, the groups whose members have partitions of it now. Raises KafkaException."""
    admin = admin_client(client)
    groups = [one.group_id for one in _listed(admin, timeout_s) if one.state not in WITHOUT_MEMBERS]
    described = admin.describe_consumer_groups(groups, request_timeout=timeout_s) if groups else {}
    read_by = {group: _read_by(described[group].result()) for group in groups}
    return {topic: [group for group in groups if topic in read_by[group]] for topic in topics}


def _read_by(group: Any) -> Set[str]:
    owned = (member.assignment.topic_partitions for member in group.members if member.assignment)
    return {place.topic for places in owned for place in places}


def _committed(client: Mapping[str, Any], places: Places, timeout_s: float, group: str) -> Offsets:
    found = committed_places(client, group, [TopicPartition(*place) for place in places], timeout_s)
    return {(one.topic, one.partition): one.offset for one in found}
