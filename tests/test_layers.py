"""The shape of the code: what may know what, and what every file tells a newcomer.

The rules are functions from a source tree to its violations. They are held against the project, and against
small trees that break each of them on purpose: a rule that cannot fail protects nothing.
"""

import ast
import io
import tokenize
from functools import lru_cache
from pathlib import Path
from typing import Callable, Collection, Dict, Iterator, List, Mapping, NamedTuple, Set, Tuple

import pytest

from orderflow.model.text import STAND_INS

ROOT = Path(__file__).resolve().parent.parent

SCRIPTS = ("producer", "consumer", "dlq_handler", "config")

Floors = Tuple[Tuple[str, ...], ...]

FLOORS: Floors = (
    ("testing",),
    ("produce", "consume", "dlq"),
    ("avro", "kafka", "cli", "supervise"),
    ("model",),
    ("errors", "exits", "version"),
    ("frames", "publish", "shadowed"),
)
"""The folders of the package, from the top down. An arrow points to a lower floor, never to a neighbour."""

DLQ_FLOORS: Floors = (
    ("verbs",),
    ("replay", "watch"),
    ("acting",),
    ("output", "topic", "unmasking", "sum_flags", "waiting_reasons", "held"),
    ("selection_flags", "grouping", "confirmation", "writer"),
    ("sums",),
    ("selection", "audit_topic", "tally", "stock", "desk", "dating"),
    ("choice", "job_marks"),
    ("audit", "where", "timeline", "health", "masking", "pointer", "retention", "taken_up"),
    ("letter",),
    ("explain",),
    ("dialects", "frames"),
)
"""The same inside `dlq`, over its folders and the files beside them."""

PURE = (
    "avro.codec",
    "avro.decode_reasons",
    "avro.encoder",
    "avro.evolution",
    "avro.first_fault",
    "avro.framing",
    "avro.meaning",
    "avro.projection",
    "avro.references",
    "avro.resolution",
    "avro.schema",
    "avro.strict_reader",
    "avro.told_branches",
    "avro.written_branches",
    "cli.values",
    "consume.addresses",
    "consume.admission",
    "consume.arrivals",
    "consume.catalogue",
    "consume.caution",
    "consume.durations",
    "consume.event_counts",
    "consume.retry_lines",
    "consume.events",
    "consume.head",
    "consume.listing",
    "consume.statement",
    "consume.waiting_bytes",
    "consume.figures",
    "consume.health",
    "consume.intake_states",
    "consume.last_failures",
    "consume.key_brake",
    "consume.ledger",
    "consume.misplaced",
    "consume.outage_brake",
    "consume.outbox",
    "consume.pace",
    "consume.patience",
    "consume.publications",
    "consume.results",
    "consume.retry",
    "consume.successes",
    "dlq.audit",
    "dlq.dating",
    "dlq.dialects",
    "dlq.explain",
    "dlq.frames",
    "dlq.grouping",
    "dlq.health",
    "dlq.job_marks",
    "dlq.letter",
    "dlq.masking",
    "dlq.output.envelope",
    "dlq.output.erasure",
    "dlq.output.group_table",
    "dlq.output.health_lines",
    "dlq.output.listing",
    "dlq.output.narrow",
    "dlq.output.page",
    "dlq.output.portrait",
    "dlq.output.report",
    "dlq.output.sum_lines",
    "dlq.output.times",
    "dlq.output.waiting_lines",
    "dlq.pointer",
    "dlq.replay.judge",
    "dlq.replay.origin",
    "dlq.replay.staleness",
    "dlq.retention",
    "dlq.selection",
    "dlq.stock",
    "dlq.sums",
    "dlq.taken_up",
    "dlq.tally",
    "dlq.timeline",
    "dlq.watch.model",
    "dlq.where",
    "errors",
    "exits",
    "frames",
    "kafka.positions",
    "model",
    "supervise.report",
    "supervise.restarts",
    "version",
    "publish",
)
"""Files and folders without clock, random number, I/O or client: the same arguments, the same answer."""

IMPURE_IMPORTS = (
    "confluent_kafka",
    "os",
    "time",
    "random",
    "logging",
    "socket",
    "threading",
    "dotenv",
    "config",
    "subprocess",
    "pathlib",
    "secrets",
    "uuid",
    "select",
    "signal",
    "queue",
    "sys",
    "faker",
    "urllib",
    "http",
)

IMPURE_CALLS = ("open", "input", "print", "now", "utcnow", "today")
"""What needs no import to read a clock or a file."""

MAY_IMPORT: Dict[str, Set[str]] = {
    "consume.ledger": {"consume.head", "consume.waiting_bytes", "model.commit_metadata"},
    "consume.producers": {"consume.client_config", "kafka.refusals", "kafka.sizes"},
    "consume.retry": {"errors"},
    "consume.session": {
        "consume.client_config",
        "consume.left_open",
        "consume.settlement",
        "consume.source",
        "consume.transaction",
        "consume.workers",
        "kafka.answers",
        "kafka.client_properties",
        "kafka.refusals",
        "model.records",
    },
    "consume.source": {
        "consume.client_errors",
        "consume.settlement",
        "kafka.answers",
        "kafka.leaders",
        "kafka.refusals",
        "model.records",
    },
    "consume.transaction": {
        "consume.client_config",
        "consume.client_errors",
        "consume.producers",
        "consume.settlement",
        "kafka.delivery",
        "kafka.transactions",
        "model.records",
    },
}
"""The parts of the engine that the others lean on, and all that each may lean on."""

READS_ENVIRONMENT = ("config", "orderflow.cli.pager", "orderflow.cli.terminal")
"""Settings are read in one place; the terminal's own NO_COLOR and TERM, and PAGER, in others."""

WRITES_TEXT = {
    "orderflow.cli.output": "the one way out",
    "orderflow.cli.run": "hands it the streams",
    "orderflow.cli.quick_end": "flushes what others have printed, before a process ends",
    "orderflow.cli.arguments": "hands it the streams for what argparse says",
    "orderflow.consume.streams": "the streams of handlers, whose text is their own",
    "orderflow.consume.forked": "flushes those, and shows there what a child raised",
    "orderflow.cli.log": "writes entries, as lines that the status line makes room for",
    "orderflow.consume.run_log": "hands it the entries",
    "orderflow.supervise.output": "passes on what other processes have written, their handlers above all",
    "orderflow.cli.private_file": "a file of its own",
    "orderflow.avro.encoder": "bytes in memory",
    "orderflow.dlq.watch.keyboard": "the live screen's terminal, which Textual writes to",
}
"""What may touch a stream or a file that is open for writing, and why."""

_DESCRIBING = ("orderflow.kafka.topics", "orderflow.kafka.topics_view", "orderflow.kafka.topic_identity")
ASKED_OF_ONE_NODE: Mapping[str, Collection[str]] = {
    "get_watermark_offsets": ("orderflow.kafka.leaders",),
    "offsets_for_times": ("orderflow.kafka.leaders",),
    "describe_topics": _DESCRIBING,
    "describe_configs": _DESCRIBING,
    "create_topics": _DESCRIBING,
}
"""Requests of the client that one node answers alone, and which modules may make them."""

READS_ANSWERS_IN_PARTS = {
    "orderflow.kafka.answers": "the one place",
    "orderflow.kafka.reader": "tells a topic that is gone from one that cannot be seen",
}
"""What may ask for offsets that are committed, or look topics up in metadata, and why."""

OPENS_FILES = {
    "orderflow.cli.given_file": "what a command line names",
    "orderflow.cli.run": "the null device",
    "orderflow.consume.watchdog": "the null device",
    "orderflow.consume.process_figures": "what the system says of this process",
    "orderflow.produce.undelivered": "a file of its own",
    "orderflow.avro.schema_store": "schemas, whose files are settings",
    "config": ".env, and files of secrets",
}
"""What may open a file by its name, and which."""

JOINS_LINES = {
    "orderflow.exits": "the text of an error for whoever does not print it",
    "orderflow.cli.log": "a formatter of the standard library returns one text; what it joins is escaped",
    "orderflow.dlq.watch.screens": "a widget takes one text",
    "orderflow.cli.json_notes": "a field of an object, in which a line break is data",
    "orderflow.cli.arguments": "argparse takes an epilog as one text",
    "orderflow.avro.strict_reader": "Python's source",
}
"""What may make one text of several lines, and why."""

EXPECTED_FAILURES = {
    *("CommandError", "UsageError", "KafkaUnreachable", "NotReady", "TopicMissing", "Refused", "Tripped"),
    *("ConfigError", "Fenced", "Interrupted", "Unreadable", "SchemaRejected"),
}

LISTS = ("Owns:", "Does not know:", "Used by:")

LISTED = "lists what it owns or who uses it"

KNOWN: Dict[str, Tuple[str, ...]] = {
    "one look into the headers serves the rows and their reader": (
        "orderflow.dlq.explain imports orderflow.dlq.dialects._pick",
    ),
}
"""Violations that only a change of the code can remove, by the reason. This list only shrinks."""


class Module(NamedTuple):
    """One source file: its dotted name, its text and syntax tree, and all that it imports, names included."""

    name: str
    text: str
    tree: ast.Module
    imports: Set[str]


Modules = Dict[str, Module]
Graph = Dict[str, Set[str]]
Rule = Callable[[Modules], List[str]]


# ---- reading the tree


def modules_of(root: Path) -> Modules:
    """Every module of the package, the scripts and the tools, by name; `__init__` goes by its folder's."""
    files = [*root.glob("*.py"), *root.glob("orderflow/**/*.py"), *root.glob("tools/*.py")]
    return {module.name: module for module in (_read(root, file) for file in files)}


def _read(root: Path, file: Path) -> Module:
    text = file.read_text(encoding="utf-8")
    tree = ast.parse(text)
    parts = file.relative_to(root).with_suffix("").parts
    return Module(".".join(part for part in parts if part != "__init__"), text, tree, set(_imported(tree)))


def _imported(tree: ast.Module) -> Iterator[str]:
    """`from a.b import c` imports `a.b`, and `a.b.c`, which may be a module too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def _package(modules: Modules) -> List[Module]:
    return [module for name, module in modules.items() if name.startswith("orderflow.")]


def _is_folder(name: str, modules: Modules) -> bool:
    return any(other.startswith(f"{name}.") for other in modules)


def _arrows(modules: Modules) -> Graph:
    """Which files of the package import which."""
    files = {module.name for module in _package(modules) if not _is_folder(module.name, modules)}
    return {name: modules[name].imports & files for name in files}


def _rooms(modules: Modules) -> Graph:
    """Which folders import which. Inside `dlq`, a file beside the folders is a room of its own."""
    rooms: Graph = {}
    for name, others in _arrows(modules).items():
        rooms.setdefault(_room(name), set()).update({_room(other) for other in others} - {_room(name)})
    return rooms


def _room(name: str) -> str:
    folder = name.rpartition(".")[0]
    return name if folder in ("orderflow", "orderflow.dlq") else folder


# ---- the rules


def package_knows_no_script(modules: Modules) -> List[str]:
    """Nothing in the package imports a script, the settings, the tools or the tests."""
    outside = {*SCRIPTS, "tools", "tests"}
    return [
        f"{module.name} imports {name}"
        for module in _package(modules)
        for name in sorted(module.imports)
        if name.split(".")[0] in outside
    ]


def folders_point_down(modules: Modules) -> List[str]:
    """A folder imports from lower floors only: nothing above it, and no neighbour."""
    return _wrong_arrows(modules, "orderflow", FLOORS)


def dead_letters_point_down(modules: Modules) -> List[str]:
    """Inside `dlq`: verbs, replay, topic and output, selection, letter, dialects, and nothing back."""
    return _wrong_arrows(modules, "orderflow.dlq", DLQ_FLOORS)


def _wrong_arrows(modules: Modules, package: str, floors: Floors) -> List[str]:
    """The arrows between the parts of a package that do not point to a lower floor, and parts on no floor."""
    height = {part: -floor for floor, parts in enumerate(floors) for part in parts}
    wrong = []
    for module in _package(modules):
        part = _part(module.name, package)
        if part and part not in height:
            wrong.append(f"{module.name} is on no floor")
        wrong += [
            f"{module.name} imports {package}.{other}"
            for other in sorted({_part(name, package) for name in module.imports} - {"", part})
            if part in height and other in height and height[other] >= height[part]
        ]
    return wrong


def _part(name: str, package: str) -> str:
    """The part of a package to which a name belongs: its folder or file right below the package, or none."""
    return name[len(package) + 1 :].split(".")[0] if name.startswith(f"{package}.") else ""


def pure_modules_are_pure(modules: Modules) -> List[str]:
    """What is marked pure imports nothing impure, and only what is marked pure."""
    pure = [module for module in _package(modules) if _is_pure(module.name)]
    impure = [
        f"{module.name} imports {name}"
        for module in pure
        for name in sorted(module.imports)
        if name.split(".")[0] in IMPURE_IMPORTS
    ]
    mixed = [
        f"{name} imports {other}, which is not marked pure"
        for name, others in _arrows(modules).items()
        for other in sorted(others)
        if _is_pure(name) and not _is_pure(other)
    ]
    return impure + mixed + [fault for module in pure for fault in _impure_calls(module)]


def _is_pure(name: str) -> bool:
    return any(name == f"orderflow.{pure}" or name.startswith(f"orderflow.{pure}.") for pure in PURE)


def _impure_calls(module: Module) -> List[str]:
    return [
        f"{module.name} calls {name}() in line {node.lineno}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        for name in [getattr(node.func, "id", getattr(node.func, "attr", ""))]
        if name in IMPURE_CALLS
    ]


def foundations_stand_alone(modules: Modules) -> List[str]:
    """The modules in MAY_IMPORT import no more of the package than is listed there."""
    return [
        f"orderflow.{name} imports {other}"
        for name, allowed in MAY_IMPORT.items()
        if f"orderflow.{name}" in modules
        for other in sorted(modules[f"orderflow.{name}"].imports)
        if other.startswith("orderflow.")
        if not any(f"{other}.".startswith(f"orderflow.{one}.") for one in allowed)
    ]


def no_circles(modules: Modules) -> List[str]:
    """Nothing reaches itself through its imports, no file and no folder."""
    return [
        f"{name} imports itself in a ring"
        for graph in (_arrows(modules), _rooms(modules))
        for name in graph
        if name in _reached(graph, name)
    ]


def _reached(graph: Graph, start: str) -> Set[str]:
    reached: Set[str] = set()
    front = graph[start]
    while front:
        reached |= front
        front = {other for name in front for other in graph.get(name, set())} - reached
    return reached


def private_names_stay_at_home(modules: Modules) -> List[str]:
    """No file of the package imports what another one keeps to itself."""
    return [
        f"{module.name} imports {name}"
        for module in _package(modules)
        for name in sorted(module.imports)
        if name.startswith("orderflow.") and name.rpartition(".")[2].startswith("_")
    ]


def _nodes(modules: Modules, may: Collection[str]) -> Iterator[Tuple[Module, ast.AST]]:
    """All code but that of the tools, and of the modules that may do it."""
    for module in modules.values():
        if module.name not in may and not module.name.startswith("tools"):
            yield from ((module, node) for node in ast.walk(module.tree))


def one_reader_of_the_environment(modules: Modules) -> List[str]:
    """Only config.py reads settings from the environment."""
    return [
        f"{module.name} reads the environment in line {node.lineno}"
        for module, node in _nodes(modules, READS_ENVIRONMENT)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ]


def one_reader_of_headers(modules: Modules) -> List[str]:
    """Only records.py asks a message for its headers, which is dangerous to do twice."""
    return [
        f"{module.name} asks a message for its headers in line {node.lineno}"
        for module in modules.values()
        if module.name != "orderflow.model.records"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and _asked_for(node) == "headers"
    ]


def _asked_for(call: ast.Call) -> object:
    """The method that is called, be it with `methodcaller`."""
    if getattr(call.func, "id", "") == "methodcaller":
        return getattr(call.args[0], "value", None)
    return getattr(call.func, "attr", None)


def one_asker_of_single_nodes(modules: Modules) -> List[str]:
    """What only a leader or the controller answers is asked where a dead one is not waited for."""
    return [
        f"{module.name} asks a single node with {_called(node)} in line {node.lineno}"
        for module, node in _nodes(modules, ())
        if isinstance(node, ast.Call)
        and module.name not in ASKED_OF_ONE_NODE.get(_called(node), (module.name,))
        if not any(given.arg == "cached" for given in node.keywords)
    ]


def one_reader_of_answers_in_parts(modules: Modules) -> List[str]:
    """A partition or topic that Kafka refuses to tell of looks like one without commits or partitions."""
    return [
        f"{module.name} reads an answer in line {node.lineno} that may be refused in parts"
        for module, node in _nodes(modules, READS_ANSWERS_IN_PARTS)
        if (isinstance(node, ast.Call) and _called(node) == "committed" and _of_a_client(node))
        or (isinstance(node, ast.Subscript) and getattr(node.value, "attr", "") == "topics")
    ]


def _of_a_client(call: ast.Call) -> bool:
    owner = getattr(call.func, "value", None)
    return "consumer" in str(getattr(owner, "id", getattr(owner, "attr", "")))


def nobody_flushes_a_client(modules: Modules) -> List[str]:
    """The client's flush may lose the words of a fatal error: see kafka.delivery."""
    return [
        f"{module.name} calls flush in line {node.lineno}"
        for module, node in _nodes(modules, ())
        if isinstance(node, ast.Call) and _called(node) == "flush" and (node.args or node.keywords)
    ]


def one_way_out(modules: Modules) -> List[str]:
    """Text reaches a terminal through cli.output only, and what could control it is shown instead."""
    return [
        f"{module.name} {fault} in line {node.lineno}"
        for module, node in _nodes(modules, WRITES_TEXT)
        for fault in [_way_around(node)]
        if fault and isinstance(node, ast.expr)
    ]


def _way_around(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "sys":
        return f"takes sys.{node.attr}" if node.attr.strip("_") in ("stdout", "stderr") else ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and "\x1b" in node.value:
        return "has a terminal's control sequence"
    if not isinstance(node, ast.Call):
        return ""
    method = getattr(node.func, "attr", "")
    if method == "write" and len(node.args) > 1 and _owner(node) != "os":
        return ""  # of something that is no stream
    if method in ("write", "writelines", "print_exc") or getattr(node.func, "id", "") == "print":
        return f"calls {method or 'print'}()"
    return ""


def _owner(call: ast.Call) -> str:
    return str(getattr(getattr(call.func, "value", None), "id", ""))


def _called(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return str(getattr(node.func, "id", getattr(node.func, "attr", "")))


def one_opener(modules: Modules) -> List[str]:
    """What a command line names is opened in one place: all scripts answer alike where it cannot be."""
    return [
        f"{module.name} opens a file in line {node.lineno}"
        for module, node in _nodes(modules, OPENS_FILES)
        if isinstance(node, ast.Call) and _opens(node)
    ]


def _opens(call: ast.Call) -> bool:
    if isinstance(call.func, ast.Name):
        return call.func.id == "open"
    method = getattr(call.func, "attr", "")
    return method in ("read_text", "read_bytes") or (method == "open" and _owner(call) == "os")


def errors_are_made_of_lines(modules: Modules) -> List[str]:
    """Each line of an expected failure is an argument: a line break within one is data, and shown as such."""
    return [
        f"{module.name} makes one text of several lines in line {call.lineno}"
        for module, call in _nodes(modules, JOINS_LINES)
        if isinstance(call, ast.Call)
        for part in ast.walk(call.func if _called(call) == "join" else call)
        if _called(call) in EXPECTED_FAILURES | {"join"}
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and "\n" in part.value
    ]


def every_file_says_what_it_is(modules: Modules) -> List[str]:
    """Each file opens with a docstring whose first sentence, on a line of its own, says what the file is."""
    return [
        f"{module.name} does not say in its first line what it is"
        for module in modules.values()
        if not (ast.get_docstring(module.tree) or "").partition("\n")[0].endswith(".")
    ]


def no_head_lists_its_users(modules: Modules) -> List[str]:
    """No head says what its file owns or who uses it: the folders' rules hold the first, the second rots."""
    return [
        f"{module.name} {LISTED}"
        for module in modules.values()
        if any(line.startswith(LISTS) for line in (ast.get_docstring(module.tree) or "").splitlines())
    ]


def every_folder_names_its_files(modules: Modules) -> List[str]:
    """A folder's `__init__` gives the order in which to read it, and leaves no file out."""
    return [
        f"{folder} does not name {name}"
        for folder, module in modules.items()
        if folder.startswith("orderflow.") and _is_folder(folder, modules)
        for name in sorted({_part(other, folder) for other in modules} - {""})
        if name not in (ast.get_docstring(module.tree) or "")
    ]


def what_is_drawn_has_a_stand_in(modules: Modules) -> List[str]:
    """No literal has a character that a terminal may lack, but those that take one of ASCII instead there.

    It may be named by its code: so are those that are only looked for, and never shown.
    """
    return [
        f"{module.name} draws {char!r}, for which STAND_INS has nothing"
        for module in modules.values()
        for char in sorted(_drawn(module) - set(STAND_INS))
    ]


def _drawn(module: Module) -> Set[str]:
    """The characters beyond ASCII in the literals of a file. Of docstrings only a script's is shown."""
    if module.text.isascii():
        return set()
    nodes = ast.walk(module.tree) if "." in module.name else ast.walk(ast.Module(module.tree.body[1:], []))
    docs = {
        (node.lineno, node.col_offset)
        for node in nodes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    tokens = tokenize.generate_tokens(io.StringIO(module.text).readline)
    literals = (token for token in tokens if token.type in _LITERALS and token.start not in docs)
    return {char for token in literals for char in token.string if not char.isascii()}


_LITERALS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
"""From Python 3.12 on, an f-string is several tokens."""


RULES: List[Rule] = [
    package_knows_no_script,
    folders_point_down,
    dead_letters_point_down,
    pure_modules_are_pure,
    foundations_stand_alone,
    no_circles,
    private_names_stay_at_home,
    one_reader_of_the_environment,
    one_reader_of_headers,
    one_asker_of_single_nodes,
    one_reader_of_answers_in_parts,
    nobody_flushes_a_client,
    one_way_out,
    one_opener,
    errors_are_made_of_lines,
    every_file_says_what_it_is,
    no_head_lists_its_users,
    every_folder_names_its_files,
    what_is_drawn_has_a_stand_in,
]


# ---- held against the project


@lru_cache(maxsize=None)
def _project() -> Modules:
    return modules_of(ROOT)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps(rule: Rule) -> None:
    """The rule has no violation in the project but those that are known."""
    assert [violation for violation in rule(_project()) if violation not in _known()] == []


def test_what_is_known_is_still_so() -> None:
    """A violation that was removed leaves the list too."""
    modules = _project()

    assert _known() <= {violation for rule in RULES for violation in rule(modules)}


def _known() -> Set[str]:
    return {violation for violations in KNOWN.values() for violation in violations}


def test_the_project_is_there() -> None:
    """The rules looked at the real files: a path that matches nothing would keep every rule."""
    modules = _project()

    assert {"config", "consumer", "orderflow.consume.ledger", "tools.local_kafka"} <= set(modules)
    for package, floors in (("orderflow", FLOORS), ("orderflow.dlq", DLQ_FLOORS)):
        on_floors = {part for floor in floors for part in floor}
        assert {_part(name, package) for name in modules} - {""} == on_floors


# ---- held against trees that break them


@pytest.mark.parametrize(
    ("rule", "file", "source"),
    [
        (package_knows_no_script, "orderflow/consume/session.py", "from config import Settings"),
        (package_knows_no_script, "orderflow/kafka/reader.py", "import dlq_handler"),
        (package_knows_no_script, "orderflow/kafka/reader.py", "def late():\n    from tools import jvm"),
        (folders_point_down, "orderflow/model/orders.py", "from orderflow.avro import codec"),
        (folders_point_down, "orderflow/avro/codec.py", "import orderflow.kafka.topics"),
        (folders_point_down, "orderflow/consume/loop.py", "from orderflow.dlq.letter import Letter"),
        (folders_point_down, "orderflow/dlq/replay/judge.py", "from orderflow import produce"),
        (folders_point_down, "orderflow/errors.py", "from orderflow.exits import OK"),
        (folders_point_down, "orderflow/exits.py", "def late():\n    import orderflow.model.records"),
        (folders_point_down, "orderflow/helpers.py", ""),
        (folders_point_down, "orderflow/common/text.py", ""),
        (dead_letters_point_down, "orderflow/dlq/dialects.py", "from orderflow.dlq import letter"),
        (dead_letters_point_down, "orderflow/dlq/output/listing.py", "from orderflow.dlq.topic import Topic"),
        (dead_letters_point_down, "orderflow/dlq/replay/flags.py", "from orderflow.dlq.verbs import replay"),
        (dead_letters_point_down, "orderflow/dlq/selection.py", "import orderflow.dlq.replay.request"),
        (dead_letters_point_down, "orderflow/dlq/more.py", ""),
        (pure_modules_are_pure, "orderflow/consume/ledger.py", "import time"),
        (pure_modules_are_pure, "orderflow/consume/retry.py", "from random import random"),
        (pure_modules_are_pure, "orderflow/model/newcomer.py", "from pathlib import Path"),
        (pure_modules_are_pure, "orderflow/avro/codec.py", "def decode():\n    import confluent_kafka.admin"),
        (pure_modules_are_pure, "orderflow/dlq/output/listing.py", "from os.path import join"),
        (pure_modules_are_pure, "orderflow/dlq/selection.py", "def f():\n    return datetime.now()"),
        (pure_modules_are_pure, "orderflow/dlq/where.py", "def f():\n    return open('x')"),
        (foundations_stand_alone, "orderflow/consume/session.py", "from orderflow.avro import codec"),
        (foundations_stand_alone, "orderflow/consume/retry.py", "import orderflow.model.records"),
        (no_circles, "orderflow/consume/a.py", "from orderflow.consume import a"),
        (private_names_stay_at_home, "orderflow/dlq/explain.py", "from orderflow.dlq.letter import _kind"),
        (one_reader_of_the_environment, "orderflow/kafka/topics.py", "import os\nos.environ.get('X')"),
        (one_reader_of_the_environment, "producer.py", "import os\nos.getenv('X')"),
        (one_reader_of_headers, "orderflow/kafka/reader.py", "def f(m):\n    return m.headers() or []"),
        (one_reader_of_headers, "orderflow/consume/session.py", "ask = methodcaller('headers')"),
        (one_reader_of_headers, "tools/demo.py", "def f(m):\n    return list(m.headers())"),
        (
            one_asker_of_single_nodes,
            "orderflow/kafka/reader.py",
            "def f(c, p):\n    c.get_watermark_offsets(p)",
        ),
        (one_asker_of_single_nodes, "consumer.py", "def f(c, p):\n    return c.offsets_for_times([p], 1)"),
        (one_asker_of_single_nodes, "producer.py", "def f(c):\n    c.create_topics([])"),
        (
            one_reader_of_answers_in_parts,
            "consumer.py",
            "def f(s, p):\n    return s._consumer.committed([p], 1)",
        ),
        (
            one_reader_of_answers_in_parts,
            "producer.py",
            "def f(c):\n    return c.list_topics('t').topics['t']",
        ),
        (nobody_flushes_a_client, "orderflow/kafka/reader.py", "def f(c):\n    c.flush(5)"),
        (one_way_out, "producer.py", "print('sent')"),
        (one_way_out, "orderflow/kafka/topics.py", "import os\nos.write(2, b'x')"),
        (one_way_out, "orderflow/dlq/desk.py", "def say(out):\n    out.write('sent')"),
        (one_way_out, "orderflow/dlq/verbs/list.py", "import sys\nout = sys.stdout"),
        (one_way_out, "orderflow/dlq/output/listing.py", "BOLD = '\\x1b[1m'"),
        (one_opener, "producer.py", "def f(path):\n    return open(path, 'rb')"),
        (one_opener, "orderflow/dlq/verbs/list.py", "text = Path('x').read_text()"),
        (errors_are_made_of_lines, "producer.py", "def told(lines):\n    return '\\n'.join(lines)"),
        (errors_are_made_of_lines, "consumer.py", "CommandError(f'{one}\\n{other}')"),
        (errors_are_made_of_lines, "orderflow/kafka/topics.py", "exits.Refused('\\n'.join(lines))"),
        (every_file_says_what_it_is, "producer.py", ""),
        (every_file_says_what_it_is, "tools/demo.py", "import os"),
        (no_head_lists_its_users, "producer.py", '"""Publish orders.\n\nUsed by: people.\n"""'),
        (what_is_drawn_has_a_stand_in, "orderflow/dlq/desk.py", '"""Desk."""\nARROW = "→"'),
        (what_is_drawn_has_a_stand_in, "orderflow/cli/status.py", 'def f(n):\n    return f"{n} × {n:,}"'),
        (what_is_drawn_has_a_stand_in, "producer.py", '"""Publish orders → Kafka."""'),
        (every_file_says_what_it_is, "orderflow/kafka/topics.py", '"""Topics, and how they\nare created."""'),
    ],
)
def test_a_rule_sees_what_breaks_it(rule: Rule, file: str, source: str, tmp_path: Path) -> None:
    """One broken file in a tree is one that the rule names."""
    _write(tmp_path, file, source)

    violations = rule(modules_of(tmp_path))

    assert violations
    assert Path(file).stem in violations[0]


def test_a_pure_file_must_not_lean_on_an_impure_one(tmp_path: Path) -> None:
    """What is pure only by name is seen through what it imports."""
    _write(tmp_path, "orderflow/dlq/replay/judge.py", "from orderflow.dlq.replay.sending import who")
    _write(tmp_path, "orderflow/dlq/replay/sending.py", "")

    assert ["judge" in violation for violation in pure_modules_are_pure(modules_of(tmp_path))] == [True]


def test_a_longer_circle_is_seen(tmp_path: Path) -> None:
    """Three modules in a ring are all named."""
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        _write(tmp_path, f"orderflow/consume/{name}.py", f"import orderflow.consume.{other}")

    assert len(no_circles(modules_of(tmp_path))) == 3


def test_a_circle_of_folders_is_seen(tmp_path: Path) -> None:
    """Two folders that need each other are one, even where no two of their files are a ring."""
    _write(tmp_path, "orderflow/avro/a.py", "from orderflow.kafka import b")
    _write(tmp_path, "orderflow/kafka/b.py", "")
    _write(tmp_path, "orderflow/kafka/c.py", "from orderflow.avro.d import name")
    _write(tmp_path, "orderflow/avro/d.py", "")

    assert sorted(violation.split()[0] for violation in no_circles(modules_of(tmp_path))) == [
        "orderflow.avro",
        "orderflow.kafka",
    ]


def test_a_file_that_its_folder_does_not_name_is_seen(tmp_path: Path) -> None:
    """The reading order of a folder is whole, or it is wrong."""
    _write(tmp_path, "orderflow/kafka/__init__.py", '"""To read: topics."""')
    _write(tmp_path, "orderflow/kafka/topics.py", "")
    _write(tmp_path, "orderflow/kafka/reader.py", "")

    assert every_folder_names_its_files(modules_of(tmp_path)) == ["orderflow.kafka does not name reader"]


def _write(root: Path, file: str, source: str) -> None:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
