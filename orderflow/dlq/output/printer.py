"""Prints dead letters a line each, as the output asks for it: a table, plain lines or JSON."""

from typing import Callable, List, Sequence, Tuple

from orderflow.dlq.desk import Desk
from orderflow.dlq.letter import Letter
from orderflow.dlq.output.envelope import envelope, to_json
from orderflow.dlq.output.listing import NARROW, LetterLines
from orderflow.dlq.output.narrow import NarrowLines
from orderflow.model.cells import fit

LinesOf = Callable[[Sequence[Letter]], List[str]]


def printer(desk: Desk, heading: bool = True, is_premise: bool = False) -> Callable[[Sequence[Letter]], None]:
    """What prints dead letters: a write a batch, so that a pipe sees whole lines, and soon.

    `is_premise`: something is done for them, whether or not anybody reads which they are.
    """
    title, lines_of = _form(desk)
    if heading and title:
        desk.say(title)

    def show(letters: Sequence[Letter]) -> None:
        if letters:
            lines = lines_of(desk.mask.letters(letters))
            desk.out.premise(*lines) if is_premise else desk.out.lines(lines)

    return show


def _form(desk: Desk) -> Tuple[str, LinesOf]:
    """The heading, and what makes lines, as wide as the terminal is then: `tail` outlives many a window."""
    if desk.json:
        return "", lambda letters: [to_json(envelope(letter)) for letter in letters]
    narrow, wide, width = NarrowLines(), LetterLines(), desk.width
    if width is not None and width < NARROW:
        return fit(narrow.HEADING, width), lambda letters: narrow.lines(letters, desk.width)

    def lines_of(letters: Sequence[Letter]) -> List[str]:
        now_wide = desk.width  # asked for once a batch, since it is asked of the terminal
        lines = [wide.line(letter) for letter in letters]
        return lines if now_wide is None else [fit(line, now_wide) for line in lines]

    return "" if width is None else fit(wide.HEADING, width), lines_of
