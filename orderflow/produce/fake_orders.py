"""Made-up orders of the shipped schema, in a microsecond each."""

import itertools
import random
import time
from typing import Any, Callable, Dict, Iterator, NamedTuple

from faker import Faker

Order = Dict[str, Any]

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
