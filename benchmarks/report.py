"""The results of scenarios as Markdown tables."""

import os
import platform
import statistics
from importlib import metadata
from typing import Iterable, List, NamedTuple, Sequence

from fastavro import __version__ as fastavro_version


class Bar(NamedTuple):
    """A promise, what was measured of it, and whether it holds."""

    promise: str
    measured: str
    holds: bool


class Section(NamedTuple):
    """One scenario's part of the document."""

    title: str
    method: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    bars: Sequence[Bar]
    remarks: Sequence[str] = ()


def markdown(sections: Iterable[Section], machine: Sequence[str], command: str) -> str:
    """The whole document."""
    sections = list(sections)
    parts = ["# Performance", _opening(command), bullets(machine), "## Promises", _bars(sections)]
    for section in sections:
        parts += [f"## {section.title}", section.method, _table(section.head, section.rows)]
        parts += [bullets(section.remarks)] if section.remarks else []
    return "\n\n".join(parts) + "\n"


def _opening(command: str) -> str:
    return (
        f"Written by `{command}`. All of it was measured in one run on one machine, where Kafka runs too; in "
        "each round every contestant has its turn, and the medians of the rounds are shown. A run counts "
        "only if every order was handled, dead-lettered and committed. Machines differ, ratios hold better."
    )


def _bars(sections: Iterable[Section]) -> str:
    rows = [
        (bar.promise, bar.measured, "yes" if bar.holds else "**no**")
        for section in sections
        for bar in section.bars
    ]
    return _table(("Promise", "Measured", "Holds"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    numeric = ["---"] + ["---:"] * (len(head) - 1) if len(head) > 3 else ["---"] * len(head)
    lines = [head, numeric, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def bullets(texts: Iterable[str]) -> str:
    """A list."""
    return "\n".join(f"- {text}" for text in texts)


def machine_facts(kafka_version: str) -> List[str]:
    """Versions and the machine."""
    return [
        f"{os.cpu_count()} processors ({_processor()}), {_memory_gib():.0f} GiB, {platform.system()} "
        f"{platform.release().split('-')[0]}",
        f"Apache Kafka {kafka_version}, one node, on the same machine",
        f"Python {platform.python_version()}, confluent-kafka {metadata.version('confluent-kafka')}, "
        f"fastavro {fastavro_version}",
    ]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.machine()


def _memory_gib() -> float:
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / 2**30


def median(values: Iterable[float]) -> float:
    """The median, 0 of nothing."""
    found = list(values)
    return statistics.median(found) if found else 0.0


def per_s(rate: float) -> str:
    """A rate for people."""
    return f"{rate:,.0f}"
