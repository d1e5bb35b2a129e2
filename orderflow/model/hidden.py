"""Values that nobody is to see, found in keys, messages and headers by the ways in which they are written.

The one place that knows how a hidden value may look in a text. Whatever shows something of an order, the
consumer's log and `dlq_handler.py` alike, takes hidden values out with it.
"""

import base64
import json
import re
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from numbers import Number
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional, Pattern, Sequence, Set, Union

from orderflow.model.moments import Nanoseconds, written
from orderflow.model.text import did_you_mean

MASKED = "[masked]"
KEY = "key"
"""Not a field of the order, but named like one."""
SHORTEST = 4
"""Characters of a value that is looked for in the midst of words. A shorter one has to stand by itself, in a
sentence: it would be found in any number and in many words."""

Order = Mapping[str, Any]

_MASK = MASKED.encode()
_CUT = "…".encode()
_CODE = re.compile(rb"[\w.:$/+-]*|\x00.{0,7}", re.S)
"""A name, a class, a place or a number, in text or in binary: nothing that quotes an order."""
_UNRESERVED = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~"
_KEPT_IN_URLS = ("", "/", "/!$&'()*+,;=:@", "!#$%&'()*+,/:;=?@[]")
"""What clients leave as it is beside that: nothing or slashes, what a path may hold, what any address may."""
_URL_TABLES = tuple(
    [chr(byte) if chr(byte) in _UNRESERVED + kept else f"%{byte:02X}" for byte in range(256)]
    for kept in _KEPT_IN_URLS
)
_UUID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_QUOTED = re.compile(rb"""['"`].*['"`]""", re.S)


def hidden_names(named: Sequence[str], fields: Sequence[str], order_key: str) -> FrozenSet[str]:
    """What MASKED_FIELDS hides. The key is a field of the order, so it is hidden with that field.

    Raises ValueError for what an order does not have: to hide nothing by mistake would show everything.
    """
    names = frozenset(named)
    for name in sorted(names.difference(fields, (KEY,))):
        raise ValueError(f"an order has no field {name}{did_you_mean(name, [*fields, KEY])}")
    return names | {KEY} if order_key in names else names


class TextKind(Enum):
    """What a text is, as far as that is known."""

    ANY = "the value of a header, say: a code, a number or a message"
    MESSAGE = "what somebody says of the order"
    OURS = "what the decoder says: what it quotes of the order stands in quotation marks"


class Words:
    """The hidden values of one order, in all their spellings."""

    def __init__(self, spellings: Set[bytes], is_known: bool = True) -> None:
        """`is_known` False: the order cannot be decoded, so nobody knows which values to look for."""
        long = sorted((word for word in spellings if len(word) >= SHORTEST), key=len, reverse=True)
        self._long: List[bytes] = long
        short = [word for word in spellings if 0 < len(word) < SHORTEST]
        self._short = _alone(short)
        self._short_part = _as_parts(short)
        self._is_known = is_known

    def are_in(self, data: bytes) -> bool:
        """Whether a key holds one of them, a short one as a part of its own: `17`, `order:17:9`, `C-17`."""
        return self._has_long(data) or (self._short_part is not None and bool(self._short_part.search(data)))

    def _has_long(self, data: bytes) -> bool:
        return any(word in data for word in self._long)

    def out_of(self, data: bytes, kind: TextKind = TextKind.ANY) -> bytes:
        """A text without them, in bytes. Where the values are not known, it may quote any, and is hidden."""
        if not self._is_known and (kind is not TextKind.ANY or not _CODE.fullmatch(data)):
            if kind is not TextKind.OURS:
                return _MASK
            data = _QUOTED.sub(_MASK, data)
        for word in self._long:
            data = data.replace(word, _MASK)
        data = self._without_a_part(data)
        is_sentence = kind is not TextKind.ANY or b" " in data.strip()
        return self._short.sub(_MASK, data) if is_sentence and self._short is not None else data

    def _without_a_part(self, data: bytes) -> bytes:
        """A text that was cut short may end in the midst of a value."""
        if not data.endswith(_CUT):
            return data
        text = data[: -len(_CUT)]
        parts = (word[:size] for word in self._long for size in range(len(word) - 1, SHORTEST - 1, -1))
        part = max((part for part in parts if text.endswith(part)), key=len, default=None)
        return data if part is None else text[: -len(part)] + _MASK + _CUT

    def out_of_text(self, text: str, kind: TextKind = TextKind.MESSAGE) -> str:
        """The same of a text."""
        return self.out_of(text.encode("utf-8", "surrogatepass"), kind).decode("utf-8", "surrogatepass")

    def out_of_name(self, name: str) -> str:
        """The same of a name, which is no quotation: it stays whole where the values are not known."""
        data = name.encode("utf-8", "surrogatepass")
        return self.out_of_text(name, TextKind.ANY) if self._has_long(data) else name

    def out_of_their_name(self, name: str) -> str:
        """The same of a name that the order's producer chose, who may have made it of a short value."""
        data = self.out_of_name(name).encode("utf-8", "surrogatepass")
        data = data if self._short_part is None else self._short_part.sub(_MASK, data)
        return data.decode("utf-8", "surrogatepass")


def words_of(names: FrozenSet[str], order: Optional[Order], key: Optional[bytes]) -> Words:
    """The hidden values of an order, which is None where it cannot be decoded, and of its key."""
    found = {word for value in _values(names, order or {}) for word in _spellings(value)}
    if KEY in names and key is not None:
        found.add(key)
        found.update(_spellings(key.decode("utf-8", "backslashreplace")))
    return Words(found, is_known=order is not None or names <= {KEY})


def key_without(names: FrozenSet[str], key: Optional[bytes], words: Words) -> Optional[bytes]:
    """The key, unless it is hidden or holds something that is."""
    if key is None:
        return None
    return _MASK if KEY in names or words.are_in(key) else key


def order_without(names: FrozenSet[str], order: Order) -> Dict[str, Any]:
    """The order with what is hidden replaced, in objects and lists within it too."""
    return {name: MASKED if name in names else _inner(names, value) for name, value in order.items()}


def _inner(names: FrozenSet[str], value: Any) -> Any:
    if isinstance(value, dict):
        return order_without(names, value)
    return [_inner(names, each) for each in value] if isinstance(value, list) else value


def _values(names: FrozenSet[str], value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner) if name in names else _values(names, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(names, inner)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (Mapping, list)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(inner)
        if isinstance(value, Mapping):
            yield from value  # keys of a map are data as well
    elif value is not None and not isinstance(value, bool):
        yield value


def _spellings(value: Any) -> Iterator[bytes]:
    """How a message may write a value: plain, as Python, JSON or a URL does, a number with usual digits."""
    texts = {str(value)}
    if isinstance(value, str):
        texts |= _in_literals(value) | _in_urls(value)
    elif isinstance(value, bytes):
        in_base64 = base64.b64encode(value).decode("ascii")
        texts |= {repr(value)[2:-1], value.hex(), in_base64, value.decode("utf-8", "backslashreplace")}
    elif isinstance(value, (date, time)):
        texts |= _moments(value)
    elif isinstance(value, (int, float, Decimal)) and isinstance(value, Number):
        texts |= _numbers(value) | ({value.isoformat()} if isinstance(value, Nanoseconds) else set())
    if _UUID.fullmatch(str(value)):
        plain = str(value).replace("-", "")
        texts |= {form(text) for form in (str.lower, str.upper) for text in (plain, str(value))}
    for text in texts:
        yield text.encode("utf-8", "backslashreplace")


def _in_literals(text: str) -> Set[str]:
    """In Python and in JSON, and in JSON that stands in a literal, as the body that a service answered."""
    in_json = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    in_python = (_in_python(each) for each in {text} | in_json)
    return in_json.union(*in_python, (json.dumps(each)[1:-1] for each in in_json))


_BOTH_QUOTES = "\"'"
"""A literal that holds both escapes the second one."""


def _in_python(text: str) -> Set[str]:
    """As a literal or a part of one, in characters, in ASCII or in bytes."""
    data = text.encode("utf-8", "surrogatepass")
    alone = {repr(text)[1:-1], ascii(text)[1:-1], repr(data)[2:-1]}
    longer, longer_data = _BOTH_QUOTES + text, _BOTH_QUOTES.encode() + data
    begin = len(repr(_BOTH_QUOTES)) - 1
    return alone | {repr(longer)[begin:-1], ascii(longer)[begin:-1], repr(longer_data)[begin + 1 : -1]}


def _moments(value: Union[date, time]) -> Set[str]:
    """In ISO 8601, as Python writes it, and a point in time as the number since 1970."""
    texts = {repr(value), value.isoformat(), written(value) or ""}
    if isinstance(value, datetime):
        texts.add(value.isoformat(timespec="milliseconds"))
        zoned = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        since_us = (zoned - _EPOCH) // timedelta(microseconds=1)
        texts |= {repr(zoned.timestamp()), *(str(since_us // us) for us in (1, 1_000, 1_000_000))}
    return texts | {text.replace("T", " ") for text in texts}


def _in_urls(text: str) -> Set[str]:
    """As a path or a query has it: the addresses that HTTP clients name in their errors."""
    data = text.encode("utf-8", "surrogatepass")
    written = {"".join([table[byte] for byte in data]) for table in _URL_TABLES}
    return written | {whole.replace("%20", "+") for whole in written}


def _numbers(value: Any) -> Set[str]:
    try:
        plain = float(value)
        texts = {repr(plain), f"{plain:,}", f"{value:,}", f"{value:.2f}", f"{value:,.2f}", f"{plain:g}"}
        return texts | ({str(int(value)), f"{int(value):,}"} if value == int(value) else set())
    except (ValueError, OverflowError, ArithmeticError):  # NaN and infinity
        return set()


def _alone(words: List[bytes]) -> Optional[Pattern[bytes]]:
    """Finds words that stand by themselves in a sentence, and in no number or name."""
    return re.compile(rb"(?<![\w.,-])" + _either(words) + rb"(?![\w-]|[.,]\w)") if words else None


def _as_parts(words: List[bytes]) -> Optional[Pattern[bytes]]:
    """Finds words that are a part of a name or a key, as in `order:17:9` or `C-17`."""
    return re.compile(rb"(?<![0-9A-Za-z])" + _either(words) + rb"(?![0-9A-Za-z])") if words else None


def _either(words: List[bytes]) -> bytes:
    return b"(?:" + b"|".join(re.escape(word) for word in sorted(words, key=len, reverse=True)) + b")"
