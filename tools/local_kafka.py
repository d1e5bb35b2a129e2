"""The command line of `LocalKafka`: a real Kafka in the foreground or in the background."""

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Tuple

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import jvm
from tools.kafka_cluster import DEFAULT_VERSION, PROVEN_VERSIONS, LocalKafka, kafka_jars

__all__ = ["DEFAULT_VERSION", "PROVEN_VERSIONS", "LocalKafka", "main"]

EXAMPLES = """commands:
  python tools/local_kafka.py                        Kafka on localhost:9092 until Ctrl-C
  python tools/local_kafka.py --port 19092 --version 3.9.1
  python tools/local_kafka.py --nodes 3              on ports 9092, 9093 and 9094
  python tools/local_kafka.py -s log.retention.ms=60000
  python tools/local_kafka.py start                  the same in the background
  python tools/local_kafka.py stop
  python tools/local_kafka.py fetch                  what it needs, for a start without a network

The data is temporary: it is gone when this Kafka stops.
"""

OK, FAILED, USAGE = 0, 1, 2


class Stopped(BaseException):
    """A signal requested the end. Not an `Exception`, so that nothing treats it as a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class AlreadyRunning(Exception):
    """Another local Kafka has this port."""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run one command; returns the exit code (0 done, 1 failed, 2 usage, 130 and 143 stopped by a signal)."""
    arguments = _parser().parse_args(argv)
    try:
        return _COMMANDS[arguments.command](arguments)
    except (jvm.MissingPiece, jvm.ProcessFailed, AlreadyRunning) as error:
        jvm.warn(f"local Kafka: {error}")
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="A real Apache Kafka on this machine, without Docker.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("command", nargs="?", default="run", choices=list(_COMMANDS), help="default: run, in the foreground")
    add("--port", type=int, default=9092, help="client port of the first node (default: 9092)")
    add("--nodes", type=int, choices=(1, 3), default=1, help="default: 1")
    versions = ", ".join(PROVEN_VERSIONS)
    add("--version", default=DEFAULT_VERSION, help=f"proven: {versions} (default: %(default)s)")
    add("-s", "--set", action="append", default=[], type=_setting, metavar="NAME=VALUE", help="of the broker")
    return parser


def _setting(text: str) -> Tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


# ---------------------------------------------------------------- the commands


def _run(arguments: argparse.Namespace) -> int:
    try:
        with _stop_signals(), _sole_owner(arguments.port), _kafka(arguments) as kafka:
            _announce(kafka)
            kafka.wait()
    except Stopped as stopped:
        jvm.warn("local Kafka: stopped, nothing is left of it")
        return stopped.exit_code


def _kafka(arguments: argparse.Namespace) -> LocalKafka:
    ports = range(arguments.port, arguments.port + arguments.nodes)
    return LocalKafka(arguments.version, arguments.nodes, dict(arguments.set), ports)


def _announce(kafka: LocalKafka) -> None:
    print(f"Kafka {kafka.version} is ready at {kafka.bootstrap_servers}", flush=True)
    jvm.warn("Ctrl-C stops it and removes its data")


def _start(arguments: argparse.Namespace) -> int:
    """Run the foreground command detached from the terminal, and return once Kafka answers."""
    log = _state_file(arguments.port, "log")
    with log.open("wb") as errors:
        background = subprocess.Popen(
            [sys.executable, __file__, "run", *_flags(arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    assert background.stdout is not None
    ready = background.stdout.readline()
    if not ready:
        sys.stderr.write(log.read_text(errors="replace"))
        return FAILED
    print(ready, end="")
    jvm.warn(f"stop it with: python tools/local_kafka.py stop --port {arguments.port}")
    return OK


def _flags(arguments: argparse.Namespace) -> List[str]:
    flags = ["--port", str(arguments.port), "--nodes", str(arguments.nodes), "--version", arguments.version]
    return flags + [part for name, value in arguments.set for part in ("-s", f"{name}={value}")]


def _stop(arguments: argparse.Namespace) -> int:
    """End the Kafka that another call of this program runs on the port, and wait until it is gone."""
    with _state_file(arguments.port, "pid").open("a+") as state:
        if _locked(state):
            jvm.warn(f"local Kafka: none runs on port {arguments.port}")
            return OK
        os.kill(_read_pid(state), signal.SIGTERM)
        fcntl.flock(state, fcntl.LOCK_EX)
    jvm.warn("local Kafka: stopped, nothing is left of it")
    return OK


def _fetch(arguments: argparse.Namespace) -> int:
    """Fetch what a start needs, so that it works without a network."""
    java = jvm.find_java()
    print(f"Kafka {arguments.version}: {kafka_jars(arguments.version)}, run by {java}")
    return OK


_COMMANDS: Dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "start": _start,
    "stop": _stop,
    "fetch": _fetch,
}


# ---------------------------------------------------------------- one Kafka a port, and its end


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `Stopped`; the second ends this process at once."""

    def stop(number: int, frame: Optional[FrameType]) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_DFL)
        raise Stopped(number)

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stop)
    yield


@contextlib.contextmanager
def _sole_owner(port: int) -> Iterator[None]:
    """Hold the port's state file locked, with our process id in it: if it can be locked, none is running."""
    with _state_file(port, "pid").open("a+") as state:
        if not _locked(state):
            raise AlreadyRunning(
                f"one runs on port {port} already (process {_read_pid(state)})\n"
                f"next: use it, or stop it: python tools/local_kafka.py stop --port {port}"
            )
        state.truncate(0)
        state.write(f"{os.getpid()}\n")
        state.flush()
        yield


def _locked(state: Any) -> bool:
    try:
        fcntl.flock(state, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_pid(state: Any) -> int:
    state.seek(0)
    return int(state.read())


def _state_file(port: int, kind: str) -> Path:
    home = jvm.cache_dir() / "run"
    home.mkdir(parents=True, exist_ok=True)
    return home / f"kafka-{port}.{kind}"


if __name__ == "__main__":
    sys.exit(main())
