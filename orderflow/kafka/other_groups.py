"""What the groups that read a topic have processed of it, as far as one may see them."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Dict, List, Mapping, Sequence, Tuple

from confluent_kafka import Consumer, TopicPartition

from orderflow.kafka.client_properties import started
from orderflow.kafka.reachable import admin_client
from orderflow.kafka.reader import consumer_config

AT_ONCE = 8
"""Groups that are asked at the same time: a cluster may have hundreds."""

Places = Sequence[Tuple[str, int]]
"""Topics and the numbers of their partitions."""
Offsets = Dict[Tuple[str, int], int]


def committed_by_groups(client: Mapping[str, Any], places: Places, timeout_s: float) -> Dict[str, Offsets]:
    """By group that has committed for any of these places: the offset by place. Raises KafkaException.

    Kafka leaves out groups that we may not describe, and who reads without committing is in no group.
    """
    listed = admin_client(client).list_consumer_groups(request_timeout=timeout_s).result()
    if listed.errors:
        raise listed.errors[0]
    groups: List[str] = sorted(one.group_id for one in listed.valid)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        found = threads.map(partial(_committed, client, places, timeout_s), groups)
        return {group: offsets for group, offsets in zip(groups, found) if offsets}


def _committed(client: Mapping[str, Any], places: Places, timeout_s: float, group: str) -> Offsets:
    # With read_committed the broker lets us wait for open transactions.
    config = {**consumer_config(client, group), "isolation.level": "read_uncommitted"}
    consumer: Any = started(Consumer, config)
    try:
        found = consumer.committed([TopicPartition(*place) for place in places], timeout_s)
    finally:
        consumer.close()
    return {(one.topic, one.partition): one.offset for one in found if one.error is None and one.offset >= 0}
