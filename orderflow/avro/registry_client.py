"""Confluent's own schema registry client, made from our settings and imported only if needed."""

import logging
import time
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Protocol

from orderflow.avro.registry_files import fault_of_files
from orderflow.shadowed import file_in_place_of

REQUEST_TIMEOUT_S = 2.0
"""Limit of each step of a request: connecting, and each read."""
ANSWER_DEADLINE_S = 30.0
"""Limit of one whole answer that trickles in: nobody waits that long for it, but its thread should end."""
MAX_ANSWER_BYTES = 8_000_000
"""Limit of one answer. A schema has kilobytes; a list of all versions of a subject has some more."""
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


class AnswerTooLarge(Exception):
    """The answer is longer than any answer of a registry, or would be once it is unpacked."""


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
        in_its_place = file_in_place_of(error)
        if in_its_place is not None:
            raise RegistryMisconfigured(
                f"the schema registry's client cannot be loaded: {in_its_place}"
            ) from None
        raise RegistryMisconfigured(
            f"the schema registry's client is not installed ({error.name} is missing); "
            "next: pip install -r requirements.txt"
        ) from None
    fault = fault_of_files(
        config.ca_location, config.certificate_location, config.key_location, config.key_password
    )
    if fault is not None:
        raise RegistryMisconfigured(fault)
    try:
        client = SchemaRegistryClient(config.client_config())
        _keep_out_of_logs(client, config.url)
    except Exception as error:  # noqa: BLE001 - the HTTP client has its own for an address that is none
        said = without(config, str(error))
        raise RegistryMisconfigured(f"schema registry {shown(config.url)}: {said}") from None
    _bound(client)
    return client


def _keep_out_of_logs(client: Any, url: str) -> None:
    """Have the HTTP client log nothing of requests to this address.

    At INFO it logs each with the whole address, whose path may hold a token. Other requests, of a handler
    that uses the same library, are logged as ever.
    """
    session = client._rest_client.session
    start = str(session.build_request("GET", url).url).rstrip("/")  # as the library spells it

    def is_of_others(record: logging.LogRecord) -> bool:
        parts = record.args if isinstance(record.args, tuple) else ()
        return not any(str(part).startswith(start) for part in parts)

    library, _, _ = type(session).__module__.partition(".")
    logging.getLogger(library).addFilter(is_of_others)


def _bound(client: Any) -> None:
    """Read no answer without a limit: the client takes whatever comes, and unpacks it.

    Packed answers are refused: a megabyte of them can be gigabytes.
    """
    session = client._rest_client.session
    session.headers["Accept-Encoding"] = "identity"
    session.event_hooks = {"request": [], "response": [_bound_answer]}


def _bound_answer(response: Any) -> None:
    """Called when an answer's head has come and its body has not."""
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        raise AnswerTooLarge(f"its answer is packed ({packed[:20]}), which was not asked for")
    response.stream = _bounded_stream(response.stream)


def _bounded_stream(stream: Any) -> Any:
    """The same bytes, as long as they are not too many and do not take too long."""
    base: Any = type(stream).__mro__[-2]

    class Bounded(base):  # type: ignore[misc]
        """What the HTTP client reads in its place; it insists on the kind."""

        def __iter__(self) -> Iterator[bytes]:
            left, deadline_s = MAX_ANSWER_BYTES, time.monotonic() + ANSWER_DEADLINE_S
            for part in stream:
                left -= len(part)
                if left < 0:
                    raise AnswerTooLarge(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
                if time.monotonic() > deadline_s:
                    raise AnswerTooLarge(f"its answer takes longer than {ANSWER_DEADLINE_S:g} s")
                yield part

        def close(self) -> None:
            stream.close()

    return Bounded()


# --- what may be told of it


def shown(url: str) -> str:
    """Scheme, host and port of a registry's address. Its path may hold a token."""
    return "/".join(url.split("/", 3)[:3])


def without(config: RegistryConfig, said: str) -> str:
    """What somebody said of the registry, without any part of the settings that may be a secret."""
    _, _, path = config.url.partition("://")[2].partition("/")
    parts = [config.user_info, config.key_password, path, *path.split("/")]
    if config.user_info is not None:
        parts += [*config.user_info.split(":", 1), b64encode(config.user_info.encode()).decode()]
    parts += [repr(part.encode())[2:-1] for part in parts if part]  # as the client shows what is no JSON
    for part in sorted((part for part in parts if part and len(part) > 3), key=len, reverse=True):
        said = said.replace(part, "…")
    return said


def avro_schema(text: str) -> Any:
    """A schema in the client's own form."""
    from confluent_kafka.schema_registry import Schema

    return Schema(text, "AVRO")
