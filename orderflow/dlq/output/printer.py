"""Prints dead letters a line each, as the output asks for it: a table, plain lines or JSON."""

from typing import Callable, Sequence

from orderflow.dlq.desk import Desk
from orderflow.dlq.letter import Letter
from orderflow.dlq.output.envelope import envelope, to_json
from orderflow.dlq.output.listing import LetterLines, fit


def printer(desk: Desk, heading: bool = True) -> Callable[[Sequence[Letter]], None]:
    """What prints dead letters: a write a batch, so that a pipe sees whole lines, and soon."""
    lines = LetterLines()
    line_of = (lambda letter: to_json(envelope(letter))) if desk.json else lines.line
    if heading and desk.width is not None and not desk.json:
        desk.say(fit(lines.HEADING, desk.width))

    def show(letters: Sequence[Letter]) -> None:
        if letters:
            lines.width = desk.width
            desk.out.lines(map(line_of, letters))

    return show
