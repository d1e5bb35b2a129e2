"""Confluent's own schema registry client, made from our settings and imported only if needed."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, NamedTuple, Optional, Protocol

REQUEST_TIMEOUT_S = 2.0
"""Limit of each step of a request: connecting, and each read."""
MAX_REFERENCES = 50


class RegistryMisconfigured(ValueError):
    """No request can be made with these settings. Says which setting, never a secret."""


class RegistrySettings(Protocol):
    """The settings that `RegistryConfig.of` reads."""

    @property
    def schema_registry_url(self) -> Optional[str]: ...  # noqa: D102
    @property
    def schema_registry_user_info(self) -> Optional[str]: ...  # noqa: D102
    @property
    def schema_registry_ca_location(self) -> Optional[str]: ...  # noqa: D102
    @property
    def schema_registry_certificate_location(self) -> Optional[str]: ...  # noqa: D102
    @property
    def schema_registry_key_location(self) -> Optional[str]: ...  # noqa: D102
    @property
    def schema_registry_key_password(self) -> Optional[str]: ...  # noqa: D102


@dataclass(frozen=True)
class RegistryConfig:
    """The registry's address and credentials. The locations are paths of PEM files."""

    url: str
    user_info: Optional[str] = field(default=None, repr=False)
    ca_location: Optional[str] = None
    certificate_location: Optional[str] = None
    key_location: Optional[str] = None
    key_password: Optional[str] = field(default=None, repr=False)

    @classmethod
    def of(cls, settings: "RegistrySettings") -> "Optional[RegistryConfig]":
        """The registry's part of the settings; None if no registry is set."""
        if settings.schema_registry_url is None:
            return None
        return cls(
            settings.schema_registry_url,
            settings.schema_registry_user_info,
            settings.schema_registry_ca_location,
            settings.schema_registry_certificate_location,
            settings.schema_registry_key_location,
            settings.schema_registry_key_password,
        )

    def client_config(self) -> Dict[str, Any]:
        """The configuration of confluent_kafka's SchemaRegistryClient."""
        optional = {
            "basic.auth.user.info": self.user_info,
            "ssl.ca.location": self.ca_location,
            "ssl.certificate.location": self.certificate_location,
            "ssl.key.location": self.key_location,
            "ssl.key.password": self.key_password,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return {"url": self.url, "timeout": REQUEST_TIMEOUT_S, "max.retries": 0, **given}


class RegistrySchema(NamedTuple):
    """A schema as the registry returned it, with everything it references. Its texts may be garbage."""

    text: Any
    kind: Any
    referenced: List[Any]
    schema_id: Any = None

    @classmethod
    def registered(cls, client: Any, answer: Any) -> "RegistrySchema":
        """Of one version of a subject, with its id."""
        return cls.whole(client, answer.schema)._replace(schema_id=answer.schema_id)

    @classmethod
    def whole(cls, client: Any, schema: Any) -> "RegistrySchema":
        """Runs in the request's thread, so that any number of references takes no longer than one wait."""
        found: Dict[Any, Any] = {}
        open_ones = list(schema.references or ())
        while open_ones and len(found) < MAX_REFERENCES:
            reference = open_ones.pop()
            key = (reference.subject, reference.version)
            if key not in found:
                other = client.get_version(*key).schema
                found[key] = other.schema_str
                open_ones += other.references or ()
        return cls(schema.schema_str, schema.schema_type, list(found.values()))


def new_client(config: RegistryConfig) -> Any:
    """A SchemaRegistryClient. Raises `RegistryMisconfigured`; makes no request yet."""
    try:
        from confluent_kafka.schema_registry import SchemaRegistryClient
    except ImportError as error:
        raise RegistryMisconfigured(
            f"the schema registry's client is not installed ({error.name} is missing)\n"
            "next: pip install -r requirements.txt"
        ) from None
    try:
        return SchemaRegistryClient(config.client_config())
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise RegistryMisconfigured(f"schema registry {config.url}: {error}") from None


def avro_schema(text: str) -> Any:
    """A schema in the client's own form."""
    from confluent_kafka.schema_registry import Schema

    return Schema(text, "AVRO")
