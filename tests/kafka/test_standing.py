"""The state of a group is told in words."""

import pytest
from confluent_kafka import ConsumerGroupState

from orderflow.kafka.standing import state_in_words


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (ConsumerGroupState.STABLE, "stable"),
        (ConsumerGroupState.PREPARING_REBALANCING, "preparing rebalancing"),
        (ConsumerGroupState.UNKNOWN, "rebalancing"),
    ],
)
def test_a_state_that_the_client_has_no_name_for_is_a_rebalance(
    state: ConsumerGroupState, words: str
) -> None:
    """Assigning and reconciling, as the coordinator says with `group.protocol=consumer`."""
    assert state_in_words(state) == words
