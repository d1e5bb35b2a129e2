"""All tests but the long ones, in two parts: what may share the machine, then what judges by the clock."""

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Counter as CounterOf
from typing import Iterable, Sequence
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
PARTS: Sequence[Sequence[str]] = (
    ("-m", "not chaos and not clock", "-n", "6", "--dist", "loadfile"),
    ("-m", "clock and not chaos"),
)
ALWAYS = ("--maxfail=1", "--durations=25")
COUNTED = ("failed", "passed", "skipped", "error")


def main(arguments: Sequence[str], parts: Sequence[Sequence[str]] = PARTS) -> int:
    """Run one part after the other, with pytest's own arguments added; the first bad exit code is returned.

    A part that ran no test is a failure too (5): a mark that no test has any more must not look green.
    """
    began_s = time.monotonic()
    total: CounterOf[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="orderflow-tests-") as folder:
        for number, part in enumerate(parts):
            report = Path(folder) / f"{number}.xml"
            command = [sys.executable, "-m", "pytest", *part, *ALWAYS, f"--junitxml={report}", *arguments]
            code = subprocess.call(command, cwd=ROOT)
            if code:
                return code
            total += counted(report)
    print(closing_line(total, time.monotonic() - began_s))
    return 0


def counted(report: Path) -> CounterOf[str]:
    """How many tests came out how, by the report that pytest wrote."""
    found: CounterOf[str] = Counter()
    for suite in ElementTree.parse(report).iter("testsuite"):
        failed, skipped, error = (int(suite.get(name, "0")) for name in ("failures", "skipped", "errors"))
        found.update(failed=failed, skipped=skipped, error=error)
        found["passed"] += int(suite.get("tests", "0")) - failed - skipped - error
    return found


def closing_line(total: CounterOf[str], took_s: float) -> str:
    """The counts of all parts as pytest ends each of them."""
    counts: Iterable[str] = (f"{total[name]} {name}" for name in COUNTED if total[name])
    minutes, seconds = divmod(round(took_s), 60)
    return f" {', '.join(counts)} in {took_s:.2f}s (0:{minutes:02}:{seconds:02}) ".center(80, "=")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
