"""Asks a person before something is done that cannot be undone."""

import select
import sys

from orderflow.dlq.desk import Desk
from orderflow.exits import Refused


def confirm(desk: Desk, question: str, yes: bool) -> None:
    """Return once it is confirmed. Raises Refused where it is not, or nobody is there to ask."""
    if yes:
        return
    if not agrees(desk, question):
        raise Refused("nothing was sent: not confirmed")


def agrees(desk: Desk, question: str) -> bool:
    """Whether the operator says yes. Raises Refused where nobody can be asked."""
    return answer(desk, f"{question} [y/N] ").lower() in ("y", "yes")


def can_ask(desk: Desk) -> bool:
    """Whether somebody is there who sees a question and can answer it."""
    return sys.stdin.isatty() and desk.err.lost is None


def answer(desk: Desk, prompt: str) -> str:
    """What the operator types. Ctrl-C counts as no answer. Raises Refused where nobody can be asked."""
    if not can_ask(desk):
        raise Refused(f"nothing was sent: there is no terminal to ask {prompt.strip()!r}; say --yes")
    desk.err.prompt(prompt)
    while not desk.signals.requested:
        ready, _, _ = select.select([sys.stdin], [], [], 0.2)
        if ready:
            return _typed()
    return ""


def _typed() -> str:
    """A line; nothing where the terminal is gone, or what was typed is no text."""
    try:
        return sys.stdin.readline().strip()
    except (OSError, UnicodeDecodeError):
        return ""
