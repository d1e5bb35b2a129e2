"""Prints dead letters a line each, as the output asks for it: a table, plain lines or JSON."""

from typing import Callable, Sequence

from orderflow.dlq.desk import Desk
from orderflow.dlq.letter import Letter
from orderflow.dlq.output.envelope import envelope, to_json
from orderflow.dlq.output.listing import LetterLines, fit


def printer(desk: Desk, heading: bool = True) -> Callable[[Sequence[Letter]], None]:
    """What prints dead letters: a write a batch, so that a pipe sees whole lines, and soon."""
    lines = LetterLines()
    if heading and desk.width is not None and not desk.json:
        desk.say(fit(lines.HEADING, desk.width))

    def show(letters: Sequence[Letter]) -> None:
        width = desk.width  # as it is now: `tail` outlives many a window
        if letters and desk.json:
            desk.out.lines(to_json(envelope(letter)) for letter in letters)
        elif letters:
            desk.out.lines(fit(lines.line(letter), width) for letter in letters)

    return show
