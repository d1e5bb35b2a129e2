"""The plan of a replay: a file that someone reviews, and that is then carried out exactly or not at all.

JSON Lines: what was asked for, then a line for each record with the SHA-256 of all that will be sent, then a
seal over the lines before. A file that was edited or cut is refused.
"""

import hashlib
import io
import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from orderflow.cli.given_file import open_given
from orderflow.cli.private_file import PrivateFile
from orderflow.dlq.letter import Letter
from orderflow.dlq.replay.judge import Verdict, digest
from orderflow.dlq.replay.request import Request, from_json, to_json
from orderflow.dlq.selection import Selection
from orderflow.exits import CommandError, Refused, fault_of
from orderflow.model.json_text import read_json
from orderflow.model.records import Place, read_position

FORM = "orderflow replay plan 1"


class PlanWriter:
    """Writes a plan as verdicts come. It gets its name at its end, and replaces no file that is there.

    Raises CommandError.
    """

    def __init__(self, path: str, request: Request) -> None:
        self.path = path
        self._file = PrivateFile(path)
        self._seal = hashlib.sha256()
        self._count = 0
        self._write({"plan": FORM, "request": to_json(request)})

    def add(self, letter: Letter, verdict: Verdict) -> None:
        """Write a record that is to be sent; others have no line."""
        outgoing = verdict.outgoing
        if outgoing is not None:
            self._count += 1
            line = {"position": letter.position, "target": outgoing.topic, "sha256": digest(outgoing)}
            self._write(line)

    def end(self) -> None:
        """Write the seal."""
        self._write({"count": self._count, "seal": self._seal.hexdigest()})
        self._file.keep()

    def _write(self, value: Mapping[str, Any]) -> None:
        line = json.dumps(value, separators=(",", ":"))
        self._seal.update(f"{line}\n".encode())
        self._file.lines([line])


class Plan(NamedTuple):
    """A plan that was read and whose seal is whole."""

    path: str
    request: Request
    digests: Dict[Place, bytes]
    seal: str

    def holds(self, letter: Letter) -> bool:
        """Whether the plan sends this dead letter."""
        return (letter.record.partition, letter.record.offset) in self.digests


def read_plan(path: str) -> Plan:
    """The plan in a file. Raises Refused for one that was edited, cut, or is none."""
    try:
        with io.TextIOWrapper(open_given(path), encoding="utf-8") as file:
            return _plan(path, file.readlines())
    except OSError as error:  # while it is read
        raise CommandError(f"{path}: {fault_of(error)}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise Refused(f"nothing was sent: {path} is not a plan as --plan-out wrote it") from error


def _plan(path: str, lines: List[str]) -> Plan:
    first, last = read_json(lines[0]), read_json(lines[-1])
    if first["plan"] != FORM:
        raise ValueError("another form")
    seal = hashlib.sha256("".join(lines[:-1]).encode()).hexdigest()
    if last != {"count": len(lines) - 2, "seal": seal}:
        raise Refused(f"nothing was sent: {path} was changed after it was written; make a new plan")
    digests = {}
    for line in lines[1:-1]:
        told = read_json(line)
        _, partition, offset = read_position(str(told["position"]))
        digests[partition, offset] = bytes.fromhex(told["sha256"])
    return Plan(path, from_json(first["request"]), digests, seal)


def only(plan: Plan, selection: Selection) -> Selection:
    """What the plan sends, of what its request selects."""
    return selection._replace(filters=(plan.holds,), limit=None)


class Drift:
    """Compares a plan with the verdicts of today."""

    MOST_TOLD = 5

    def __init__(self, plan: Plan) -> None:
        self._left = dict(plan.digests)
        self._plan = plan
        self._told: List[str] = []
        self._count = 0

    def see(self, letter: Letter, verdict: Verdict) -> None:
        """Compare one."""
        planned = self._left.pop((letter.record.partition, letter.record.offset), None)
        if verdict.outgoing is None:
            self._add(letter.position, f"{verdict.why} {verdict.detail}".strip())
        elif planned is not None and bytes.fromhex(digest(verdict.outgoing)) != planned:
            self._add(letter.position, "would be sent with other bytes")

    def _add(self, position: str, why: Optional[str]) -> None:
        self._count += 1
        if len(self._told) < self.MOST_TOLD:
            self._told.append(f"  {position}  {why}")

    def refuse_any(self) -> None:
        """Raise Refused if anything differs."""
        for partition, offset in self._left:
            self._add(f"{partition}:{offset}", "is not there any more")
        if self._count:
            number, path = f"{self._count:,} of {len(self._plan.digests):,}", self._plan.path
            head = f"nothing was sent: {number} differ from {path}"
            raise Refused(head, *self._told, "make a new plan with --dry-run --plan-out")
