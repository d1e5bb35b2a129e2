"""Decodes bytes to orders, safely even if they are hostile, and exports the folder's whole codec.

The promise: whatever decodes is what was written, and no bytes can end the process. Everything else raises
`Undecodable` with a reason from decode_reasons.py; docs/avro.md has the rules.

Each writer schema gets a decode function of its own when its prefix is first seen. It starts by proving that
the bytes are the one canonical encoding of their value (strict_reader.py, compiled for that schema). If
writer and reader are the same and have no logical types, as in the shipped schema, that value is the order.
"""

from io import BytesIO
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from fastavro import schemaless_reader, schemaless_writer

from orderflow.avro import evolution
from orderflow.avro.decode_reasons import undecodable
from orderflow.avro.encoder import OrderEncoder, Unencodable
from orderflow.avro.first_fault import Fault, first_fault
from orderflow.avro.framing import SchemaRef, confluent_prefix, read_prefix, single_object_prefix
from orderflow.avro.meaning import Unfit
from orderflow.avro.projection import projection
from orderflow.avro.resolution import resolution
from orderflow.avro.schema import Schema, SchemaRefused, load_schema
from orderflow.avro.strict_reader import Check, Decode, compile_reader
from orderflow.avro.told_branches import with_told_branches
from orderflow.errors import RegistryUnavailable, Undecodable
from orderflow.model.orders import Order, OrderRules, rules_for

__all__ = [
    "Inspection",
    "OrderDecoder",
    "OrderEncoder",
    "Schema",
    "SchemaRef",
    "SchemaRefused",
    "Unencodable",
    "confluent_prefix",
    "load_schema",
    "order_reader",
    "single_object_prefix",
]

FindWriter = Callable[[SchemaRef], Schema]
FindRules = Callable[[], OrderRules]


class Inspection(NamedTuple):
    """What is known about a value. For showing to people, so nothing here raises."""

    framing: Optional[str]
    """`single-object`, `confluent`, or None."""
    schema: Optional[str]
    """As `writer_of` describes it."""
    writer: Optional[Schema]
    order: Optional[Order]
    error: Optional[Exception]
    """`Undecodable`, `UnknownSchema` or `RegistryUnavailable`; None if there is an order."""


class OrderDecoder:
    """Decodes values of any framing and any known writer schema into orders of the reader schema.

    `find_writer` looks a schema up and may raise `UnknownSchema`, `SchemaRefused` or `RegistryUnavailable`.
    It is called once per schema; its results are kept for the life of the process. `find_rules` is called
    when orders are first judged; without it, the shipped rules apply, as far as the reader has their fields.
    """

    def __init__(
        self,
        reader: Schema,
        find_writer: FindWriter,
        max_order_bytes: int,
        find_rules: Optional[FindRules] = None,
    ) -> None:
        self.reader = reader
        self.checked_decoders: Dict[bytes, Decode] = {}
        """For each prefix seen so far, `decode` and `validate` in one function for its values."""
        self._paths: Dict[bytes, _DecodePath] = {}
        self._writers: Dict[bytes, Schema] = {}
        self._find_writer = find_writer
        self._find_rules = find_rules or (lambda: shipped_rules(reader))
        self._rules: Optional[OrderRules] = None
        self._max_order_bytes = max_order_bytes

    def decode(self, value: Optional[bytes]) -> Order:
        """The order in the value.

        Raises `Undecodable` (permanent), `UnknownSchema` (may be registered later) or `RegistryUnavailable`.
        """
        return self._path(value)[1].decode(value)  # type: ignore[arg-type]

    def checked_decoder(self, value: Optional[bytes]) -> Decode:
        """The checked decoder for this value's prefix, built on first use. Raises as `decode` does."""
        prefix, path = self._path(value)
        if prefix not in self.checked_decoders:
            rules = self.rules()
            self.checked_decoders[prefix] = (
                path.proof.checked(rules) if path.proof else _checked(path.decode, rules)
            )
        return self.checked_decoders[prefix]

    def rules(self) -> OrderRules:
        """The rules that orders are judged by, found on first use."""
        if self._rules is None:
            self._rules = self._find_rules()
        return self._rules

    def _path(self, value: Optional[bytes]) -> "Tuple[bytes, _DecodePath]":
        """The prefix of this value and the decode path for it, built on first use."""
        if not value:
            raise undecodable("decode.empty", "a null value (tombstone)" if value is None else "no bytes")
        if len(value) > self._max_order_bytes:
            raise undecodable("decode.too_large", _too_large(value, self._max_order_bytes))
        ref, start = read_prefix(value)
        prefix = value[:start]
        if prefix not in self._paths:
            writer = self._writer(ref)
            self._paths[prefix] = self._build(writer, start)
            self._writers[prefix] = writer
        return prefix, self._paths[prefix]

    def writer_of(self, value: Optional[bytes]) -> str:
        """Framing and writer schema of a value in one line, as far as known without a look-up."""
        try:
            ref, start = read_prefix(value or b"")
        except Undecodable:
            return "unknown framing"
        writer = self._writers.get((value or b"")[:start])
        return f"{ref.framing} {ref}" + (f" {writer.name}" if writer else "")

    def inspect(self, value: Optional[bytes]) -> Inspection:
        """Everything known about a value. Looks up schemas; never raises because of the value."""
        try:
            order: Optional[Order] = self.decode(value)
            error: Optional[Exception] = None
        except (Undecodable, RegistryUnavailable) as caught:
            order, error = None, caught
        try:
            ref, start = read_prefix(value or b"")
        except Undecodable:
            return Inspection(None, None, None, order, error)
        writer = self._writers.get((value or b"")[:start])
        return Inspection(ref.framing, self.writer_of(value), writer, order, error)

    def _writer(self, ref: SchemaRef) -> Schema:
        try:
            return self._find_writer(ref)
        except SchemaRefused as error:
            raise undecodable("decode.schema_refused", f"schema {ref}: {error}") from None

    def _build(self, writer: Schema, start: int) -> "_DecodePath":
        problems = evolution.problems(self.reader, writer)
        same = writer.fingerprint == self.reader.fingerprint
        if problems:
            proof = _Proof(self.reader if same else writer, start, self._max_order_bytes)
            return _DecodePath(_unresolvable(proof, str(problems[0])))
        if not same:
            return _DecodePath(_reasoned(self._resolving(writer, start)))
        if self.reader.logical:
            return _DecodePath(_reasoned(self._resolving(self.reader, start)))
        proof = _Proof(self.reader, start, self._max_order_bytes)
        return _DecodePath(proof.read, proof)

    def _resolving(self, writer: Schema, start: int) -> Decode:
        """For another writer schema: prove with the writer's, then resolve to the reader's."""
        project = None if self.reader.logical else projection(self.reader, writer)
        if project is not None:
            return _resolved(_Proof(writer, start, self._max_order_bytes), project)
        proof = _Proof(writer, start, self._max_order_bytes, with_told_branches(writer))
        return _resolved(proof, resolution(self.reader, writer))


class _Proof:
    """Reads one writer's values strictly: what `read` returns is proven to be what the bytes encode.

    The compiled reader proves nearly all values. The rest take the slow path: they are walked byte by byte
    to find the fault and, if there is none, read by fastavro. `told`, if given, is a schema of the same bytes
    that the values are read with.
    """

    def __init__(self, schema: Schema, start: int, max_bytes: int, told: Optional[Schema] = None) -> None:
        self.schema = schema
        self.start = start
        self._told = told or schema
        self._max_bytes = max_bytes
        self.read = compile_reader(self._told, start, max_bytes, _reasoned(self._carefully))

    def checked(self, rules: OrderRules) -> Decode:
        """`read` with the rules compiled in, as far as they are text."""
        if rules.condition is None:
            return _checked(self.read, rules)
        careful = _checked(_reasoned(self._carefully), rules)
        check = Check(rules.condition, rules.judge)
        return compile_reader(self.schema, self.start, self._max_bytes, careful, check)

    def _carefully(self, value: bytes) -> Order:
        if len(value) > self._max_bytes:
            raise undecodable("decode.too_large", _too_large(value, self._max_bytes))
        fault = first_fault(self.schema, value, self.start)
        if fault:
            raise _misread(fault)
        return read(value, self.start, self._told.raw)


class _DecodePath(NamedTuple):
    """How the values with one prefix become orders."""

    decode: Decode
    proof: Optional[_Proof] = None
    """Set if the proof alone decodes: no other schema and no logical types."""


def _reasoned(inner: Decode) -> Decode:
    """Give anything else that `decode` raises a reason, including MemoryError and RecursionError."""

    def decode(value: bytes) -> Order:
        try:
            return inner(value)
        except Undecodable:
            raise
        except Exception as error:
            raise undecodable("decode.failed", f"{type(error).__name__}: {error}") from error

    return decode


def _checked(inner: Decode, rules: OrderRules) -> Decode:
    """Decode, then apply the rules."""
    judge = rules.judge

    def decode(value: bytes) -> Order:
        order = inner(value)
        judge(order)
        return order

    return decode


def _resolved(proof: _Proof, resolve: Callable[[Order], Order]) -> Decode:
    """What is proven, resolved to the reader's schema."""

    def decode(value: bytes) -> Order:
        written = proof.read(value)
        try:
            return resolve(written)
        except Unfit as unfit:
            raise undecodable(unfit.reason, str(unfit)) from unfit.__cause__

    return decode


def _unresolvable(proof: _Proof, why: str) -> Decode:
    """For a writer schema that can never be resolved. Damaged bytes are still the better reason."""

    def decode(value: bytes) -> Order:
        proof.read(value)
        raise undecodable("decode.unresolvable", why)

    return decode


def _misread(fault: Fault) -> Undecodable:
    where = f"field {fault.field}" if fault.field else "the record"
    return undecodable(fault.reason, f"{where}, byte {fault.position}: {fault.what}", fault.position)


def read(value: bytes, start: int, parsed: Any, reader: Any = None) -> Order:
    """One record by fastavro, without any check of ours."""
    stream = BytesIO(value)
    stream.seek(start)
    order: Order = schemaless_reader(stream, parsed, reader)  # type: ignore[assignment]
    return order


def write(order: Order, parsed: Any) -> bytes:
    """One record by fastavro, without any check of ours."""
    stream = BytesIO()
    schemaless_writer(stream, parsed, order)
    return stream.getvalue()


def _too_large(value: bytes, limit: int) -> str:
    return f"the value has {len(value):,} bytes, the limit is {limit:,} (MAX_ORDER_BYTES)"


def order_reader(decoder: OrderDecoder) -> Callable[[Optional[bytes]], Order]:
    """Decodes and judges in one function with everything bound locally, since it runs for every record.

    The function raises what the decoder and the rules raise. The rules are found at once, so that a fault in
    them shows at the start.
    """
    decoder.rules()
    decoders, build = decoder.checked_decoders, decoder.checked_decoder

    def read_order(value: Optional[bytes]) -> Order:
        try:
            decode = decoders[value[:10] if value[0] == 0xC3 else value[:5]]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            decode = build(value)
        return decode(value)  # type: ignore[arg-type]

    return read_order


def shipped_rules(reader: Schema) -> OrderRules:
    """The shipped rules, as far as this schema has their fields with types that they can check."""
    fields = reader.parsed["fields"]
    return rules_for({field["name"]: evolution.value_types(field["type"]) for field in fields})
