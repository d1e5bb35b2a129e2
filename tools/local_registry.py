"""A real schema registry on this machine, without Docker: Apicurio Registry, with Confluent's API.

Its data is in memory and gone when it stops. docs/avro.md says how it differs from Confluent's registry.
"""

import argparse
import contextlib
import hashlib
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Optional, Sequence, Type

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import jvm
from tools.kafka_cluster import free_ports

VERSION = "3.3.3"
SHA256 = "8bc6751c76d963734224b01d5e7f84ccb3cb61c87d3bd77c36c35f10a5cbed63"
GROUP, ARTIFACT = "io.apicurio", "apicurio-registry-app"
API_PATH = "/apis/ccompat/v7"

JAVA_MINIMUM = 21
JVM_OPTIONS = ("-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
READY_TIMEOUT_S = 90

DEFAULT_PORT = 8081

EXAMPLES = """commands:
  python tools/local_registry.py               a registry until Ctrl-C; prints its SCHEMA_REGISTRY_URL
  python tools/local_registry.py --port 18081
  python tools/local_registry.py --fetch       what it needs, for a start without a network
"""


class LocalRegistry:
    """One registry, empty at start, ready when the constructor returns. Stops with `stop` or `with`.

    `compatibility` is the level for all subjects; Confluent's own default is BACKWARD.
    """

    def __init__(self, port: Optional[int] = None, compatibility: str = "BACKWARD") -> None:
        self.port, management_port = _ports(port)
        java = jvm.find_java(JAVA_MINIMUM)
        server = registry_server()
        self._scratch = jvm.Scratch("orderflow-registry-")
        # Its configuration and its temporary files are sought beside the jar, in the working directory.
        self._process = self._scratch.start(
            "registry",
            [
                java,
                *JVM_OPTIONS,
                f"-Djava.io.tmpdir={self._scratch.path}",
                "-Dquarkus.http.host=127.0.0.1",
                f"-Dquarkus.http.port={self.port}",
                "-Dquarkus.management.host=127.0.0.1",
                f"-Dquarkus.management.port={management_port}",
                f"-Dapicurio.rules.global.compatibility={compatibility}",
                "-jar",
                str(server / "quarkus-run.jar"),
            ],
        )
        self._wait_until_ready()

    @property
    def url(self) -> str:
        """What SCHEMA_REGISTRY_URL has to be."""
        return f"http://127.0.0.1:{self.port}{API_PATH}"

    def pause(self) -> None:
        """Freeze it: it accepts connections and answers nothing."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on."""
        self._process.resume()

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        return self._process.wait()

    def stop(self) -> None:
        """End it and remove what it wrote. Stopping twice does nothing."""
        self._scratch.close()

    def __enter__(self) -> "LocalRegistry":
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.stop()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not _answers(f"{self.url}/subjects"):
            if not self._process.running or time.monotonic() > deadline:
                tail = self._process.tail()
                self.stop()
                raise jvm.ProcessFailed(f"the schema registry did not get ready:\n{tail}")
            time.sleep(0.1)


def registry_server() -> Path:
    """The unpacked server; fetched and checked the first time. Several processes may ask at once."""
    home = jvm.cache_dir() / f"registry-{VERSION}"
    if not home.is_dir():
        with jvm.alone_in_cache(home.name):
            if not home.is_dir():
                _unpack(_fetch(), home)
    return home


def _fetch() -> Path:
    try:
        from jgo.maven import MavenContext
    except ImportError:
        raise jvm.MissingPiece(
            f"the schema registry is not here yet, and jgo, which fetches it, is not installed\n"
            f"next: {jvm.SETUP_COMMAND} (with Python 3.10 or newer)"
        ) from None
    try:
        component = MavenContext(timeout=120).project(GROUP, ARTIFACT).at_version(VERSION)
        archive = Path(component.artifact(classifier="all", packaging="tar.gz").resolve())
    except Exception as error:  # the resolver raises whatever its HTTP client and XML parser do
        raise jvm.MissingPiece(
            f"cannot fetch {GROUP}:{ARTIFACT}:{VERSION}: {error}\nnext: check the network and run it again"
        ) from error
    return archive


def _unpack(archive: Path, home: Path) -> None:
    """Unpack beside `home`, then rename: a run that is killed here leaves no half-filled directory."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise jvm.MissingPiece(f"{archive} has SHA-256 {found}, not {SHA256}\nnext: remove it, try again")
    with tempfile.TemporaryDirectory(dir=str(home.parent), prefix=f".{home.name}-") as scratch:
        staged = Path(scratch, "server")
        with tarfile.open(str(archive)) as tar:
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(str(staged))
        shutil.move(str(staged), str(home))


def _ports(wanted: Optional[int]) -> Sequence[int]:
    if wanted is None:
        return free_ports(2)
    return [wanted, *free_ports(1, avoid=[wanted])]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run a registry in the foreground; returns the exit code."""
    parser = argparse.ArgumentParser(
        description="A schema registry on this machine, in memory, until Ctrl-C.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="default: %(default)s")
    parser.add_argument("--fetch", action="store_true", help="only fetch what it needs")
    arguments = parser.parse_args(argv)
    try:
        return _fetch_only() if arguments.fetch else _run(arguments.port)
    except (jvm.MissingPiece, jvm.ProcessFailed) as error:
        jvm.warn(f"local registry: {error}")
        return 1


def _fetch_only() -> int:
    jvm.find_java(JAVA_MINIMUM)
    registry_server()
    return 0


def _run(port: int) -> int:
    with contextlib.suppress(KeyboardInterrupt), LocalRegistry(port) as registry:
        print(f"SCHEMA_REGISTRY_URL={registry.url}", flush=True)
        return registry.wait()
    return 130


if __name__ == "__main__":
    sys.exit(main())
