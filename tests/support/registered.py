"""A schema in a real registry, registered as another team's producer would."""

from orderflow.avro.codec import Schema


def registered(url: str, subject: str, schema: Schema, timeout_s: int = 10) -> int:
    """Register a schema; returns its id."""
    from confluent_kafka.schema_registry import Schema as Registered
    from confluent_kafka.schema_registry import SchemaRegistryClient

    client = SchemaRegistryClient({"url": url, "timeout": timeout_s})
    return int(client.register_schema(subject, Registered(schema.text, "AVRO")))
