"""Settings: every name, default and unit, and the one function that reads them.

Owns: the catalogue `SETTINGS`, the frozen `Settings`, and the only reading of the environment and `.env`.
Does not know: what a setting is used for; nothing in orderflow/ imports this module.
Used by: producer.py, consumer.py, dlq_handler.py, and the tests of .env.example and the README table.

Precedence: flag > environment > .env > default. An empty value unsets an optional setting and is a fault for
any other. A secret may stand in a file that `NAME_FILE` names. `KAFKA_SASL_USERNAME` and `-X sasl.username=`
reach the Kafka client as its property `sasl.username`; so does every other property that the client knows.
"""

import argparse
import difflib
import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from confluent_kafka import KafkaException, Producer
from dotenv.parser import parse_stream

from orderflow.cli import UsageError

ORDER_SCHEMA = Path(__file__).resolve().with_name("order_schema.avsc")
SCHEMA_VERSIONS = ORDER_SCHEMA.with_name("schemas")


class ConfigError(UsageError):
    """Settings that cannot be used: one message with every fault, a line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        head = "wrong setting" if len(self.faults) == 1 else f"{len(self.faults)} wrong settings"
        super().__init__("\n  ".join([f"{head}:", *self.faults]))


@dataclass(frozen=True)
class Settings:
    """All settings of the three scripts, parsed and checked. Its `repr` shows no secret."""

    bootstrap_servers: str
    orders_topic: str
    dlq_topic: str
    audit_topic: str
    processed_topic: Optional[str]
    consumer_group: str
    order_key: str
    max_retries: int
    retry_backoff_s: float
    retry_backoff_max_s: float
    handler: Optional[str]
    workers: int
    guarantee: str
    handler_timeout_s: float
    shutdown_timeout_s: float
    outage_window_s: float
    max_queued: int
    max_order_bytes: int
    dead_letter_stack: bool
    schema_registry_url: Optional[str]
    schema_registry_user_info: Optional[str] = field(repr=False)
    schema_registry_ca_location: Optional[str]
    schema_registry_certificate_location: Optional[str]
    schema_registry_key_location: Optional[str]
    schema_registry_key_password: Optional[str] = field(repr=False)
    schema_registry_register: bool
    client: Mapping[str, str] = field(repr=False)
    """Properties of the Kafka client that pass through as they are, by the client's own names."""


# --- Parsing: text to value; a ValueError's message completes "NAME: …" ---


def _text(text: str) -> str:
    return text


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}, without a unit")
        return number

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {' or '.join(choices)}{_did_you_mean(text, choices)}")
        return text

    return parse


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError("must be true or false")


def _topic(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", text) or text in (".", ".."):
        raise ValueError("must be a topic name: 1 to 249 of the characters A-Z a-z 0-9 . _ -")
    return text


def _addresses(text: str) -> str:
    for address in text.split(","):
        match = re.fullmatch(r"\s*(?:\w+://)?(?:[^\s:\[\]/@]+|\[[0-9A-Fa-f:.%\w]+\])(?::([0-9]{1,5}))?\s*", address)
        if not match or not 1 <= int(match.group(1) or 9092) <= 65535:
            raise ValueError("must be host:port, or several separated by commas")
    return text


def _order_field(text: str) -> str:
    names = _order_fields()
    if names and text not in names:
        raise ValueError(f"must be a field of {ORDER_SCHEMA.name}: {', '.join(names)}{_did_you_mean(text, names)}")
    return text


def _order_fields() -> List[str]:
    """Names of the schema's fields; none if it cannot be read, which whoever loads the schema reports."""
    try:
        return [f["name"] for f in json.loads(ORDER_SCHEMA.read_text(encoding="utf-8"))["fields"]]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", text):
        raise ValueError("must start with http:// or https://, then the host")
    if "@" in text.split("/")[2]:
        raise ValueError("must not hold a user and password: they belong in SCHEMA_REGISTRY_USER_INFO")
    return text


def _user_info(text: str) -> str:
    if ":" not in text:
        raise ValueError("must be user:password")
    return text


# --- The catalogue ---


class Setting(NamedTuple):
    """One setting: what it is called everywhere, what it means, and how its text is read."""

    name: str
    """Attribute of `Settings`."""
    env: str
    """Name in the environment and in `.env`; the flag is made from it."""
    default: Optional[str]
    """As text, the way one would write it; None where the setting is optional and unset."""
    parse: Callable[[str], Any]
    meaning: str
    secret: bool = False
    """Never printed, has no flag, and may be given as the path `<env>_FILE`."""
    optional: bool = False

    @property
    def flag(self) -> str:
        """`--max-retries` for MAX_RETRIES; `--bootstrap-servers` for KAFKA_BOOTSTRAP_SERVERS."""
        return "--" + re.sub("^KAFKA_", "", self.env).lower().replace("_", "-")


_WEEK_S = 7 * 86400

SETTINGS: Tuple[Setting, ...] = (
    Setting("bootstrap_servers", "KAFKA_BOOTSTRAP_SERVERS", "localhost:9092", _addresses,
            "Kafka brokers to start from, host:port, separated by commas"),
    Setting("orders_topic", "ORDERS_TOPIC", "orders", _topic, "topic of the orders"),
    Setting("dlq_topic", "DLQ_TOPIC", "orders-dlq", _topic, "topic of the dead letters"),
    Setting("audit_topic", "DLQ_AUDIT_TOPIC", None, _topic,
            "topic that records what became of each dead letter; unset: <DLQ_TOPIC>-audit", optional=True),
    Setting("processed_topic", "PROCESSED_TOPIC", None, _topic,
            "topic for what the handler returns; unset: results are not published", optional=True),
    Setting("consumer_group", "CONSUMER_GROUP", "order-processing-group", _text, "consumer group of the consumers"),
    Setting("order_key", "ORDER_KEY", "order_id", _order_field,
            "field of the order that is the record's key; orders of one key stay in order"),
    Setting("max_retries", "MAX_RETRIES", "3", _integer(0, 30), "tries after the first, before an order is dead-lettered"),
    Setting("retry_backoff_s", "RETRY_BACKOFF", "5", _seconds(0, _WEEK_S),
            "seconds before the first retry, doubled for each further one"),
    Setting("retry_backoff_max_s", "RETRY_BACKOFF_MAX", "60", _seconds(0, _WEEK_S), "seconds that a retry waits at most"),
    Setting("handler", "HANDLER", None, _text,
            "module:function or file.py:function that processes an order; unset: the one in consumer.py", optional=True),
    Setting("workers", "WORKERS", "1", _integer(1, 1024), "handlers that run at the same time"),
    Setting("guarantee", "GUARANTEE", "exactly-once", _one_of("exactly-once", "at-least-once"),
            "exactly-once or at-least-once, for what is in Kafka"),
    Setting("handler_timeout_s", "HANDLER_TIMEOUT", "300", _seconds(1, 86400),
            "seconds that one call of the handler may take before the process is ended"),
    Setting("shutdown_timeout_s", "SHUTDOWN_TIMEOUT", "25", _seconds(0, 3600), "seconds to finish in when asked to stop"),
    Setting("outage_window_s", "OUTAGE_WINDOW", "60", _seconds(1, 86400),
            "seconds between two dead letters while nearly everything fails"),
    Setting("max_queued", "MAX_QUEUED", "10000", _integer(0, 10_000_000),
            "orders of a partition that may queue behind a waiting order of their key"),
    Setting("max_order_bytes", "MAX_ORDER_BYTES", "1048576", _integer(1, 1_000_000_000),
            "bytes of a record's value above which it is dead-lettered undecoded"),
    Setting("dead_letter_stack", "DEAD_LETTER_STACK", "false", _boolean, "true: dead letters carry the handler's stack trace"),
    Setting("schema_registry_url", "SCHEMA_REGISTRY_URL", None, _url,
            "schema registry; unset: Avro single-object encoding, no registry needed", optional=True),
    Setting("schema_registry_user_info", "SCHEMA_REGISTRY_USER_INFO", None, _user_info,
            "user:password for the schema registry", secret=True, optional=True),
    Setting("schema_registry_ca_location", "SCHEMA_REGISTRY_CA_LOCATION", None, _text,
            "file of the certificate authorities (PEM) that the registry's certificate is checked against", optional=True),
    Setting("schema_registry_certificate_location", "SCHEMA_REGISTRY_CERTIFICATE_LOCATION", None, _text,
            "file of the client certificate (PEM) for the registry", optional=True),
    Setting("schema_registry_key_location", "SCHEMA_REGISTRY_KEY_LOCATION", None, _text,
            "file of the client certificate's private key (PEM)", optional=True),
    Setting("schema_registry_key_password", "SCHEMA_REGISTRY_KEY_PASSWORD", None, _text,
            "password of that private key", secret=True, optional=True),
    Setting("schema_registry_register", "SCHEMA_REGISTRY_REGISTER", "true", _boolean,
            "false: the producer only looks its schema up and never registers it"),
)

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_BY_ENV = {setting.env: setting for setting in SETTINGS}
_PREFIX = "KAFKA_"
_FILE = "_FILE"
_FLAGS = "the command line"

PROTECTED: Mapping[str, str] = {
    "bootstrap.servers": "set KAFKA_BOOTSTRAP_SERVERS",
    "metadata.broker.list": "set KAFKA_BOOTSTRAP_SERVERS",
    "group.id": "set CONSUMER_GROUP",
    "transactional.id": "it is chosen so that a stale process is fenced",
    "enable.auto.commit": "offsets are committed only for orders that are settled",
    "auto.commit.enable": "offsets are committed only for orders that are settled",
    "enable.auto.offset.store": "offsets are committed only for orders that are settled",
    "isolation.level": "orders of aborted transactions must not be read",
    "enable.partition.eof": "the end of a partition is watched for",
    "enable.idempotence": "an order must be published once",
    "acks": "an order counts as published when all in-sync replicas have it",
    "request.required.acks": "an order counts as published when all in-sync replicas have it",
    "delivery.report.only.error": "every delivery is counted",
}
"""Client properties that may not be passed through, because a promise rests on each; with what to do or why."""

_SUGGESTED_PROPERTIES = (
    "security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password",
    "sasl.oauthbearer.config", "sasl.kerberos.service.name", "ssl.ca.location", "ssl.certificate.location",
    "ssl.key.location", "ssl.key.password", "ssl.endpoint.identification.algorithm", "client.id", "client.rack",
    "compression.type", "linger.ms", "batch.size", "message.timeout.ms", "message.max.bytes", "session.timeout.ms",
    "group.instance.id", "group.protocol", "partition.assignment.strategy", "auto.offset.reset", "debug", "log_level",
)


# --- Flags ---


def add_flags(parser: argparse.ArgumentParser, names: Sequence[str]) -> None:
    """Add a flag for each named setting, `-b` for the brokers, and `-X` for any other client property.

    Values stay text here: `load` checks flags together with everything else.
    """
    group = parser.add_argument_group("settings (flag > environment > .env > default)")
    for name in ("bootstrap_servers", *[n for n in names if n != "bootstrap_servers"]):
        setting = _BY_NAME[name]
        options = ["-b", setting.flag] if name == "bootstrap_servers" else [setting.flag]
        extra: Dict[str, Any] = {"nargs": "?", "const": "true"} if setting.parse is _boolean else {}
        group.add_argument(*options, dest=name, metavar=_metavar(setting), help=_flag_help(setting), **extra)
    group.add_argument("-X", dest="client", action="append", metavar="NAME=VALUE", default=[],
                       help="any property of the Kafka client, repeatable [env: KAFKA_<NAME>, _ for each dot]")


def _metavar(setting: Setting) -> str:
    if setting.name.endswith("_s"):
        return "SECONDS"
    if setting.parse is _boolean:
        return "true|false"
    if setting.name.endswith("_location"):
        return "FILE"
    return {"bootstrap_servers": "HOST:PORT", "order_key": "FIELD", "handler": "MODULE:FUNCTION",
            "max_order_bytes": "BYTES", "guarantee": "LEVEL", "schema_registry_url": "URL"}.get(
                setting.name, "TOPIC" if setting.parse is _topic else "GROUP" if "group" in setting.name else "N")


def _flag_help(setting: Setting) -> str:
    default = "" if setting.default is None else f", default: {setting.default}"
    return f"{setting.meaning} [env: {setting.env}{default}]".replace("%", "%%")


# --- Loading ---


class _Layer(NamedTuple):
    """One source of settings: where its values come from, for messages, and the values by environment name."""

    label: str
    values: Mapping[str, str]


def load(flags: Union[argparse.Namespace, Mapping[str, Any]], environ: Optional[Mapping[str, str]] = None,
         dotenv_path: str = ".env") -> Settings:
    """Settings from flags, environment, the `.env` file and defaults, in this order.

    Raises ConfigError with every fault found, each naming the setting and where it stands.
    """
    given: Mapping[str, Any] = vars(flags) if isinstance(flags, argparse.Namespace) else flags
    faults: List[str] = []
    dotenv = _read_dotenv(dotenv_path, faults)
    layers = [_flag_layer(given), _Layer("the environment", os.environ if environ is None else environ), dotenv]
    values = {setting.name: _value(setting, layers, faults) for setting in SETTINGS}
    client = _client_properties(given.get("client") or [], layers, faults)
    _check_together(values, faults)
    if faults:
        raise ConfigError(faults)
    if values["audit_topic"] is None:
        values["audit_topic"] = f"{values['dlq_topic']}-audit"
    return Settings(client=client, **values)


def client_config(settings: Settings, **overrides: Any) -> Dict[str, Any]:
    """Configuration for a client of confluent_kafka: `overrides` of the caller's role, then what was passed through.

    Passed-through properties win; those that a promise rests on were refused by `load`. The client's own log is
    kept to emergencies, since the scripts say what matters; `-X debug=…` or `-X log_level=…` brings it back.
    """
    quiet = {} if "debug" in settings.client else {"log_level": 2}
    return {"bootstrap.servers": settings.bootstrap_servers, **quiet, **overrides, **settings.client}


def _flag_layer(given: Mapping[str, Any]) -> _Layer:
    named = ((setting.env, given.get(setting.name)) for setting in SETTINGS)
    return _Layer(_FLAGS, {env: str(value) for env, value in named if value is not None})


def _value(setting: Setting, layers: Sequence[_Layer], faults: List[str]) -> Any:
    """The parsed value from the first layer that has one; None, with a fault noted, where it is wrong."""
    for layer in layers:
        text = _given(setting.env, layer, setting.secret, faults)
        if text is not None:
            return _parsed(setting, text, layer.label, faults)
    return None if setting.default is None else setting.parse(setting.default)


def _given(env: str, layer: _Layer, may_be_file: bool, faults: List[str]) -> Optional[str]:
    """The text of one name in one layer, read from the file that `<env>_FILE` names if so given."""
    text = layer.values.get(env)
    path = layer.values.get(env + _FILE) if may_be_file else None
    if path is None:
        return text
    if text is not None:
        faults.append(f"{env} and {env}{_FILE} are both set in {layer.label}: keep one")
        return text
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        faults.append(f"{env}{_FILE} in {layer.label}: cannot read {path}: {why}")
        return None


def _parsed(setting: Setting, text: str, label: str, faults: List[str]) -> Any:
    where = setting.flag if label == _FLAGS else f"{setting.env} in {label}"
    if not text:
        if not setting.optional:
            faults.append(f"{where}: is empty; give a value or remove it")
        return None
    try:
        return setting.parse(text)
    except ValueError as error:
        shown = "the value" if setting.secret or setting.parse is _url else repr(text)
        faults.append(f"{where}: {shown} {error}")
        return None


def _check_together(values: Mapping[str, Any], faults: List[str]) -> None:
    """Faults that lie in the combination; a value that is itself wrong is None here and passes."""
    first_s, longest_s = values["retry_backoff_s"], values["retry_backoff_max_s"]
    if first_s is not None and longest_s is not None and longest_s < first_s:
        faults.append(f"RETRY_BACKOFF_MAX ({longest_s:g} s) is shorter than RETRY_BACKOFF ({first_s:g} s)")
    audit = values["audit_topic"] or f"{values['dlq_topic']}-audit"
    users: Dict[Optional[str], str] = {None: ""}
    for env, topic in (("ORDERS_TOPIC", values["orders_topic"]), ("DLQ_TOPIC", values["dlq_topic"]),
                       ("DLQ_AUDIT_TOPIC", audit), ("PROCESSED_TOPIC", values["processed_topic"])):
        if topic in users and topic is not None:
            faults.append(f"{users[topic]} and {env} are both {topic}: each needs a topic of its own")
        users.setdefault(topic, env)


# --- .env ---


def _read_dotenv(path: str, faults: List[str]) -> _Layer:
    """The `.env` file, if there is one. Values stand as written: `$` has no meaning, so a password may hold it."""
    values: Dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return _Layer(path, values)
    except (OSError, ValueError) as error:
        faults.append(f"cannot read {path}: {error.strerror if isinstance(error, OSError) else 'not UTF-8 text'}")
        return _Layer(path, values)
    for binding in bindings:
        if binding.error or (binding.key and binding.value is None):
            faults.append(f"{path}:{binding.original.line}: is not NAME=value")
        elif binding.key and binding.value is not None:
            values[binding.key] = binding.value
    faults.extend(_misspelt(path, values))
    return _Layer(path, values)


def _misspelt(path: str, names: Mapping[str, str]) -> List[str]:
    """Names that are nearly ours, or that claim to be a client property and are none. Others may be anyone's."""
    known = [*_BY_ENV, *(s.env + _FILE for s in SETTINGS if s.secret)]
    faults = []
    for name in names:
        if name in known or (name.startswith(_PREFIX) and _property(name)):
            continue
        near = difflib.get_close_matches(name, known, 1, 0.8)
        if name.startswith(_PREFIX) and not near:
            prop = name[len(_PREFIX):].lower().replace("_", ".")
            near = [_env_of(p) for p in difflib.get_close_matches(prop, _SUGGESTED_PROPERTIES, 1, 0.7)]
            hint = f"; did you mean {near[0]}?" if near else ""
            faults.append(f"{name} in {path}: the Kafka client has no property {prop}{hint}")
        elif near:
            faults.append(f"{name} in {path}: no such setting; did you mean {near[0]}?")
    return faults


def _did_you_mean(text: str, choices: Sequence[str]) -> str:
    near = difflib.get_close_matches(text, choices, 1)
    return f"; did you mean {near[0]}?" if near else ""


# --- Properties of the Kafka client ---


def _env_of(prop: str) -> str:
    return _PREFIX + prop.upper().replace(".", "_")


def _property(env: str) -> Optional[str]:
    """The client property that an environment name stands for, `_FILE` form included, if the client has it.

    Other programs' variables start with KAFKA_ too (KAFKA_HEAP_OPTS, KAFKA_HOME, Kubernetes' KAFKA_PORT), so a name
    counts only if the client knows the property.
    """
    name = env[len(_PREFIX):].lower().replace("_", ".")
    for candidate in (name, name[:-len(_FILE)] if name.endswith(".file") else name):
        if candidate in PROTECTED or "no such configuration property" not in _refusal(candidate, "").lower():
            return candidate
    return None


def _client_properties(pairs: Sequence[str], layers: Sequence[_Layer], faults: List[str]) -> Dict[str, str]:
    """What passes through to the client, strongest source last, each checked by the client itself."""
    found: Dict[str, Tuple[str, str]] = {}
    for layer in reversed(layers):
        for env in sorted(layer.values):
            prop = _property(env) if env.startswith(_PREFIX) and env not in _BY_ENV else None
            text = _given(_env_of(prop), layer, True, faults) if prop else None
            if prop and text is not None:
                found[prop] = (text, f"{env} in {layer.label}")
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            faults.append(f"-X {name}: must be name=value")
        else:
            found[name] = (text, f"-X {name}")
    given = {name: pair for name, pair in found.items() if pair[0]}
    faults.extend(filter(None, (_property_fault(name, *pair) for name, pair in given.items())))
    return {name: text for name, (text, _) in given.items()}


def _property_fault(name: str, text: str, where: str) -> Optional[str]:
    if name in PROTECTED:
        return f"{where}: {name} cannot be set: {PROTECTED[name]}"
    refusal = _refusal(name, text)
    if not refusal:
        return None
    if "no such configuration property" in refusal.lower():
        return f"{where}: the Kafka client has no such property{_did_you_mean(name, _SUGGESTED_PROPERTIES)}"
    return f"{where}: the Kafka client does not take this value of {name}" + ("" if _is_secret(name) else f": {refusal}")


def _is_secret(name: str) -> bool:
    return bool(re.search(r"password|secret|pem|key|config|assertion|token", name))


_LAST = "orderflow.no.such.property"


def _refusal(name: str, text: str) -> str:
    """Why the client refuses a property, "" if it does not.

    The client is given a second property that it cannot know: it reads in order, so if that is what it complains
    about, the first was fine, and no client is ever started.
    """
    if name == "logger":  # taken out by the Python client before the library sees it
        return "No such configuration property"
    try:
        Producer({name: text, _LAST: ""})
    except KafkaException as error:
        message = str(error.args[0].str()).strip()
        return "" if _LAST in message else message
    except Exception:
        return "it cannot be given as text"
    return ""
