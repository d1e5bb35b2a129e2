"""The README and the pages in docs/ tell the truth: tables, help texts, commands, links and outputs."""

import re
import shlex
import sys
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, Iterator, List, Set, Tuple

import pytest

import config
import consumer
import dlq_handler
import producer
from orderflow.consume.catalogue import METRICS
from orderflow.consume.retry import Policy
from orderflow.dlq.stock import METRICS as STOCK_METRICS
from tests.support.pipeline import ROOT
from tests.support.scripted_session import Life, Topic
from tools import readme

FOLDERS = ("", "benchmarks/**/", "docs/", "examples/", "orderflow/**/", "schemas/", "tests/**/", "tools/")
FILES: Dict[str, Path] = {
    path.relative_to(ROOT).as_posix(): path for folder in FOLDERS for path in ROOT.glob(f"{folder}*")
}
PAGES: Dict[str, str] = {
    name: path.read_text(encoding="utf-8") for name, path in sorted(FILES.items()) if path.suffix == ".md"
}
README_LIMIT = 13_000
"""Bytes: what a newcomer reads before the first try."""

TYPED_BY_HAND = "docs/runbook.md"
"""Its commands name what an operator sees that night; they must parse, here and in
tests/tools/test_runbook.py."""

HELP_LOOKS_LIKE_THE_README = (3, 10) <= sys.version_info < (3, 13)
"""Other versions of argparse word and wrap the same help a little differently."""

each_page = pytest.mark.parametrize("page", PAGES)


def test_the_pages_are_there() -> None:
    """The tests below looked at the real pages: a path that matches nothing would pass them all."""
    expected = {"README.md", "docs/README.md", "docs/architecture.md", "docs/reference.md", "docs/tour.md"}

    assert expected <= set(PAGES)


def test_the_readme_is_short() -> None:
    """It can be read in ten minutes; what is longer belongs in docs/."""
    assert len(PAGES["README.md"].encode()) <= README_LIMIT


@pytest.mark.skipif(not HELP_LOOKS_LIKE_THE_README, reason="this Python words help texts differently")
@each_page
def test_tables_and_help_texts_are_those_of_the_code(page: str) -> None:
    """After a change to a setting, a flag or the head of a file: `make readme`."""
    assert readme.renewed(PAGES[page]) == PAGES[page]


def test_the_help_of_every_verb_is_shown() -> None:
    """docs/reference.md has a block for each verb of dlq_handler.py."""
    shown = re.findall(r"<!-- generated: help dlq_handler\.py (\w+) -->", PAGES["docs/reference.md"])

    assert set(shown) == {verb.names[0] for verb in dlq_handler.VERBS}


# --- links and names


@each_page
def test_links_lead_to_a_file_and_a_heading(page: str) -> None:
    """Every relative link names a file that exists and, after a #, one of its headings."""
    assert _broken_links(ROOT, page, PAGES[page]) == []


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    """A missing file, a missing heading, and a heading that is only a comment in a code block."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# One `two`: three\n\n```\n# four\n```\n", encoding="utf-8")
    text = "[](a.md) [](a.md#one-two-three) [](https://example.com/x) [](b.md) [](a.md#four) [](../a.md)"

    assert _broken_links(tmp_path, "docs/c.md", text) == ["b.md", "a.md#four", "../a.md"]


def test_every_page_is_on_the_map() -> None:
    """docs/README.md lists all of them."""
    linked = {path for path, _ in _links(PAGES["docs/README.md"])}

    assert {Path(page).name for page in PAGES if page.startswith("docs/")} - {"README.md"} <= linked


@each_page
def test_files_that_are_named_exist(page: str) -> None:
    """A path is one from the top folder; a bare name is that of some file. Help texts name examples, too."""
    named = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.(?:py|avsc|csv|md))`", PAGES[page]))
    named |= set(re.findall(r"\bexamples/[\w-]+\.\w+", PAGES[page]))
    names = {path.name for path in FILES.values()}

    assert {name for name in named if name not in FILES and ("/" in name or name not in names)} == set()


@each_page
def test_make_targets_that_are_named_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))

    named = re.findall(r"`make ([a-z-]+)", PAGES[page])
    typed = re.findall(r"^make ([a-z-]+)", "\n".join(_blocks(PAGES[page])), re.M)

    assert {*named, *typed} <= targets


@each_page
def test_settings_that_are_named_exist(page: str) -> None:
    """Every name in capitals with an underscore is a setting, or a property passed to the client."""
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", PAGES[page]))
    known = {setting.env for setting in config.SETTINGS} | OTHER_PROGRAMS_NAMES

    assert {name for name in named - known if not name.startswith("KAFKA_")} == set()


def test_every_flag_of_the_settings_is_one_of_a_script() -> None:
    """A setting that only the environment has shows none."""
    table, _, helps = PAGES["docs/reference.md"].partition("## Exit codes")
    flags = set(re.findall(r"^\| `[A-Z_]+` \| `(--[a-z-]+)`", table, re.M))

    assert "--orders-topic" in flags
    assert not flags - set(re.findall("--[a-z-]+", helps))


@each_page
def test_a_default_in_brackets_is_that_of_the_setting(page: str) -> None:
    """`MAX_WAITING_BYTES` (128 MiB): whoever sizes something takes the number from where he reads of it."""
    assert _wrong_defaults(PAGES[page]) == set()


def test_a_wrong_default_is_seen() -> None:
    assert _wrong_defaults("up to `MAX_QUEUED` (10,000) behind them") == {("MAX_QUEUED", 10_000)}
    assert _wrong_defaults("`HANDLER_TIMEOUT` (3 minutes by default)") == {("HANDLER_TIMEOUT", 180)}


def _wrong_defaults(text: str) -> Set[Tuple[str, int]]:
    found = re.findall(r"`([A-Z]+(?:_[A-Z]+)+)` \(([\d,]+) ?(s|minutes|MiB|)(?: by default)?[,)]", text)
    told = {(name, int(number.replace(",", "")) * UNITS[unit]) for name, number, unit in found}
    numbers = {each.env: each.default for each in config.SETTINGS if (each.default or "").isdecimal()}
    return told - {(name, int(default or "")) for name, default in numbers.items()}


UNITS = {"": 1, "s": 1, "minutes": 60, "MiB": 1024 * 1024}


@each_page
def test_metrics_that_are_named_exist(page: str) -> None:
    """The change log alone names those that are gone."""
    named = set(re.findall(r"`(orders_[a-z_]+?)(?:_bucket|_sum|_count)?[`{]", PAGES[page]))
    known = {row.name for row in (*METRICS, *STOCK_METRICS)} | {"orders_build_info"}

    assert page == "CHANGELOG.md" or named - known == set()


OTHER_PROGRAMS_NAMES = {
    "IDEMPOTENT_WRITE",
    "INVALID_TIMESTAMP",
    "INVALID_RECORD",
    "READ_UNCOMMITTED",
    "UNRELEASED_INSTANCE_ID",
    *("OFFSET_METADATA_TOO_LARGE", "UNKNOWN_MEMBER_ID", "MSG_SIZE_TOO_LARGE", "OUT_OF_ORDER_SEQUENCE_NUMBER"),
}
"""Errors of Kafka's protocol."""


def road() -> List[Tuple[str, str]]:
    """File and function of each step of a failing order, as docs/architecture.md tells them."""
    section = PAGES["docs/architecture.md"].split("\n## One failing order", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"\| `([\w/]+\.py)` \| `(\w+)` \|", section)


def test_a_failing_order_can_be_followed() -> None:
    """Its road leads through at most eight files, by functions that are there."""
    steps = road()
    sources = {file: _source(file) for file, _ in steps}

    assert len(steps) >= 5
    assert len(sources) <= FILES_ON_THE_ROAD
    assert [step for step in steps if f"def {step[1]}(" not in sources[step[0]]] == []


def test_a_failing_order_takes_that_road() -> None:
    """One that fails until its budget is used up passes all of it, in that order, up to the door to Kafka."""
    passed: List[Tuple[str, str]] = []

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            passed.append((Path(frame.f_code.co_filename).name, frame.f_code.co_name))

    topic = Topic()
    topic.fill(1)
    life = Life(topic, _fails, policy=Policy(max_retries=1, backoff_s=1.0))
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        life.drain()
    finally:
        sys.setprofile(before)

    *steps, (door, _) = road()
    left = iter(passed)
    assert door == "transaction.py", "which a session in memory does not have"
    assert [step for step in steps if step not in left] == []


def _fails(order: Any) -> None:
    raise ValueError("always")


FILES_ON_THE_ROAD = 8


def _source(name: str) -> str:
    """The text of the package's file of that name: the engine's, if another folder has one as well."""
    paths = sorted((ROOT / "orderflow").rglob(name), key=lambda path: path.parent.name != "consume")
    return paths[0].read_text(encoding="utf-8")


def test_the_words_of_the_glossary_are_the_codes() -> None:
    """Each class, function and attribute that it names is in the file that it names beside it."""
    named = re.findall(r"`([\w.]+)`(?:, `\w+`)? in `(\w+\.py)`", PAGES["docs/glossary.md"])

    assert len(named) >= 8
    assert [pair for pair in named if pair[0].rpartition(".")[2] not in _source(pair[1])] == []


def test_the_picture_of_the_engine_is_true() -> None:
    """Each part that it shows is a file, and each arrow an import."""
    section = PAGES["docs/architecture.md"].split("## Parts and threads")[1]
    picture = section.split("```mermaid")[1].split("```")[0]
    arrows = re.findall(r"^    (\w+) --> (\w+)$", picture, re.MULTILINE)

    assert len(arrows) >= 20
    assert [
        arrow for arrow in arrows if f"orderflow.consume.{arrow[1]} import" not in _source(f"{arrow[0]}.py")
    ] == []


def test_the_tests_that_are_named_exist() -> None:
    """docs/failures.md says of each promise which test shows it: a file, or a part of a test's name."""
    tests = {name for name in FILES if name.startswith("tests/") and name.endswith(".py")}
    names = [re.sub(r"\W", " ", test) for test in tests]
    names += [f"{found} " for test in tests for found in re.findall(r"def (test_\w+)", _text(test))]
    named = re.findall(r"`(?:test_\w+::)?((?:test|…)\w+…?\w*)`", PAGES["docs/failures.md"])

    assert len(named) >= 30
    assert [part for part in named if not any(part.strip("…") in name for name in names)] == []


def _text(name: str) -> str:
    return FILES[name].read_text(encoding="utf-8")


@each_page
def test_examples_in_python_run(page: str) -> None:
    """A block of Python that is shown compiles, and finds what it imports."""
    for block in re.findall(r"^```python\n(.*?)^```$", PAGES[page], re.S | re.M):
        exec(compile(block, page, "exec"), {})


# --- commands


@each_page
def test_commands_are_understood(page: str) -> None:
    """Each command of the three scripts, in a block or in a sentence, parses: verb, flags and values."""
    for script, arguments in _commands(PAGES[page]):
        PARSERS[script](shlex.split(arguments, comments=True))


PARSERS: Dict[str, Callable[[List[str]], Any]] = {
    "producer": lambda arguments: producer._parser().parse_args(arguments),
    "consumer": lambda arguments: consumer._parser().parse_args(arguments),
    "dlq_handler": lambda arguments: dlq_handler.parse(arguments),
}


def _commands(text: str) -> Iterator[Tuple[str, str]]:
    outside = re.sub(r"<!-- generated.*?<!-- end -->", "", text, flags=re.S)
    return iter(re.findall(rf"\bpython ({'|'.join(PARSERS)})\.py ?((?:(?! 2>)[^`\n;|])*)", outside))


def test_commands_are_found() -> None:
    """In a session, after a setting, in a sentence, and with a comment behind it."""
    text = "$ A=b python consumer.py -v; ls\n`python producer.py`\npython dlq_handler.py list  # all\n"

    assert list(_commands(text)) == [("consumer", "-v"), ("producer", ""), ("dlq_handler", "list  # all")]


@pytest.mark.parametrize("page", [page for page in PAGES if page != TYPED_BY_HAND])
def test_every_output_that_is_shown_was_printed(page: str) -> None:
    """A block with commands and their output is run (a session) or generated; nothing is made up."""
    made = len(re.findall(r"<!-- (?:session|generated: help [^>]+) -->\n```console\n", PAGES[page]))

    assert PAGES[page].count("```console\n") == made


@pytest.mark.broker
@pytest.mark.parametrize("page", [page for page in PAGES if readme.sessions(PAGES[page])])
def test_the_commands_do_what_is_shown(page: str, kafka: Any, topic: Callable[..., str]) -> None:
    """Every command is run again, in order, on topics of its own, and prints what the page shows."""
    names = {"ORDERS_TOPIC": topic("orders"), "DLQ_TOPIC": topic("dlq"), "CONSUMER_GROUP": topic("group")}
    environ = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, **names}
    today = readme.sessions(readme.replayed(PAGES[page], environ))

    for shown, found in zip(_all_steps(readme.sessions(PAGES[page])), _all_steps(today)):
        assert _shapes(shown.output) == _shapes(_renamed(found.output, names)), shown.command


def test_kinds_of_lines_are_told_apart() -> None:
    """The comparison above sees a changed word, and does not see a changed number."""
    assert _shapes("read 5 orders in 0.3s\n") == _shapes("read 17 orders in 1.2s\n")
    assert _shapes("read 5 orders\n") != _shapes("read 5 letters\n")
    assert _shapes("a 1\n...\nz 1\n") == _shapes("b 2\n...\nz 2\n")


# --- reading the pages


def _broken_links(root: Path, page: str, text: str) -> List[str]:
    return [path + anchor for path, anchor in _links(text) if not _leads_somewhere(root / page, path, anchor)]


def _links(text: str) -> List[Tuple[str, str]]:
    """Path and anchor of each link within the project."""
    found: List[Tuple[str, str]] = re.findall(r"\]\((?!\w+:)([^)#]*)(#[^)]*)?\)", _without_blocks(text))
    return found


def _leads_somewhere(page: Path, path: str, anchor: str) -> bool:
    target = page.parent / path if path else page
    if not target.exists():
        return False
    return not anchor or anchor[1:] in _anchors(target.read_text(encoding="utf-8"))


def _anchors(text: str) -> Set[str]:
    """The headings as links name them: in small letters, without punctuation, joined by hyphens."""
    headings = re.findall(r"^#+ (.+)$", _without_blocks(text), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _without_blocks(text: str) -> str:
    return _BLOCK.sub("", text)


def _blocks(text: str) -> List[str]:
    return _BLOCK.findall(text)


_BLOCK = re.compile(r"^```.*?^```$", re.S | re.M)


def _all_steps(sessions: List[List[readme.Step]]) -> List[readme.Step]:
    return [step for session in sessions for step in session]


def _renamed(output: str, names: Dict[str, str]) -> str:
    usual = {"ORDERS_TOPIC": "orders", "DLQ_TOPIC": "orders-dlq", "CONSUMER_GROUP": "order-processing-group"}
    for setting, name in sorted(names.items(), key=lambda item: -len(item[1])):
        output = output.replace(name, usual[setting])
    return output


OWN_SETTINGS = "info set:"
"""The line of the consumer's log that tells of settings: here those of the test."""


def _shapes(output: str) -> Set[str]:
    """The kinds of line in an output, without what differs from run to run: numbers, ids, times, bars.

    Of an output that was cut in the middle, where chance decides what is left, only the last line counts.
    """
    words = re.sub(r"\S*[0-9]\S*|[▁-█]+|\([^)]*\)", "", output)
    lines = [" ".join(line.split()) for line in words.splitlines()]
    lines = [line for line in lines if not line.startswith(OWN_SETTINGS)]
    return set(lines[-1:] if "..." in lines else lines)
