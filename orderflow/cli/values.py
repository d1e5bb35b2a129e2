"""Parses the text of settings and flags: numbers, seconds, rates, shares, topic names, addresses.

Every `read` returns the value of a text, or raises ValueError with a message that completes "'abc' …".
"""

import argparse
import math
import re
from typing import Any, Callable, NamedTuple, Tuple

from orderflow.model.text import did_you_mean, quoted
from orderflow.model.time_spans import UNITS_MS
from orderflow.model.topic_name import INTERNAL_TOPICS, is_topic_name


class ValueType(NamedTuple):
    """A type of value: its placeholder in the help, and its parser."""

    metavar: str
    read: Callable[[str], Any]


def whole(low: int, high: int, metavar: str = "N") -> ValueType:
    """A whole number from `low` to `high`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,18}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return ValueType(metavar, read)


UNLIMITED = 1 << 62
"""A whole number that nothing reaches."""


def whole_or_unlimited(low: int, high: int) -> ValueType:
    """A whole number from `low` to `high`, or `unlimited`."""
    number = whole(low, high)

    def read(text: str) -> int:
        if text == "unlimited":
            return UNLIMITED
        try:
            return int(number.read(text))
        except ValueError as error:
            raise ValueError(f"{error}, or unlimited") from None

    return ValueType(number.metavar, read)


def seconds(low: float, high: float) -> ValueType:
    """Seconds, written as a plain number."""

    def read(text: str) -> float:
        plain = re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", text)
        number = float(text) if plain else math.nan
        if not low <= number <= high:
            raise ValueError(f"must be a number of seconds from {low:g} to {high:g}, without a unit")
        return number

    return ValueType("SECONDS", read)


def one_of(*choices: str) -> ValueType:
    """One of the given words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be {' or '.join(choices)}{did_you_mean(text, choices)}")
        return text

    return ValueType("|".join(choices), read)


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1", "yes", "on"):
        return True
    if text.lower() in ("false", "0", "no", "off"):
        return False
    raise ValueError("must be true or false")


def _topic(text: str) -> str:
    if not is_topic_name(text):
        raise ValueError("must be a topic name: 1 to 249 of the characters A-Z a-z 0-9 . _ -")
    if text in INTERNAL_TOPICS:
        raise ValueError("must not be one of Kafka's own topics, which accept nothing")
    return text


_ADDRESS = re.compile(r"\s*(?:\w+://)?(?:[^\s:\[\]/@]+|\[[0-9A-Fa-f:.%\w]+\])(?::([0-9]{1,5}))?\s*")


def _addresses(text: str) -> str:
    for address in text.split(","):
        match = _ADDRESS.fullmatch(address)
        if not match or not 1 <= int(match.group(1) or 9092) <= 65535:
            raise ValueError("must be host:port, or several separated by commas")
    return text


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#,]+(/[^\s?#,]*)?", text):
        raise ValueError(
            "must start with http:// or https://, then the host, and hold one address, no ? and no #"
        )
    if "@" in text.split("/")[2]:
        raise ValueError("must not contain a user and password: they belong in SCHEMA_REGISTRY_USER_INFO")
    return text


def _user_info(text: str) -> str:
    if ":" not in text:
        raise ValueError("must be user:password")
    return text


BOOLEAN = ValueType("true|false", _boolean)
TOPIC = ValueType("TOPIC", _topic)
ADDRESSES = ValueType("HOST:PORT", _addresses)
URL = ValueType("URL", _url)
USER_INFO = ValueType("USER:PASSWORD", _user_info)


_is_number = re.compile(r"[0-9A-Fa-f:]+(\.[0-9]+){0,3}").fullmatch
"""An IP address, roughly: enough to do without what looks at names, which takes time to load."""


def _host(text: str) -> str:
    try:
        if not _is_number(text):
            text.encode("idna")
    except UnicodeError:
        raise ValueError("must be an address of this machine, such as 127.0.0.1 or 0.0.0.0") from None
    return text


HOST = ValueType("ADDRESS", _host)
"""An address or a name that can be one: it need not exist."""

_LISTEN_AT = re.compile(r"([^\s:\[\]/]+|\[[0-9A-Fa-f:.%\w]+\]):([0-9]{1,5})")


def _listen_at(text: str) -> Tuple[str, int]:
    match = _LISTEN_AT.fullmatch(text)
    if not match or not 1 <= int(match.group(2)) <= 65535:
        raise ValueError("must be address:port, such as 127.0.0.1:9311 or 0.0.0.0:9311")
    return _host(match.group(1).strip("[]")), int(match.group(2))


LISTEN_AT = ValueType("ADDRESS:PORT", _listen_at)


def text(metavar: str) -> ValueType:
    """Any text."""
    return ValueType(metavar, str)


_LEAST_RATE, _MOST_RATE = 1e-9, 1e9
_UNITS = {"": "s", "/s": "s", "/sec": "s", "/m": "m", "/min": "m", "/h": "h"}


def _rate(text: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(/[a-z]+)?", text)
    rate = 0.0
    if match and (match[2] or "") in _UNITS:
        rate = float(match[1]) / (UNITS_MS[_UNITS[match[2] or ""]] / 1000)
    if not _LEAST_RATE <= rate <= _MOST_RATE:
        raise ValueError("must be a rate above 0 such as 10/s, 500/min or 90/h")
    return rate


def _share(text: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)(%?)", text)
    share = float(match[1]) / (100 if match[2] else 1) if match else math.nan
    if not 0 <= share <= 1:
        raise ValueError("must be a share from 0% to 100% such as 5% or 0.05")
    return share


RATE = ValueType("N/s", _rate)
"""Events a second: `10/s`, `500/min`, `90/h`, or a bare number."""
SHARE = ValueType("N%", _share)
"""A share of 1: `5%` or `0.05`."""


def argument(kind: ValueType) -> Callable[[str], Any]:
    """A parser for argparse's `type`, whose error quotes the text and says what is wrong with it."""

    def read(text: str) -> Any:
        try:
            return kind.read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{quoted(text)} {error}") from None

    return read
