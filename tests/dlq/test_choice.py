"""What was chosen: the places, and where in the topic they stand."""

from orderflow.dlq.choice import Choice
from orderflow.dlq.letter import Letter
from orderflow.kafka.reader import Span
from orderflow.model.records import Record


def at(partition: int, offset: int) -> Letter:
    """A dead letter at this place."""
    return Letter(Record("dlq", partition, offset, 0, "CreateTime", None, None, []), lambda value: {})


def test_it_holds_what_is_to_be_acted_on() -> None:
    """Not what lies between, nor what only takes up a place of a limit."""
    choice = Choice([Span(0, 10, 90), Span(1, 0, 5)])
    choice.add(at(0, 20))
    choice.add(at(0, 22), is_to_be_acted_on=False)
    choice.add(at(1, 4))

    assert choice.count == 2
    assert [choice.holds(at(*place)) for place in ((0, 20), (0, 21), (0, 22), (1, 4))] == [
        *(True, False, False, True)
    ]


def test_what_lies_behind_the_last_of_a_partition_is_not_read_again() -> None:
    """Where none was chosen, nothing is."""
    choice = Choice([Span(0, 10, 90), Span(1, 3, 50)])
    for offset in (12, 20):
        choice.add(at(0, offset), is_to_be_acted_on=offset == 12)

    assert choice.spans == (Span(0, 10, 21), Span(1, 3, 3))
