"""How soon `watch` answers a key while a long topic of dead letters is read, and while more arrive."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

from confluent_kafka import Producer

from benchmarks.fates import percentile
from benchmarks.plan import Plan, Say
from benchmarks.report import Bar, Section
from benchmarks.rig import Rig, Void
from benchmarks.scenarios.dead_letters import SCRIPT, dead_letters, fill
from benchmarks.work import peak_kib
from orderflow.cli.terminal import ESCAPE_MS

ROWS, COLUMNS = 24, 80
PARTITIONS, KINDS = 3, 1_000
NEW_PER_S = 1_000
LIMIT_MS, LIMIT_MIB = 100, 300
ROUNDS_AT_REST = 30
PAUSE_S = 0.3
"""Between an answer and the next key, for whoever reads what it says."""
PATIENCE_S = 10.0
KEYS: Tuple[Tuple[bytes, bytes], ...] = (
    (b"s", b"by last"),
    (b"s", b"by first"),
    (b"s", b"by count"),
    (b"\r", b"the latest"),
    (b"\x1b", b"unresolved of"),
    (b"/", b"nly rows with"),
    (b"~", b"/~"),
    (b"\x1b", b"PaymentTimeout"),
)
"""Keys, and what the screen then says that it did not say before."""
READING = b"  reading"


class Answers(NamedTuple):
    """What was measured of one screen. Milliseconds, sorted."""

    first_s: float
    while_reading_ms: List[float]
    while_more_arrive_ms: List[float]
    read_s: float
    peak_mib: float


class _Screen:
    """`watch` on a terminal of 80x24, and everything that it has written there."""

    def __init__(self, environ: Dict[str, str]) -> None:
        self._terminal, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), "watch"], env=environ, stdin=end, stdout=end, stderr=end
        )
        os.close(end)
        self._began_s = time.monotonic()
        self.said = b""
        """Since the last key."""

    def __enter__(self) -> "_Screen":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._terminal)

    def age_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began_s

    def until(self, text: bytes) -> float:
        """Wait until it says this; seconds since the start."""
        deadline_s = time.monotonic() + PATIENCE_S
        while text not in self.said:
            if not select.select([self._terminal], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
                raise Void(f"watch did not say {text!r}: {self.said[-500:]!r}")
            self.said += os.read(self._terminal, 65_536)
        return self.age_s()

    def listen(self, seconds: float) -> bytes:
        """What it says in this time."""
        deadline_s = time.monotonic() + seconds
        while select.select([self._terminal], [], [], max(0.0, deadline_s - time.monotonic()))[0]:
            self.said += os.read(self._terminal, 65_536)
        return self.said

    def answer_ms(self, key: bytes, text: bytes) -> float:
        """Press the key, and wait for its answer."""
        self.said, pressed_s = b"", time.monotonic()
        os.write(self._terminal, key)
        self.until(text)
        return (time.monotonic() - pressed_s) * 1000

    def quit(self) -> float:
        """End it; its peak of memory in MiB."""
        peak_mib = peak_kib(str(self._process.pid)) / 1024
        os.write(self._terminal, b"q")
        drain = threading.Thread(target=self._drain, daemon=True)
        drain.start()
        status = self._process.wait()
        if status:
            raise Void(f"watch ended with {status}")
        return peak_mib

    def _drain(self) -> None:
        try:
            while os.read(self._terminal, 65_536):
                pass
        except OSError:  # its other end is closed
            pass


def run(rig: Rig, plan: Plan, say: Say) -> Section:
    """Read a long topic while keys are pressed, and go on pressing while more arrive."""
    source, topic = rig.create("orders-to-watch", PARTITIONS), rig.create("watched", PARTITIONS)
    fill(rig.brokers, topic, dead_letters(source, topic, plan.orders, KINDS), PARTITIONS)
    answers = _answers(rig, source, topic)
    rows, bars = [], []
    for name, took_ms in (
        ("while all is read", answers.while_reading_ms),
        (f"while {NEW_PER_S:,}/s arrive", answers.while_more_arrive_ms),
    ):
        p50, p99, worst = (percentile(took_ms, share) for share in (50, 99, 100))
        rows.append((name, str(len(took_ms)), f"{p50:.0f}", f"{p99:.0f}", f"{worst:.0f}"))
        bars.append(Bar(f"`watch` answers a key in {LIMIT_MS} ms {name}", f"{p99:.0f} ms", p99 <= LIMIT_MS))
        say(f"watch {name}: {len(took_ms)} keys, p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms")
    peak = f"{answers.peak_mib:.0f} MiB"
    bars.append(Bar(f"`watch` under {LIMIT_MIB} MiB", peak, answers.peak_mib < LIMIT_MIB))
    say(f"watch: first screen {answers.first_s:.2f} s, all read {answers.read_s:.1f} s, {peak}")
    return Section(
        title="The live screen",
        method=(
            f"`dlq_handler.py watch` on a terminal of {COLUMNS}x{ROWS}: {plan.orders:,} dead letters of "
            f"{KINDS:,} kinds in {PARTITIONS} partitions. An answer is from a key to the bytes of the screen "
            f"that show it. A lone Escape is held back for {ESCAPE_MS} ms, "
            f"which counts. First screen after {answers.first_s:.1f} s, everything read after "
            f"{answers.read_s:.1f} s. The bars are p99."
        ),
        head=("Keys pressed", "keys", "p50, ms", "p99, ms", "worst, ms"),
        rows=rows,
        bars=bars,
    )


def _answers(rig: Rig, source: str, topic: str) -> Answers:
    environ = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": rig.brokers,
        "ORDERS_TOPIC": source,
        "DLQ_TOPIC": topic,
        "TERM": "xterm-256color",
    }
    with _Screen(environ) as screen:
        first_s = screen.until(READING)
        reading: List[float] = []
        is_reading = True
        while is_reading:
            is_reading, took_ms = _press_all(screen)
            reading += took_ms
        read_s, arriving = screen.age_s(), []
        with _sending(rig.brokers, source, topic):
            for _ in range(ROUNDS_AT_REST):
                arriving += _press_all(screen)[1]
        return Answers(first_s, sorted(reading), sorted(arriving), read_s, screen.quit())


@contextmanager
def _sending(brokers: str, source: str, topic: str) -> Iterator[None]:
    """More arrive in this block."""
    stop = threading.Event()
    sending = threading.Thread(target=_send, args=(brokers, source, topic, stop), daemon=True)
    sending.start()
    yield
    stop.set()
    sending.join()


def _press_all(screen: _Screen) -> Tuple[bool, List[float]]:
    """Each key once: whether it was still reading at the first one, and how long the answers took."""
    is_reading, took_ms = False, []
    for key, text in KEYS:
        took_ms.append(screen.answer_ms(key, text))
        said = screen.listen(PAUSE_S)
        is_reading = is_reading or READING in said
    return is_reading, took_ms


def _send(brokers: str, source: str, topic: str, stop: threading.Event) -> None:
    """So many a second, until it is stopped."""
    producer = Producer({"bootstrap.servers": brokers, "linger.ms": 20})
    for sent, one in enumerate(_without_end(source, topic)):
        stamped: Any = {"headers": one.headers, "timestamp": one.timestamp_ms}
        producer.produce(topic, one.value, one.key, sent % PARTITIONS, **stamped)
        if sent % (NEW_PER_S // 20) == 0:
            producer.poll(0)
            if stop.wait(1 / 20):
                break
    producer.flush(30)


def _without_end(source: str, topic: str) -> Iterator[Any]:
    while True:
        yield from dead_letters(source, topic, 10 * NEW_PER_S, KINDS)
