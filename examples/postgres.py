"""A handler that writes to PostgreSQL: each order is charged once, whatever crashes and whoever replays.

The order's effect and its id are written in one transaction of the database. If the id is there already, the
order was charged by an earlier call, and there is nothing left to do: after kill -9 of a consumer or of the
database, after a commit whose answer got lost, and after a replay.

    pip install 'psycopg[binary,pool]'
    psql "$DATABASE_URL" -f examples/postgres.sql
    DATABASE_URL=postgresql://... python consumer.py --handler examples/postgres.py:billing

`billing` is for threads, `async_billing` for one event loop; each opens its pool of connections before the
first order and closes it after the last. While the database is down, both raise what psycopg raises, and the
order is retried with back-off.
"""

import os
import zlib
from contextlib import asynccontextmanager, contextmanager
from decimal import Decimal
from typing import Any, AsyncIterator, Awaitable, Callable, Dict, Iterator, Tuple

from psycopg_pool import AsyncConnectionPool, ConnectionPool

Order = Dict[str, Any]
Receipt = Dict[str, Any]

DATABASE_URL = os.environ["DATABASE_URL"]
"""Read when the consumer starts, so that a missing setting stops it then and not at the first order."""

TIMEOUT_S = 10
POOL: Dict[str, Any] = {
    "min_size": 1,
    "max_size": 16,
    "timeout": TIMEOUT_S,
    "kwargs": {"connect_timeout": TIMEOUT_S},
}
NOTE_ID = "insert into deliveries (id) values (%s) on conflict do nothing"
"""Notes no row if the id is there. A call for it that is under way elsewhere is waited for."""
CHARGE = "insert into charges (order_id, customer_id, amount) values (%s, %s, %s)"
ONE_IN = 50


@contextmanager
def billing() -> Iterator[Callable[[Order, Any], Receipt]]:
    """Charges orders, one in each thread."""
    with ConnectionPool(DATABASE_URL, check=ConnectionPool.check_connection, **POOL) as pool:

        def charge(order: Order, delivery: Any) -> Receipt:
            with pool.connection() as database:  # one transaction, which an exception rolls back
                noted = database.execute(NOTE_ID, (delivery.id,))
                if noted.rowcount:
                    database.execute(CHARGE, charge_of(order))
            return receipt(order, delivery)

        yield charge


@asynccontextmanager
async def async_billing() -> AsyncIterator[Callable[[Order, Any], Awaitable[Receipt]]]:
    """The same on an event loop."""
    pool = AsyncConnectionPool(DATABASE_URL, check=AsyncConnectionPool.check_connection, open=False, **POOL)
    async with pool:

        async def charge(order: Order, delivery: Any) -> Receipt:
            async with pool.connection() as database:
                noted = await database.execute(NOTE_ID, (delivery.id,))
                if noted.rowcount:
                    await database.execute(CHARGE, charge_of(order))
            return receipt(order, delivery)

        yield charge


@contextmanager
def billing_with_mail() -> Iterator[Callable[[Order, Any], Receipt]]:
    """Charges orders and mails receipts. A failure in between repeats the call, but not the charge."""
    with billing() as charge:

        def charge_and_mail(order: Order, delivery: Any) -> Receipt:
            charged = charge(order, delivery)
            if zlib.crc32(order["order_id"].encode()) % ONE_IN == 0:  # a mail server that refuses some
                raise ConnectionError("the mail server is down")
            return charged

        yield charge_and_mail


def charge_of(order: Order) -> Tuple[str, str, Decimal]:
    """The row of an order's charge."""
    amount = round(order["quantity"] * Decimal(str(order["price"])), 2)
    return order["order_id"], order["customer_id"], amount


def receipt(order: Order, delivery: Any) -> Receipt:
    """What is published to PROCESSED_TOPIC: the same for a repeated call."""
    order_id, _, amount = charge_of(order)
    return {"order_id": order_id, "delivery": delivery.id, "charged": str(amount)}
