"""What is logged of each event: fields that machines can rely on."""

import json
from typing import Any, Dict

import pytest

import config
from orderflow.cli.log import JsonLines
from orderflow.cli.values import UNLIMITED
from orderflow.consume.event_log import ALL, RUN_EVENTS, entry_of, rows
from orderflow.consume.events import EVENTS
from orderflow.model.log_entry import WORD_LEVELS
from tests.consume.test_events import fields_of


@pytest.mark.parametrize("name", sorted(ALL))
def test_an_object_has_exactly_the_fields_of_the_catalogue(name: str) -> None:
    """So that the documents are true, whatever the event is."""
    (row,) = (row for row in rows() if row.name == name)

    found = json.loads(JsonLines().of(entry_of(name, fields_of(name)), 0.0))

    assert list(found) == ["time", "level", "event", "message", *row.fields]
    assert (found["event"], found["level"]) == (name, WORD_LEVELS[ALL[name].severity])


def test_no_name_is_used_twice() -> None:
    """By the engine, and by the run around it."""
    assert not set(EVENTS) & set(RUN_EVENTS)


def test_a_retry_says_all_that_one_would_search_for() -> None:
    """Position and key of the order, what failed and how."""
    fields = entry_of("retry", fields_of("retry")).fields

    assert fields == {
        "topic": "orders",
        "partition": 0,
        "offset": 41,
        "key": "ann",
        "reason": "process.failed",
        "stage": "process",
        "error_class": "ConnectionError",
        "error": "bank is down",
        "attempt": 2,
        "delay_s": 4.96,
    }


# --- the banner


def origins(environ: Dict[str, str], **flags: Any) -> Any:
    """Where settings come from, without a file."""
    return config.origins(flags, environ, "/nonexistent")


def test_the_banner_says_where_each_setting_comes_from(tmp_path: Any) -> None:
    """The strongest source counts, and what is at its default is not told."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("WORKERS=4\nMAX_RETRIES=5\nGUARANTEE=exactly-once\n", encoding="utf-8")
    found = config.origins({"workers": "8"}, {"MAX_RETRIES": "6"}, str(dotenv))

    assert found == ["MAX_RETRIES=6 (environment)", "WORKERS=8 (flag)"]


def test_the_strongest_source_counts_though_it_says_the_default() -> None:
    """What a weaker one says is not in force."""
    assert origins({"WORKERS": "4"}, workers="1") == []
    assert origins({"PROCESSED_TOPIC": ""}) == []


def test_retries_without_end_are_called_unlimited() -> None:
    """Not by the number that stands for them."""
    fields = {**fields_of("started"), "max_retries": UNLIMITED}
    assert "; unlimited retries " in entry_of("started", fields).line


def test_no_secret_is_told() -> None:
    """Nor the value of any property of the client, nor an address that may hold a token."""
    found = origins(
        {
            "KAFKA_SASL_PASSWORD": "hush",
            "KAFKA_SASL_JAAS_CONFIG": "hush",
            "SCHEMA_REGISTRY_USER_INFO": "user:hush",
            "SCHEMA_REGISTRY_URL": "http://registry/hush",
            "SCHEMA_REGISTRY_KEY_PASSWORD_FILE": "/run/hush",
        },
        client=["ssl.key.password=hush"],
        bootstrap_servers="user:hush@broker:9092",
    )

    assert "hush" not in " ".join(found)
    assert "sasl.password (environment)" in found
    assert "ssl.key.password (flag)" in found
    assert "SCHEMA_REGISTRY_USER_INFO (environment)" in found
