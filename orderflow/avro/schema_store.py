"""Where schemas come from: `order_schema.avsc`, the older versions in `schemas/`, and the registry."""

from pathlib import Path
from typing import Dict, List, NamedTuple, Optional

from orderflow.avro import evolution
from orderflow.avro.codec import OrderEncoder, SchemaRef, confluent_prefix, single_object_prefix
from orderflow.avro.registry import Registry, RegistryConfig, RegistryMisconfigured, SchemaRejected
from orderflow.avro.schema import Schema, SchemaRefused, load_schema
from orderflow.errors import Undecodable

__all__ = [
    "Registry",
    "RegistryConfig",
    "RegistryMisconfigured",
    "SchemaRejected",
    "SchemaStore",
    "StoredSchema",
    "subject_of",
]

ROOT = Path(__file__).resolve().parent.parent.parent
READER_PATH = ROOT / "order_schema.avsc"
VERSIONS_DIR = ROOT / "schemas"


class StoredSchema(NamedTuple):
    """A schema and where it was found."""

    origin: str
    schema: Schema


class SchemaStore:
    """The schemas that this process can read, and the one it writes.

    The constructor raises `SchemaRefused`, naming the file, if a file cannot be used, and
    `RegistryMisconfigured` if no registry request could ever succeed. It makes no request.
    """

    def __init__(
        self,
        reader_path: Path = READER_PATH,
        versions_dir: Path = VERSIONS_DIR,
        registry: Optional[RegistryConfig] = None,
    ) -> None:
        self.files = [load_file(reader_path), *load_folder(versions_dir)]
        self.reader = self.files[0].schema
        self.registry = Registry(registry) if registry else None
        self._by_fingerprint = _by_fingerprint(self.files)
        self._by_id: Dict[int, Schema] = {}
        self._refused: Dict[int, str] = {}

    def find_writer(self, ref: SchemaRef) -> Schema:
        """The schema that a value refers to. A schema that was found is never requested again.

        Raises `UnknownSchema` if the id may still be registered, `Undecodable` if only a restart can
        add the schema, `SchemaRefused` for an unsafe one, and `RegistryUnavailable`.
        """
        if ref.schema_id is None:
            return self._find_in_files(ref)
        if ref.schema_id not in self._by_id:
            self._by_id[ref.schema_id] = self._find_in_registry(ref.schema_id)
        return self._by_id[ref.schema_id]

    def _find_in_files(self, ref: SchemaRef) -> Schema:
        schema = self._by_fingerprint.get(ref.fingerprint or b"")
        if schema is None:
            raise Undecodable(f"{ref} is neither the reader's nor in schemas/", "decode.unknown_schema")
        return schema

    def _find_in_registry(self, schema_id: int) -> Schema:
        if self.registry is None:
            message = f"schema id {schema_id} is in a registry, but SCHEMA_REGISTRY_URL is not set"
            raise Undecodable(message, "decode.unknown_schema")
        if schema_id not in self._refused:
            try:
                return load_schema(self.registry.schema_text(schema_id))
            except SchemaRefused as error:
                self._refused[schema_id] = str(error)
        raise SchemaRefused(self._refused[schema_id])

    def producer_encoder(self, topic: str, register: bool = True) -> OrderEncoder:
        """The encoder for a topic's orders, in the framing that the settings imply.

        With a registry the schema is registered under `<topic>-value` first, or only looked up there.
        Raises `SchemaRejected` or `RegistryUnavailable`; then nothing may be sent.
        """
        if self.registry is None:
            return OrderEncoder(self.reader, single_object_prefix(self.reader))
        ask = self.registry.register if register else self.registry.look_up
        schema_id = ask(subject_of(topic), self.reader.text)
        self._by_id[schema_id] = self.reader
        return OrderEncoder(self.reader, confluent_prefix(schema_id))


def subject_of(topic: str) -> str:
    """The registry's subject for the values of a topic, by its usual naming strategy."""
    return f"{topic}-value"


def load_file(path: Path) -> StoredSchema:
    """The schema in one file. Raises `SchemaRefused`, naming the file."""
    try:
        return StoredSchema(path.name, load_schema(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, SchemaRefused) as error:
        raise SchemaRefused(f"{path}: {error}") from None


def load_folder(folder: Path) -> List[StoredSchema]:
    """The schemas in a folder's `*.avsc` files, sorted by name; empty if there is no such folder."""
    return [load_file(path) for path in sorted(folder.glob("*.avsc"))]


def _by_fingerprint(files: List[StoredSchema]) -> Dict[bytes, Schema]:
    """The first schema of each fingerprint.

    A fingerprint ignores logical types. Two files that differ only in these, but give a value different
    meanings, cannot be told apart by a record, so both together are refused.
    """
    first: Dict[bytes, StoredSchema] = {}
    for stored in files:
        known = first.setdefault(stored.schema.fingerprint, stored)
        problems = evolution.problems(known.schema, stored.schema)
        if problems:
            same = f"{known.origin} and {stored.origin} have the same fingerprint"
            raise SchemaRefused(f"{same}, but {problems[0]}")
    return {fingerprint: stored.schema for fingerprint, stored in first.items()}
