"""Settings: where they come from, what wins, and what is said of a wrong one."""

import argparse
import shlex
from dataclasses import fields
from pathlib import Path
from typing import Any, Dict, List

import pytest

import config
from config import SETTINGS, ConfigError, Settings, load
from orderflow.kafka import client_properties

NOWHERE = "no-such.env"


def settings(environ: Any = None, dotenv: str = NOWHERE, **flags: Any) -> Settings:
    return load(flags, environ or {}, dotenv)


def faults(environ: Any = None, dotenv: str = NOWHERE, **flags: Any) -> List[str]:
    with pytest.raises(ConfigError) as refusal:
        settings(environ, dotenv, **flags)
    return refusal.value.faults


@pytest.fixture
def dotenv(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        path = tmp_path / ".env"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# --- the form of the log, before anything else is read


@pytest.mark.parametrize(
    ("argv", "environ", "form"),
    [
        ([], {}, "text"),
        ([], {"LOG_FORMAT": "json"}, "json"),
        (["--log-format", "json"], {}, "json"),
        (["--log-format=json", "--bogus"], {"LOG_FORMAT": "text"}, "json"),
        (["--log-format=json", "--log-format", "text"], {"LOG_FORMAT": "json"}, "text"),
        (["--log-format"], {"LOG_FORMAT": "json"}, "text"),
        (["--log-format=xml"], {"LOG_FORMAT": "json"}, "text"),
        ([], {"LOG_FORMAT": "", "WORKERS": "many"}, "text"),
    ],
)
def test_the_form_of_the_log_is_known_whatever_else_is_wrong(
    argv: List[str], environ: Dict[str, str], form: str
) -> None:
    """So that what is wrong can be told in that form; where it is wrong itself, it is text."""
    assert config.log_format(argv, environ, NOWHERE) == form


def test_the_form_of_the_log_is_read_from_a_file_with_faults(dotenv: Any) -> None:
    """And from none that cannot be read."""
    assert config.log_format([], {}, dotenv("no setting\nLOG_FORMAT=json\n")) == "json"
    assert config.log_format([], {}, str(Path(dotenv("")).parent)) == "text"


# --- names and defaults


def test_the_defaults_are_the_ones_that_people_were_promised() -> None:
    found = settings()

    assert found.bootstrap_servers == "localhost:9092"
    assert (found.orders_topic, found.dlq_topic) == ("orders", "orders-dlq")
    assert found.consumer_group == "order-processing-group"
    assert (found.max_retries, found.retry_backoff_s) == (3, 5.0)
    assert found.guarantee == "exactly-once"
    assert found.processed_topic is None
    assert found.schema_registry_url is None


def test_every_setting_is_in_the_catalogue_and_every_one_of_the_catalogue_is_a_setting() -> None:
    assert {field.name for field in fields(Settings)} - {"client"} == {setting.name for setting in SETTINGS}


def test_the_audit_topic_follows_the_dlq_topic_unless_it_is_set() -> None:
    assert settings({"DLQ_TOPIC": "dead"}).audit_topic == "dead-audit"
    assert settings({"DLQ_TOPIC": "dead", "DLQ_AUDIT_TOPIC": "who"}).audit_topic == "who"


# --- precedence


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(dotenv: Any) -> None:
    path = dotenv("MAX_RETRIES=1\nWORKERS=2\nORDERS_TOPIC=from-file\n")
    found = settings({"MAX_RETRIES": "4", "WORKERS": "5"}, path, max_retries="6")

    assert (found.max_retries, found.workers, found.orders_topic) == (6, 5, "from-file")
    assert found.max_queued == 100_000


def test_zero_is_a_value_and_not_an_invitation_to_take_the_default() -> None:
    found = settings({"MAX_RETRIES": "0", "RETRY_BACKOFF": "0", "SHUTDOWN_TIMEOUT": "0"})

    assert (found.max_retries, found.retry_backoff_s, found.shutdown_timeout_s) == (0, 0.0, 0.0)


def test_an_empty_value_unsets_an_optional_setting_also_against_a_weaker_source(dotenv: Any) -> None:
    path = dotenv("PROCESSED_TOPIC=done\n")

    assert settings({}, path).processed_topic == "done"
    assert settings({"PROCESSED_TOPIC": ""}, path).processed_topic is None


def test_an_empty_value_is_a_fault_for_a_setting_that_must_be_there() -> None:
    """A shell variable that happens to be unset must not send orders to the default topic."""
    assert faults({}, orders_topic="") == ["--orders-topic: is empty; give a value or remove it"]


# --- faults


def test_all_faults_are_reported_in_one_message(dotenv: Any) -> None:
    path = dotenv("MAX_RETRYS=4\nnot a line\n")
    environ = {"WORKERS": "many", "RETRY_BACKOFF": "5s"}
    found = faults(environ, path, guarantee="twice", client=["linger.ms=x", "y"])

    assert len(found) == 7
    message = str(ConfigError(found))
    assert message.startswith("7 wrong settings:\n")
    for part in ("MAX_RETRIES", f"{path}:2", "'many'", "'5s'", "--guarantee", "-X linger.ms", "-X y"):
        assert part in message


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("MAX_RETRY", "MAX_RETRIES"),
        ("ORDER_TOPIC", "ORDERS_TOPIC"),
        ("KAFKA_BOOTSTRAP_SERVER", "KAFKA_BOOTSTRAP_SERVERS"),
        ("SCHEMA_REGISTRY_URI", "SCHEMA_REGISTRY_URL"),
        ("KAFKA_SASL_USERNANE", "KAFKA_SASL_USERNAME"),
        ("workers", "WORKERS"),
        ("Max_Retry", "MAX_RETRIES"),
        ("kafka_sasl_username", "KAFKA_SASL_USERNAME"),
    ],
)
def test_a_misspelt_name_in_the_file_names_the_nearest_one(dotenv: Any, name: str, nearest: str) -> None:
    found = faults({}, dotenv(f"{name}=1\n"))

    assert len(found) == 1
    assert found[0].startswith(f"{name} in ")
    assert found[0].endswith(f"did you mean {nearest}?")


def test_a_name_with_two_values_in_the_file_is_a_fault_that_shows_neither(dotenv: Any) -> None:
    """One of them is not wanted, and to take the last would hide which. What other programs do is theirs."""
    first, second = "KAFKA_SASL_PASSWORD=one\nTZ=UTC\n", "KAFKA_SASL_PASSWORD=two\nTZ=CET\n"
    path = dotenv(f"{first}\n# changed\n{second}WORKERS=2\nWORKERS=2\n")

    assert faults({}, path) == [f"{path}:5: KAFKA_SASL_PASSWORD has another value in line 1: keep one"]


def test_a_line_that_is_wrong_is_named_by_its_number_also_after_blank_ones(dotenv: Any) -> None:
    path = dotenv("WORKERS=2\n\n \nno setting\n")

    assert faults({}, path) == [f"{path}:4: is not NAME=value"]


def test_another_file_is_read_in_place_of_the_usual_one(dotenv: Any, tmp_path: Path) -> None:
    other = tmp_path / "prod.env"
    other.write_text("WORKERS=7\n", encoding="utf-8")

    found = settings({}, dotenv("WORKERS=3\nMAX_RETRIES=9\n"), env_file=str(other))

    assert (found.workers, found.max_retries) == (7, 3)
    assert config.origins({"env_file": str(other)}, {}) == [f"WORKERS=7 ({other})"]


def test_a_file_that_was_asked_for_must_be_there() -> None:
    """The usual one may be missing."""
    assert faults({}, env_file="no-such-file.env") == ["no-such-file.env: no such file"]


def test_the_form_of_the_log_is_read_from_the_file_that_was_asked_for(dotenv: Any) -> None:
    path = dotenv("LOG_FORMAT=json\n")

    assert config.log_format(["--env-file", path, "--bogus"], {}, NOWHERE) == "json"


def test_names_of_other_programs_are_left_alone(dotenv: Any) -> None:
    settings({}, dotenv("COMPOSE_PROJECT_NAME=shop\nDATABASE_URL=postgres://\nexport TZ=UTC\n"))
    settings({"KAFKA_HEAP_OPTS": "-Xmx1g", "KAFKA_HOME": "/opt/kafka", "KAFKA_PORT": "tcp://10.0.0.1:9092"})


def test_a_client_property_that_does_not_exist_is_a_fault_in_the_file_only(dotenv: Any) -> None:
    """The environment belongs to all programs, the file to us."""
    assert "no property of the Kafka client" in faults({}, dotenv("KAFKA_HEAP_OPTS=-Xmx1g\n"))[0]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"A=\xe9\n"])
def test_a_file_that_is_not_text_is_a_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ".env"
    path.write_bytes(content)

    assert faults({}, str(path)) == [f"{path}: is not UTF-8 text"]


def test_topics_must_differ() -> None:
    found = faults({"ORDERS_TOPIC": "a", "DLQ_TOPIC": "a", "PROCESSED_TOPIC": "a-audit"})

    assert found == [
        "ORDERS_TOPIC and DLQ_TOPIC are both a: each needs a topic of its own",
        "PROCESSED_TOPIC and DLQ_AUDIT_TOPIC are both a-audit: each needs a topic of its own",
    ]


def test_the_longest_back_off_is_not_shorter_than_the_first() -> None:
    assert "shorter than RETRY_BACKOFF" in faults({"RETRY_BACKOFF": "90"})[0]


def test_older_schemas_lie_beside_the_order_schema_unless_a_folder_is_named(tmp_path: Path) -> None:
    own = settings({"ORDER_SCHEMA": "shop/order.avsc"})
    named = settings({"ORDER_SCHEMA": "shop/order.avsc", "SCHEMA_VERSIONS": str(tmp_path)})

    assert settings({}).order_schema == config.ORDER_SCHEMA
    assert settings({}).schema_versions == config.ORDER_SCHEMA.with_name("schemas")
    assert (own.order_schema, own.schema_versions) == (Path("shop/order.avsc"), Path("shop/schemas"))
    assert named.schema_versions == tmp_path


def test_a_schema_that_is_a_folder_is_left_for_its_reader_to_refuse() -> None:
    """With a message, not a traceback: `/` has no name to put another one in the place of."""
    assert settings({"ORDER_SCHEMA": "/"}).schema_versions == Path("/schemas")


def test_a_folder_of_older_schemas_that_is_named_must_be_there(tmp_path: Path) -> None:
    """Without it, orders of older schemas would be dead-lettered one by one."""
    assert "is not a folder" in faults({"SCHEMA_VERSIONS": str(tmp_path / "nowhere")})[0]


# --- what passes through to the client


def test_any_property_of_the_client_passes_through() -> None:
    environ = {"KAFKA_SASL_USERNAME": "shop", "KAFKA_LINGER_MS": "7"}

    assert settings(environ).client == {"sasl.username": "shop", "linger.ms": "7"}


def test_the_command_line_beats_the_environment_for_properties_too() -> None:
    assert settings({"KAFKA_LINGER_MS": "7"}, client=["linger.ms=9"]).client == {"linger.ms": "9"}
    assert settings({"KAFKA_LINGER_MS": "7"}, client=["linger.ms="]).client == {}


def test_what_passes_through_wins_over_what_a_script_would_choose() -> None:
    found = settings(client=["linger.ms=9"])

    assert config.client_config(found, **{"linger.ms": 5, "acks": "all"})["linger.ms"] == "9"
    assert config.client_config(found, **{"linger.ms": 5, "acks": "all"})["acks"] == "all"
    assert config.client_config(found)["bootstrap.servers"] == "localhost:9092"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("group.id", "set CONSUMER_GROUP"),
        ("bootstrap.servers", "set KAFKA_BOOTSTRAP_SERVERS"),
        ("enable.auto.commit", "settled"),
        ("enable.auto.offset.store", "settled"),
        ("isolation.level", "aborted"),
        ("transactional.id", "fenced"),
        ("acks", "in-sync"),
        ("enable.idempotence", "once"),
    ],
)
def test_a_property_that_a_promise_depends_on_cannot_be_set(name: str, advice: str) -> None:
    found = faults(client=[f"{name}=x"])

    assert found[0].startswith(f"-X {name}: {name} cannot be set")
    assert advice in found[0]


@pytest.mark.parametrize(
    "pair",
    [
        "acks=all",
        "acks=-1",
        "enable.idempotence=True",
        "enable.auto.commit=false",
        "isolation.level=read_committed",
    ],
)
def test_a_property_that_asks_for_what_we_set_anyway_is_no_fault(pair: str) -> None:
    """`KAFKA_ACKS=all` may be in the environment for other programs."""
    name, _, value = pair.partition("=")

    assert settings(client=[pair]).client == {}
    assert settings({f"KAFKA_{name.replace('.', '_').upper()}": value}).client == {}


def test_a_property_that_the_client_does_not_have_is_a_fault_on_the_command_line() -> None:
    assert "did you mean sasl.password?" in faults(client=["sasl.passwort=x"])[0]
    assert "has no property logger" in faults(client=["logger=x"])[0]
    assert "cannot be given as text" in faults(client=["error_cb=x"])[0]


# --- secrets


def test_a_secret_comes_from_the_file_that_its_name_points_to(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("hush\n", encoding="utf-8")
    (tmp_path / "two").write_text("user:hush", encoding="utf-8")
    environ = {
        "KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "one"),
        "SCHEMA_REGISTRY_USER_INFO_FILE": str(tmp_path / "two"),
    }
    found = settings(environ)

    assert found.client == {"sasl.password": "hush"}
    assert found.schema_registry_user_info == "user:hush"


def test_a_secret_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    missing = tmp_path / "nothing"

    assert faults({"KAFKA_SASL_PASSWORD_FILE": str(missing)}) == [
        f"KAFKA_SASL_PASSWORD_FILE in the environment: {missing}: no such file"
    ]


@pytest.mark.parametrize("name", ["KAFKA_SASL_PASSWORD", "SCHEMA_REGISTRY_USER_INFO"])
def test_an_empty_name_of_a_secret_file_unsets_the_secret(dotenv: Any, tmp_path: Path, name: str) -> None:
    """As an empty value does: Compose passes a variable so that is not set, and `NAME` beside it."""
    (tmp_path / "one").write_text("user:one", encoding="utf-8")
    path = dotenv(f"{name}=user:weaker\n")

    def secret(**environ: str) -> Any:
        found = settings(environ, path)
        return found.client.get("sasl.password") or found.schema_registry_user_info

    assert secret(**{name + "_FILE": ""}) is None
    assert secret(**{name + "_FILE": "", name: ""}) is None
    assert secret(**{name + "_FILE": "", name: "user:one"}) == "user:one"
    assert secret(**{name + "_FILE": str(tmp_path / "one"), name: ""}) == "user:one"
    assert config.origins({}, {name + "_FILE": ""}, path) == []


def test_a_secret_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors write one; it is no part of the password."""
    (tmp_path / "one").write_text("hush\r\n", encoding="utf-8-sig")

    assert settings({"KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "one")}).client == {"sasl.password": "hush"}


@pytest.mark.parametrize(
    ("text", "why"), [("hu\udce4sh", "is not UTF-8 text"), ("hu\0sh", "has a NUL byte in it")]
)
def test_a_value_that_the_client_cannot_take_whole_is_named_and_not_shown(text: str, why: str) -> None:
    """It takes text in UTF-8, up to the first NUL."""
    names = ["CONSUMER_GROUP", "KAFKA_BOOTSTRAP_SERVERS", "SCHEMA_REGISTRY_USER_INFO"]
    clients = ["KAFKA_CLIENT_ID", "KAFKA_SASL_PASSWORD"]
    found = faults(dict.fromkeys(names + clients, text), client=[f"client.rack={text}"], order_key=text)

    assert sorted(found) == sorted(
        [
            *(f"{name} in the environment: {why}" for name in names + clients),
            *(f"-X client.rack: {why}", f"--order-key: {why}"),
        ]
    )


def test_a_file_may_have_a_name_that_is_not_text() -> None:
    """Files have bytes for names, but no NUL."""
    assert faults({"ORDER_SCHEMA": "sch\0ma.avsc"}) == [
        "ORDER_SCHEMA in the environment: has a NUL byte in it"
    ]
    assert settings({"ORDER_SCHEMA": "sch\udce4ma.avsc"}).order_schema == Path("sch\udce4ma.avsc")


def test_a_secret_that_is_given_twice_in_one_place_is_a_fault() -> None:
    assert "keep one" in faults({"KAFKA_SASL_PASSWORD": "a", "KAFKA_SASL_PASSWORD_FILE": "b"})[0]


def test_a_password_in_the_file_may_hold_any_character(dotenv: Any) -> None:
    found = settings({}, dotenv("KAFKA_SASL_PASSWORD='a$b${HOME}#c'\n"))

    assert found.client == {"sasl.password": "a$b${HOME}#c"}


SECRETS: Dict[str, str] = {
    "KAFKA_SASL_PASSWORD": "hush-1",
    "KAFKA_SSL_KEY_PASSWORD": "hush-2",
    "SCHEMA_REGISTRY_USER_INFO": "user:hush-3",
    "SCHEMA_REGISTRY_KEY_PASSWORD": "hush-4",
}


def test_no_secret_is_in_the_text_of_the_settings() -> None:
    assert "hush" not in repr(settings(SECRETS))


def test_no_secret_is_in_a_fault() -> None:
    environ = {
        **SECRETS,
        "SCHEMA_REGISTRY_USER_INFO": "hush-3",
        "SCHEMA_REGISTRY_URL": "https://u:hush-5@registry",
        "KAFKA_SSL_KEY_PEM": "hush-6",
    }
    flags = ["sasl.password=hush-7", "sasl.oauthbearer.config=hush-8", "nothing=hush-9"]
    found = faults(environ, client=flags)

    assert found
    assert "hush" not in "\n".join(found)


# --- flags


def test_each_flag_names_its_environment_variable_and_its_default() -> None:
    parser = argparse.ArgumentParser()
    config.add_flags(parser, [setting.name for setting in SETTINGS if not setting.secret])
    shown = " ".join(parser.format_help().split())

    for setting in SETTINGS:
        if not setting.secret:
            assert setting.flag in shown
            assert f"[env: {setting.env}" in shown


def test_flags_are_read_like_any_other_source() -> None:
    parser = argparse.ArgumentParser()
    config.add_flags(parser, ["orders_topic", "dead_letter_stack"])
    flags = parser.parse_args(["-bkafka:1", "--orders-topic", "a", "--dead-letter-stack", "-Xlinger.ms=1"])
    found = load(flags, {}, NOWHERE)

    assert (found.bootstrap_servers, found.orders_topic, found.dead_letter_stack) == ("kafka:1", "a", True)
    assert found.client == {"linger.ms": "1"}


# --- what must not be repeated, and what a file may not do


@pytest.mark.parametrize(
    "pair",
    [
        "sasl.password:hush",
        "sasl.password hush",
        "sasl.username:hush@host=1",
        "sasl.password:hush=",
        ":hush",
        "shop:hush@host",
        "=hush",
    ],
)
def test_a_mistyped_property_does_not_repeat_its_secret(pair: str) -> None:
    """What follows another sign than the first = may be the secret."""
    found = faults(client=[pair])

    assert "must be name=value" in found[0]
    assert "hush" not in "\n".join(found)


@pytest.mark.parametrize("name", ["bootstrap_servers", "orders_topic", "workers", "guarantee"])
def test_a_value_that_could_hold_a_password_is_not_repeated(name: str) -> None:
    """A connection string that landed in another setting."""
    found = faults(**{name: "shop:hush@kafka:9092"})

    assert found
    assert "hush" not in "\n".join(found)


CODE = ("plugin.library.paths", "ssl.engine.location", "ssl.providers", "sasl.kerberos.kinit.cmd")


@pytest.mark.parametrize("prop", CODE)
@pytest.mark.parametrize("suffix", ["", "_FILE"])
def test_the_file_of_the_working_directory_loads_no_code(dotenv: Any, prop: str, suffix: str) -> None:
    """Refused by name, before the client could look at the value."""
    name = f"KAFKA_{prop.replace('.', '_').upper()}{suffix}"
    found = faults({}, dotenv(f"{name}=/tmp/no-such-library\n"))

    assert len(found) == 1
    assert found[0].startswith(f"{name} in ")
    assert "loads code or runs a command" in found[0]


def test_a_library_that_the_file_names_is_not_even_opened(
    dotenv: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings are refused, and so is the value: no client has seen it."""
    seen: List[str] = []

    def watched(name: str, text: str) -> str:
        seen.append(text)
        return refused(name, text)

    refused = client_properties._refusal
    monkeypatch.setattr(client_properties, "_refusal", watched)
    faults({}, dotenv("KAFKA_PLUGIN_LIBRARY_PATHS=./evil\nWORKERS=none\n"))

    assert "./evil" not in seen


def test_part_of_a_command_line_is_a_plain_word_in_the_file(dotenv: Any) -> None:
    """The client puts the principal into the command that renews a ticket."""
    assert faults({}, dotenv("KAFKA_SASL_KERBEROS_PRINCIPAL='a; touch b'\n"))


def test_the_command_line_and_the_environment_may_load_code() -> None:
    """They are in the hands of whoever starts the script."""
    found = settings({"KAFKA_SASL_KERBEROS_KINIT_CMD": "kinit -R"}).client

    assert found in ({"sasl.kerberos.kinit.cmd": "kinit -R"}, {})


@pytest.mark.parametrize("url", ["http://a?token=hush", "https://a/b#hush", "http://a,http://u:hush@b"])
def test_a_registry_url_is_one_plain_address(url: str) -> None:
    """A query would be lost in each request, and nothing of the address is repeated."""
    found = faults({"SCHEMA_REGISTRY_URL": url})

    assert "hush" not in "\n".join(found)


def test_the_metrics_port_is_a_setting_and_listens_on_this_machine_only() -> None:
    """Unset, nobody listens; an address has to be asked for."""
    assert (settings().metrics_port, settings().metrics_address) == (None, "127.0.0.1")
    assert settings({"METRICS_PORT": "9100"}).metrics_port == 9100
    assert faults({"METRICS_PORT": "70000"})


def test_a_command_that_is_suggested_repeats_the_settings_that_were_typed() -> None:
    """As a shell takes them, and without anything that may be a secret."""
    parser = argparse.ArgumentParser()
    config.add_flags(parser, ("orders_topic", "order_schema", "schema_registry_url", "workers"))
    typed = ["-b", "kafka:9093", "-t", "orders", "--order-schema", "my schema.avsc", "--env-file", "prod.env"]
    typed += ["--schema-registry-url", "http://me:secret@host"]
    typed += ["-X", "security.protocol=SSL", "-X", "ssl.key.password=secret"]

    again = config.typed_again(parser.parse_args(typed))

    assert "secret" not in again
    assert again.count("…") == 2
    for whole in ("security.protocol=SSL", "my schema.avsc", "kafka:9093", "prod.env"):
        assert whole in shlex.split(again)
    assert config.typed_again(parser.parse_args([])) == ""


def test_what_is_suggested_means_what_was_typed_whatever_a_value_begins_or_ends_with() -> None:
    """`--orders-topic -x` would be refused, and blanks before `…` part a word."""
    parser = argparse.ArgumentParser()
    config.add_flags(parser, ("orders_topic", "order_schema"))
    typed = parser.parse_args(["-t=-x", "--order-schema", "my schema…", "--env-file=-e"])

    assert parser.parse_args(shlex.split(config.typed_again(typed))) == typed
