"""Asks before hidden fields are shown: seeing them is an act of a person, not of a script."""

from orderflow.dlq.confirmation import agrees, can_ask
from orderflow.dlq.desk import Desk
from orderflow.dlq.masking import Mask
from orderflow.exits import Refused


def unmasked(desk: Desk) -> Desk:
    """The desk with nothing hidden. Raises Refused if nobody confirms it."""
    if not desk.mask.names:
        return desk
    names = ", ".join(sorted(desk.mask.names))
    if not can_ask(desk):
        raise Refused(f"nothing was shown: there is no terminal to ask whether {names} may be seen")
    if not agrees(desk, f"show {names} in clear text?"):
        raise Refused("nothing was shown: not confirmed")
    return desk._replace(mask=Mask())
