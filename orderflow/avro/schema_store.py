"""Where schemas come from: `order_schema.avsc`, the older versions in `schemas/`, and the registry."""

import contextlib
import time
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional

from orderflow.avro import evolution
from orderflow.avro.codec import OrderEncoder, SchemaRef, confluent_prefix, single_object_prefix
from orderflow.avro.registry import Registry, RegistryConfig, RegistryMisconfigured, SchemaRejected
from orderflow.avro.schema import Schema, SchemaRefused, load_schema
from orderflow.errors import Undecodable, UnknownSchema
from orderflow.exits import fault_of

__all__ = [
    "Registry",
    "RegistryConfig",
    "RegistryMisconfigured",
    "SchemaRejected",
    "SchemaStore",
    "StoredSchema",
    "subject_of",
]

PACKAGE = Path(__file__).resolve().parent.parent
INSTALLED = PACKAGE / "order_schema.avsc"
"""Where the shipped schema is once the package is installed without the scripts."""
READER_PATH = INSTALLED if INSTALLED.exists() else PACKAGE.with_name("order_schema.avsc")
VERSIONS_DIR = READER_PATH.with_name("schemas")
LOOK_AGAIN_S = 1.0


class StoredSchema(NamedTuple):
    """A schema and where it was found."""

    origin: str
    schema: Schema


class SchemaStore:
    """The schemas that this process can read, and the one it writes.

    The constructor raises `SchemaRefused`, naming the file, if a file cannot be used, and
    `RegistryMisconfigured` if no registry request could ever succeed. It makes no request.

    With `hold_s`, an unknown fingerprint is not final: during a rolling deployment, an older consumer meets
    orders of a newer schema. They are to be retried after that many seconds, and the folder is read again.
    """

    def __init__(
        self,
        reader_path: Path = READER_PATH,
        versions_dir: Path = VERSIONS_DIR,
        registry: Optional[RegistryConfig] = None,
        hold_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.files = [load_file(reader_path), *load_folder(versions_dir)]
        self.reader = self.files[0].schema
        self.registry = Registry(registry) if registry else None
        self._by_fingerprint = _by_fingerprint(self.files)
        self._by_id: Dict[int, Schema] = {}
        self._refused: Dict[int, str] = {}
        self._versions_dir = versions_dir
        self._hold_s = hold_s
        self._clock = clock
        self._look_again_s = 0.0

    def find_writer(self, ref: SchemaRef) -> Schema:
        """The schema that a value refers to. A schema that was found is never requested again.

        Raises `UnknownSchema` if it may still be registered or added to the folder, `Undecodable` if only a
        restart can add it, `SchemaRefused` for an unsafe one, and `RegistryUnavailable`.
        """
        if ref.schema_id is None:
            return self._find_in_files(ref)
        if ref.schema_id not in self._by_id:
            self._by_id[ref.schema_id] = self._find_in_registry(ref.schema_id)
        return self._by_id[ref.schema_id]

    def _find_in_files(self, ref: SchemaRef) -> Schema:
        fingerprint = ref.fingerprint or b""
        if fingerprint not in self._by_fingerprint and self._hold_s:
            self._look_again()
        if fingerprint in self._by_fingerprint:
            return self._by_fingerprint[fingerprint]
        message = f"{ref} is neither the reader's nor in {self._versions_dir.name}/"
        if self._hold_s:
            raise UnknownSchema(message, after_s=self._hold_s)
        raise Undecodable(message, "decode.unknown_schema")

    def _look_again(self) -> None:
        """Add what is new in the folder, once a second at most. A file that cannot be used adds nothing."""
        if self._clock() < self._look_again_s:
            return
        self._look_again_s = self._clock() + LOOK_AGAIN_S
        with contextlib.suppress(SchemaRefused):
            known = _by_fingerprint([*self.files, *load_folder(self._versions_dir)])
            self._by_fingerprint.update(known)

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
        return StoredSchema(path.name, load_schema(path.read_text(encoding="utf-8-sig")))
    except OSError as error:
        raise SchemaRefused(f"{path}: {fault_of(error)}") from None
    except UnicodeDecodeError:
        raise SchemaRefused(f"{path}: the schema is not UTF-8 text") from None
    except SchemaRefused as error:
        raise SchemaRefused(f"{path}: {error}") from None


def load_folder(folder: Path) -> List[StoredSchema]:
    """The schemas in a folder's `*.avsc` files, sorted by name; empty if there is no such folder."""
    return [load_file(path) for path in sorted(folder.glob("*.avsc"))]


def _by_fingerprint(files: List[StoredSchema]) -> Dict[bytes, Schema]:
    """The first schema of each fingerprint.

    A fingerprint ignores logical types. Two files that differ only in these, but give a value different
    meanings, cannot be told apart by a record, so both together are refused.
    """
    alike: Dict[bytes, List[StoredSchema]] = {}
    for stored in files:
        others = alike.setdefault(stored.schema.fingerprint, [])
        for known in others:
            problems = evolution.problems(known.schema, stored.schema)
            if problems:
                same = f"{known.origin} and {stored.origin} have the same fingerprint"
                raise SchemaRefused(f"{same}, but {problems[0]}")
        others.append(stored)
    return {fingerprint: stored[0].schema for fingerprint, stored in alike.items()}
