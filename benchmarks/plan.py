"""How much is measured: the sizes and rounds of a full run and of a quick one."""

from typing import Callable, NamedTuple

Say = Callable[[str], None]
"""Reports progress to the terminal."""


class Plan(NamedTuple):
    """Sizes of one run of the benchmarks."""

    rounds: int
    orders: int
    """In the topic of the fast contestants."""
    few_orders: int
    """In the topic of those that need more than about 20 µs an order."""
    many_orders: int
    """In the topic that memory and restarts are tried on."""
    latency_s: int
    outage_s: int
    """How long a share of the orders fails."""


FULL = Plan(rounds=3, orders=1_000_000, few_orders=100_000, many_orders=5_000_000, latency_s=20, outage_s=60)
QUICK = Plan(rounds=1, orders=200_000, few_orders=20_000, many_orders=500_000, latency_s=8, outage_s=10)
