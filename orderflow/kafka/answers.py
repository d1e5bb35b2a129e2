"""Questions whose answer has an error for each part of it, beside a number that looks like "none".

An error that is not read makes a group that cannot be seen one that has committed nothing, and a topic whose
leaders are being elected one without partitions. So each of these questions is asked in one place.
"""

from typing import Any, List

from confluent_kafka import KafkaError, KafkaException, TopicPartition


def partitions_of(client: Any, topic: str, timeout_s: float) -> List[int]:
    """The numbers of a topic's partitions; there is always one. Raises KafkaException."""
    found = client.list_topics(topic, timeout=timeout_s).topics[topic]
    if found.error is not None or not found.partitions:
        raise KafkaException(found.error or KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    return sorted(found.partitions)


def committed_for(consumer: Any, places: List[TopicPartition], timeout_s: float) -> List[TopicPartition]:
    """What the consumer's group has committed for each of these places; a negative offset where nothing is.

    Raises KafkaException, also where Kafka refuses to answer for a single place.
    """
    found: List[TopicPartition] = consumer.committed(places, timeout=timeout_s)
    for place in found:
        if place.error is not None:
            raise KafkaException(place.error)
    return found


def committed_told(consumer: Any, places: List[TopicPartition], timeout_s: float) -> List[TopicPartition]:
    """The same, asked by a consumer that reads nothing. Raises KafkaException.

    Where the group may not be described, the client lets the question time out, and tells why elsewhere.
    """
    try:
        return committed_for(consumer, places, timeout_s)
    except KafkaException as error:
        told = consumer.poll(0)
        if told is not None and told.error().code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
            raise KafkaException(told.error()) from error
        raise
