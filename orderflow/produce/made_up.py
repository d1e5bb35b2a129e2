"""Makes up values for the fields of any schema, plausible by each field's name and type.

Text is drawn once with Faker, into a pool for each field, so that an order costs microseconds. All randomness
comes from one source and all times from one clock: the same seed and clock give the same orders.
"""

import itertools
import random
import re
from datetime import datetime, timedelta, timezone
from decimal import Context, Decimal
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple
from uuid import UUID

from faker import Faker

from orderflow.avro.evolution import logical_type, value_types
from orderflow.avro.order_fields import Types
from orderflow.avro.schema import MAX_DECIMAL_DIGITS, Schema, definition_of, definitions, kind_of
from orderflow.model.orders import FIELDS
from orderflow.produce.fake_orders import QUANTITIES, FakeOrders, now_ms

Make = Callable[[], Any]

POOL = 500
"""How many texts a field draws from."""
IDS = 5_000
"""How many customers and the like there are."""
OPTIONAL_SHARE = 0.2
"""How often an optional value is null."""
DAY_S = 86_400


def words_of(name: str) -> str:
    """The words of a field's name in lower case, joined by _: `orderId` and `order_id` are the same."""
    return "_".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)).lower()


_ID = re.compile(r"(.*_)?(id|uuid|guid|number|no|key|ref|reference)")


def id_field(fields: Sequence[Any]) -> Optional[str]:
    """The field that tells an order from all others, by its name: the first that ends like an id."""
    return next((field["name"] for field in fields if _ID.fullmatch(words_of(field["name"]))), None)


def made_up_orders(
    schema: Schema, source: random.Random, clock_ms: Callable[[], int] = now_ms
) -> Iterator[Dict[str, Any]]:
    """Endless orders of any schema. Those fields that our own orders have are as in `FakeOrders`."""
    fields = schema.parsed["fields"]
    types = {field["name"]: value_types(field["type"]) for field in fields}
    if not all(len(types.get(name, ())) == 1 and types[name][0] in fits for name, fits in _SHIPPED.items()):
        make = MadeUpValues(schema.parsed, source).orders(fields)
        return (make(clock_ms()) for _ in itertools.repeat(None))
    shipped = iter(FakeOrders(source, clock_ms))
    others = [field for field in fields if field["name"] not in _SHIPPED]
    if not others:
        return shipped
    more = MadeUpValues(schema.parsed, _beside(source)).orders(others)
    return ({**order, **more(order["timestamp"])} for order in shipped)


_SHIPPED = {**FIELDS, "price": {"float", "double"}, "timestamp": {"long"}}
"""The fields of `FakeOrders` with the types that can hold what they get there."""


def _beside(source: random.Random) -> random.Random:
    """Another source that depends on the state of this one and leaves it as it is."""
    twin = random.Random()
    twin.setstate(source.getstate())
    return random.Random(twin.getrandbits(64))


class MadeUpValues:
    """Makers of values for the types of one schema."""

    def __init__(self, parsed: Any, source: random.Random) -> None:
        self._named = definitions(parsed)
        self._types = Types(self._named)
        self._id = id_field(parsed["fields"])
        self._random = source
        self._now = datetime.fromtimestamp(0, timezone.utc)
        self._number = 0
        self._run = source.getrandbits(32)
        self._faker = Faker("en_US")
        self._faker.seed_instance(source.getrandbits(64))

    def orders(self, fields: Sequence[Any]) -> Callable[[int], Dict[str, Any]]:
        """A maker of the given fields of an order, from the time of day in milliseconds."""
        make = self._fields(fields, is_order=True)

        def order(now_ms: int) -> Dict[str, Any]:
            self._number += 1
            self._now = datetime.fromtimestamp(now_ms / 1000, timezone.utc)
            return make()

        return order

    def _fields(self, fields: Sequence[Any], is_order: bool = False) -> Callable[[], Dict[str, Any]]:
        makers = {
            field["name"]: self._identity(field)
            if is_order and field["name"] == self._id
            else self._field(field)
            for field in fields
        }
        return lambda: {name: make() for name, make in makers.items()}

    def _field(self, field: Any) -> Make:
        """A field with a default has it in half of the orders: it is the likeliest value that we know."""
        make = self._of(field["type"], words_of(field["name"]))
        (read,) = self._types.fields([field])
        chance = self._random.random
        return make if read.required else lambda: read.default if chance() < 0.5 else make()

    def _identity(self, field: Any) -> Make:
        """A field of the order's own id, which no other order has."""
        part, prefix = field["type"], field["name"][:1].upper()
        kind = None if logical_type(part) else kind_of(part)
        if kind == "string":
            return lambda: f"{prefix}-{self._run:08x}-{self._number:08d}"
        if kind == "long":
            return lambda: (self._run << 24) + self._number
        if kind == "int":
            return lambda: ((self._run >> 8 << 7) + self._number) % 2**31
        return self._field(field)

    def _of(self, part: Any, words: str) -> Make:
        part = definition_of(part, self._named)
        kind, meaning = kind_of(part), logical_type(part)
        if meaning in _LOGICAL:
            return _LOGICAL[meaning](self, part, words)
        return _KINDS[kind](self, part, words)

    # --- types -----------------------------------------------------------------------------------

    def _union(self, branches: List[Any], words: str) -> Make:
        solid = [self._of(branch, words) for branch in branches if kind_of(branch) != "null"]
        nullable, chance, choose = len(solid) < len(branches), self._random.random, self._random.choice
        if not solid:
            return lambda: None
        return lambda: None if nullable and chance() < OPTIONAL_SHARE else choose(solid)()

    def _record(self, part: Any, words: str) -> Make:
        return self._fields(part["fields"])

    def _array(self, part: Any, words: str) -> Make:
        make, draw = self._of(part["items"], re.sub("s$", "", words)), self._random.randint
        return lambda: [make() for _ in range(draw(1, 3))]

    def _map(self, part: Any, words: str) -> Make:
        make, draw, key = self._of(part["values"], words), self._random.randint, self._pool("word")
        return lambda: {key(): make() for _ in range(draw(1, 3))}

    def _enum(self, part: Any, words: str) -> Make:
        choose, symbols = self._random.choice, list(part["symbols"])
        return lambda: choose(symbols)

    def _boolean(self, part: Any, words: str) -> Make:
        chance = self._random.random
        return lambda: chance() < 0.5

    def _bytes(self, part: Any, words: str) -> Make:
        size, bits = (part["size"] if kind_of(part) == "fixed" else 8), self._random.getrandbits
        return lambda: bits(8 * size).to_bytes(size, "big") if size else b""

    def _string(self, part: Any, words: str) -> Make:
        if _is(words, "at|timestamp|datetime|time"):
            return lambda: self._moment(words).isoformat().replace("+00:00", "Z")
        if _is(words, "date|day"):
            return lambda: self._moment(words).date().isoformat()
        if _ID.fullmatch(words) or _is(words, "code|sku"):
            return self._pool("bothify", f"{words[:1].upper()}-#######")
        for pattern, provider in _TEXTS:
            if _is(words, pattern):
                return self._pool(provider)
        return self._pool("word")

    def _pool(self, provider: str, *arguments: str) -> Make:
        draw, choose = getattr(self._faker, provider), self._random.choice
        texts = [str(draw(*arguments)) for _ in range(POOL)]
        return lambda: choose(texts)

    # --- numbers ---------------------------------------------------------------------------------

    def _integer(self, part: Any, words: str) -> Make:
        if _is(words, "timestamp|time|at|ms|millis|epoch|micros|nanos"):
            return lambda: int(self._moment(words).timestamp() * _per_second(part, words))
        if _ID.fullmatch(words):
            return lambda: self._random.randint(1, IDS)
        make = self._amount(words)
        return lambda: int(make())

    def _float(self, part: Any, words: str) -> Make:
        make = self._amount(words)
        if kind_of(part) == "float":
            return lambda: round(make() * 8) / 8  # what a float of 32 bits holds exactly
        return lambda: round(make(), 2)

    def _amount(self, words: str) -> Callable[[], float]:
        """A number of the size that such a name suggests; never negative, but for places on the globe."""
        source = self._random
        draw = next((draw for pattern, draw in _AMOUNTS if _is(words, pattern)), _price)
        return lambda: draw(source)

    def _decimal(self, part: Any, words: str) -> Make:
        digits, scale, make = part["precision"], part.get("scale", 0), self._amount(words)
        most = 10**digits - 1
        if kind_of(part) == "fixed":
            most = min(most, (1 << 8 * part["size"] - 1) - 1)
        exact = Context(prec=MAX_DECIMAL_DIGITS + 10)

        def decimal() -> Decimal:
            unscaled = int(exact.scaleb(Decimal(str(round(make(), 2))), scale))
            return exact.scaleb(Decimal(max(-most, min(most, unscaled))), -scale)

        return decimal

    # --- times -----------------------------------------------------------------------------------

    def _moment(self, words: str) -> datetime:
        """Now, or later or long ago if the name says so. In whole milliseconds."""
        if _is(words, "birth|birthday|born|dob"):
            return self._now - timedelta(days=self._random.randint(18 * 365, 80 * 365))
        if _is(words, "expires|expiry|expiration|due|delivery|eta|until|valid|deadline"):
            return self._now + timedelta(seconds=self._random.randint(1, 30) * DAY_S)
        return self._now

    def _timestamp(self, part: Any, words: str) -> Make:
        meaning = logical_type(part)
        if meaning.endswith("nanos"):  # Python has no type for them
            return lambda: int(self._moment(words).timestamp() * 1000) * 1_000_000
        if meaning.startswith("local"):
            return lambda: self._moment(words).replace(tzinfo=None)
        return lambda: self._moment(words)

    def _date(self, part: Any, words: str) -> Make:
        return lambda: self._moment(words).date()

    def _time(self, part: Any, words: str) -> Make:
        return lambda: self._now.time()

    def _uuid(self, part: Any, words: str) -> Make:
        bits = self._random.getrandbits
        if kind_of(part) == "fixed":
            return lambda: UUID(int=bits(128), version=4).bytes
        return lambda: UUID(int=bits(128), version=4)


def _is(words: str, pattern: str) -> bool:
    """Whether a name has one of these words."""
    return re.search(f"(^|_)({pattern})($|_)", words) is not None


def _per_second(part: Any, words: str) -> int:
    """The unit of a time that is a bare number: milliseconds, unless the name or the size says otherwise."""
    if kind_of(part) == "int" or _is(words, "s|sec|secs|seconds"):
        return 1
    return 1_000_000_000 if _is(words, "nanos|ns") else 1_000_000 if _is(words, "micros|us") else 1_000


def _price(source: random.Random) -> float:
    """Prices are distributed as in a shop: many around 20, few above 200."""
    return source.lognormvariate(3, 1)


_AMOUNTS: Tuple[Tuple[str, Callable[[random.Random], float]], ...] = (
    ("quantity|qty|count|units|pieces|copies|items|size", lambda source: source.choice(QUANTITIES)),
    ("latitude|lat", lambda source: source.uniform(-90, 90)),
    ("longitude|lon|lng", lambda source: source.uniform(-180, 180)),
    ("percent|rate|ratio|share|score|probability", lambda source: source.random()),
    ("cents|minor", lambda source: 100 * _price(source)),
    ("year", lambda source: source.randint(2000, 2030)),
    ("month", lambda source: source.randint(1, 12)),
    ("day", lambda source: source.randint(1, 28)),
    ("hour", lambda source: source.randint(0, 23)),
    ("age", lambda source: source.randint(18, 90)),
)
"""How a number with such a word in its name is drawn; the first that matches. All others are like prices."""

_TEXTS: Tuple[Tuple[str, str], ...] = (
    ("email|mail", "email"),
    ("phone|mobile|fax", "phone_number"),
    ("first_name|given_name", "first_name"),
    ("last_name|surname|family_name", "last_name"),
    ("user|username|login", "user_name"),
    ("company|carrier|supplier|vendor|merchant|shop|store|brand", "company"),
    ("url|website|link", "url"),
    ("ip|ip_address", "ipv4"),
    ("street|address", "street_address"),
    ("city|town", "city"),
    ("postcode|postal|zip", "postcode"),
    ("state|province", "state"),
    ("country", "country"),
    ("currency", "currency_code"),
    ("iban", "iban"),
    ("language|locale", "language_code"),
    ("timezone", "timezone"),
    ("colou?r", "color_name"),
    ("ean|barcode|gtin", "ean13"),
    ("isbn", "isbn13"),
    ("file|filename|path", "file_name"),
    ("description|comment|comments|note|notes|message|text|remark|reason", "sentence"),
    ("title|subject", "catch_phrase"),
    ("name|customer|recipient|contact", "name"),
)
"""What Faker draws for a text with such a word in its name; the first that matches."""

_KINDS: Dict[str, Callable[[MadeUpValues, Any, str], Make]] = {
    "null": lambda values, part, words: lambda: None,
    "union": MadeUpValues._union,
    "record": MadeUpValues._record,
    "array": MadeUpValues._array,
    "map": MadeUpValues._map,
    "enum": MadeUpValues._enum,
    "boolean": MadeUpValues._boolean,
    "bytes": MadeUpValues._bytes,
    "fixed": MadeUpValues._bytes,
    "string": MadeUpValues._string,
    "int": MadeUpValues._integer,
    "long": MadeUpValues._integer,
    "float": MadeUpValues._float,
    "double": MadeUpValues._float,
}
_LOGICAL: Dict[str, Callable[[MadeUpValues, Any, str], Make]] = {
    "decimal": MadeUpValues._decimal,
    "uuid": MadeUpValues._uuid,
    "date": MadeUpValues._date,
    "time-millis": MadeUpValues._time,
    "time-micros": MadeUpValues._time,
    **{
        f"{local}timestamp-{unit}": MadeUpValues._timestamp
        for local in ("", "local-")
        for unit in ("millis", "micros", "nanos")
    },
}
