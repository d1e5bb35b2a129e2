"""Prometheus and promtool on this machine, for the tests: those on the PATH, or Debian's package unpacked.

The package is only unpacked into the user's cache, not installed: that takes no rights, and changes nothing.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import List, Optional, Sequence

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import jvm

PACKAGE = "prometheus"
PROGRAMS = ("prometheus", "promtool")
TIMEOUT_S = 300


def find(program: str) -> str:
    """The path of `prometheus` or `promtool`, fetched if need be. Raises jvm.MissingPiece."""
    here = shutil.which(program)
    return here if here is not None else str(_unpacked() / "usr" / "bin" / program)


def _unpacked() -> Path:
    """Debian's package in the cache; fetched the first time, by one process while others wait."""
    home = jvm.cache_dir() / "prometheus-debian"
    if not home.is_dir():
        with jvm.alone_in_cache(home.name):
            if not home.is_dir():
                _fetch(home)
    return home


def _fetch(home: Path) -> None:
    """Unpack beside `home`, then rename: a run that is killed here leaves no half-filled directory."""
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    if missing:
        raise jvm.MissingPiece(
            "promtool is not on the PATH, and without Debian's tools it is not fetched\n"
            "next: install Prometheus, of which it is a part"
        )
    with tempfile.TemporaryDirectory(dir=str(home.parent), prefix=f".{home.name}-") as scratch:
        folder = Path(scratch)
        package = _download(folder)
        staged = folder / "unpacked"
        _succeed(["dpkg-deb", "-x", str(package), str(staged)], folder)
        staged.rename(home)


def _download(folder: Path) -> Path:
    """The package's file. The lists of packages are our own: those of the machine may be empty or old."""
    lists = folder / "lists"
    (lists / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={folder}", "-o", "Debug::NoLocking=true"]
    _succeed(["apt-get", *own, "update"], folder)
    _succeed(["apt-get", *own, "download", PACKAGE], folder)
    return next(folder.glob(f"{PACKAGE}_*.deb"))


def _succeed(command: List[str], folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise jvm.MissingPiece(f"{command[0]} has not ended within {TIMEOUT_S} s: no network?") from None
    if done.returncode:
        raise jvm.MissingPiece(
            f"cannot fetch Debian's package {PACKAGE}: {done.stderr.strip() or done.stdout.strip()}\n"
            "next: check the network and run it again, or install Prometheus"
        )


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Fetch what is missing; 1 if it cannot be had."""
    argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0]).parse_args(argv)
    try:
        for program in PROGRAMS:
            print(find(program))
    except jvm.MissingPiece as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
