"""Made-up orders: plausible ones, and ones broken on purpose."""

import itertools
import json
import random
import time
from typing import Any, Callable, Dict, Iterator, NamedTuple, Sequence, Tuple

from faker import Faker

Order = Dict[str, Any]
Encode = Callable[[Order], bytes]

CUSTOMERS = 5_000
PRODUCTS = 1_000
QUANTITIES = (1,) * 60 + (2,) * 22 + (3,) * 9 + (4,) * 4 + (5,) * 2 + (6, 10, 12)
"""The quantities that people order, each repeated by its frequency."""

SEEDED_START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z: the first timestamp of reproducible orders."""


def now_ms() -> int:
    """The wall clock in milliseconds."""
    return int(time.time() * 1000)


def steady_clock_ms() -> Callable[[], int]:
    """A clock for reproducible orders: starts at `SEEDED_START_MS` and advances a second per call."""
    times_ms = itertools.count(SEEDED_START_MS, 1000)
    return lambda: next(times_ms)


class Product(NamedTuple):
    """A product, always sold at the same price."""

    product_id: str
    price: float


class FakeOrders:
    """Endless orders. Customers and products are drawn once with Faker, so that an order costs a microsecond.

    All randomness comes from `source`: the same seed and clock give the same orders, ids included.
    """

    def __init__(self, source: random.Random, clock_ms: Callable[[], int] = now_ms) -> None:
        faker = Faker("en_US")
        faker.seed_instance(source.getrandbits(64))
        self._random = source
        self._clock_ms = clock_ms
        self._customers = [faker.bothify("C-#######") for _ in range(CUSTOMERS)]
        self._products = [_product(faker, source) for _ in range(PRODUCTS)]
        self._run = f"{source.getrandbits(32):08x}"

    def __iter__(self) -> Iterator[Order]:
        draw, clock_ms = self._random.random, self._clock_ms
        customers, products, quantities = self._customers, self._products, QUANTITIES
        for number in itertools.count(1):
            product = products[int(draw() * PRODUCTS)]
            yield {
                "order_id": f"O-{self._run}-{number:08d}",
                "customer_id": customers[int(draw() * CUSTOMERS)],
                "product_id": product.product_id,
                "quantity": quantities[int(draw() * len(quantities))],
                "price": product.price,
                "timestamp": clock_ms(),
            }


def _product(faker: Faker, source: random.Random) -> Product:
    """Prices are distributed as in a shop: many around 20, few above 200."""
    return Product(
        faker.bothify("???-####", letters="ABCDEFGHJKLMNPQRSTUVWXYZ"), round(source.lognormvariate(3, 1), 2)
    )


# --- Bad orders ---


class Spoiler:
    """Makes records that cannot be processed, with each of the `DEFECTS` in turn."""

    def __init__(self, encode: Encode, source: random.Random) -> None:
        self._encode = encode
        self._random = source
        self._defects = itertools.cycle(DEFECTS)
        self.made = 0
        """Bad records so far."""

    def spoil(self, order: Order) -> Tuple[Order, bytes]:
        """The next bad record: the order it stands for, with an id of its own, and its bytes."""
        defect = next(self._defects)
        self.made += 1
        meant = {**order, "order_id": f"{order['order_id']}-bad-{self.made}"}
        meant.update(defect.changes(meant))
        return meant, defect.damage(self._encode(meant), meant, self._random)


Damage = Callable[[bytes, Order, random.Random], bytes]


class Defect(NamedTuple):
    """One way to break an order: fields changed before encoding, and bytes damaged after it."""

    name: str
    reason: str
    """The reason code with which the consumer dead-letters it."""
    changes: Callable[[Order], Order]
    damage: Damage


def _nothing(order: Order) -> Order:
    return {}


def _intact(value: bytes, order: Order, source: random.Random) -> bytes:
    return value


def _truncated(value: bytes, order: Order, source: random.Random) -> bytes:
    """Cut within the last eight bytes (timestamp and price), so that the framing stays readable."""
    return value[: -source.randint(1, 8)]


def _unknown_schema(value: bytes, order: Order, source: random.Random) -> bytes:
    """The same framing, with a schema that nobody has."""
    if value[:1] == b"\x00":
        return b"\x00\x7f\xff\xff\xff" + value[5:]
    return value[:2] + bytes(byte ^ 0xFF for byte in value[2:10]) + value[10:]


def _foreign(value: bytes, order: Order, source: random.Random) -> bytes:
    """Another framing: the order as JSON text."""
    return json.dumps(order).encode()


DEFECTS: Sequence[Defect] = (
    Defect("negative price", "validate.price", lambda order: {"price": -order["price"] or -1.0}, _intact),
    Defect("zero quantity", "validate.quantity", lambda order: {"quantity": 0}, _intact),
    Defect("empty id", "validate.order_id", lambda order: {"order_id": ""}, _intact),
    Defect("truncated bytes", "decode.truncated", _nothing, _truncated),
    Defect("unknown schema", "decode.unknown_schema", _nothing, _unknown_schema),
    Defect("foreign framing", "decode.framing", _nothing, _foreign),
)
"""Every defect that the consumer must survive."""
