"""Schema resolution: turns an order of the writer's schema into one of the reader's.

By the rules of the Avro specification, on values that tell their branches (told_branches.py), so nothing is
guessed from a value. Stricter in that no value changes silently: what would be rounded is refused.
"""

from copy import deepcopy
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from orderflow.avro.evolution import Comparison, source_of
from orderflow.avro.meaning import Convert, Unfit, default_value, exact_double, meaning
from orderflow.avro.schema import Schema, definition_of, definitions, kind_of
from orderflow.avro.told_branches import tells_branches


def resolution(reader: Schema, writer: Schema) -> Convert:
    """The function from what `with_told_branches(writer)` reads to the reader's order.

    For schemas that have no `evolution.problems`. The function raises `Unfit` for an order that cannot be
    read because of its data. It may change or keep what it is given.
    """
    resolver = _Resolver(reader.parsed, writer.parsed)
    return resolver.record(reader.parsed, writer.parsed) or _same


def _same(value: Any) -> Any:
    return value


class _FieldSource(NamedTuple):
    """Where a field of the reader's record comes from."""

    name: str
    source: Optional[str]
    """Its name in the writer's record; None if the writer lacks it."""
    read: Optional[Convert]
    """From the written value, or from the default; None if it stays as it is."""
    default: Any


class _Resolver:
    """Builds the functions for every pair of parts. None stands for the one that changes nothing."""

    def __init__(self, reader: Any, writer: Any) -> None:
        self._comparison = Comparison(reader, writer)
        self._reader_names = definitions(reader)
        self._writer_names = definitions(writer)
        self._records: Dict[Tuple[str, str], Optional[Convert]] = {}

    def part(self, reader: Any, writer: Any) -> Optional[Convert]:
        """The function for one pair of parts that have no problem but such as depend on the data."""
        reader = definition_of(reader, self._reader_names)
        writer = definition_of(writer, self._writer_names)
        if isinstance(writer, list):
            return self._written_union(reader, writer)
        if isinstance(reader, list):
            return self.part(self._comparison.branch(reader, writer), writer)
        kind = kind_of(reader)
        if kind == "record":
            return self.record(reader, writer)
        if kind == "array":
            return _each_item(self.part(reader["items"], writer["items"]))
        if kind == "map":
            return _each_value(self.part(reader["values"], writer["values"]))
        if kind == "enum":
            return _known_symbol(reader, writer)
        return _one_after_the_other(_promoted(kind_of(writer), kind), meaning(reader))

    def _written_union(self, reader: Any, writer: List[Any]) -> Optional[Convert]:
        reads = [self._branch(reader, branch) for branch in writer]
        if tells_branches(writer):
            return _by_branch({str(index): read or _same for index, read in enumerate(reads)})
        if not any(reads):
            return None
        by_nullness = {kind_of(branch) == "null": read or _same for branch, read in zip(writer, reads)}
        return lambda value: by_nullness[value is None](value)

    def _branch(self, reader: Any, writer: Any) -> Optional[Convert]:
        problem = self._comparison.obstacle(reader, writer)
        if problem is not None:
            return _refused(Unfit("decode.unresolvable", problem.why, problem.field))
        return self.part(reader, writer)

    def record(self, reader: Any, writer: Any) -> Optional[Convert]:
        """The function for two records, built once however often a schema refers to them."""
        pair = (reader["name"], writer["name"])
        if pair not in self._records:
            self._records[pair] = self._record(reader, writer)
        return self._records[pair]

    def _record(self, reader: Any, writer: Any) -> Optional[Convert]:
        written = {field["name"]: field["type"] for field in writer["fields"]}
        fields = _unshared([self._field(field, written) for field in reader["fields"]])
        if [(name, name, None, None) for name in written] == fields:
            return None
        steps = [_step(field) for field in fields]
        return lambda record: {name: step(record) for name, step in steps}

    def _field(self, field: Any, written: Dict[str, Any]) -> _FieldSource:
        source = source_of(field, written)
        if source is not None:
            return _FieldSource(field["name"], source, self.part(field["type"], written[source]), None)
        default = default_value(field["type"], field["default"], self._reader_names)
        # A handler could change the list of all orders.
        read = deepcopy if isinstance(default, (list, dict)) else None
        return _FieldSource(field["name"], None, read, default)


def _unshared(fields: List[_FieldSource]) -> List[_FieldSource]:
    """Where fields have one source, each but the first has a copy of its own."""
    seen = set()
    own = []
    for field in fields:
        again = field.source is not None and field.source in seen
        own.append(field._replace(read=_one_after_the_other(deepcopy, field.read)) if again else field)
        seen.add(field.source)
    return own


def _step(field: _FieldSource) -> Tuple[str, Convert]:
    """A field's name, and the function from the written record to its value."""
    name, source, read, default = field
    if source is None:
        return name, (lambda record: default) if read is None else (lambda record: deepcopy(default))
    if read is None:
        return name, lambda record: record[source]
    convert: Convert = read

    def step(record: Any) -> Any:
        try:
            return convert(record[source])
        except Unfit as unfit:
            raise unfit.within(name) from None

    return name, step


def _each_item(read: Optional[Convert]) -> Optional[Convert]:
    if read is None:
        return None
    convert: Convert = read

    def items(values: Any) -> Any:
        try:
            return [convert(value) for value in values]
        except Unfit as unfit:
            raise unfit.within("[]") from None

    return items


def _each_value(read: Optional[Convert]) -> Optional[Convert]:
    if read is None:
        return None
    convert: Convert = read

    def values(items: Any) -> Any:
        try:
            return {key: convert(value) for key, value in items.items()}
        except Unfit as unfit:
            raise unfit.within("[]") from None

    return values


def _by_branch(reads: Dict[str, Convert]) -> Convert:
    def told(value: Any) -> Any:
        ((branch, written),) = value.items()
        return reads[branch](written)

    return told


def _refused(unfit: Unfit) -> Convert:
    def refuse(value: Any) -> Any:
        raise Unfit(unfit.reason, unfit.what, unfit.field)

    return refuse


def _known_symbol(reader: Any, writer: Any) -> Optional[Convert]:
    known = frozenset(reader["symbols"])
    if known.issuperset(writer["symbols"]):
        return None

    def symbol(value: str) -> Any:
        if value in known:
            return value
        if "default" not in reader:
            raise Unfit("decode.unresolvable", f"the reader does not know the symbol {value}")
        return reader["default"]

    return symbol


def _promoted(writer: str, reader: str) -> Optional[Convert]:
    if writer == "int" and reader in ("float", "double"):
        return float
    return _PROMOTIONS.get((writer, reader))


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Unfit("decode.unresolvable", f"the bytes are not UTF-8: {error}") from None


_PROMOTIONS: Dict[Tuple[str, str], Convert] = {
    ("long", "float"): exact_double,
    ("long", "double"): exact_double,
    ("string", "bytes"): str.encode,
    ("bytes", "string"): _text,
}
"""The promotions that change or may refuse a value. The others are no change in Python."""


def _one_after_the_other(first: Optional[Convert], second: Optional[Convert]) -> Optional[Convert]:
    if first is None or second is None:
        return first or second
    before, after = first, second
    return lambda value: after(before(value))
