"""What the client is told of sizes, whatever topics accept."""

import pytest
from confluent_kafka import Producer

from orderflow.kafka.sizes import FRAME_BYTES, fitted, record_limit, sizes_for

UNREACHABLE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


@pytest.mark.parametrize("limit", [0, 1, 12, 1000, 1_048_588, 999_999_999, 1_000_000_000, 2**30, 2**31 - 1])
def test_the_client_takes_the_sizes_of_every_limit_that_a_topic_can_have(limit: int) -> None:
    """Kafka takes any `max.message.bytes` of 31 bits; 2147483647 is how people write that there is none."""
    accepted = record_limit(limit)
    assert accepted is not None

    for sizes in (sizes_for([accepted]), fitted(UNREACHABLE, [limit]), sizes_for([accepted, 5000])):
        Producer({**UNREACHABLE, **sizes})


def test_a_batch_follows_the_smallest_limit_and_a_record_the_largest() -> None:
    sizes = sizes_for([3_000, 2_000_000])

    assert sizes == {"batch.size": 3_000, "message.max.bytes": 2_000_000 + FRAME_BYTES}


def test_a_smaller_batch_and_any_record_size_that_a_user_sets_stay() -> None:
    conf = {"batch.size": 500, "message.max.bytes": 1500}

    assert fitted(conf, [2_000_000]) == conf
    assert fitted({"batch.size": 5_000_000}, [2_000])["batch.size"] == 2_000


def test_what_is_not_known_leaves_the_sizes_of_the_client() -> None:
    assert fitted({}, []) == {"batch.size": 1_000_000, "message.max.bytes": 1_000_000 + FRAME_BYTES}
    assert record_limit(None) is None
