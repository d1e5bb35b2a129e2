"""How old unseen orders are: by the time of the first record, if it has one."""

from typing import Any, Dict, List, Tuple

from confluent_kafka import TopicPartition

from orderflow.kafka.group_view import first_times


class Fetched:
    """One record, as the client hands it over."""

    def __init__(self, partition: int, timestamp: Tuple[int, int]) -> None:
        self._partition, self._timestamp = partition, timestamp

    def partition(self) -> int:
        """Number of its partition."""
        return self._partition

    def timestamp(self) -> Tuple[int, int]:
        """Type and time."""
        return self._timestamp

    def error(self) -> None:
        """It is no error."""


class Client:
    """A consumer with one record in each partition."""

    def __init__(self, records: List[Fetched]) -> None:
        self.records = records
        self.asked: List[Tuple[int, int]] = []

    def assign(self, places: List[TopicPartition]) -> None:
        """Note what is read."""
        self.asked = [(place.partition, place.offset) for place in places]

    def consume(self, most: int, timeout_s: float) -> List[Any]:
        """All records at once."""
        return self.records


def test_a_record_without_a_time_is_not_taken_for_one_of_1970() -> None:
    """Kafka says that as -1, of type CreateTime: `health` told an age of 20,000 days."""
    client: Any = Client([Fetched(0, (1, -1)), Fetched(1, (1, 1_764_000_000_000)), Fetched(2, (0, 0))])

    found: Dict[int, int] = first_times(client, "orders", {0: 5, 1: 7, 2: 9}, 5.0)

    assert client.asked == [(0, 5), (1, 7), (2, 9)]
    assert found == {1: 1_764_000_000_000}
