"""What Kafka's client says of a connection that failed, in one plain line that names the fault.

The client tells of an expired certificate, a wrong host name and an unknown authority in the same words, and
of a plain connection to a TLS port not at all. For these two the port is asked once more, with Python's own
TLS, which names them; nothing of ours is sent there but a host name.
"""

import contextlib
import re
import socket
import ssl
import time
from typing import Any, Callable, Collection, List, Mapping, NamedTuple, Optional, Sequence, Tuple, TypeVar

from confluent_kafka import KafkaError, KafkaException

NO_SUCH_TOPIC = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
)
"""How brokers and the client say that a topic, or the partition of one, does not exist."""
AWAY = (
    *(KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE),
    *(KafkaError.REQUEST_TIMED_OUT, KafkaError.BROKER_NOT_AVAILABLE, KafkaError.NETWORK_EXCEPTION),
)
"""How the client and brokers say that a node does not answer; it may in a moment."""
MOVING = (KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS)
"""What brokers say while a group's coordinator is moving."""
LOOK_TIMEOUT_S = 1.0
_Answer = TypeVar("_Answer")
_PROTOCOL = "KAFKA_SECURITY_PROTOCOL"
_LOG_IN = "KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"


class _Known(NamedTuple):
    """A thing that the client says, and our words for it, with the named groups filled in."""

    said: "re.Pattern[str]"
    words: str
    for_good: bool = True
    """Trying again does not help as long as the settings stay."""


def _known(said: str, words: str, for_good: bool = True) -> _Known:
    return _Known(re.compile(said), words, for_good)


_KNOWN: Tuple[_Known, ...] = (
    _known(
        r"SASL (?P<ours>\S+) mechanism handshake failed: .*supported mechanisms: (?P<theirs>\S.*)",
        "it does not take the SASL mechanism {ours}, but {theirs}: set KAFKA_SASL_MECHANISM",
    ),
    _known(
        r"mechanism handshake failed: .*not valid in current SASL state",
        f"it asks for no log-in at this port: set {_PROTOCOL} without SASL, or use its port for log-ins",
    ),
    _known(
        r"SASL authentication error: .*(transport failure|Timed out)", "it went away at the log-in", False
    ),
    _known(
        r"SASL authentication error: (?P<said>.*?)\.?$", f"it refuses the log-in ({{said}}): check {_LOG_IN}"
    ),
    _known(
        r"Failed to acquire SASL OAUTHBEARER token: (?P<said>.*)",
        "there is no token to log in with ({said}): check KAFKA_SASL_OAUTHBEARER_*",
    ),
    _known(
        r"certificate verify failed",
        "its certificate cannot be verified: it has expired, is for another host name, or "
        "KAFKA_SSL_CA_LOCATION does not name the authority that signed it",
    ),
    _known(
        r"alert (?P<alert>\S*(?: \S+)*?): SSL alert number (?:4[2-9]|116)\b",
        "it does not accept our client certificate ({alert}): check KAFKA_SSL_CERTIFICATE_LOCATION",
    ),
    _known(
        r"connecting to a PLAINTEXT broker listener",
        f"it does not speak TLS at this port: set {_PROTOCOL} without SSL, or use its TLS port",
    ),
)


def plain_reason(error: KafkaError) -> str:
    """What the client says of a connection, without its internals: `localhost:9092: Connection refused`."""
    text = _without_internals(str(error.str()))
    found = _of(text)
    if found is None:
        return text
    place = _place_of(text)
    return f"{place}: {_words(found, text)}" if place else _words(found, text)


def refusal(conf: Mapping[str, Any], errors: Sequence[KafkaError], log: Sequence[str]) -> Optional[str]:
    """Why Kafka will not talk to us with these settings; None as long as trying again may help.

    `errors` and `log` are what a client with this `conf` has told so far.
    """
    for text in (_without_internals(str(error.str())) for error in errors):
        found = _of(text)
        if found is not None and found.for_good:
            place = _place_of(text)
            return _closer(conf, place, text) or _words(found, text)
    if errors and not any(error.code() in _CLEAR for error in errors):
        return _silent_refusal(conf, log)
    return None


def answers(conf: Mapping[str, Any]) -> bool:
    """Whether something listens at one of the addresses, Kafka or not."""
    return any(listens(place) for place in _addresses(conf))


def listens(place: str) -> bool:
    """Whether something listens at this `host:port`, Kafka or not."""
    with contextlib.suppress(OSError, ValueError):
        _connection(place).close()
        return True
    return False


def learned_places(errors: Sequence[KafkaError]) -> List[str]:
    """The `host:port` of brokers that Kafka has named, and that failed: the client adds a number to them."""
    found = (re.match(r"(?:\w+://)?(\S+:\d+)/\d+: ", str(error.str())) for error in errors)
    return sorted({match[1] for match in found if match})


def unusable(said: str) -> str:
    """What the client says when it refuses to be made with its settings."""
    said = re.sub(r"^Failed to create [\w ]+: ", "", said.strip())
    if said.startswith("No provider for SASL mechanism GSSAPI"):
        return "set KAFKA_SASL_MECHANISM to one that it has: PLAIN, SCRAM-SHA-512, OAUTHBEARER"
    failed = re.match(r"(ssl\.[\w.]+) failed: .*?(?:::|: )([\w ]+)$", said)
    if failed:
        return f"{failed[1]} cannot be used: {_FILE_TROUBLE.get(failed[2], failed[2])}"
    return said


_FILE_TROUBLE = {
    "BIO lib": "there is no such file, or it holds no certificate",
    "system lib": "there is no such file, or it cannot be read",
    "key values mismatch": "the key is not that of the certificate",
}
"""OpenSSL's words for what is wrong with a file."""


SHORTEST_TRANSACTION_MS = 1000
"""The least that a broker is asked for: less is no time for a transaction."""


def is_too_long(error: KafkaError, timeout_ms: float) -> bool:
    """Whether the broker takes no transaction time-out of this length, and half of it is worth a try."""
    return (
        error.code() == KafkaError.INVALID_TRANSACTION_TIMEOUT and timeout_ms >= 2 * SHORTEST_TRANSACTION_MS
    )


# --- rights ---

_GUARDED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "transactional id",
}
"""Of which kind of resource Kafka says that something is refused, without saying which one."""


class Right(NamedTuple):
    """What a request needs: an operation on a resource. Made by `on_topic` and its neighbours."""

    operation: str
    kind: str
    name: str


def on_topic(operation: str, name: str) -> Right:
    """A right on a topic."""
    return Right(operation, "topic", name)


def on_group(operation: str, name: str) -> Right:
    """A right on a consumer group."""
    return Right(operation, "group", name)


def on_transactional_id(operation: str, name: str) -> Right:
    """A right on a transactional id."""
    return Right(operation, "transactional id", name)


def missing_right(error: KafkaError, *needed: Right) -> str:
    """The end of a message that names the one of the needed rights that is missing; "" where none is.

    One request can be refused for resources of several kinds: whoever reads a topic also asks for the
    coordinator of a group.
    """
    kind = _GUARDED.get(error.code())
    missing = next((right for right in needed if right.kind == kind), None)
    return f"; the right {missing.operation} on {kind} {missing.name} is missing" if missing else ""


def with_right(error: KafkaError, *needed: Right) -> KafkaError:
    """The same error, whose words name the right that is missing, if one is."""
    missing = missing_right(error, *needed)
    return KafkaError(error.code(), error.str() + missing) if missing else error


# --- from the client's words ---

_CLEAR = (
    *(KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._SSL),
    *(KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED),
)
"""Errors that say by themselves what is wrong."""


def _without_internals(text: str) -> str:
    text = re.sub(r"(/bootstrap|/\d+)(?=: )|Connect to \S+ failed: | \(after [^()]*\)$", "", text)
    return re.sub(r"^(sasl_\w+|ssl|plaintext)://", "", text)


def _of(text: str) -> Optional[_Known]:
    return next((each for each in _KNOWN if each.said.search(text)), None)


def _words(known: _Known, text: str) -> str:
    match = known.said.search(text)
    return known.words.format(**(match.groupdict() if match else {}))


def _place_of(text: str) -> str:
    match = re.match(r"(\S+:\d+): ", text)
    return match[1] if match else ""


# --- from a look at the port ---


def _closer(conf: Mapping[str, Any], place: str, text: str) -> Optional[str]:
    """More exactly than the client says it, where that can be found out."""
    if place and "certificate verify failed" in text:
        return _fault_of_certificate(conf, place)
    if "SSL alert" in text and not any(conf.get(name) for name in _CERTIFICATES):
        return (
            "it demands a client certificate: set KAFKA_SSL_CERTIFICATE_LOCATION and KAFKA_SSL_KEY_LOCATION"
        )
    if "SSL alert" in text and conf.get("ssl.certificate.location"):
        path = conf["ssl.certificate.location"]
        return (
            f"it refuses our client certificate {path}: it has expired, or the broker does not know who "
            f"signed it; see openssl x509 -noout -dates -issuer -in {path}"
        )
    if "SASL authentication error" in text and _is(conf, "sasl.mechanism", "OAUTHBEARER"):
        return "it refuses our token: check KAFKA_SASL_OAUTHBEARER_*"
    return None


_CERTIFICATES = ("ssl.certificate.location", "ssl.certificate.pem", "ssl.keystore.location")
_EXPIRED, _NOT_YET, _ANOTHER_HOST = 10, 9, (62, 64)
"""OpenSSL's numbers of what is wrong with a certificate."""


def _fault_of_certificate(conf: Mapping[str, Any], place: str) -> Optional[str]:
    try:
        context = _context_of(conf)
        with _connection(place) as raw, context.wrap_socket(raw, server_hostname=_split(place)[0]):
            return None
    except ssl.SSLCertVerificationError as error:
        return _named(error, _split(place)[0])
    except (OSError, ValueError):
        return None


def _named(error: ssl.SSLCertVerificationError, host: str) -> str:
    if error.verify_code == _EXPIRED:
        return "its certificate has expired: renew it on the broker (or is this machine's clock wrong?)"
    if error.verify_code == _NOT_YET:
        return "its certificate is not valid yet: is this machine's clock wrong?"
    if error.verify_code in _ANOTHER_HOST:
        return f"its certificate is not for the host name {host}: use the name that the certificate holds"
    return (
        f"nobody whom we trust has signed its certificate ({error.verify_message}): "
        "set KAFKA_SSL_CA_LOCATION to the authority's certificate"
    )


def _context_of(conf: Mapping[str, Any]) -> ssl.SSLContext:
    """What trusts the authorities that the client trusts."""
    given = str(conf.get("ssl.ca.location") or "")
    pem = conf.get("ssl.ca.pem")
    context = ssl.create_default_context(cafile=given or None, cadata=None if pem is None else str(pem))
    context.check_hostname = not _is(conf, "ssl.endpoint.identification.algorithm", "none")
    return context


def _silent_refusal(conf: Mapping[str, Any], log: Sequence[str]) -> Optional[str]:
    """Why a broker hangs up without a word that reaches the client's errors."""
    protocol = str(conf.get("security.protocol", "plaintext")).lower()
    if "ssl" not in protocol and any(_speaks_tls(place) for place in _addresses(conf)):
        better = "SASL_SSL" if "sasl" in protocol else "SSL (or SASL_SSL)"
        return f"it speaks TLS at this port, and we did not: set {_PROTOCOL}={better}"
    hung_up = [line for line in log if "closed by peer" in line and "in state UP" in line]
    if "sasl" not in protocol and len(hung_up) > 1:
        better = "SASL_SSL" if "ssl" in protocol else "SASL_PLAINTEXT"
        return (
            "it hangs up at our first request, as a port does that wants a log-in: "
            f"set {_PROTOCOL}={better}, KAFKA_SASL_MECHANISM, {_LOG_IN}"
        )
    return None


def _is(conf: Mapping[str, Any], name: str, value: str) -> bool:
    given = conf.get(name, conf.get(f"{name}s", ""))
    return str(given).upper() == value.upper()


def _speaks_tls(place: str) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent: it is only asked whether this is TLS
    try:
        with _connection(place) as raw, context.wrap_socket(raw, server_hostname=_split(place)[0]):
            return True
    except ssl.SSLError as error:
        return "ALERT" in str(error.reason)
    except (OSError, ValueError):
        return False


def _connection(place: str) -> socket.socket:
    return socket.create_connection(_split(place), LOOK_TIMEOUT_S)


def _addresses(conf: Mapping[str, Any]) -> List[str]:
    """The first few; nobody waits for a long list of silent ones."""
    return [re.sub(r"^\s*(\w+://)?", "", each).strip() for each in str(conf["bootstrap.servers"]).split(",")][
        :3
    ]


def _split(place: str) -> Tuple[str, int]:
    host, colon, port = place.rpartition(":")
    if not colon or not port.isdigit():
        return place.strip("[]"), 9092
    return host.strip("[]"), int(port)


# --- what passes ---


def ask_again(
    ask: Callable[[], _Answer], passing: Collection[int], until_s: float, pause_s: float = 0.1
) -> _Answer:
    """Ask until the answer is none of the error codes in `passing`, or it is `until_s` (monotonic clock).

    Raises KafkaException: any other error at once, a passing one after that time.
    """
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in passing or time.monotonic() >= until_s:
                raise
        time.sleep(pause_s)
