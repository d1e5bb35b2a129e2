"""The figures of several consumers: they survive a pipe, and add up to those of one."""

from orderflow.consume.durations import SUCCEEDED, Durations
from orderflow.consume.figures import (
    Figures,
    Health,
    PartitionFigures,
    ProcessFigures,
    Stop,
    total,
)


def some_figures(number: int) -> Figures:
    """Figures in which every field says something."""
    durations = Durations(SUCCEEDED)
    durations.add(SUCCEEDED, 0.1 * number)
    return Figures(
        processed=number,
        dead_lettered={"process.rejected": number, f"validate.{number}": 1},
        retries={"process.failed": number},
        restarts=number,
        rebalances=number,
        partitions={number: PartitionFigures(1, 2, 3, 4, unseen=number, stop=Stop("full", 1.5))},
        unsettled_s=float(number),
        longest_call_s=float(number),
        keys_braked=number,
        is_kafka_lost=number == 2,
        calls=durations.histograms(),
        settlements=durations.histograms(),
        process=ProcessFigures(1.5, 100, 7, 9, 1000.0 + number),
        health=Health((), ("starting",), ("partition 1: full",)),
    )


def test_figures_survive_a_pipe() -> None:
    """All of them, as one line of ASCII."""
    line = some_figures(1).as_json()

    assert line.isascii()
    assert "\n" not in line
    assert Figures.of_json(line) == some_figures(1)
    assert Figures.of_json(Figures().as_json()) == Figures()


def test_counts_add_up_and_partitions_unite() -> None:
    """Of two ages the longer one counts; the process that started first says since when."""
    both = total([some_figures(1), some_figures(2)])

    assert (both.consumers, both.processed, both.rebalances, both.keys_braked) == (2, 3, 3, 3)
    assert both.dead_lettered == {"process.rejected": 3, "validate.1": 1, "validate.2": 1}
    assert sorted(both.partitions) == [1, 2]
    assert (both.waiting, both.in_flight, both.queued, both.unseen) == (2, 4, 6, 3)
    assert (both.unsettled_s, both.longest_call_s, both.is_kafka_lost) == (2.0, 2.0, True)
    assert sum(both.calls[SUCCEEDED].counts) == 2
    assert both.process == ProcessFigures(3.0, 200, 14, 18, 1001.0)
    assert both.health.not_ready == ("starting", "starting")


def test_no_consumer_has_figures_too() -> None:
    """Between the death of the last one and the start of its successor."""
    assert total([]) == Figures(consumers=0)


def test_unseen_is_not_known_before_every_partition_is() -> None:
    """A sum that leaves out what is not known would be a lie."""
    known, unknown = PartitionFigures(unseen=5), PartitionFigures()

    assert Figures(partitions={0: known}).unseen == 5
    assert Figures(partitions={0: known, 1: unknown}).unseen is None
