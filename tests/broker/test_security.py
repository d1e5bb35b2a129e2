"""Every way to connect and what is said where one fails; each right, and what happens without it."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from orderflow.exits import KafkaUnreachable, UsageError
from orderflow.kafka.reachable import require_kafka
from tests.conftest import start_kafka
from tests.support.engine_tools import Shop, path_of, rows
from tests.support.granted import give, rights
from tests.support.pipeline import QUICK, ROOT, Finished, Running, eventually
from tests.support.secured_kafka import LISTENERS, PASSWORD, USER, Authority, broker_settings, set_password

pytestmark = pytest.mark.broker

LONG = pytest.mark.chaos
"""Left to `make audit` and `make chaos`, so that `make test` stays short."""
AT_ONCE_S = 3.0
STARTING_S = 1.5
"""For a script to start on a busy machine."""


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


# --- rights


class Guarded(Shop):
    """Topics and a group of which each user of docs/security.md has only what that page says."""

    def __init__(self, broker: Any, topic: Callable[..., str], folder: Path, **settings: str) -> None:
        super().__init__(broker.bootstrap_servers, topic, folder, **{**QUICK, **settings})
        self.create()
        self.audit_topic = f"{self.dlq_topic}-audit"
        admin = AdminClient(self.client)
        self.ledger_topic = f"{self.orders_topic}-waiting"
        for name in (self.audit_topic, self.ledger_topic):
            compacted = NewTopic(name, 1, -1, config={"cleanup.policy": "compact"})
            admin.create_topics([compacted])[name].result(20)
        self.login = broker.address("LOGIN")
        self.names = {
            "orders": self.orders_topic,
            "orders-processed": self.processed_topic,
            "orders-waiting": self.ledger_topic,
            "orders-dlq": self.dlq_topic,
            "orders-dlq-audit": self.audit_topic,
            "orders-dlq-replayer": f"{self.dlq_topic}-replayer",
            "orders-dlq-import": f"{self.dlq_topic}-import",
            "order-processing-group": self.group,
            "order-processing-group.": f"{self.group}.",
        }

    def grant(self, user: str, but: str = "") -> None:
        """Give a user what the page says, without the right whose line holds `but`."""
        give(self.client, rights(user, self.names, but))

    def start_as(self, user: str, script: str, *arguments: str, **settings: str) -> Running:
        """Start a script that logs in as this user."""
        log_in = {
            "KAFKA_BOOTSTRAP_SERVERS": self.login,
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_MECHANISM": "PLAIN",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": PASSWORD,
        }
        return self.start(script, *arguments, **{**log_in, **settings})

    def run_as(self, user: str, script: str, *arguments: str, **settings: str) -> Finished:
        """Run it to its end."""
        return self.start_as(user, script, *arguments, **settings).wait(60)

    def die(self) -> None:
        """Make dead letters that may be sent again."""
        self.put(rows(3, "POISON"))
        self.drain("poison_is_rejected")


@pytest.fixture
def guarded(secured: Secured, topic: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., Guarded]]:
    made: List[Guarded] = []

    def make(**settings: str) -> Guarded:
        made.append(Guarded(secured.broker, topic, tmp_path, **settings))
        return made[-1]

    yield make
    for each in made:
        each.kill_all()


PRODUCE = ("producer.py", "--count", "5")
CONSUME = ("consumer.py", "--until-drained", "--handler", path_of("works"))
REPLAY = ("dlq_handler.py", "replay", "--all", "--yes", "--rate", "none")
DISCARD = ("dlq_handler.py", "discard", "0:0", "--yes", "--reason", "a test")
FULL: Dict[str, Any] = {
    "producer": ("producer", [PRODUCE]),
    "consumer": ("consumer", [CONSUME]),
    "reader": (
        "reader",
        [("dlq_handler.py", verb) for verb in ("list", "groups", "stats", "jobs", "waiting")]
        + [("dlq_handler.py", "show", "0:0"), ("dlq_handler.py", "export", "all.jsonl")],
    ),
    "operator": ("operator", [REPLAY, DISCARD]),
    "importer": ("importer", [("dlq_handler.py", "import", "all.jsonl", "--yes")]),
}


@pytest.mark.parametrize(
    "user",
    [pytest.param(user, marks=() if user in ("producer", "consumer") else LONG) for user in FULL],
)
def test_the_rights_of_the_page_are_enough(guarded: Callable[..., Guarded], user: str) -> None:
    """Each script and verb works for a user who has nothing else on the cluster."""
    shop = guarded()
    if user not in ("producer", "consumer"):
        shop.die()
    elif user == "consumer":
        shop.put(rows(5))
    if user == "importer":
        shop.succeed("dlq_handler.py", "export", "all.jsonl")
    shop.grant(user)
    for command in FULL[user][1]:
        finished = shop.run_as(FULL[user][0], *command)
        assert finished.code == 0, (command, finished.err)


CONSUMER_RIGHTS = {
    "--group": ("group {group}", "READ"),
    "--topic orders": ("{orders}", "READ"),
    "--topic orders-dlq": ("{dlq}", "WRITE"),
    "--topic orders-processed": ("{processed}", "WRITE"),
    "Read --topic orders-waiting": ("{ledger}", "READ"),
    "Write --topic orders-waiting": ("{ledger}", "WRITE"),
    "--transactional-id": ("transactional id {group}.", "WRITE"),
}
"""What is taken away, by what its command on the page ends with, and what the message then names."""


def _marks(guarantee: str, but: str) -> List[Any]:
    short = (guarantee, but) == ("exactly-once", "--topic orders-dlq")
    return [] if short else [LONG]


WITHOUT = [
    pytest.param(guarantee, but, marks=_marks(guarantee, but))
    for guarantee in ("exactly-once", "at-least-once")
    for but in CONSUMER_RIGHTS
    if (guarantee, but) != ("at-least-once", "--transactional-id")
]


@pytest.mark.parametrize(("guarantee", "but"), WITHOUT)
def test_a_consumer_without_one_of_its_rights_names_it_and_loses_nothing(
    guarded: Callable[..., Guarded], guarantee: str, but: str
) -> None:
    """It says resource and right; given the right, the next one processes everything."""
    shop = guarded(GUARANTEE=guarantee)
    shop.put(rows(3))
    shop.publish_bytes([b"no order"])
    shop.grant("consumer", but)
    resource, right = CONSUMER_RIGHTS[but]
    names = {
        "orders": shop.orders_topic,
        "dlq": shop.dlq_topic,
        "processed": shop.processed_topic,
        "ledger": shop.ledger_topic,
    }
    running = shop.start_as("consumer", *CONSUME)
    try:
        eventually(lambda: resource.format(group=shop.group, **names) in running.err, 30, running.describe)
        eventually(lambda: right in running.err and "right" in running.err, 5, running.describe)
    finally:
        running.kill()
    assert "Traceback" not in running.err

    shop.grant("consumer")
    assert shop.run_as("consumer", *CONSUME).code == 0
    shop.assert_account_closes(repeats_allowed=guarantee == "at-least-once")


def test_a_producer_without_its_right_names_it_and_keeps_the_orders(guarded: Callable[..., Guarded]) -> None:
    """What was refused is in a file that is published once the right is there."""
    shop = guarded()
    give(shop.client, rights("reader", shop.names))
    refused = shop.run_as("producer", *PRODUCE)

    assert refused.code != 0
    assert shop.orders_topic in refused.err
    assert "Traceback" not in refused.err


@LONG
def test_an_operator_acts_on_waiting_orders_with_the_rights_of_the_page(
    guarded: Callable[..., Guarded],
) -> None:
    """Without the right to write to the ledger topic, it is named and nothing happens."""
    shop = guarded(RETRY_BACKOFF="600", RETRY_BACKOFF_MAX="600", MAX_RETRIES="3")
    shop.put(rows(1, "POISON"))
    shop.grant("consumer")
    give_up = ("dlq_handler.py", "waiting", "--give-up", "--all", "--yes")
    running = shop.start_as("consumer", "consumer.py", "--handler", path_of("poison_fails"))
    eventually(lambda: "next try in" in running.err, 30, running.describe)
    eventually(lambda: shop.succeed("dlq_handler.py", "waiting", "--json").out)

    shop.grant("operator", "Write --topic orders-waiting")
    denied = shop.run_as("operator", *give_up)
    assert f"the right WRITE on topic {shop.ledger_topic} is missing" in denied.err
    assert denied.code == 1 and "Traceback" not in denied.err

    shop.grant("operator")
    assert "1 of 1 waiting order given up" in shop.run_as("operator", *give_up).out
    running.stop()
    assert len(shop.dead_letters()) == 1


@LONG
def test_a_canary_that_may_not_read_what_waits_names_the_right(guarded: Callable[..., Guarded]) -> None:
    """It does not look for a consumer that is missing: nobody knows how far the group is."""
    shop = guarded(RETRY_BACKOFF="600", RETRY_BACKOFF_MAX="600", MAX_RETRIES="3")
    shop.die()
    pairs = zip(rows(3000, "POISON-LATER"), rows(3000, "GOOD"))
    shop.put([row for pair in pairs for row in pair])
    shop.grant("consumer")
    running = shop.start_as("consumer", "consumer.py", "--handler", path_of("poison_fails"))
    summary = ("dlq_handler.py", "waiting", "--summary")
    eventually(lambda: "on a page of" in shop.succeed(*summary).out, 60, running.describe)

    shop.grant("operator", "Read --topic orders-waiting")
    canary = shop.run_as("operator", *REPLAY, "--stale", "warn", "--canary", "1", "--canary-timeout", "5")
    assert f"the right READ on topic {shop.ledger_topic} is missing" in canary.err
    assert "does a consumer run?" not in canary.err
    running.stop()


OTHERS: Dict[str, Any] = {
    "read dead letters": ("reader", "--topic orders-dlq", ("dlq_handler.py", "list"), "{dlq}", "READ"),
    "read audit": ("operator", "Read --topic orders-dlq-audit", REPLAY, "{dlq}-audit", "READ"),
    "read orders": ("operator", "Read --topic orders", REPLAY, "{orders}", "READ"),
    "write orders": ("operator", "Write --topic orders", REPLAY, "{orders}", "WRITE"),
    "write audit": ("operator", "Write --topic orders-dlq-audit", REPLAY, "{dlq}-audit", "WRITE"),
    "replayer's id": ("operator", "--transactional-id", REPLAY, "{dlq}-replayer", "WRITE"),
}


def test_health_without_any_right_says_what_it_cannot_find_out(guarded: Callable[..., Guarded]) -> None:
    """In time, with the right that each answer would need; it never calls well what it cannot see."""
    shop = guarded()
    shop.put(rows(3))
    shop.drain("works")
    began_s = time.monotonic()
    finished = shop.run_as("importer", "dlq_handler.py", "health")
    took_s = time.monotonic() - began_s

    told = finished.out + finished.err
    assert finished.code == 1, told
    assert f"the right DESCRIBE on group {shop.group} is missing" in told
    for topic in (shop.orders_topic, shop.dlq_topic):
        assert f"the right DESCRIBE on topic {topic} is missing" in told
    assert "Traceback" not in told
    assert took_s < AT_ONCE_S + STARTING_S, told


OF_THE_GROUP: Dict[str, Any] = {
    "list": ("dlq_handler.py", "list"),
    "jobs": ("dlq_handler.py", "jobs"),
    "waiting": ("dlq_handler.py", "waiting"),
    "erase": ("dlq_handler.py", "erase", "--key", "C-1"),
}


@LONG
@pytest.mark.parametrize("verb", OF_THE_GROUP)
def test_a_verb_that_may_not_describe_the_group_names_the_group(
    guarded: Callable[..., Guarded], verb: str
) -> None:
    """Each topic is read in the group's name, so Kafka refuses it whichever topic is read."""
    shop = guarded()
    shop.die()
    shop.succeed(*DISCARD)  # so that there is something in the audit topic
    shop.grant("reader", "--group order-processing-group")
    finished = shop.run_as("reader", *OF_THE_GROUP[verb])

    assert finished.code == 1
    told = finished.err.splitlines()[-1]
    assert told.endswith(f"; the right DESCRIBE on group {shop.group} is missing"), finished.err


@LONG
@pytest.mark.parametrize("what", OTHERS)
def test_a_verb_without_one_of_its_rights_names_it_and_sends_nothing(
    guarded: Callable[..., Guarded], what: str
) -> None:
    """One line that names the resource and the right."""
    user, but, command, resource, right = OTHERS[what]
    shop = guarded()
    shop.die()
    shop.succeed(*DISCARD)  # so that there is something in the audit topic
    shop.grant(user, but)
    before = len(shop.orders())
    finished = shop.run_as(user, *command)

    assert finished.code not in (0, 2)
    assert resource.format(orders=shop.orders_topic, dlq=shop.dlq_topic) in finished.err
    assert right in finished.err
    assert "Traceback" not in finished.err
    assert len(shop.orders()) == before
