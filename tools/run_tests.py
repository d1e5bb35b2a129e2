"""All tests but the long ones, in two parts: what may share the machine, then what judges by the clock.

The processes of a part share one broker. Each starting its own took a sixth of the run's processor time, most
of it at the beginning, where it made all else late.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Callable, ContextManager, Iterable, Optional, Sequence
from typing import Counter as CounterOf
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.shared_kafka import addresses, shared_kafka
from tools.local_kafka import LocalKafka

PARTS: Sequence[Sequence[str]] = (
    ("-m", "not chaos and not clock", "-n", "6", "--dist", "loadfile"),
    ("-m", "clock and not chaos"),
)
ALWAYS = ("--maxfail=1", "--durations=25")
COUNTED = ("failed", "passed", "skipped", "error")


BrokerOfAPart = Callable[[], ContextManager[Optional[LocalKafka]]]


def main(
    arguments: Sequence[str],
    parts: Sequence[Sequence[str]] = PARTS,
    broker_of_a_part: BrokerOfAPart = shared_kafka,
) -> int:
    """Run one part after the other, with pytest's own arguments added; the first bad exit code is returned.

    A part that ran no test is a failure too (5): a mark that no test has any more must not look green.
    """
    began_s = time.monotonic()
    total: CounterOf[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="orderflow-tests-") as folder:
        for number, part in enumerate(parts):
            report = Path(folder) / f"{number}.xml"
            command = [sys.executable, "-m", "pytest", *part, *ALWAYS, f"--junitxml={report}", *arguments]
            with broker_of_a_part() as broker:
                code = subprocess.call(command, cwd=ROOT, env={**os.environ, **addresses(broker)})
                if code:
                    _tell_of_logs(broker)
                    return code
            total += counted(report)
    print(closing_line(total, time.monotonic() - began_s))
    return 0


def _tell_of_logs(broker: Optional[LocalKafka]) -> None:
    """Keep what the broker wrote when a test has failed."""
    if broker:
        print(f"broker logs kept in {broker.keep_logs()}", file=sys.stderr)


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
