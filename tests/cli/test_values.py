"""How the text of settings and flags is read."""

import argparse

import pytest

from orderflow.cli import values
from orderflow.cli.values import ValueType, argument, one_of, seconds, whole


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (whole(0, 30), "0", 0),
        (whole(0, 30), "30", 30),
        (whole(0, 30), "+7", 7),
        (seconds(0, 60), "0", 0.0),
        (seconds(0, 60), "0.25", 0.25),
        (seconds(0, 60), ".5", 0.5),
        (values.BOOLEAN, "True", True),
        (values.BOOLEAN, "0", False),
        (values.BOOLEAN, "off", False),
        (one_of("a", "b"), "b", "b"),
        (values.TOPIC, "shop.orders_v2-eu", "shop.orders_v2-eu"),
        (values.ADDRESSES, "localhost:9092", "localhost:9092"),
        (values.ADDRESSES, "a,b:1, c:65535", "a,b:1, c:65535"),
        (values.ADDRESSES, "[::1]:9092", "[::1]:9092"),
        (values.ADDRESSES, "SASL_SSL://kafka.example:9093", "SASL_SSL://kafka.example:9093"),
        (
            values.URL,
            "https://registry.example:8081/apis/ccompat/v7",
            "https://registry.example:8081/apis/ccompat/v7",
        ),
        (values.HOST, "::1", "::1"),
        (values.HOST, "metrics.büro.example", "metrics.büro.example"),
        (values.LISTEN_AT, "[::1]:9311", ("::1", 9311)),
        (values.LISTEN_AT, "0.0.0.0:9311", ("0.0.0.0", 9311)),
        (values.RATE, "10/s", 10.0),
        (values.RATE, "500/min", 500 / 60),
        (values.RATE, "90/h", 0.025),
        (values.RATE, "0.5", 0.5),
        (values.SHARE, "5%", 0.05),
        (values.SHARE, "0.05", 0.05),
        (values.SHARE, "0", 0.0),
        (values.SHARE, "100%", 1.0),
    ],
)
def test_a_value_is_read_as_it_is_meant(kind: ValueType, text: str, value: object) -> None:
    assert kind.read(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        (whole(0, 30), "31", "whole number from 0 to 30"),
        (whole(0, 30), "-1", "whole number"),
        (whole(0, 30), "1.5", "whole number"),
        (whole(0, 30), "1_0", "whole number"),
        (whole(0, 30), "٣", "whole number"),
        (seconds(0, 60), "5s", "without a unit"),
        (seconds(0, 60), "nan", "number of seconds"),
        (seconds(0, 60), "inf", "number of seconds"),
        (seconds(1, 60), "0", "from 1 to 60"),
        (values.BOOLEAN, "maybe", "true or false"),
        (one_of("exactly-once", "at-least-once"), "exactly-onc", "did you mean exactly-once?"),
        (values.TOPIC, "or ders", "topic name"),
        (values.TOPIC, "..", "topic name"),
        (values.TOPIC, "__consumer_offsets", "Kafka's own topics"),
        (values.TOPIC, "x" * 250, "topic name"),
        (values.ADDRESSES, "localhost:0", "host:port"),
        (values.ADDRESSES, "localhost:99999", "host:port"),
        (values.ADDRESSES, "a:1,", "host:port"),
        (values.ADDRESSES, "user@host:1", "host:port"),
        (values.URL, "registry:8081", "http://"),
        (values.URL, "https://user:pass@registry", "SCHEMA_REGISTRY_USER_INFO"),
        (values.USER_INFO, "just-a-user", "user:password"),
        (values.HOST, "a..b", "address of this machine"),
        (values.HOST, "x" * 64, "address of this machine"),
        (values.LISTEN_AT, "\udce4:9311", "address of this machine"),
        (values.RATE, "0/s", "rate above 0"),
        (values.RATE, "10/fortnight", "rate above 0"),
        (values.RATE, "-1", "rate above 0"),
        (values.RATE, "9" * 400 + "/s", "rate above 0"),
        (values.SHARE, "5", "such as 5% or 0.05"),
        (values.SHARE, "101%", "from 0% to 100%"),
    ],
)
def test_a_wrong_value_is_refused_with_how_it_is_written(kind: ValueType, text: str, why: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        kind.read(text)

    assert why in str(refusal.value)


def test_argparse_tells_the_text_and_the_reason() -> None:
    with pytest.raises(argparse.ArgumentTypeError) as refusal:
        argument(values.RATE)("fast")

    assert str(refusal.value) == "'fast' must be a rate above 0 such as 10/s, 500/min or 90/h"
