"""Check before a deploy that a changed order schema can still read what was written with older ones."""

import argparse
import sys
from pathlib import Path
from typing import Iterator, List, NamedTuple, Optional, Sequence, TextIO

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import config
from orderflow.avro import evolution
from orderflow.avro.codec import Schema, SchemaRefused, load_schema, shipped_rules
from orderflow.avro.schema_store import (
    Registry,
    RegistryConfig,
    RegistryMisconfigured,
    load_file,
    load_folder,
    subject_of,
)
from orderflow.errors import RegistryUnavailable

OK, BREAKS, USAGE = 0, 1, 2

EXAMPLES = """commands:
  python tools/check_schema.py                  order_schema.avsc against schemas/ and the registry
  python tools/check_schema.py proposed.avsc    another file in its place
  python tools/check_schema.py --schema-registry-url http://localhost:8081

exit code: 0 everything is read, 1 something is not, 2 the schema or a setting is unusable
"""


class Writer(NamedTuple):
    """One schema that orders were written with."""

    origin: str
    schema: Optional[Schema]
    refused: str = ""


def main(argv: Optional[Sequence[str]] = None, out: TextIO = sys.stdout, err: TextIO = sys.stderr) -> int:
    """Compare and report; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        settings = config.load(arguments)
        path = Path(arguments.schema or settings.order_schema)
        reader = load_file(path).schema
        writers = list(_writers(Path(arguments.versions or settings.schema_versions), settings))
    except (SchemaRefused, RegistryMisconfigured, config.ConfigError) as error:
        print(f"check-schema: {error}", file=err)
        return USAGE
    except RegistryUnavailable as error:
        print(f"check-schema: {error}", file=err)
        print("next: start it, or unset SCHEMA_REGISTRY_URL to check the files only", file=err)
        return BREAKS
    if settings.rules is None:
        judged = ", ".join(rule.field for rule in shipped_rules(reader).rules)
        print(f"the shipped rules judge {judged or 'none of its fields'}", file=out)
    return report(reader, path.name, writers, out)


def report(reader: Schema, name: str, writers: Sequence[Writer], out: TextIO) -> int:
    """Print one line per writer, with what breaks below it; returns the exit code."""
    print(f"{name} ({reader.name}, fingerprint {reader.fingerprint.hex()}) reads:", file=out)
    broken = 0
    for writer in writers:
        lines = list(_findings(reader, writer))
        fatal = any(line.startswith("breaks") for line in lines)
        broken += fatal
        print(f"  {'NO ' if fatal else 'yes'}  {writer.origin}", file=out)
        for line in lines:
            print(f"       {line}", file=out)
    if not writers:
        print("  nothing to compare with: schemas/ is empty and no registry is set", file=out)
    print(_conclusion(broken, len(writers)), file=out)
    return BREAKS if broken else OK


def _findings(reader: Schema, writer: Writer) -> Iterator[str]:
    """What breaks, what breaks for some orders only, and what older consumers cannot read any more."""
    if writer.schema is None:
        yield f"breaks: {writer.refused}"
        return
    for problem in evolution.all_problems(reader, writer.schema):
        yield f"{'breaks' if problem.always else 'some orders'}: {problem}"
    for problem in evolution.all_problems(writer.schema, reader):
        yield f"note: a consumer that still has it cannot read new orders: {problem}"


def _conclusion(broken: int, compared: int) -> str:
    if broken:
        return (
            f"{broken} of {compared} cannot be read: their orders are dead-lettered (decode.unresolvable)\n"
            "next: give new fields a default, keep the old types"
        )
    return f"all {compared} can be read" if compared else "nothing breaks"


def _writers(versions: Path, settings: config.Settings) -> List[Writer]:
    writers = [Writer(f"{versions.name}/{stored.origin}", stored.schema) for stored in load_folder(versions)]
    registry = RegistryConfig.of(settings)
    if registry is not None:
        writers += _registered(Registry(registry), subject_of(settings.orders_topic))
    return writers


def _registered(registry: Registry, subject: str) -> Iterator[Writer]:
    for version in registry.versions(subject):
        origin = f"{subject} version {version.number} (id {version.schema_id})"
        try:
            yield Writer(origin, load_schema(version.text))
        except SchemaRefused as error:
            yield Writer(origin, None, str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Can the order schema still read everything that was written?",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("schema", nargs="?", help="default: ORDER_SCHEMA")
    parser.add_argument("--versions", metavar="FOLDER", help="older versions; default: SCHEMA_VERSIONS")
    config.add_flags(parser, SETTINGS)
    return parser


SETTINGS = [
    "orders_topic",
    "schema_registry_url",
    "schema_registry_ca_location",
    "schema_registry_certificate_location",
    "schema_registry_key_location",
]


if __name__ == "__main__":
    sys.exit(main())
