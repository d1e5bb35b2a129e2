"""How fast dlq_handler.py goes through a long topic of dead letters, and in how much memory."""

import contextlib
import os
import random
import re
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Sequence, Tuple

from confluent_kafka import Producer

from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section, median, per_s
from benchmarks.rig import Rig, Void
from benchmarks.work import decoder, peak_kib
from orderflow.avro.codec import OrderEncoder, single_object_prefix
from orderflow.errors import Failure
from orderflow.model.dead_letter import Circumstances, dead_letter
from orderflow.model.records import Outgoing, Record
from orderflow.produce.fake_orders import FakeOrders

SCRIPT = Path(__file__).resolve().parents[2] / "dlq_handler.py"
WANTED = 100_000
LIMIT_MIB = 150
FIRST_WITHIN_S = 1.0
VERBS = (("list",), ("groups",), ("stats",))
REPLAY = ("replay", "--all", "--yes", "--rate", "none")
WANTED_REPLAYS = 30_000
LOOK_EVERY_S = 0.05
ORDERS = 1_000
"""Different orders among the dead letters."""
FAILURES = (
    ("process.retries_exhausted", "app.PaymentTimeout", "no answer in charge of order {}"),
    ("validate.quantity", "orderflow.errors.InvalidOrder", "quantity must be at least 1: 0"),
)


class Timed(NamedTuple):
    """One run of a verb."""

    rate: float
    first_s: float
    """From the start of the process to the first line, or the first progress on the terminal."""
    peak_mib: float
    said: str
    """The end of what it printed."""


class Part(NamedTuple):
    """Rows of the table, and what they hold."""

    rows: Sequence[Sequence[str]]
    bars: List[Bar]


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Fill a topic as the engine would, go through all of it with each verb, and replay it."""
    source, topic = rig.create("orders-that-died", 3), rig.create("dead-letters", 1)
    fill(rig.brokers, topic, dead_letters(source, topic, plan.orders))
    parts = [_read(rig, plan, say, source, topic, verb) for verb in VERBS]
    parts.append(_replay(rig, plan, say, source, topic))
    return Section(
        title="Dead letters",
        method=(
            f"{plan.orders:,} dead letters of ours in one partition; whole runs of `dlq_handler.py`, the "
            f"last of them `{' '.join(REPLAY)}`: it first reads all to check what it would send, then reads "
            "and checks again as it sends. What came of it is counted in the orders' topic."
        ),
        head=("Verb", "dead letters/s", "first output, s", "peak MiB"),
        rows=[row for part in parts for row in part.rows],
        bars=[bar for part in parts for bar in part.bars],
    )


def _read(rig: Rig, plan: Plan, say: Say, source: str, topic: str, verb: Tuple[str, ...]) -> Part:
    """The medians of one verb."""
    name = f"`{verb[0]}`"
    runs = [_time(rig.brokers, source, topic, plan.orders, verb) for _ in range(plan.rounds)]
    rate, peak_mib = median(one.rate for one in runs), max(one.peak_mib for one in runs)
    first_s = median(one.first_s for one in runs)
    say(f"{verb[0]}: {per_s(rate)}/s, {peak_mib:.0f} MiB, first output after {first_s:.2f} s")
    bars = [
        Bar(f"{name} at {WANTED:,} dead letters/s", f"{per_s(rate)}/s", rate >= WANTED),
        Bar(f"{name} under {LIMIT_MIB} MiB", f"{peak_mib:.0f} MiB", peak_mib < LIMIT_MIB),
        Bar(f"{name} shows something within a second", f"{first_s:.2f} s", first_s < FIRST_WITHIN_S),
    ]
    return Part([(name, per_s(rate), f"{first_s:.2f}", f"{peak_mib:.0f}")], bars)


def _replay(rig: Rig, plan: Plan, say: Say, source: str, topic: str) -> Part:
    """All of them once, which changes what the verbs would find, so it comes last."""
    timed = _time(rig.brokers, source, topic, plan.orders, REPLAY)
    if rig.records(source, 3) != plan.orders:
        raise Void("not every dead letter was replayed once")
    told = re.search(r"\(([\d,]+)/s\)", timed.said)
    if told is None:
        raise Void(f"replay does not tell its rate: {timed.said}")
    rate = int(told[1].replace(",", ""))
    say(f"replay: {per_s(rate)}/s while sending, {per_s(timed.rate)}/s in all, {timed.peak_mib:.0f} MiB")
    rows = [
        ("`replay`, in all", per_s(timed.rate), f"{timed.first_s:.2f}", f"{timed.peak_mib:.0f}"),
        ("`replay`, while sending", per_s(rate), "", ""),
    ]
    bars = [
        Bar(f"`replay` sends {WANTED_REPLAYS:,}/s, exactly once", f"{per_s(rate)}/s", rate >= WANTED_REPLAYS),
        Bar(f"`replay` under {LIMIT_MIB} MiB", f"{timed.peak_mib:.0f} MiB", timed.peak_mib < LIMIT_MIB),
    ]
    return Part(rows, bars)


def fill(brokers: str, topic: str, letters: Iterator[Outgoing], partitions: int = 1) -> None:
    """Put all of these on the topic, in turn on each partition."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 20, "compression.type": "lz4"})
    for sent, one in enumerate(letters):
        stamped: Any = {"headers": one.headers, "timestamp": one.timestamp_ms}
        producer.produce(topic, one.value, one.key, sent % partitions, **stamped)
        if sent % 10_000 == 0 and producer.flush(120):
            break
    if producer.flush(120):
        raise Void(f"not all dead letters could be put on {topic}")


def dead_letters(source: str, topic: str, number: int, rare_kinds: int = 0) -> Iterator[Outgoing]:
    """Dead letters as the engine writes them, the last one of now; one in a hundred is of a rare kind."""
    values = _encoded_orders()
    now_ms = int(time.time() * 1000)
    for place in range(number):
        died_ms = now_ms - 86_400_000 * (number - place) // number
        reason, kind, message = FAILURES[place % 10 == 0]
        if rare_kinds and place % 100 == 0:
            reason = f"process.rare_{place // 100 % rare_kinds}"
        key = b"O-%d" % place
        value = values[place % ORDERS]
        record = Record(source, place % 3, place // 3, died_ms, "CreateTime", key, value, [])
        failure = Failure(reason, reason.split(".")[0], kind, message.format(place), True)
        about = Circumstances("order-processing-group", "host-1", 4, died_ms, died_ms, None, 1)
        yield dead_letter(record, failure, about, topic)


def _encoded_orders() -> List[bytes]:
    schema = decoder().reader
    encode = OrderEncoder(schema, single_object_prefix(schema)).encode
    return [encode(order) for order in islice(FakeOrders(random.Random(1)), ORDERS)]


def _time(brokers: str, source: str, topic: str, number: int, verb: Tuple[str, ...]) -> Timed:
    """One run, its output read and thrown away; the peak is the kernel's own figure, as it was last seen."""
    topics = {"ORDERS_TOPIC": source, "DLQ_TOPIC": topic}
    environ = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": brokers, **topics}
    began_s = time.monotonic()
    terminal, its_end = os.openpty()
    command = [sys.executable, str(SCRIPT), *verb]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=its_end)
    os.close(its_end)
    shown_s: List[float] = []
    peaks_kib: List[int] = [0]
    watches = [
        threading.Thread(target=_watch, args=(terminal, shown_s), daemon=True),
        threading.Thread(target=_watch_memory, args=(process.pid, peaks_kib), daemon=True),
    ]
    for watch in watches:
        watch.start()
    out: Any = process.stdout
    first = out.readline()
    shown_s.append(time.monotonic())
    lines, said = first.count(b"\n"), first
    for chunk in iter(lambda: out.read(1 << 20), b""):
        lines, said = lines + chunk.count(b"\n"), chunk
    status = process.wait()
    took_s = time.monotonic() - began_s
    if status or (verb == ("list",) and lines != number):
        raise Void(f"{verb[0]} ended with {status} after {lines:,} lines")
    for watch in watches:
        watch.join()
    return Timed(number / took_s, min(shown_s) - began_s, max(peaks_kib) / 1024, said.decode())


def _watch(terminal: int, shown_s: List[float]) -> None:
    """Take what a process says on its terminal, and remember when it did, until it has ended."""
    with contextlib.suppress(OSError), open(terminal, "rb", buffering=0) as said:
        while said.read(4096):
            shown_s.append(time.monotonic())


def _watch_memory(pid: int, peaks_kib: List[int]) -> None:
    """Look at the largest memory that a process has had, until it has ended."""
    with contextlib.suppress(OSError, IndexError):  # it has ended, or is about to
        while True:
            peaks_kib.append(peak_kib(str(pid)))
            time.sleep(LOOK_EVERY_S)
