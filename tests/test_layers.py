"""The shape of the code: what may know what, and what every file tells a newcomer.

The rules are functions from a source tree to its violations. They are held against the project, and against
small trees that break each of them on purpose: a rule that cannot fail protects nothing.
"""

import ast
from pathlib import Path
from typing import Callable, Dict, Iterator, List, NamedTuple, Set

import pytest

ROOT = Path(__file__).resolve().parent.parent

SCRIPTS = ("producer", "consumer", "dlq_handler", "config")

PURE = (
    "audit", "avro_schema", "brakes", "caution", "codec", "dead_letters", "decode_reasons", "delivery_id",
    "dialects", "encoder", "errors", "events", "evolution", "framing", "ledger", "letters",
    "orders", "outbox", "portrait", "projection", "records", "render", "replay", "results", "retry",
    "schema_references", "selection", "staleness", "strict_reader", "tally", "text", "time_spans", "values",
    "walk", "where",
)
"""No clock, no random number, no I/O, no client: given the same arguments, the same answer."""

IMPURE_IMPORTS = (
    "confluent_kafka", "os", "time", "random", "logging", "socket", "threading", "dotenv", "config",
    "subprocess", "pathlib", "secrets", "uuid", "select", "signal", "queue", "sys", "faker", "urllib", "http",
)

IMPURE_CALLS = ("open", "input", "print", "now", "utcnow", "today")
"""What needs no import to read a clock or a file."""

MAY_IMPORT: Dict[str, Set[str]] = {
    "errors": set(),
    "records": set(),
    "text": set(),
    "ledger": set(),
    "retry": {"errors"},
    "orders": {"errors"},
    "session": {"records", "workers"},
    "delivery_id": {"records"},
    "dead_letters": {"delivery_id", "errors", "records"},
}
"""The modules that others lean on, and all that each may lean on: an arrow the other way is a knot."""

READS_ENVIRONMENT = ("config", "orderflow.cli")
"""Settings are read in one place; cli.py looks at NO_COLOR and TERM, which are the terminal's."""

HEAD = ("Owns:", "Does not know:", "Used by:")


class Module(NamedTuple):
    """One source file: its dotted name, its syntax tree, and the modules that it imports."""

    name: str
    tree: ast.Module
    imports: Set[str]


Modules = Dict[str, Module]
Rule = Callable[[Modules], List[str]]


# ---- reading the tree


def modules_of(root: Path) -> Modules:
    """Every module of the package, the scripts and the tools, by name."""
    files = [*root.glob("*.py"), *root.glob("orderflow/*.py"), *root.glob("tools/*.py")]
    return {module.name: module for module in (_read(root, file) for file in files)}


def _read(root: Path, file: Path) -> Module:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    name = ".".join(file.relative_to(root).with_suffix("").parts)
    return Module(name, tree, set(_imported(tree)))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module in ("orderflow", "tools"):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."


def _package(modules: Modules) -> List[Module]:
    return [module for name, module in modules.items() if name.startswith("orderflow.")]


def _inside(module: Module) -> Set[str]:
    """The package's own modules that this one imports, by their short names."""
    return {name.split(".")[1] for name in module.imports if name.startswith("orderflow.")}


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


def pure_modules_are_pure(modules: Modules) -> List[str]:
    """What is marked pure imports nothing impure, and only what is marked pure."""
    pure = [modules[f"orderflow.{name}"] for name in PURE if f"orderflow.{name}" in modules]
    impure = [
        f"{module.name} imports {name}"
        for module in pure
        for name in sorted(module.imports)
        if name.split(".")[0] in IMPURE_IMPORTS
    ]
    mixed = [
        f"{module.name} imports {name}, which is not marked pure"
        for module in pure
        for name in sorted(_inside(module) - set(PURE))
    ]
    return impure + mixed + [fault for module in pure for fault in _impure_calls(module)]


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
        for other in sorted(_inside(modules[f"orderflow.{name}"]) - allowed)
    ]


def no_cycles(modules: Modules) -> List[str]:
    """No module of the package reaches itself through its imports."""
    graph = {module.name.split(".")[1]: _inside(module) for module in _package(modules)}
    return [f"orderflow.{name} imports itself in a ring" for name in graph if name in _reached(graph, name)]


def _reached(graph: Dict[str, Set[str]], start: str) -> Set[str]:
    reached: Set[str] = set()
    front = graph[start]
    while front:
        reached |= front
        front = {other for name in front for other in graph.get(name, set())} - reached
    return reached


def one_reader_of_the_environment(modules: Modules) -> List[str]:
    """Only config.py reads settings from the environment."""
    return [
        f"{module.name} reads the environment in line {node.lineno}"
        for module in modules.values()
        if module.name not in READS_ENVIRONMENT and not module.name.startswith("tools.")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    ]


def one_reader_of_headers(modules: Modules) -> List[str]:
    """Only records.py asks a message for its headers, which is dangerous to do twice."""
    return [
        f"{module.name} asks a message for its headers in line {node.lineno}"
        for module in modules.values()
        if module.name != "orderflow.records"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and _asked_for(node) == "headers"
    ]


def _asked_for(call: ast.Call) -> object:
    """The method that is called, be it with `methodcaller`."""
    if getattr(call.func, "id", "") == "methodcaller":
        return getattr(call.args[0], "value", None)
    return getattr(call.func, "attr", None)


def every_module_has_a_head(modules: Modules) -> List[str]:
    """Each file opens with what it owns, what it does not know, and who uses it."""
    return [
        f"{module.name} does not say `{part}`"
        for module in modules.values()
        if not module.name.endswith("__init__")
        for part in HEAD
        if part not in (ast.get_docstring(module.tree) or "")
    ]


RULES: List[Rule] = [
    package_knows_no_script,
    pure_modules_are_pure,
    foundations_stand_alone,
    no_cycles,
    one_reader_of_the_environment,
    one_reader_of_headers,
    every_module_has_a_head,
]


# ---- held against the project


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps(rule: Rule) -> None:
    """The rule has no violation in the project."""
    assert rule(modules_of(ROOT)) == []


def test_the_project_is_there() -> None:
    """The rules looked at the real files: a path that matches nothing would keep every rule."""
    assert {"config", "consumer", "orderflow.ledger", "tools.local_kafka"} <= set(modules_of(ROOT))


# ---- held against trees that break them


@pytest.mark.parametrize(
    ("rule", "file", "source"),
    [
        (package_knows_no_script, "orderflow/session.py", "from config import Settings"),
        (package_knows_no_script, "orderflow/reader.py", "import dlq_handler"),
        (package_knows_no_script, "orderflow/reader.py", "def late():\n    from tools import jvm"),
        (pure_modules_are_pure, "orderflow/ledger.py", "import time"),
        (pure_modules_are_pure, "orderflow/retry.py", "from random import random"),
        (pure_modules_are_pure, "orderflow/codec.py", "def decode():\n    import confluent_kafka.admin"),
        (pure_modules_are_pure, "orderflow/render.py", "from os.path import join"),
        (pure_modules_are_pure, "orderflow/replay.py", "from orderflow.session import Session"),
        (pure_modules_are_pure, "orderflow/selection.py", "def f():\n    return datetime.now()"),
        (pure_modules_are_pure, "orderflow/where.py", "def f():\n    return open('x')"),
        (foundations_stand_alone, "orderflow/session.py", "from orderflow import codec"),
        (foundations_stand_alone, "orderflow/errors.py", "import orderflow.records"),
        (no_cycles, "orderflow/a.py", "from orderflow import a"),
        (one_reader_of_the_environment, "orderflow/topics.py", "import os\nos.environ.get('X')"),
        (one_reader_of_the_environment, "producer.py", "import os\nos.getenv('X')"),
        (one_reader_of_headers, "orderflow/reader.py", "def f(message):\n    return message.headers() or []"),
        (one_reader_of_headers, "orderflow/session.py", "ask = methodcaller('headers')"),
        (one_reader_of_headers, "tools/demo.py", "def f(message):\n    return list(message.headers())"),
        (every_module_has_a_head, "orderflow/topics.py", '"""Topics.\n\nOwns: topics.\n"""'),
        (every_module_has_a_head, "producer.py", ""),
    ],
)
def test_a_rule_sees_what_breaks_it(rule: Rule, file: str, source: str, tmp_path: Path) -> None:
    """One broken file in a tree is one that the rule names."""
    _write(tmp_path, file, source)

    violations = rule(modules_of(tmp_path))

    assert violations
    assert Path(file).stem in violations[0]


def test_a_longer_cycle_is_seen(tmp_path: Path) -> None:
    """Three modules in a ring are all named."""
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        _write(tmp_path, f"orderflow/{name}.py", f"import orderflow.{other}")

    assert len(no_cycles(modules_of(tmp_path))) == 3


def _write(root: Path, file: str, source: str) -> None:
    path = root / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(source, encoding="utf-8")
