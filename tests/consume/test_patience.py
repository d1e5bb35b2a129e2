"""How long to wait until a settlement that Kafka did not accept is tried again."""

from typing import Tuple

import pytest

from orderflow.consume.patience import FAILED_RETRY_S, REFUSED_RETRY_S, Patience


@pytest.mark.parametrize(("is_refused", "limits"), [(False, FAILED_RETRY_S), (True, REFUSED_RETRY_S)])
def test_each_pause_is_twice_the_last_up_to_a_limit(is_refused: bool, limits: Tuple[float, float]) -> None:
    patience = Patience()
    pauses_s = [patience.pause(0.0, is_refused).for_s for _ in range(8)]

    least_s, most_s = limits
    assert pauses_s == [min(most_s, least_s * 2**times) for times in range(8)]


@pytest.mark.parametrize("is_refused_first", [False, True])
def test_a_pause_is_as_long_as_its_own_cause_takes(is_refused_first: bool) -> None:
    """Whatever failed before it: what somebody has to fix is not fixed in half a second."""
    patience = Patience()
    patience.pause(0.0, is_refused_first)

    least_s, most_s = FAILED_RETRY_S if is_refused_first else REFUSED_RETRY_S
    assert least_s <= patience.pause(0.0, not is_refused_first).for_s <= most_s
