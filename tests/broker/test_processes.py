"""consumer.py --processes N on a real broker: all cores, and nobody has to restart anything."""

import os
import re
import signal
import urllib.request
from typing import Callable, Set

import pytest

from tests.conftest import Kafka
from tests.support.engine_tools import INSTANCE, MORTAL, Shop, rows
from tests.support.fault_proxy import END_TXN, LOST_REQUEST, FaultProxy
from tests.support.pipeline import eventually, reason
from tools.kafka_cluster import free_ports

pytestmark = pytest.mark.broker
NewShop = Callable[..., Shop]

KILLERS = [
    "poison_kills",
    pytest.param("poison_crashes", marks=pytest.mark.chaos),
    pytest.param("poison_hangs", marks=pytest.mark.chaos),
]


@pytest.mark.parametrize("handler", KILLERS)
def test_a_killer_is_found_though_nobody_restarts_anything(strict_shop: NewShop, handler: str) -> None:
    """One command: it is called with care, then alone, then dead-lettered; each death says so."""
    shop = strict_shop(MAX_RETRIES="0", HANDLER_TIMEOUT="2").create()
    shop.put([*rows(50), ("POISON-1", "C"), *rows(50, prefix="B")])
    running = shop.consume(handler, "--processes", "1", "--until-drained", *MORTAL, *INSTANCE)
    ended = running.wait(120)

    assert ended.code == 0, running.describe()
    assert [reason(letter) for letter in shop.dead_letters()] == ["process.killed_consumer"]
    assert shop.assert_account_closes().processed == 100
    died = [line for line in ended.err.splitlines() if " warn process 1 " in line]
    assert len(died) == 3, running.describe()
    assert "; it had partition 0 (from offset " in died[0]
    assert " while it called order 0-50 and nothing else; its successor starts in 4 s" in died[2]
    assert re.search(r" info processed \d+, dead-lettered 1, ", ended.err, re.MULTILINE)


def test_two_processes_share_the_work_and_one_may_die(strict_shop: NewShop) -> None:
    """Killed amid its work, it is restarted; the topic is drained, every order has one fate."""
    shop = strict_shop(CALL_S="0.002").create(partitions=4)
    shop.put(rows(2400))
    running = shop.consume("works", "--processes", "2", "--until-drained", *MORTAL)
    eventually(lambda: len(pids(shop)) == 2 and len(shop.calls()) > 400, why=running.describe)
    os.kill(max(pids(shop)), signal.SIGKILL)
    ended = running.wait(90)

    assert ended.code == 0, running.describe()
    assert shop.assert_account_closes().processed == 2400
    assert len(re.findall(r" warn process [12] was killed by SIGKILL", ended.err, re.MULTILINE)) == 1
    assert len(re.findall(r" info processed [\d,]+, dead-lettered 0, ", ended.err, re.MULTILINE)) == 1
    assert re.search(r"^\[2\] \S+ info partition \d is ready at offset ", ended.err, re.MULTILINE)


@pytest.mark.chaos
def test_a_transaction_that_one_left_open_is_ended_by_its_successor(
    strict_kafka: Kafka, strict_shop: NewShop
) -> None:
    """It hides what is committed, and would do so for a minute."""
    shop = strict_shop().create()
    shop.put(rows(20))
    with FaultProxy(strict_kafka.bootstrap_servers) as wire:
        wire.break_next(END_TXN, LOST_REQUEST, times=1_000_000)
        running = shop.consume(
            "works",
            *("--processes", "1", "--until-drained", *MORTAL, "-X", "transaction.timeout.ms=60000"),
            KAFKA_BOOTSTRAP_SERVERS=wire.bootstrap_servers,
        )
        eventually(lambda: wire.happened, why=running.describe)
        os.kill(max(pids(shop)), signal.SIGKILL)
        wire.heal()
        ended = running.wait(25)

    assert ended.code == 0, running.describe()
    assert shop.assert_account_closes().processed == 20


def pids(shop: Shop) -> Set[int]:
    """The processes that have called the handler so far."""
    return {call.pid for call in shop.calls()}


def test_a_stop_ends_all_cleanly_and_the_port_speaks_for_all(strict_shop: NewShop) -> None:
    """Ctrl-C: said once, 130, nothing called twice; before that, one page of metrics adds up all of them."""
    (port,) = free_ports(1)
    shop = strict_shop(METRICS_PORT=str(port)).create(partitions=2)
    running = shop.consume("works", "--processes", "2", *MORTAL)
    eventually(lambda: re.search(r"^\[2\] \S+ info partition", running.err, re.M), why=running.describe)
    shop.put(rows(200))
    eventually(lambda: len(pids(shop)) == 2 and _processed(port) == 200.0, why=running.describe)
    running.send(signal.SIGINT)
    ended = running.wait(40)

    assert ended.code == 130, running.describe()
    assert len(re.findall(r"stopping \(", ended.err)) == 1
    assert "processed 200, dead-lettered 0" in ended.err
    assert not [pid for pid in pids(shop) if _is_alive(pid)]


def _processed(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        found = re.search(r"^orders_processed_total (\S+)$", page.read().decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.chaos
def test_a_consumer_too_many_says_so(strict_shop: NewShop) -> None:
    """It stands by until another one ends, which is not a fault."""
    shop = strict_shop().create(partitions=1)
    running = shop.consume("works", "--processes", "2", *MORTAL)
    line = "no partition is left for this consumer (2 consumers, 1 partition): it stands by"
    eventually(lambda: line in running.err, why=running.describe)

    assert running.stop().code == 143
