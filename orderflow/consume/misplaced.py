"""Finds a Publish where it would not be sent: inside a result that is no collection of nothing else."""

import collections
import dataclasses
import enum
import types
from itertools import chain
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Tuple, Type

from orderflow.errors import class_name_of
from orderflow.publish import Publish

_NEVER_HOLDS = frozenset((str, bytes, bool, int, float, type(None)))

_MAPPINGS = (dict, types.MappingProxyType, collections.UserDict, collections.ChainMap)
_VIEWS: Tuple[Type[Any], ...] = (type({}.keys()), type({}.values()), type({}.items()))
_HOLDERS: Tuple[Tuple[Tuple[Type[Any], ...], Callable[[Any], Iterable[object]]], ...] = (
    (_MAPPINGS, lambda mapping: chain(mapping, mapping.values())),
    ((list, tuple, set, frozenset, collections.deque, collections.UserList, *_VIEWS), lambda many: many),
    ((enum.Enum,), lambda member: (member.value,)),
    ((types.SimpleNamespace,), lambda namespace: [getattr(namespace, name, None) for name in dir(namespace)]),
)
"""What is looked into, and how. Nothing lazy, whose elements cost work or do not exist yet."""


def fault_of_place(result: object) -> Optional[str]:
    """Why a Publish inside the result would not be sent; None if it holds none, at any depth.

    A result that is a Publish itself counts as one inside another, whose value it is.
    """
    holder = result if isinstance(result, Publish) else _holder_of_publish(result)
    if holder is None:
        return None
    kind = class_name_of(type(holder))
    return f"a {kind} with a Publish in it: return one by itself or in a list, tuple or set of nothing else"


def _holder_of_publish(result: object) -> Optional[object]:
    """What directly holds the Publish that was found first."""
    left: List[object] = [result]
    seen: Dict[int, object] = {}
    while left:
        holder = left.pop()
        parts = _parts(holder)
        if _NEVER_HOLDS.issuperset(map(type, parts)) or id(holder) in seen:
            continue
        seen[id(holder)] = holder  # kept, so that no other object gets its id meanwhile
        if any(isinstance(part, Publish) for part in parts):
            return holder
        left += parts
    return None


def _parts(holder: object) -> Sequence[object]:
    if type(holder) is dict:  # most are
        return [*holder, *holder.values()]
    for kinds, parts in _HOLDERS:
        if isinstance(holder, kinds):
            return list(parts(holder))
    if dataclasses.is_dataclass(holder) and not isinstance(holder, type):
        return [getattr(holder, field.name, None) for field in dataclasses.fields(holder)]
    return ()
