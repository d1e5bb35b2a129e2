"""What the records of the ledger topic have in common, whatever they tell: keys, and how they are read."""

import json
from typing import Any, Optional, Pattern


def ledger_key(group: str, topic: str, partition: int, *rest: object) -> bytes:
    """The key of a record about one partition of the orders topic; `rest` tells kinds of records apart."""
    return json.dumps([group, topic, partition, *rest]).encode()


def partition_in(group: str, topic: str, key: Optional[bytes], rest: Pattern[bytes]) -> Optional[int]:
    """The partition that a record is about; None if it is another's, or of another kind.

    `rest`: what stands behind group and topic. Its first group is the partition.
    """
    prefix = json.dumps([group, topic]).encode()[:-1]
    if key is None or not key.startswith(prefix):
        return None
    found = rest.fullmatch(key, len(prefix))
    return None if found is None else int(found[1])


def whole(value: Any, most: int) -> int:
    """A whole number from 0 to `most`. Raises ValueError for any other value."""
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("not a number that we write")
    return value
