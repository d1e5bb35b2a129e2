"""A virtual environment for each peer, created once and kept under build/."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, NamedTuple, Optional, Tuple

from benchmarks.work import ROOT

FOLDER = ROOT / "build" / "bench-venvs"
FASTAVRO = "fastavro==1.13.1"


class Environment(NamedTuple):
    """What a peer runs in."""

    name: str
    requirements: Tuple[str, ...]
    minimum: Tuple[int, int] = (3, 8)
    """The oldest Python that it works with."""


PEERS: Dict[str, Environment] = {
    each.name: each
    for each in (
        Environment("aiokafka", ("aiokafka[lz4]==0.14.0", "uvloop==0.23.0")),
        Environment(
            "faststream",
            (
                "faststream[kafka,confluent]==0.7.8",
                "aiokafka[lz4]==0.14.0",
                "confluent-kafka==2.16.1",
                "uvloop==0.23.0",
            ),
        ),
        Environment("arroyo", ("sentry-arroyo==2.48.0", "confluent-kafka==2.16.1")),
        Environment("kafka-python", ("kafka-python[crc32c,lz4]==3.0.12",)),
        Environment("quixstreams", ("quixstreams==3.28.1",)),
        Environment("pyrallel-consumer", ("pyrallel-consumer==1.0.0", "confluent-kafka==2.16.1"), (3, 12)),
    )
}


PROFILER = Environment("py-spy", ("py-spy==0.4.3",))


class NoEnvironment(Exception):
    """A peer cannot run here; the text says why."""


def python_of(name: str, say: Callable[[str], None]) -> Path:
    """The Python of a peer's environment, which is created if it does not exist yet."""
    environment = PROFILER if name == PROFILER.name else PEERS[name]
    folder = FOLDER / name
    wanted = "\n".join((*environment.requirements, FASTAVRO))
    stamp = folder / ".requirements"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        say(f"making the environment of {name}")
        _make(folder, environment)
        stamp.write_text(wanted, encoding="utf-8")
    return folder / "bin" / "python"


def _make(folder: Path, environment: Environment) -> None:
    base = _base_python(environment)
    if base is None:
        raise NoEnvironment(f"{environment.name} needs Python {'.'.join(map(str, environment.minimum))}")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([base, "-m", "venv", str(folder)], [*pip, *environment.requirements, FASTAVRO]):
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise NoEnvironment(f"{environment.name} cannot be installed: {made.stderr.strip()[-300:]}")


def _base_python(environment: Environment) -> Optional[str]:
    """Our own Python where it is new enough, else another of this machine."""
    if sys.version_info >= environment.minimum:
        return sys.executable
    for minor in range(14, environment.minimum[1] - 1, -1):
        for found in (shutil.which(f"python3.{minor}"), _of_pyenv(minor)):
            if found and _works(found):
                return found
    return None


def _works(python: str) -> bool:
    """A name on the path may be a stand-in for a Python that is not chosen."""
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


def _of_pyenv(minor: int) -> Optional[str]:
    found = sorted((Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin/python"))
    return str(found[-1]) if found else None
