"""The status line: what matters most comes first, and fits a terminal of 80 columns."""

import pytest

from orderflow.consume.figures import Figures, PartitionFigures, Stop
from orderflow.consume.intake_states import WHY
from orderflow.consume.status_text import status_text

BUSY = PartitionFigures(waiting=120, unseen=4_037)
COLUMNS = 79


def figures(*partitions: PartitionFigures) -> Figures:
    """Of a consumer that has done some work."""
    return Figures(
        processed=1_234_567, dead_lettered={"a": 3, "b": 4}, partitions=dict(enumerate(partitions))
    )


def test_in_health_it_says_what_is_done_and_what_is_left() -> None:
    """What is zero and mostly is, is left out; and it fits."""
    text = status_text(figures(BUSY, PartitionFigures(unseen=3)), 10.0)

    assert text == "processed 1,234,567  123,457/s  waiting 120  dead-lettered 7  unseen ~4,040"
    assert len(text) <= COLUMNS


def test_waiting_in_flight_and_queued_are_three_figures() -> None:
    """Each where there is any."""
    text = status_text(figures(PartitionFigures(1, 2, 3, unseen=0)), 10.0)

    assert "waiting 1  in flight 2  queued 3" in text


def test_what_is_not_known_is_not_zero() -> None:
    """Before the end of the log is known."""
    assert status_text(figures(PartitionFigures()), 1.0).endswith("unseen ?")


@pytest.mark.parametrize("reason", WHY)
def test_a_stop_comes_first_with_what_is_left(reason: str) -> None:
    """A line that is cut at 80 columns still says why, since when, and how much is waiting."""
    stopped = BUSY._replace(stop=Stop(reason, 125.0))
    text = status_text(figures(stopped, stopped), 10.0)

    assert text.startswith(f"STOPPED 2m 5s ({WHY[reason].short})  unseen ~8,074  waiting 240")
    assert len(text[: text.index("  dead-lettered")]) <= COLUMNS


def test_the_partitions_are_named_where_others_go_on() -> None:
    """And a stop of a moment is part of the ordinary course."""
    stopped, briefly = BUSY._replace(stop=Stop("full", 9.0)), BUSY._replace(stop=Stop("full", 0.5))
    text = status_text(figures(stopped, BUSY, stopped, stopped, briefly), 10.0)

    assert text.startswith("STOPPED partitions 0, 2-3 9.0s (ledger full)  unseen")


def test_a_consumer_without_partitions_says_so() -> None:
    """It has nothing to do, or has not joined yet."""
    assert status_text(Figures(), 1.0).startswith("no partitions  unseen 0")
