"""A handler that writes to PostgreSQL: each order is charged once, whatever crashes and whoever replays.

The order's effect and its id are written in one transaction of the database. If the id is there already, the
order was charged by an earlier call, and there is nothing left to do: after kill -9 of a consumer or of the
database, after a commit whose answer got lost, and after a replay.

    pip install 'psycopg[binary,pool]'
    psql "$DATABASE_URL" -f examples/postgres.sql
    DATABASE_URL=postgresql://... python consumer.py --handler examples/postgres.py:charge
"""

import atexit
import os
import zlib
from decimal import Decimal
from typing import Any, Dict

from psycopg_pool import ConnectionPool

DATABASE_URL = os.environ["DATABASE_URL"]
"""Read when the consumer starts, so that a missing setting stops it then and not at the first order."""

TIMEOUT_S = 10
MOST_CONNECTIONS = 16
ONE_IN = 50

POOL = ConnectionPool(
    DATABASE_URL,
    min_size=1,
    max_size=MOST_CONNECTIONS,
    timeout=TIMEOUT_S,
    kwargs={"connect_timeout": TIMEOUT_S},
    check=ConnectionPool.check_connection,  # a connection that broke is replaced
    open=False,  # at the first order, since a process that forks must not share connections
)
atexit.register(POOL.close)


def charge(order: Dict[str, Any], delivery: Any) -> Dict[str, Any]:
    """Charge an order and return its receipt.

    While the database is down, this raises what psycopg raises, and the order is retried with back-off.
    """
    amount = round(order["quantity"] * Decimal(str(order["price"])), 2)
    POOL.open()  # does nothing from the second order on
    with POOL.connection() as database:  # one transaction, which an exception rolls back
        if is_new(database, delivery.id):
            database.execute(
                "insert into charges (order_id, customer_id, amount) values (%s, %s, %s)",
                (order["order_id"], order["customer_id"], amount),
            )
    return {"order_id": order["order_id"], "delivery": delivery.id, "charged": str(amount)}


def charge_and_mail(order: Dict[str, Any], delivery: Any) -> Dict[str, Any]:
    """Charge an order, then mail its receipt. A failure in between repeats the call, but not the charge."""
    receipt = charge(order, delivery)
    if zlib.crc32(order["order_id"].encode()) % ONE_IN == 0:  # stands for a mail server that refuses some
        raise ConnectionError("the mail server is down")
    return receipt


def is_new(database: Any, delivery_id: str) -> bool:
    """Note the order's id. False if it was there; a call that is under way elsewhere is waited for."""
    noted = database.execute("insert into deliveries (id) values (%s) on conflict do nothing", (delivery_id,))
    return bool(noted.rowcount)
