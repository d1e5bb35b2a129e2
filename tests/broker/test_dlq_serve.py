"""`dlq_handler.py serve`, on a real broker: what is there, what comes, and what is put right."""

import re
from typing import Callable, Dict

import pytest

from tests.broker.test_consumer_figures import asked, free_port
from tests.support.engine_tools import Shop, rows
from tests.support.pipeline import Running, eventually

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]


def unresolved(port: int) -> Dict[str, float]:
    """How many are unresolved, by reason."""
    page = asked(port, "/metrics")[1]
    found: Dict[str, float] = {}
    for reason, number in re.findall(
        r'^orders_dead_letters_unresolved{.*reason="(\S+?)".*} (\S+)$', page, re.M
    ):
        found[reason] = found.get(reason, 0.0) + float(number)
    return found


def when(port: int, serving: Running, expected: Dict[str, float]) -> None:
    """Wait until these are unresolved."""
    eventually(
        lambda: unresolved(port) == expected,
        timeout_s=20,
        why=lambda: f"{unresolved(port)} {serving.describe()}",
    )


def test_the_stock_goes_up_with_failures_and_down_with_what_is_put_right(shop: NewShop) -> None:
    """Read once, followed, and discarded in part; none of it is a new kind of failure."""
    port, failing = free_port(), shop()
    failing.create()
    failing.put([*rows(20), *((f"BAD{number}", "C1") for number in range(5))])
    failing.drain("bad_ones_are_rejected")
    serving = failing.start("dlq_handler.py", "serve", "--listen", f"127.0.0.1:{port}")
    when(port, serving, {"process.rejected": 5.0})
    assert asked(port, "/livez")[0] == asked(port, "/readyz")[0] == 200

    failing.put([("BAD9", "C1"), ("BAD10", "C1")])
    failing.drain("bad_ones_are_rejected")
    when(port, serving, {"process.rejected": 7.0})
    failing.succeed("dlq_handler.py", "discard", "-p", "0", "-c", "3", "--reason", "test", "--yes")
    when(port, serving, {"process.rejected": 4.0})
    page = asked(port, "/metrics")[1]

    assert "orders_dead_letters 7.0" in page
    assert "orders_dead_letters_arrived_total 2.0" in page
    assert "orders_dead_letters_new_kinds_total 0.0" in page
    assert serving.stop().code == 143
