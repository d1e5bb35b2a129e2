"""Settings: every name, default and unit, and the one function that reads them.

Precedence: flag > environment > .env > default. An empty value unsets an optional setting and is a fault
for any other. A secret may stand in a file that `NAME_FILE` names. `KAFKA_SASL_USERNAME` and
`-X sasl.username=` reach the Kafka client as its property `sasl.username`; so does every other property that
the client knows.
"""

import argparse
import difflib
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from dotenv.parser import Original, parse_stream

from orderflow.cli.values import (
    ADDRESSES,
    BOOLEAN,
    HOST,
    TOPIC,
    URL,
    USER_INFO,
    ValueType,
    one_of,
    seconds,
    text,
    whole,
    whole_or_unlimited,
)
from orderflow.exits import UsageError, fault_of
from orderflow.kafka import client_properties
from orderflow.model.text import did_you_mean, plural, quoted

ORDER_SCHEMA = Path(__file__).resolve().with_name("order_schema.avsc")
"""The shipped schema."""
CLIENT_DEFAULTS: Mapping[str, str] = {
    # By default the client forgets all brokers and bootstraps again when the last connection is lost. A
    # transaction in progress then waits for a coordinator that is no longer looked up, past every time-out
    # and without end (measured with 2.16.0; its issue 5511 reports the same from another cause).
    "metadata.recovery.strategy": "none",
    # A producer that asks for a missing topic has the brokers create it, with their defaults, where they may
    # (auto.create.topics.enable). Those of the ledger topic would lose what it is for.
    "allow.auto.create.topics": "false",
}
"""What every client of the three scripts gets."""


class ConfigError(UsageError):
    """Invalid settings: one message with every fault, one per line."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        head = "wrong setting" if len(self.faults) == 1 else plural(len(self.faults), "wrong setting")
        super().__init__(f"{head}:", *(f"  {fault}" for fault in self.faults))


@dataclass(frozen=True)
class Settings:
    """All settings of the three scripts, parsed and checked. Its `repr` shows no secret."""

    bootstrap_servers: str
    orders_topic: str
    dlq_topic: str
    audit_topic: str
    ledger_topic: str
    processed_topic: Optional[str]
    consumer_group: str
    order_key: str
    order_schema: Path
    schema_versions: Path
    unknown_schema_backoff_s: float
    rules: Optional[str]
    max_retries: int
    retry_backoff_s: float
    retry_backoff_max_s: float
    key_failures: int
    handler: Optional[str]
    workers: int
    processes: Optional[int]
    guarantee: str
    handler_timeout_s: float
    shutdown_timeout_s: float
    outage_window_s: float
    max_queued: int
    max_waiting_bytes: int
    max_order_bytes: int
    dead_letter_stack: bool
    masked_fields: Optional[Tuple[str, ...]]
    metrics_port: Optional[int]
    metrics_address: str
    log_format: str
    log_level: str
    schema_registry_url: Optional[str]
    schema_registry_user_info: Optional[str] = field(repr=False)
    schema_registry_ca_location: Optional[str]
    schema_registry_certificate_location: Optional[str]
    schema_registry_key_location: Optional[str]
    schema_registry_key_password: Optional[str] = field(repr=False)
    schema_registry_register: bool
    client: Mapping[str, str] = field(repr=False)
    """Properties passed unchanged to the Kafka client, by the client's own names."""


# --- The catalogue ---


class Setting(NamedTuple):
    """One setting: its names, its meaning, and how its text is parsed."""

    name: str
    """Attribute of `Settings`."""
    env: str
    """Name in the environment and in `.env`; the flag is made from it."""
    default: Optional[str]
    """As text, as a user would write it; None if the setting is optional and unset."""
    kind: ValueType
    meaning: str
    secret: bool = False
    """Never printed, has no flag, and may be given as the path `<env>_FILE`."""

    @property
    def optional(self) -> bool:
        """Whether it may be unset."""
        return self.default is None

    @property
    def flag(self) -> str:
        """`--max-retries` for MAX_RETRIES; `--bootstrap-servers` for KAFKA_BOOTSTRAP_SERVERS."""
        return "--" + re.sub("^KAFKA_", "", self.env).lower().replace("_", "-")


def _masked_fields(text: str) -> Tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise ValueError(f"{name!r} is no name of a field")
    return tuple(names)


def _folder(given: str) -> Path:
    if not Path(given).is_dir():
        raise ValueError("is not a folder")
    return Path(given)


_DAY_S, _WEEK_S = 86_400, 604_800

SETTINGS: Tuple[Setting, ...] = (
    Setting(
        "bootstrap_servers",
        "KAFKA_BOOTSTRAP_SERVERS",
        "localhost:9092",
        ADDRESSES,
        "Kafka brokers to connect to first: host:port, separated by commas",
    ),
    Setting("orders_topic", "ORDERS_TOPIC", "orders", TOPIC, "topic of the orders"),
    Setting("dlq_topic", "DLQ_TOPIC", "orders-dlq", TOPIC, "topic of the dead letters"),
    Setting(
        "audit_topic",
        "DLQ_AUDIT_TOPIC",
        None,
        TOPIC,
        "topic that records what was done with each dead letter; unset: <DLQ_TOPIC>-audit",
    ),
    Setting(
        "ledger_topic",
        "LEDGER_TOPIC",
        None,
        TOPIC,
        "topic for the list of waiting orders where it does not fit into commit metadata, and for what is "
        "asked and told of them; unset: <ORDERS_TOPIC>-waiting",
    ),
    Setting(
        "processed_topic",
        "PROCESSED_TOPIC",
        None,
        TOPIC,
        "topic for what the handler returns; unset: results are not published",
    ),
    Setting(
        "consumer_group",
        "CONSUMER_GROUP",
        "order-processing-group",
        text("GROUP"),
        "consumer group of the consumers",
    ),
    Setting(
        "order_key",
        "ORDER_KEY",
        "order_id",
        text("FIELD"),
        "field of the order used as the record key; orders with the same key stay in order",
    ),
    Setting(
        "order_schema",
        "ORDER_SCHEMA",
        None,
        ValueType("FILE", Path),
        "Avro schema of the orders; unset: order_schema.avsc beside the scripts",
    ),
    Setting(
        "schema_versions",
        "SCHEMA_VERSIONS",
        None,
        ValueType("FOLDER", _folder),
        "folder with the older versions of that schema; unset: schemas/ beside it",
    ),
    Setting(
        "unknown_schema_backoff_s",
        "UNKNOWN_SCHEMA_BACKOFF",
        "300",
        seconds(0, _WEEK_S),
        "seconds before each retry of an order whose schema fingerprint is not known yet, as in a "
        "rolling deployment; 0: it is dead-lettered at once",
    ),
    Setting(
        "rules",
        "RULES",
        None,
        text("MODULE:FUNCTION"),
        "module:function or file.py:function that judges a decoded order; unset: the shipped rules, for "
        "those of their fields that the schema has",
    ),
    Setting(
        "max_retries",
        "MAX_RETRIES",
        "3",
        whole_or_unlimited(0, 16_000_000),
        "retries after the first attempt, before an order is dead-lettered; a number, or unlimited",
    ),
    Setting(
        "retry_backoff_s",
        "RETRY_BACKOFF",
        "5",
        seconds(0, _WEEK_S),
        "seconds before the first retry; doubled for each further retry; a random quarter less or more",
    ),
    Setting(
        "retry_backoff_max_s",
        "RETRY_BACKOFF_MAX",
        "60",
        seconds(0, _WEEK_S),
        "longest wait before a retry, in seconds",
    ),
    Setting(
        "key_failures",
        "KEY_FAILURES",
        "3",
        whole(1, 1000),
        "orders of a key dead-lettered in a row for want of retries, after which its next ones get one "
        "call each",
    ),
    Setting(
        "handler",
        "HANDLER",
        None,
        text("MODULE:FUNCTION"),
        "module:function or file.py:function that processes an order; unset: process() in consumer.py",
    ),
    Setting("workers", "WORKERS", "1", whole(1, 1024), "handler calls that run at the same time"),
    Setting(
        "processes",
        "PROCESSES",
        None,
        whole(1, 256),
        "consumers to run as processes of their own, restarted when they die; unset: one, in this process",
    ),
    Setting(
        "guarantee",
        "GUARANTEE",
        "exactly-once",
        one_of("exactly-once", "at-least-once"),
        "exactly-once or at-least-once, for what is in Kafka",
    ),
    Setting(
        "handler_timeout_s",
        "HANDLER_TIMEOUT",
        "300",
        seconds(1, _DAY_S),
        "seconds that one handler call may take; then an async one is cancelled, any other ends the process",
    ),
    Setting(
        "shutdown_timeout_s",
        "SHUTDOWN_TIMEOUT",
        "25",
        seconds(0, 3600),
        "seconds to finish running work when asked to stop",
    ),
    Setting(
        "outage_window_s",
        "OUTAGE_WINDOW",
        "60",
        seconds(1, _DAY_S),
        "seconds between two dead letters while nearly every order fails",
    ),
    Setting(
        "max_queued",
        "MAX_QUEUED",
        "100000",
        whole(0, 10_000_000),
        "orders of a partition that may queue behind waiting orders with their key",
    ),
    Setting(
        "max_waiting_bytes",
        "MAX_WAITING_BYTES",
        "134217728",
        whole(0, 1 << 40, "BYTES"),
        "memory that all waiting orders of a consumer may take: their values, keys and headers, and 600 "
        "bytes for each",
    ),
    Setting(
        "max_order_bytes",
        "MAX_ORDER_BYTES",
        "1048576",
        whole(1, 1_000_000_000, "BYTES"),
        "largest value in bytes; a larger one is dead-lettered without being decoded",
    ),
    Setting(
        "dead_letter_stack",
        "DEAD_LETTER_STACK",
        "false",
        BOOLEAN,
        "true: dead letters carry the handler's stack trace",
    ),
    Setting(
        "masked_fields",
        "MASKED_FIELDS",
        None,
        ValueType("NAMES", _masked_fields),
        "fields of the order, and `key`, that no output of dlq_handler.py shows, nor the consumer's log: "
        "`customer_id,key`",
    ),
    Setting(
        "metrics_port",
        "METRICS_PORT",
        None,
        whole(1, 65535, "PORT"),
        "port at which the consumer answers Prometheus, under /metrics; unset: at none",
    ),
    Setting(
        "metrics_address",
        "METRICS_ADDRESS",
        "127.0.0.1",
        HOST,
        "address that METRICS_PORT listens on; 0.0.0.0: every address of this machine",
    ),
    Setting(
        "log_format",
        "LOG_FORMAT",
        "text",
        one_of("text", "json"),
        "text or json: how the log on stderr is written; json is one object a line",
    ),
    Setting(
        "log_level",
        "LOG_LEVEL",
        "info",
        one_of("debug", "info", "warning", "error"),
        "the least level that is logged: debug, info, warning or error",
    ),
    Setting(
        "schema_registry_url",
        "SCHEMA_REGISTRY_URL",
        None,
        URL,
        "schema registry; unset: Avro single-object encoding, no registry needed",
    ),
    Setting(
        "schema_registry_user_info",
        "SCHEMA_REGISTRY_USER_INFO",
        None,
        USER_INFO,
        "user:password for the schema registry",
        secret=True,
    ),
    Setting(
        "schema_registry_ca_location",
        "SCHEMA_REGISTRY_CA_LOCATION",
        None,
        text("FILE"),
        "certificate authorities (PEM) that the schema registry's certificate is checked against",
    ),
    Setting(
        "schema_registry_certificate_location",
        "SCHEMA_REGISTRY_CERTIFICATE_LOCATION",
        None,
        text("FILE"),
        "client certificate (PEM) for the schema registry",
    ),
    Setting(
        "schema_registry_key_location",
        "SCHEMA_REGISTRY_KEY_LOCATION",
        None,
        text("FILE"),
        "private key (PEM) of that client certificate",
    ),
    Setting(
        "schema_registry_key_password",
        "SCHEMA_REGISTRY_KEY_PASSWORD",
        None,
        text("PASSWORD"),
        "password of that private key",
        secret=True,
    ),
    Setting(
        "schema_registry_register",
        "SCHEMA_REGISTRY_REGISTER",
        "true",
        BOOLEAN,
        "false: the producer looks up its schema but never registers it",
    ),
)

_BY_NAME = {setting.name: setting for setting in SETTINGS}
_BY_ENV = {setting.env: setting for setting in SETTINGS}


# --- Flags ---

_ENV_FILE = "--env-file"


def add_flags(parser: argparse.ArgumentParser, names: Sequence[str], topic: str = "orders_topic") -> None:
    """Add a flag for each named setting, and kcat's letters.

    These are `-b` for the brokers, `-t` for the `topic` that the script is about, and `-X` for any other
    client property. Values stay text; `load` checks flags together with everything else.
    """
    letters = {"bootstrap_servers": ["-b"], topic: ["-t"]}
    group = parser.add_argument_group("settings (flag > environment > .env > default)")
    for name in ("bootstrap_servers", *[n for n in names if n != "bootstrap_servers"]):
        setting = _BY_NAME[name]
        spelt = [*letters.get(name, []), setting.flag]
        bare: Dict[str, Any] = {"nargs": "?", "const": "true"} if setting.kind is BOOLEAN else {}
        group.add_argument(*spelt, dest=name, metavar=setting.kind.metavar, help=_help(setting), **bare)
    group.add_argument(
        _ENV_FILE, metavar="FILE", help="settings to read in place of .env; unset: .env, if it is there"
    )
    group.add_argument(
        "-X",
        dest="client",
        action="append",
        metavar="NAME=VALUE",
        default=[],
        help="any property of the Kafka client, repeatable [env: KAFKA_<NAME>, dots as _]",
    )


def _help(setting: Setting) -> str:
    default = "" if setting.default is None else f", default: {setting.default}"
    return f"{setting.meaning} [env: {setting.env}{default}]".replace("%", "%%")


# --- Loading ---

_PREFIX = "KAFKA_"
_FILE = "_FILE"
_COMMAND_LINE = "the command line"
_ENVIRONMENT = "the environment"


class _Layer(NamedTuple):
    """One source of settings: what messages call it, and its values by environment name."""

    label: str
    values: Mapping[str, str]


def load(
    flags: Union[argparse.Namespace, Mapping[str, Any]],
    environ: Optional[Mapping[str, str]] = None,
    dotenv_path: str = ".env",
) -> Settings:
    """Settings from flags, the environment, the `.env` file and defaults, in this order of precedence.

    Raises ConfigError with every fault found, each naming the setting and its source.
    """
    given = _by_name(flags)
    faults: List[str] = []
    layers = _layers(given, environ, dotenv_path, faults)
    values = {setting.name: _value(setting, layers, faults) for setting in SETTINGS}
    client = _client_properties(given.get("client") or [], layers, faults)
    _check_together(values, faults)
    if faults:
        raise ConfigError(faults)
    for name, default in DERIVED.items():
        if values[name] is None:
            values[name] = default(values)
    values["order_schema"] = values["order_schema"] or ORDER_SCHEMA
    values["schema_versions"] = values["schema_versions"] or values["order_schema"].parent / "schemas"
    return Settings(client=client, **values)


def log_format(
    argv: Sequence[str], environ: Optional[Mapping[str, str]] = None, dotenv_path: str = ".env"
) -> str:
    """LOG_FORMAT as far as it can be told before all else, to say in its form what is wrong with all else."""
    setting = _BY_NAME["log_format"]
    typed = {setting.name: _typed(setting.flag, argv), "env_file": _typed(_ENV_FILE, argv)}
    layers = _layers(typed, environ, dotenv_path, [])
    given = [layer.values[setting.env] for layer in layers if setting.env in layer.values]
    try:
        return str(setting.kind.read(given[0]))
    except (LookupError, ValueError):
        return str(setting.default)


def _typed(flag: str, argv: Sequence[str]) -> Optional[str]:
    """What a flag was given last, by arguments that may be wrong; None if it is not among them."""
    found = None
    for word, following in zip(argv, [*argv[1:], ""]):
        name, equals, value = word.partition("=")
        if name == flag:
            found = value if equals else following
    return found


def origins(
    flags: Union[argparse.Namespace, Mapping[str, Any]],
    environ: Optional[Mapping[str, str]] = None,
    dotenv_path: str = ".env",
) -> List[str]:
    """What is not at its default and where that was said, as `WORKERS=4 (flag)`. Of secrets only the name.

    For settings that `load` accepts.
    """
    given = _by_name(flags)
    layers = [
        layer._replace(label=_SHORT.get(layer.label, layer.label))
        for layer in _layers(given, environ, dotenv_path, [])
    ]
    told = [origin for setting in SETTINGS for origin in _origin(setting, layers)]
    properties: Dict[str, Tuple[str, str]] = {}
    for layer in reversed(layers):
        found = _properties_in(layer, [])
        properties.update((name, (value, layer.label)) for name, (value, _) in found.items())
    for name, _, value in (pair.partition("=") for pair in given.get("client") or []):
        properties[name] = (value, "flag")
    return [*told, *(f"{name} ({label})" for name, (value, label) in properties.items() if value)]


_SHORT = {_COMMAND_LINE: "flag", _ENVIRONMENT: "environment"}


def typed_again(flags: argparse.Namespace) -> str:
    """The settings that were typed as flags, to follow a command that is suggested: ` -b kafka:9093`.

    Without them it would go to another cluster or topic. What may hold a secret is left out: `-X name=…`.
    """
    given = vars(flags)
    words: List[str] = []
    for setting in SETTINGS:
        if given.get(setting.name) is not None:
            value = str(given[setting.name])
            words += _words(setting.flag, _LEFT_OUT if _may_be_secret(setting, value) else value)
    if given.get("env_file") is not None:
        words += _words(_ENV_FILE, str(given["env_file"]))
    for pair in given.get("client") or []:
        name, equals, value = pair.partition("=")
        is_told = not client_properties.is_secret(name) and not _has_login(value)
        words += ["-X", f"{name}{equals}{value if is_told else _LEFT_OUT}"]
    return "".join(f" {shlex.quote(word)}" for word in words)


_LEFT_OUT = "…"


def _words(flag: str, value: str) -> List[str]:
    """A flag and its value. One that begins with a dash would be taken for a flag of its own."""
    return [f"{flag}={value}"] if value.startswith("-") else [flag, value]


def _origin(setting: Setting, layers: Sequence[_Layer]) -> List[str]:
    for layer in layers:
        given = layer.values.get(setting.env)
        path = layer.values.get(setting.env + _FILE) if setting.secret else None
        if given is None and path is None:
            continue
        if not (given or path) and setting.optional:
            return []
        if given == setting.default:
            return []
        is_told = given is not None and _shown(setting, given) == repr(given)
        return [f"{setting.env}={given} ({layer.label})" if is_told else f"{setting.env} ({layer.label})"]
    return []


def client_config(settings: Settings, **overrides: Any) -> Dict[str, Any]:
    """Configuration for a confluent_kafka client: the caller's `overrides`, then the user's properties.

    The user's win; `load` has refused those that a promise depends on. The client's own log is limited to
    emergencies, since the scripts report what matters; `-X debug=…` or `-X log_level=…` brings it back.
    """
    quiet = client_properties.quiet(settings.client)
    ours = {"bootstrap.servers": settings.bootstrap_servers, **CLIENT_DEFAULTS, **quiet}
    return {**ours, **overrides, **settings.client}


def _by_name(flags: Union[argparse.Namespace, Mapping[str, Any]]) -> Mapping[str, Any]:
    return vars(flags) if isinstance(flags, argparse.Namespace) else flags


def _layers(
    given: Mapping[str, Any], environ: Optional[Mapping[str, str]], dotenv_path: str, faults: List[str]
) -> List[_Layer]:
    """The sources of settings in their order of precedence."""
    environment = _Layer(_ENVIRONMENT, os.environ if environ is None else environ)
    asked_for = given.get("env_file")
    path = dotenv_path if asked_for is None else str(asked_for)
    return [_flag_layer(given), environment, _dotenv_layer(path, faults, asked_for is not None)]


def _flag_layer(given: Mapping[str, Any]) -> _Layer:
    named = ((setting.env, given.get(setting.name)) for setting in SETTINGS)
    return _Layer(_COMMAND_LINE, {env: str(value) for env, value in named if value is not None})


def _value(setting: Setting, layers: Sequence[_Layer], faults: List[str]) -> Any:
    """The value from the first layer that has one; None, with a fault noted, if it is invalid."""
    for layer in layers:
        given = _given(setting.env, layer, setting.secret, faults)
        if given is not None:
            return _parsed(setting, given, layer.label, faults)
    return None if setting.default is None else setting.kind.read(setting.default)


def _given(env: str, layer: _Layer, may_be_file: bool, faults: List[str]) -> Optional[str]:
    """The text of one name in one layer, read from the file in `<env>_FILE` if that is set.

    Either may be there and empty, which is to leave the secret to the other.
    """
    given = layer.values.get(env)
    path = layer.values.get(env + _FILE) if may_be_file else None
    if not path:
        return path if given is None else given
    if given:
        faults.append(f"{env} and {env}{_FILE} are both set in {layer.label}: keep one")
        return given
    try:
        return Path(path).read_text(encoding="utf-8-sig").rstrip("\r\n")
    except (OSError, ValueError) as error:
        faults.append(f"{env}{_FILE} in {layer.label}: {path}: {_why(error)}")
        return None


def _why(error: Exception) -> str:
    return fault_of(error) if isinstance(error, OSError) else _NOT_TEXT


_NOT_TEXT = "is not UTF-8 text"


def _fault_of_text(given: str, may_be_bytes: bool = False) -> Optional[str]:
    """Why a C library cannot take a text whole; None if it can. It would end it at a NUL."""
    try:
        given.encode("utf-8", "surrogateescape" if may_be_bytes else "strict")
    except UnicodeEncodeError:  # bytes of the environment or the command line
        return _NOT_TEXT
    return "has a NUL byte in it" if "\0" in given else None


def _parsed(setting: Setting, given: str, label: str, faults: List[str]) -> Any:
    where = setting.flag if label == _COMMAND_LINE else f"{setting.env} in {label}"
    if not given:
        if not setting.optional:
            faults.append(f"{where}: is empty; give a value or remove it")
        return None
    not_text = _fault_of_text(given, setting.kind.metavar in _NAMING_FILES)
    if not_text is not None:
        faults.append(f"{where}: {not_text}")
        return None
    try:
        return setting.kind.read(given)
    except ValueError as error:
        faults.append(f"{where}: {_shown(setting, given)} {error}")
        return None


_NAMING_FILES = ("FILE", "FOLDER", "MODULE:FUNCTION")
"""Types whose values may name a file, which has bytes for a name."""


def _shown(setting: Setting, given: str) -> str:
    """A wrong value as it may be repeated: none that is a secret, or could hold one as `user:secret@host`."""
    return "the value" if _may_be_secret(setting, given) else quoted(given)


def _may_be_secret(setting: Setting, given: str) -> bool:
    return setting.secret or setting.kind is URL or _has_login(given)


def _has_login(given: str) -> bool:
    """Whether a value could hold one, as in `user:secret@host`."""
    return "@" in given


def _check_together(values: Mapping[str, Any], faults: List[str]) -> None:
    """Faults in combinations of settings; a value that is itself invalid is None here and passes."""
    first_s, longest_s = values["retry_backoff_s"], values["retry_backoff_max_s"]
    if first_s is not None and longest_s is not None and longest_s < first_s:
        faults.append(f"RETRY_BACKOFF_MAX ({longest_s:g} s) is shorter than RETRY_BACKOFF ({first_s:g} s)")
    users: Dict[str, str] = {}
    for name, topic in [
        *((n, values[n]) for n in ("orders_topic", "dlq_topic", "processed_topic")),
        *((n, values[n] or default(values)) for n, default in DERIVED.items()),
    ]:
        env = _BY_NAME[name].env
        if topic is not None and users.setdefault(topic, env) != env:
            faults.append(f"{users[topic]} and {env} are both {topic}: each needs a topic of its own")


DERIVED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "audit_topic": lambda values: f"{values['dlq_topic']}-audit",
    "ledger_topic": lambda values: f"{values['orders_topic']}-waiting",
}
"""Topics that are named after another one unless they are set."""


# --- .env ---


def _dotenv_layer(path: str, faults: List[str], must_exist: bool) -> _Layer:
    """The `.env` file, if there is one. `$` has no meaning in it, so a password may contain one."""
    values: Dict[str, str] = {}
    lines: Dict[str, int] = {}
    try:
        with open(path, encoding="utf-8-sig") as stream:
            bindings = list(parse_stream(stream))
    except (OSError, ValueError) as error:
        if must_exist or not isinstance(error, FileNotFoundError):
            faults.append(f"{path or quoted(path)}: {_why(error)}")
        return _Layer(path, values)
    for name, value, original, is_wrong in bindings:
        line = _line_of(original)
        if is_wrong or (name and value is None):
            faults.append(f"{path}:{line}: is not NAME=value")
        elif name and value is not None:
            if values.get(name, value) != value and _is_ours(name):
                faults.append(f"{path}:{line}: {name} has another value in line {lines[name]}: keep one")
            values[name], lines[name] = value, line
    for name in [name for name in values if _loads_code(name, values[name])]:
        del values[name]
        faults.append(
            f"{name} in {path}: it loads code or runs a command, which a file of settings "
            "may not; give it as -X or in the environment"
        )
    faults.extend(filter(None, (_misspelt(name, path) for name in values)))
    return _Layer(path, values)


def _line_of(original: Original) -> int:
    """The line of a binding: what was read for it begins with the blank lines before it."""
    text = original.string
    return original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _loads_code(name: str, value: str) -> bool:
    """Whether whoever writes this line of `.env` could make the client run what he likes."""
    prop = _property(name) if name.startswith(_PREFIX) and name not in _BY_ENV else None
    return prop is not None and client_properties.loads_code(prop, value)


_KNOWN = (*_BY_ENV, *(setting.env + _FILE for setting in SETTINGS if setting.secret))


def _is_ours(name: str) -> bool:
    return name in _KNOWN or (name.startswith(_PREFIX) and _property(name) is not None)


def _misspelt(name: str, path: str) -> Optional[str]:
    """The fault of a name in `.env` that is nearly ours, or looks like a client property but is not.

    Any other name is ignored: other programs may use the file too.
    """
    if _is_ours(name):
        return None
    near = (
        [name.upper()] if _misspelt_in_case(name) else difflib.get_close_matches(name.upper(), _KNOWN, 1, 0.8)
    )
    if near:
        return f"{name} in {path}: no such setting; did you mean {near[0]}?"
    if name.startswith(_PREFIX):
        common = [_env_of(prop) for prop in client_properties.COMMON]
        return f"{name} in {path}: no setting and no property of the Kafka client{did_you_mean(name, common)}"
    return None


def _misspelt_in_case(name: str) -> bool:
    """Whether this is the name of a client property, but for capitals: its value would not be heeded."""
    upper = name.upper()
    return name != upper and upper.startswith(_PREFIX) and _property(upper) is not None


# --- What passes through to the Kafka client ---


def _env_of(prop: str) -> str:
    return _PREFIX + prop.upper().replace(".", "_")


def _property(env: str) -> Optional[str]:
    """The client property that an environment variable sets, directly or as `<name>_FILE`; else None.

    Other programs' names start with KAFKA_ too (KAFKA_HEAP_OPTS, KAFKA_HOME, the KAFKA_PORT of Kubernetes),
    so a name counts only if the client has the property.
    """
    name = env[len(_PREFIX) :].lower().replace("_", ".")
    for candidate in (name, re.sub(r"\.file$", "", name)):
        if client_properties.exists(candidate):
            return candidate
    return None


def _client_properties(pairs: Sequence[str], layers: Sequence[_Layer], faults: List[str]) -> Dict[str, str]:
    """The user's properties, the strongest source last; the client itself checks each value."""
    found: Dict[str, Tuple[str, str]] = {}
    for layer in reversed(layers):
        found.update(_properties_in(layer, faults))
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not re.fullmatch(r"[\w.-]+", name):
            faults.append(f"-X {_first_word(pair)}: must be name=value")
        else:
            found[name] = (value, f"-X {name}")
    set_ones = {
        name: (value, where)
        for name, (value, where) in found.items()
        if value and not client_properties.is_as_we_set(name, value)
    }
    for name, (value, where) in set_ones.items():
        fault = _fault_of_text(value) or client_properties.fault(name, value)
        if fault is not None:
            faults.append(f"{where}: {fault}")
    return {name: value for name, (value, _) in set_ones.items()}


def _first_word(pair: str) -> str:
    """What may be repeated of a pair that is none: after another sign than = a secret may stand."""
    word = re.match(r"[\w.-]*", pair)
    rest = "" if word is None or word[0] == pair else "…"
    return ("" if word is None else word[0]) + rest


def _properties_in(layer: _Layer, faults: List[str]) -> Dict[str, Tuple[str, str]]:
    """The properties that one layer sets, by the client's name: value and source."""
    found: Dict[str, Tuple[str, str]] = {}
    for env in layer.values:
        prop = _property(env) if env.startswith(_PREFIX) and env not in _BY_ENV else None
        if prop is None or prop in found:
            continue
        value = _given(_env_of(prop), layer, True, faults)
        if value is not None:
            found[prop] = (value, f"{env} in {layer.label}")
    return found
