"""Kafka client properties that users set: which exist, which values are valid, and which are protected."""

import logging
import re
from typing import Any, Callable, Dict, Mapping, Optional, TypeVar

from confluent_kafka import KafkaException, Producer

from orderflow.exits import UsageError
from orderflow.kafka import refusals
from orderflow.model.text import did_you_mean

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
    "enable.gapless.guarantee": "the orders of a key must stay in their order",
    "acks": "an order counts as published when all in-sync replicas have it",
    "request.required.acks": "an order counts as published when all in-sync replicas have it",
    "delivery.report.only.error": "every delivery is counted",
}
"""Properties that users may not set, since a promise depends on each; with what to do instead, or why."""

_AS_WE_SET = frozenset(
    {
        *(("acks", "all"), ("acks", "-1"), ("request.required.acks", "all"), ("request.required.acks", "-1")),
        *(("enable.idempotence", "true"), ("enable.gapless.guarantee", "true")),
        *(("enable.auto.commit", "false"), ("auto.commit.enable", "false")),
        *(("enable.auto.offset.store", "false"), ("isolation.level", "read_committed")),
    }
)
"""Values of protected properties that are allowed, since they equal ours: other programs may need them."""

_LOAD_CODE = frozenset(
    {
        *("plugin.library.paths", "ssl.engine.location", "ssl.engine.id", "ssl.providers"),
        "sasl.kerberos.kinit.cmd",
    }
)
"""Properties with which the client loads a library, or runs a command."""

COMMON = (
    *("security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"),
    *("sasl.oauthbearer.config", "sasl.kerberos.service.name", "ssl.ca.location"),
    *("ssl.certificate.location", "ssl.key.location", "ssl.key.password"),
    *("ssl.endpoint.identification.algorithm", "client.id"),
    *("client.rack", "compression.type", "linger.ms", "batch.size", "message.timeout.ms"),
    *("message.max.bytes", "session.timeout.ms", "group.instance.id", "group.protocol"),
    *("partition.assignment.strategy", "auto.offset.reset", "debug", "log_level"),
)
"""The properties most often set, with which a misspelt one is compared."""

OF_MEMBERS = ("group.instance.id", "group.protocol")
"""What makes a consumer that joins the group another member; one that does not join has no use for it."""

OWN_LOG = logging.getLogger("kafka")
"""Where clients log unless somebody asked for their own log; without a logger they write to stderr.

They hand over a line in the thread that serves them, and only while it does (measured with librdkafka 2.16).
"""
_REPORTED = ("FATAL", "TXNERR")
"""What is also raised, and told by whoever catches it; no `log_level` turns the first off (measured)."""
_QUIET_LEVEL = 2
"""Emergencies only: the scripts report what matters."""


def _is_news(record: logging.LogRecord) -> bool:
    return not (isinstance(record.args, tuple) and record.args and record.args[0] in _REPORTED)


OWN_LOG.addFilter(_is_news)


def quiet(given: Mapping[str, Any]) -> Dict[str, Any]:
    """The properties that keep a client's own log out of ours; none where users ask to see it (`-X`)."""
    if "debug" in given or int(given.get("log_level", _QUIET_LEVEL)) > _QUIET_LEVEL:
        return {}
    return {"log_level": _QUIET_LEVEL, "logger": OWN_LOG}


Client = TypeVar("Client")


def started(kind: Callable[[Dict[str, Any]], Client], conf: Mapping[str, Any]) -> Client:
    """A client of this class. Raises UsageError if properties contradict each other."""
    try:
        return kind(dict(conf))
    except KafkaException as error:
        why = refusals.unusable(str(error.args[0].str()))
        raise UsageError(f"the Kafka client cannot work with its settings: {why}") from error


def without_membership(conf: Mapping[str, Any]) -> Dict[str, Any]:
    """The properties for a consumer that asks and reads, and never joins the group."""
    return {name: value for name, value in conf.items() if name not in OF_MEMBERS}


def require_consistent(kind: Callable[[Dict[str, Any]], Client], conf: Mapping[str, Any]) -> None:
    """Raise UsageError where properties contradict each other, before anything is connected to."""
    started(kind, {**conf, "bootstrap.servers": ""})


_UNKNOWN = "no such configuration property"
_LAST = "orderflow.no.such.property"


def exists(name: str) -> bool:
    """Whether the client has this property."""
    return _UNKNOWN not in _refusal(name, "").lower()


def loads_code(name: str, text: str) -> bool:
    """Whether the client would load a library or run a command that this property names.

    Kerberos' other properties become part of a command line, so they are plain words.
    """
    part_of_command = name.startswith("sasl.kerberos.") and not re.fullmatch(r"[\w@/.:-]*", text)
    return name in _LOAD_CODE or part_of_command


def is_as_we_set(name: str, text: str) -> bool:
    """Whether a protected property is given the value that we set anyway."""
    return (name, text.strip().lower()) in _AS_WE_SET


def fault(name: str, text: str) -> Optional[str]:
    """What is wrong with setting a property to this text; None if nothing is. Never quotes a secret."""
    if name in PROTECTED:
        return f"{name} cannot be set: {PROTECTED[name]}"
    refusal = _refusal(name, text)
    if not refusal:
        return None
    if _UNKNOWN in refusal.lower():
        return f"the Kafka client has no property {name}{did_you_mean(name, COMMON)}"
    said = "" if is_secret(name) else f": {refusal}"
    return f"the Kafka client does not take this value of {name}{said}"


def is_secret(name: str) -> bool:
    """Whether the value of a property may be one."""
    return bool(re.search(r"password|secret|pem|key|config|assertion|token", name))


def _refusal(name: str, text: str) -> str:
    """Why the client rejects a property; empty if it accepts it.

    The client reads properties in order, so it also gets a second one that does not exist. If it complains
    about that one, the first was fine. No client is ever started.
    """
    if name == "logger":  # taken out by the Python client before the library sees it
        return _UNKNOWN
    try:
        Producer({name: text, _LAST: ""})
    except KafkaException as error:
        message = str(error.args[0].str()).strip()
        return "" if _LAST in message else message
    except (TypeError, AttributeError):  # callbacks and the like
        return "it cannot be given as text"
    return ""
