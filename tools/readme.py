#!/usr/bin/env python3
"""Generate the tables, help texts and command output in the documents from the code.

`<!-- generated: NAME -->` is filled with a table or a help text. `<!-- session -->` marks a block of
`$ commands`: those of one page are run in order, on a Kafka of their own, and each is followed by its output.
"""

import argparse
import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import config
from orderflow.cli.script_events import SCRIPT_EVENTS
from orderflow.consume.catalogue import METRICS
from orderflow.consume.event_log import Row, rows_of
from orderflow.consume.event_log import rows as events
from orderflow.consume.intake_states import WHY
from orderflow.dlq.stock import METRICS as STOCK_METRICS
from orderflow.model.metric import Metric
from tools.local_kafka import LocalKafka

README = ROOT / "README.md"
DOCUMENTS = (README, *sorted((ROOT / "docs").glob("*.md")))
SHOWS_SHARED_FLAGS = "dlq_handler.py list"
SHARED_FLAGS = re.compile(r"^(selection|settings) \(", re.M)
"""Where the flags begin that verbs have in common. They are shown once."""
_TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", re.M)
"""The time of a line in a log, which is left out: it tells nothing, and makes lines too long to read."""
LINES_SHOWN = 20
"""Of one command's output; what is longer is cut in the middle."""

_GENERATED = re.compile(r"(<!-- generated: (.+?) -->\n).*?(<!-- end -->)", re.S)
_SESSION = re.compile(r"(<!-- session -->\n```console\n)(.*?)(```\n)", re.S)


class Step(NamedTuple):
    """One command of a session, and what it printed."""

    command: str
    output: str
    code: int = 0


# --- tables and help texts


def renewed(text: str) -> str:
    """The document with every generated block up to date."""
    return _GENERATED.sub(lambda block: block[1] + _generated(block[2]) + block[3], text)


def _generated(name: str) -> str:
    kind, _, command = name.partition(" ")
    return _help_of(command) if kind == "help" else _TABLES[name]()


def settings_table() -> str:
    """All settings, a row each, from the catalogue in config.py."""
    rows = ["| Environment, `.env` | Flag | Default | Meaning |", "|---|---|---|---|"]
    flags = {flag for command in _WITH_FLAGS for flag in re.findall("--[a-z-]+", _help_of(command))}
    for setting in config.SETTINGS:
        flag = f"`{setting.flag}`" if setting.flag in flags else ""
        default = "" if setting.default is None else f"`{setting.default}`"
        rows.append(f"| `{setting.env}` | {flag} | {default} | {_cell(setting.meaning)} |")
    return "\n".join(rows) + "\n"


_WITH_FLAGS = ("producer.py", "consumer.py", "dlq_handler.py list")
"""Commands whose help shows the flag of every setting that has one."""


def modules_table() -> str:
    """The folders and files of the package, each with the first line of its docstring."""
    rows = ["| File | Holds |", "|---|---|"]
    package = ROOT / "orderflow"
    for path in sorted(package.rglob("*.py"), key=lambda file: (file.parent, file.name)):
        head = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
        if path.name != "__init__.py":
            rows.append(f"| `{path.name}` | {_cell(head)} |")
        elif path.parent != package:
            rows.append(f"| **`{path.parent.relative_to(ROOT).as_posix()}/`** | **{_cell(head)}** |")
    return "\n".join(rows) + "\n"


def _cell(text: str) -> str:
    return re.sub(r"(<[^>]+>)", r"`\1`", text.replace("|", "\\|"))


def _help_of(command: str) -> str:
    """The help text of a script or of one of its verbs."""
    output = _run(f"python {command} --help", {}).output
    shared = SHARED_FLAGS.search(output)
    if shared and " " in command and command != SHOWS_SHARED_FLAGS:
        output = f"{output[: shared.start()].rstrip()}\n...\n"
    return f"```console\n$ python {command} --help\n{output}```\n"


def metrics_table() -> str:
    """All metrics of the consumer, a row each, from the catalogue."""
    return _table_of(METRICS)


def stock_table() -> str:
    """The same of dead letters."""
    return _table_of(STOCK_METRICS)


def _table_of(metrics: Sequence[Metric]) -> str:
    rows = ["| Metric | Kind | Labels | Meaning |", "|---|---|---|---|"]
    for metric in metrics:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {_cell(metric.meaning)} |")
    return "\n".join(rows) + "\n"


def stops_table() -> str:
    """Why a partition takes in nothing: every reason, and what to do."""
    rows = ["| `reason` | It means | What to do |", "|---|---|---|"]
    rows += [f"| `{name}` | {_cell(why.words)} | {_cell(why.next_step)} |" for name, why in WHY.items()]
    return "\n".join(rows) + "\n"


def events_table() -> str:
    """All events of the consumer, with the fields that each has in JSON."""
    return _events_table_of(events())


def script_events_table() -> str:
    """The same of producer.py and dlq_handler.py."""
    return _events_table_of(rows_of(SCRIPT_EVENTS))


def _events_table_of(events: Sequence[Row]) -> str:
    rows = ["| Event | In text | Level | Fields | Meaning |", "|---|---|---|---|---|"]
    for event in events:
        fields = ", ".join(f"`{field}`" for field in event.fields)
        rows.append(f"| `{event.name}` | {event.word} | {event.level} | {fields} | {_cell(event.meaning)} |")
    return "\n".join(rows) + "\n"


_TABLES: Dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "modules": modules_table,
    "metrics": metrics_table,
    "stock": stock_table,
    "stops": stops_table,
    "events": events_table,
    "script events": script_events_table,
}


# --- sessions


def sessions(text: str) -> List[List[Step]]:
    """The sessions as the page shows them."""
    return [_steps(block[2]) for block in _SESSION.finditer(text)]


def replayed(text: str, environ: Mapping[str, str]) -> str:
    """The page with every command of its sessions run again, in order."""

    def run(block: "re.Match[str]") -> str:
        steps = [_run(step.command, environ) for step in _steps(block[2])]
        return block[1] + "".join(_shown(step) for step in steps) + block[3]

    return _SESSION.sub(run, text)


def _steps(block: str) -> List[Step]:
    parts = re.split(r"^\$ ", block, flags=re.M)[1:]
    return [Step(*part.partition("\n")[::2]) for part in parts]


def _run(command: str, environ: Mapping[str, str]) -> Step:
    """Run a command as a person would, with our Python as `python`."""
    ours = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "110"}
    finished = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={**os.environ, **ours, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return Step(command, finished.stdout.decode(), finished.returncode)


def _shown(step: Step) -> str:
    if step.code != 0:
        raise SystemExit(f"`{step.command}` ends with {step.code}:\n{step.output}")
    lines = _TIME.sub("", step.output).splitlines()
    if len(lines) > LINES_SHOWN:
        lines = [*lines[: LINES_SHOWN - 4], "...", *lines[-3:]]
    return "\n".join([f"$ {step.command}", *lines, ""])


# --- the command


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Rewrite the documents; with --check, only say whether they are up to date (exit 1: they are not)."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--check", action="store_true", help="change nothing; exit 1 if a table or a help text is stale")
    add("--sessions", action="store_true", help="also run the sessions again, each page's on its own Kafka")
    flags = parser.parse_args(argv)
    if flags.check:
        return int(any(renewed(_text(path)) != _text(path) for path in DOCUMENTS))
    for path in DOCUMENTS:
        path.write_text(renewed(_text(path)), encoding="utf-8")
    if flags.sessions:
        for path in DOCUMENTS:
            if sessions(_text(path)):
                _replay(path)
    return 0


def _replay(path: Path) -> None:
    """Run the page's sessions on an empty Kafka, where topics have their usual names."""
    with LocalKafka() as kafka:
        environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers}
        path.write_text(replayed(_text(path), environ), encoding="utf-8")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
