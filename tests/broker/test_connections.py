"""Every way to connect that Kafka has, and what is said where one of them fails."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator

import pytest

from orderflow.exits import KafkaUnreachable, UsageError
from orderflow.kafka.topics import require_kafka
from tests.conftest import start_kafka
from tests.support.pipeline import ROOT, eventually
from tests.support.secured_kafka import LISTENERS, PASSWORD, USER, Authority, broker_settings, set_password

pytestmark = pytest.mark.broker

AT_ONCE_S = 3.0


class Secured:
    """The broker, and how a client connects to each of its listeners."""

    def __init__(self, broker: Any, folder: Path, authority: Authority) -> None:
        self.broker = broker
        self.stranger = Authority(folder, "another")
        known, expired = authority.issue("client", None), authority.issue("old-client", None, days=-1)
        unknown = self.stranger.issue("stranger", None)
        self.properties: Dict[str, str] = {
            "ca": str(authority.path),
            "other-ca": str(self.stranger.path),
            "certificate": str(known[0]),
            "key": str(known[1]),
            "old-certificate": str(expired[0]),
            "old-key": str(expired[1]),
            "unknown-certificate": str(unknown[0]),
            "unknown-key": str(unknown[1]),
        }

    def conf(self, listener: str, **given: str) -> Dict[str, Any]:
        """A client's properties: `_` stands for `.`, and `@name` for a file of this broker's."""
        place = self.broker.bootstrap_servers if listener == "PLAIN" else self.broker.address(listener)
        named = {name.replace("_", "."): value for name, value in given.items()}
        files = {n: self.properties[v[1:]] if v.startswith("@") else v for n, v in named.items()}
        return {"bootstrap.servers": place, "log_level": 2, **files}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder)
    with start_kafka(settings=broker_settings(folder, authority), listeners=list(LISTENERS)) as broker:
        set_password(broker.internal_servers, USER, PASSWORD)
        yield Secured(broker, folder, authority)


TLS = {"security_protocol": "SSL", "ssl_ca_location": "@ca"}
MUTUAL = {**TLS, "ssl_certificate_location": "@certificate", "ssl_key_location": "@key"}
LOG_IN = {"sasl_username": USER, "sasl_password": PASSWORD}
SCRAM = {**TLS, **LOG_IN, "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}
LOGIN = {**LOG_IN, "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}
TOKEN = {
    **TLS,
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "OAUTHBEARER",
    "sasl_oauthbearer_config": f"principal={USER}",
    "enable_sasl_oauthbearer_unsecure_jwt": "true",
}
NO_FILE = {"ssl_certificate_location": "/no/such", "ssl_key_location": "/no/such"}


def without(given: Dict[str, str], *names: str) -> Dict[str, str]:
    """The properties but for these."""
    return {name: value for name, value in given.items() if name not in names}


@pytest.mark.parametrize(
    ("listener", "given"),
    [("PLAIN", {}), ("TLS", TLS), ("MUTUAL", MUTUAL), ("SCRAM", SCRAM), ("LOGIN", LOGIN), ("TOKEN", TOKEN)],
    ids=["plain", "TLS", "mTLS", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER"],
)
def test_each_way_to_connect_works(secured: Secured, listener: str, given: Dict[str, str]) -> None:
    """The settings that docs/security.md names for it are all that it takes."""
    require_kafka(secured.conf(listener, **given))


REFUSED: Dict[str, Any] = {
    "expired certificate": ("EXPIRED", TLS, "its certificate has expired"),
    "wrong host name": ("ELSEWHERE", TLS, "its certificate is not for the host name 127.0.0.1"),
    "unknown authority": ("TLS", {**TLS, "ssl_ca_location": "@other-ca"}, "nobody whom we trust has signed"),
    "no authority named": ("TLS", {"security_protocol": "SSL"}, "set KAFKA_SSL_CA_LOCATION"),
    "no client certificate": ("MUTUAL", TLS, "it demands a client certificate"),
    "strange client certificate": (
        "MUTUAL",
        {**TLS, "ssl_certificate_location": "@unknown-certificate", "ssl_key_location": "@unknown-key"},
        "it refuses our client certificate",
    ),
    "expired client certificate": (
        "MUTUAL",
        {**TLS, "ssl_certificate_location": "@old-certificate", "ssl_key_location": "@old-key"},
        "it refuses our client certificate",
    ),
    "plain text to a TLS port": ("TLS", {}, "it speaks TLS at this port, and we did not"),
    "plain text to an mTLS port": ("MUTUAL", {}, "it speaks TLS at this port, and we did not"),
    "plain log-in to a TLS port": ("SCRAM", {**LOGIN}, "it speaks TLS at this port, and we did not"),
    "TLS to a plain port": ("PLAIN", TLS, "it does not speak TLS at this port"),
    "TLS to a plain log-in": ("LOGIN", SCRAM, "it does not speak TLS at this port"),
    "no log-in": ("LOGIN", {}, "it hangs up at our first request, as a port does that wants a log-in"),
    "no log-in over TLS": ("SCRAM", TLS, "set KAFKA_SECURITY_PROTOCOL=SASL_SSL"),
    "log-in where none is asked": ("PLAIN", LOGIN, "it asks for no log-in at this port"),
    "wrong mechanism": (
        "SCRAM",
        {**SCRAM, "sasl_mechanism": "PLAIN"},
        "SASL mechanism PLAIN, but SCRAM-SHA-512",
    ),
    "token to SCRAM": ("SCRAM", TOKEN, "does not take the SASL mechanism OAUTHBEARER"),
    "wrong password": ("SCRAM", {**SCRAM, "sasl_password": "hush"}, "it refuses the log-in"),
    "wrong user": ("SCRAM", {**SCRAM, "sasl_username": "nobody"}, "check KAFKA_SASL_USERNAME"),
    "wrong plain password": ("LOGIN", {**LOGIN, "sasl_password": "hush"}, "it refuses the log-in"),
    "no token": ("TOKEN", without(TOKEN, "sasl_oauthbearer_config"), "there is no token to log in with"),
}
"""What is wrong: where a client connects, with what, and the words that name it."""


@pytest.mark.parametrize("what", REFUSED)
def test_a_refused_connection_is_named_at_once(secured: Secured, what: str) -> None:
    """The message names the fault, tells no password, and does not propose to start a Kafka."""
    listener, given, words = REFUSED[what]
    begun_s = time.monotonic()
    with pytest.raises(KafkaUnreachable) as refusal:
        require_kafka(secured.conf(listener, **given))

    told = str(refusal.value)
    assert words in told
    assert "refuses us" in told
    assert time.monotonic() - begun_s < AT_ONCE_S
    for never in ("make kafka", "hush", PASSWORD, "error:0", ".c:"):
        assert never not in told
    assert "\n" not in told


UNUSABLE: Dict[str, Any] = {
    "no mechanism": (without(LOGIN, "sasl_mechanism"), "set KAFKA_SASL_MECHANISM"),
    "no user": (without(LOGIN, "sasl_username"), "sasl.username and sasl.password must be set"),
    "no authority's file": (
        {**TLS, "ssl_ca_location": "/no/such"},
        "ssl.ca.location cannot be used: there is no",
    ),
    "no certificate's file": ({**TLS, **NO_FILE}, "ssl.certificate.location cannot be used: there is no"),
    "another's key": ({**MUTUAL, "ssl_key_location": "@old-key"}, "the key is not that of the certificate"),
}


@pytest.mark.parametrize("what", UNUSABLE)
def test_settings_that_no_connection_can_be_made_with_are_a_wrong_usage(secured: Secured, what: str) -> None:
    """They are known before anything is connected to, and told in a line."""
    given, words = UNUSABLE[what]
    with pytest.raises(UsageError) as refusal:
        require_kafka(secured.conf("TLS", **given))

    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_password_that_is_changed_meanwhile_is_named_by_a_running_producer(
    secured: Secured, topic: Callable[..., str], tmp_path: Path
) -> None:
    """The broker asks for the log-in again every second, and hangs up on who cannot repeat it."""
    name = topic()
    set_password(secured.broker.internal_servers, "changing", "before")
    conf = secured.conf("SCRAM", **{**SCRAM, "sasl_username": "changing", "sasl_password": "before"})
    flags = [
        f"-X{key}={value}" for key, value in conf.items() if key not in ("bootstrap.servers", "log_level")
    ]
    command = [
        *(sys.executable, str(ROOT / "producer.py"), "-b", conf["bootstrap.servers"]),
        *("--orders-topic", name, "--rate", "20/s", "--shutdown-timeout", "1", *flags),
    ]
    said = tmp_path / "said"
    with said.open("w") as err, subprocess.Popen(command, stderr=err, cwd=tmp_path) as producer:
        try:
            set_password(secured.broker.internal_servers, "changing", "after")
            eventually(lambda: "it refuses the log-in" in said.read_text(), 20)
        finally:
            producer.kill()

    assert "before" not in said.read_text()
