"""Chooses the branch of a union that a value is written as, so that it is read back as the same value.

fastavro takes the first branch that accepts a value: for an int that is a double, for bytes a list of ints.
Here a whole number is written as one if there is a branch for it, and as a double or float only if that
holds it; so is a number where there is no choice.
"""

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Callable, Dict, List, Optional, Tuple

from fastavro.read import LOGICAL_READERS

from orderflow.avro.meaning import EXACT, is_single
from orderflow.avro.schema import definition_of, definitions, describe, kind_of
from orderflow.model.moments import Nanoseconds

Prepare = Callable[[Any], Any]
Fits = Callable[[Any], bool]


def preparations(parsed: Any) -> List[Tuple[str, Prepare]]:
    """For each field of a record whose values fastavro could write as others: what it is to write instead.

    A branch that was chosen is named as fastavro has it: `("long", 5)`. The functions raise ValueError for a
    value that no branch holds exactly. They take values of the field's type, as `validate` finds them.
    """
    preparing = _Preparing(definitions(parsed))
    found = [(field["name"], preparing.part(field["type"])) for field in parsed["fields"]]
    return [(name, prepare) for name, prepare in found if prepare]


def holding(parsed: Any) -> Dict[str, Fits]:
    """For each field of a record, whether one branch or another of it holds a value exactly."""
    fitting = _Fitting(definitions(parsed), takes_raw=True)
    return {field["name"]: fitting.part(field["type"]) for field in parsed["fields"]}


class _Preparing:
    """Builds the functions for the parts of one schema. None stands for the one that changes nothing."""

    def __init__(self, named: Dict[str, Any]) -> None:
        self._named = named
        self._records: Dict[str, Optional[Prepare]] = {}
        self._meant, self._raw = _Fitting(named, takes_raw=False), _Fitting(named, takes_raw=True)

    def part(self, part: Any) -> Optional[Prepare]:
        part = definition_of(part, self._named)
        if isinstance(part, list):
            return self._union(part)
        kind = kind_of(part)
        if kind in ("float", "double"):
            return _held(kind)
        if _logical(part):
            return _meant(part)
        if kind == "array":
            item = self.part(part["items"])
            return item and _each_item(item)
        if kind == "map":
            value = self.part(part["values"])
            return value and _each_value(value)
        return self._record(part) if kind == "record" else None

    def _record(self, part: Any) -> Optional[Prepare]:
        name = part["name"]
        if name not in self._records:
            found = [(field["name"], self.part(field["type"])) for field in part["fields"]]
            self._records[name] = _some_fields([(field, prepare) for field, prepare in found if prepare])
        return self._records[name]

    def _union(self, branches: List[Any]) -> Optional[Prepare]:
        solid = [definition_of(branch, self._named) for branch in branches if kind_of(branch) != "null"]
        choices = [(_branch_name(branch), self.part(branch)) for branch in solid]
        if len(solid) > 1:
            return _chosen(self._in_order(solid), dict(choices), describe(solid))
        # Named all the same: fastavro cannot find a branch by a value in which others are named.
        return next((_named(name, prepare) for name, prepare in choices if prepare), None)

    def _in_order(self, branches: List[Any]) -> List[Tuple[str, Fits]]:
        """The branches by name, each with what it takes: logical values first, then those of plain types.

        Last, a branch takes the number or bytes that its logical type stands for.
        """
        logical = [(_branch_name(each), holds) for each in branches for holds in [_logical(each)] if holds]
        exact_first = sorted(branches, key=lambda branch: _NUMBERS.get(kind_of(branch), 0))
        plain = [(_branch_name(each), self._meant.plain(each)) for each in exact_first if not _logical(each)]
        raw = [(_branch_name(each), self._raw.plain(each)) for each in exact_first]
        return [*logical, *plain, *raw]


_NUMBERS = {"int": 1, "long": 2, "double": 3, "float": 4}
"""In which order a number's branch is chosen."""

_UUID: type = type(LOGICAL_READERS["string-uuid"]("0" * 32, None, None))
"""Without the import: the module of UUIDs makes random ones too, which nothing here may."""

_LOGICAL: Dict[str, Tuple[type, ...]] = {
    "bytes-decimal": (Decimal,),
    "fixed-decimal": (Decimal,),
    "string-uuid": (_UUID,),
    "int-date": (date,),
    "int-time-millis": (time,),
    "long-time-micros": (time,),
    "long-timestamp-millis": (datetime,),
    "long-timestamp-micros": (datetime,),
    "long-timestamp-nanos": (Nanoseconds,),
    "long-local-timestamp-millis": (datetime,),
    "long-local-timestamp-micros": (datetime,),
    "long-local-timestamp-nanos": (Nanoseconds,),
}
"""The types that a handler knows a logical type by."""


def _types_meant(part: Any) -> Tuple[type, ...]:
    logical = part.get("logicalType") if isinstance(part, dict) else None
    return _LOGICAL.get(f"{kind_of(part)}-{logical}", ())


def _logical(part: Any) -> Optional[Fits]:
    """Whether the part's logical type holds a value exactly; None if it has none that we know."""
    types = _types_meant(part)
    if not types:
        return None
    is_meant, holds = _of_type(*types), _digits_held(part)
    return lambda value: is_meant(value) and holds(value)


def _digits_held(part: Any) -> Fits:
    """Whether no digit of a value of the right type would be lost."""
    if part["logicalType"] == "decimal":
        return _decimal_held(part)
    if part["logicalType"].endswith("-millis"):
        return lambda moment: moment.microsecond % 1000 == 0
    return lambda value: True


def _decimal_held(part: Any) -> Fits:
    digits, scale = part["precision"], part.get("scale", 0)
    bits = 8 * part["size"] if kind_of(part) == "fixed" else None

    def holds(value: Decimal) -> bool:
        if not value.is_finite() or int(value.as_tuple().exponent) < -scale:
            return False
        if value and value.adjusted() + scale >= digits:
            return False
        unscaled = int(value.scaleb(scale, EXACT))
        return bits is None or -(1 << bits - 1) <= unscaled < 1 << bits - 1

    return holds


def _of_type(*types: type) -> Fits:
    """Whether a value is of one of the types; a datetime, which is a date in Python, is none here."""
    takes_datetime = datetime in types
    return lambda value: isinstance(value, types) and (takes_datetime or not isinstance(value, datetime))


class _Fitting:
    """Tells which values a part holds exactly."""

    def __init__(self, named: Dict[str, Any], takes_raw: bool) -> None:
        """`takes_raw`: also the number or bytes that a logical type stands for."""
        self._named = named
        self._takes_raw = takes_raw

    def plain(self, part: Any) -> Fits:
        """Whether a part holds a value, whatever its logical type says."""
        kind = kind_of(part)
        if kind == "array":
            item = self.part(part["items"])
            return lambda value: isinstance(value, list) and all(map(item, value))
        if kind == "map":
            entry = self.part(part["values"])
            return lambda value: (
                isinstance(value, dict) and all(map(_is_text, value)) and all(map(entry, value.values()))
            )
        if kind == "record":
            return self._record(part)
        if kind == "enum":
            return lambda value: value in part["symbols"]
        if kind == "fixed":
            return lambda value: isinstance(value, bytes) and len(value) == part["size"]
        return _FITS[kind]

    def part(self, part: Any) -> Fits:
        """Whether a part holds a value, in one branch or another."""
        part = definition_of(part, self._named)
        if isinstance(part, list):
            return self._union(part)
        plain, logical = self.plain(part), _logical(part)
        if logical is None:
            return plain
        return (lambda value: logical(value) or plain(value)) if self._takes_raw else logical

    def _union(self, branches: List[Any]) -> Fits:
        solid = [definition_of(branch, self._named) for branch in branches]
        named = {_branch_name(branch): self.part(branch) for branch in solid}

        def fits(value: Any) -> bool:
            if isinstance(value, tuple) and len(value) == 2:  # named by the caller
                return value[0] in named and named[value[0]](value[1])
            return any(fits_branch(value) for fits_branch in named.values())

        return fits

    def _record(self, part: Any) -> Fits:
        fields = {field["name"]: self.part(field["type"]) for field in part["fields"]}

        def fits(value: Any) -> bool:
            if not isinstance(value, dict) or value.keys() != fields.keys():
                return False
            return all(fits_field(value[name]) for name, fits_field in fields.items())

        return fits


def _whole(bits: int) -> Fits:
    def fits(value: Any) -> bool:
        if not isinstance(value, int) or isinstance(value, (bool, Nanoseconds)):
            return False
        return -(1 << bits - 1) <= value < 1 << bits - 1

    return fits


def _double_holds(value: Any) -> bool:
    if isinstance(value, float):
        return True
    try:
        return isinstance(value, int) and not isinstance(value, bool) and float(value) == value
    except OverflowError:
        return False


def _float_holds(value: Any) -> bool:
    return _double_holds(value) and is_single(float(value))


_is_text = _of_type(str)
_FITS: Dict[str, Fits] = {
    "null": lambda value: value is None,
    "boolean": _of_type(bool),
    "int": _whole(32),
    "long": _whole(64),
    "double": _double_holds,
    "float": _float_holds,
    "string": _is_text,
    "bytes": _of_type(bytes, bytearray),
}


def _branch_name(part: Any) -> str:
    return str(part["name"]) if kind_of(part) in ("record", "enum", "fixed") else kind_of(part)


def _chosen(choices: List[Tuple[str, Fits]], prepare: Dict[str, Optional[Prepare]], meant: str) -> Prepare:
    def choose(value: Any) -> Any:
        if value is None or isinstance(value, tuple):  # named by the caller
            return value
        for name, fits in choices:
            if fits(value):
                inner = prepare[name]
                return name, inner(value) if inner else value
        raise ValueError(f"{value!r} cannot be held exactly by a {meant}")

    return choose


def _named(name: str, prepare: Prepare) -> Prepare:
    return lambda value: value if value is None or isinstance(value, tuple) else (name, prepare(value))


def _held(kind: str) -> Prepare:
    """A whole number must be held exactly; a fraction is the nearest that there is."""
    holds = _double_holds if kind == "double" else _float_holds

    def check(value: Any) -> Any:
        if isinstance(value, int) and not holds(value):
            raise ValueError(f"{value!r} cannot be held exactly by a {kind}")
        return value

    return check


def _meant(part: Any) -> Prepare:
    """A value of the types that a logical type stands for must be held exactly; others are plain values."""
    types, holds = _types_meant(part), _logical(part)

    def check(value: Any) -> Any:
        if isinstance(value, types) and not (holds and holds(value)):
            raise ValueError(f"{value!r} cannot be held exactly by a {describe(part)}")
        return value

    return check


def _each_item(prepare: Prepare) -> Prepare:
    return lambda items: [prepare(item) for item in items]


def _each_value(prepare: Prepare) -> Prepare:
    return lambda items: {key: prepare(value) for key, value in items.items()}


def _some_fields(fields: List[Tuple[str, Prepare]]) -> Optional[Prepare]:
    if not fields:
        return None
    return lambda record: {**record, **{name: prepare(record[name]) for name, prepare in fields}}
