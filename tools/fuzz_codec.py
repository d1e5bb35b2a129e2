"""Fuzzes the codec with hostile bytes for minutes: `make fuzz`.

It is guided by coverage if atheris is installed; otherwise it mutates the corpus blindly. An input that
breaks the promise is printed with the command that repeats it, and the exit code is 1.
"""

import argparse
import importlib
import importlib.util
import random
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import List, Optional, Sequence

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

CORPUS = ROOT / "tests" / "fuzz" / "corpus.hex"
MAX_INPUT_BYTES = 512
CHUNKS = (b"\x00", b"\x80\x00", b"\x01", b"\xff" * 4 + b"\x0f", b"\x80" * 10, b"\xff" * 9 + b"\x01", b"\x02a")

EXAMPLES = """commands:
  python tools/fuzz_codec.py                     two minutes, guided by coverage where atheris is installed
  python tools/fuzz_codec.py --seconds 600 --keep
  python tools/fuzz_codec.py --input 0148306638  one input, as a failure prints it
"""


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Fuzz; returns 0, or 1 if an input broke the promise."""
    arguments = _parser().parse_args(argv)
    if arguments.guided:
        return _guided(Path(arguments.guided), arguments.seconds)
    if arguments.input:
        return _one(bytes.fromhex(arguments.input))
    if arguments.blind or not _has_atheris():
        return _blind(arguments.seconds)
    return _in_a_child(arguments.seconds, arguments.keep)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Feed the codec hostile bytes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=int, default=120, help="default: %(default)s")
    parser.add_argument("--keep", action="store_true", help="add what reached new code to the corpus")
    parser.add_argument("--blind", action="store_true", help="without atheris")
    parser.add_argument("--input", help="check this one input, in hex")
    parser.add_argument("--guided", metavar="FOLDER", help=argparse.SUPPRESS)
    return parser


def corpus() -> List[bytes]:
    """The inputs kept so far."""
    return [bytes.fromhex(line) for line in CORPUS.read_text(encoding="ascii").split()]


def _one(data: bytes) -> int:
    from tests.support.codec_promise import check_input

    try:
        check_input(data)
    except Exception:  # noqa: BLE001 - anything that gets out of the codec is the finding
        traceback.print_exc()
        print(f"\nbroken by: python tools/fuzz_codec.py --input {data.hex()}", file=sys.stderr)
        return 1
    return 0


def _blind(seconds: int) -> int:
    seed = int(time.time())
    print(f"blind mutation for {seconds} s, seed {seed}", file=sys.stderr)
    chance, inputs, count = random.Random(seed), corpus(), 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        count += 1
        if _one(_mutated(chance.choice(inputs), chance)):
            return 1
    print(f"{count:,} inputs, none broke the promise", file=sys.stderr)
    return 0


def _mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randint(0, len(changed))
        kind = chance.randrange(4)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            changed[at:at] = chance.choice(CHUNKS)
        elif kind == 2:
            del changed[at : at + chance.randint(1, 8)]
        elif at < len(changed):
            changed[at] = chance.randrange(256)
    return bytes(changed)


def _has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def _in_a_child(seconds: int, keep: bool) -> int:
    """The fuzzer ends its process when it is done, so it gets one of its own."""
    with tempfile.TemporaryDirectory(prefix="orderflow-fuzz-") as scratch:
        folder = Path(scratch)
        for number, data in enumerate(corpus()):
            (folder / f"kept-{number}").write_bytes(data)
        command = [sys.executable, str(Path(__file__)), "--guided", scratch, "--seconds", str(seconds)]
        code = subprocess.call(command, cwd=str(ROOT))
        broken = [path for path in folder.glob("broken-*") if path.is_file()]
        for path in broken:
            _one(path.read_bytes())
            path.unlink()
        if keep and not broken:
            _keep([path.read_bytes() for path in folder.iterdir()])
        return 1 if code or broken else 0


def _keep(inputs: List[bytes]) -> None:
    lines = sorted({data.hex() for data in inputs if data}, key=lambda text: (len(text), text))
    CORPUS.write_text("\n".join(lines) + "\n", encoding="ascii")
    print(f"{len(lines)} inputs in {CORPUS.relative_to(ROOT)}", file=sys.stderr)


def _guided(folder: Path, seconds: int) -> int:
    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports(include=["orderflow"]):
        from orderflow.avro import codec
    compiled = vars(codec)["compile_reader"]
    # The import hook does not see what is compiled at run time.
    vars(codec)["compile_reader"] = lambda *given: atheris.instrument_func(compiled(*given))
    from tests.support.codec_promise import check_input

    limits = [f"-max_total_time={seconds}", f"-max_len={MAX_INPUT_BYTES}", "-rss_limit_mb=1024", "-timeout=5"]
    atheris.Setup([sys.argv[0], str(folder), f"-artifact_prefix={folder}/broken-", *limits], check_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
