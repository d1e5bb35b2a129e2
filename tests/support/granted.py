"""The rights that docs/security.md lists, given to a user of a test's own with names of its own."""

import re
from typing import Any, Dict, List, Mapping

from confluent_kafka.admin import AclBinding, AdminClient

from tests.support.pipeline import ROOT

PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
COMMANDS = next(block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "acl --" in block)
SCRIPT = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]


def rights(user: str, names: Mapping[str, str], but: str = "") -> List[AclBinding]:
    """The page's rights of one of its users, in other names; without the one whose line holds `but`."""
    lines = [line for line in COMMANDS.splitlines() if f"User:{user} " in line]
    kept = [line for line in lines if not but or f"{but} " not in f"{line} "]
    assert len(kept) == len(lines) - bool(but), (but, lines)
    script: Dict[str, Any] = {"__name__": "grant"}
    exec(SCRIPT, script)
    return list(script["bindings"]("\n".join(_renamed(line, names) for line in kept)))


def give(client: Mapping[str, Any], bindings: List[AclBinding]) -> None:
    """Have the broker know them."""
    admin = AdminClient(dict(client))
    for made in admin.create_acls(bindings).values():
        made.result(20)


def _renamed(line: str, names: Mapping[str, str]) -> str:
    """Longest names first: the group's is part of the transactional id's."""
    return re.sub(
        r"(?<= )(User:)?(" + "|".join(sorted(map(re.escape, names), key=len, reverse=True)) + r")(?= |$)",
        lambda found: (found[1] or "") + names[found[2]],
        line,
    )
