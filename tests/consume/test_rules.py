"""How the engine's parts talk: by arguments and results, never by reaching into one another.

The rules are functions from a source tree to its violations. They are held against the engine, and against
small trees that break each of them on purpose: a rule that cannot fail protects nothing.
"""

import ast
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Set, Tuple, Union

import pytest

ENGINE = Path(__file__).resolve().parent.parent.parent / "orderflow" / "consume"

MOST_ARGUMENTS = 6
MOST_METHODS = 26
MOST_LINES = 240

WRITERS = ("setattr", "delattr", "__setattr__", "__delattr__")
"""Calls that set an attribute without an assignment."""
NAMESPACES = ("__dict__", "vars")
"""An object's attributes as a dictionary, through which they can be set as well."""

Function = Union[ast.FunctionDef, ast.AsyncFunctionDef]


class Module(NamedTuple):
    """One file of the engine and its syntax tree."""

    name: str
    tree: ast.Module


Rule = Callable[[Module], List[str]]

KNOWN: Dict[str, Set[str]] = {}
"""By file, the rules that it still breaks. This list only shrinks."""


# ---- the rules


def attributes_are_set_by_their_owner(module: Module) -> List[str]:
    """An attribute is set on `self` only: no other object's, no part's of `self`, and by no back door."""
    written = (
        (node.lineno, _outside_write(node))
        for node in ast.walk(module.tree)
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Call))
    )
    return [f"line {line}: {what}" for line, what in written if what]


def _outside_write(node: Union[ast.Attribute, ast.Subscript, ast.Call]) -> str:
    if isinstance(node, ast.Call):
        if _last_name(node.func) in WRITERS:
            return f"calls {_last_name(node.func)}"
        owner = getattr(node.func, "value", None)
        return "reaches into an object's dictionary" if owner and _last_name(owner) in NAMESPACES else ""
    if not isinstance(node.ctx, (ast.Store, ast.Del)):
        return ""
    if isinstance(node, ast.Attribute):
        return "" if _is_self(node.value) else f"sets .{node.attr} of another object"
    return "sets an attribute through an object's dictionary" if _last_name(node.value) in NAMESPACES else ""


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _last_name(node: ast.AST) -> str:
    """`c` of `a.b.c` and of `c`; of a call, the name that is called."""
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    return getattr(node, "attr", getattr(node, "id", ""))


def constructors_take_few_arguments(module: Module) -> List[str]:
    """No constructor takes more than six arguments, be it written or a dataclass's."""
    counted = ((kind, _arguments(kind)) for kind in _classes(module) if not _is_value(kind))
    return [f"{kind.name} takes {count} arguments" for kind, count in counted if count > MOST_ARGUMENTS]


def _arguments(kind: ast.ClassDef) -> int:
    """Arguments of the constructor without `self`. `*rest` counts as one: it may hide any number."""
    written = [method.args for method in _methods(kind) if method.name in ("__init__", "__new__")]
    if not written and any(_last_name(decorator) == "dataclass" for decorator in kind.decorator_list):
        return sum(isinstance(node, ast.AnnAssign) for node in kind.body)
    return max((_count(arguments) for arguments in written), default=0)


def _count(arguments: ast.arguments) -> int:
    named = [*getattr(arguments, "posonlyargs", []), *arguments.args, *arguments.kwonlyargs]
    return len(named) - 1 + bool(arguments.vararg) + bool(arguments.kwarg)


def _is_value(kind: ast.ClassDef) -> bool:
    """A NamedTuple: plain values under one name, which are what many arguments are grouped into."""
    return any(_last_name(base) == "NamedTuple" for base in kind.bases)


def classes_are_small(module: Module) -> List[str]:
    """No class has more than so many methods, properties included, or lines."""
    sizes = ((kind, len(_methods(kind)), _lines(kind)) for kind in _classes(module))
    return [
        f"{kind.name} has {methods} methods in {lines} lines"
        for kind, methods, lines in sizes
        if methods > MOST_METHODS or lines > MOST_LINES
    ]


def _lines(kind: ast.ClassDef) -> int:
    """From the first decorator to the last line, docstrings and blank lines included."""
    first = min([kind.lineno, *(decorator.lineno for decorator in kind.decorator_list)])
    return (kind.end_lineno or first) - first + 1


def _classes(module: Module) -> List[ast.ClassDef]:
    return [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]


def _methods(kind: ast.ClassDef) -> List[Function]:
    return [node for node in kind.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


RULES: Tuple[Rule, ...] = (
    attributes_are_set_by_their_owner,
    constructors_take_few_arguments,
    classes_are_small,
)


# ---- held against the engine


def modules_of(folder: Path) -> List[Module]:
    """Every file of a folder and of those in it."""
    files = sorted(folder.glob("**/*.py"))
    return [Module(file.stem, ast.parse(file.read_text(encoding="utf-8"))) for file in files]


@lru_cache(maxsize=None)
def _engine() -> Tuple[Module, ...]:
    return tuple(modules_of(ENGINE))


def _broken(modules: Tuple[Module, ...], rule: Rule) -> Dict[str, List[str]]:
    """By file, the violations of the rule."""
    found = {module.name: rule(module) for module in modules}
    return {name: violations for name, violations in found.items() if violations}


def _known(rule: Rule) -> Set[str]:
    return {name for name, rules in KNOWN.items() if rule.__name__ in rules}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_engine_keeps(rule: Rule) -> None:
    """No file breaks the rule but those that are known to."""
    broken = _broken(_engine(), rule)

    assert {name: violations for name, violations in broken.items() if name not in _known(rule)} == {}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_what_is_known_is_still_so(rule: Rule) -> None:
    """A file that keeps the rule by now leaves the list."""
    assert _known(rule) <= set(_broken(_engine(), rule))


def test_the_engine_is_there() -> None:
    """The rules looked at the real files: a path that matches nothing would keep every rule."""
    names = {module.name for module in _engine()}

    assert {"session", "transaction", "workers"} <= names
    assert sum(len(_classes(module)) for module in _engine()) > 20
    assert {rule for rules in KNOWN.values() for rule in rules} <= {rule.__name__ for rule in RULES}


# ---- held against trees that break them


WRITES = {
    "another's attribute": "def f(a):\n    a.b = 1",
    "a part of self": "def f(self):\n    self.a.b = 1",
    "what a call gives": "def f(a):\n    a().b = 1",
    "an element": "def f(a):\n    a[0].b = 1",
    "counting up": "def f(a):\n    a.b += 1",
    "with a type": "def f(a):\n    a.b: int = 1",
    "one of several": "def f(self, a):\n    self.b, (c, *a.d) = 1, (2, 3)",
    "a loop": "def f(a):\n    for a.b in (1, 2):\n        pass",
    "a context": "def f(a):\n    with a as a.b:\n        pass",
    "taking away": "def f(a):\n    del a.b",
    "a module": "import sys\nsys.stdout = None",
    "setattr": "def f(a):\n    setattr(a, 'b', 1)",
    "delattr": "def f(a):\n    delattr(a, 'b')",
    "the base's setattr": "def f(a):\n    object.__setattr__(a, 'b', 1)",
    "the dictionary": "def f(a):\n    a.__dict__['b'] = 1",
    "vars": "def f(a):\n    vars(a)['b'] = 1",
    "vars, updated": "def f(a):\n    vars(a).update(b=1)",
    "the dictionary, updated": "def f(a):\n    a.__dict__.update(b=1)",
}


@pytest.mark.parametrize("source", WRITES.values(), ids=WRITES.keys())
def test_setting_what_another_owns_is_seen(source: str) -> None:
    """However it is spelt."""
    assert len(attributes_are_set_by_their_owner(_module(source))) == 1


OWN = "def f(self, a):\n    self.b = a.c\n    self.d[a.e] = 1\n    a.f()\n    del self.b\n    a[0] = self.d"


def test_setting_what_is_ones_own_is_allowed() -> None:
    """Reading, calling, and filling one's own or a given dictionary too."""
    assert attributes_are_set_by_their_owner(_module(OWN)) == []


CONSTRUCTORS = {
    "plain": ("def __init__(self, {}): ...", 0),
    "by name": ("def __init__(self, *, {}): ...", 0),
    "and the rest": ("def __init__(self, {}, *rest): ...", 1),
    "and named rest": ("def __init__(self, {}, **rest): ...", 1),
    "with defaults": ("def __init__(self, {}=None): ...", 0),
    "new": ("def __new__(cls, {}): ...", 0),
}


@pytest.mark.parametrize(("form", "more"), CONSTRUCTORS.values(), ids=CONSTRUCTORS.keys())
def test_the_seventh_argument_is_seen(form: str, more: int) -> None:
    """Six are allowed, wherever they stand in the list."""
    for count, violations in ((6 - more, 0), (7 - more, 1)):
        names = ", ".join(f"a{number}" for number in range(count))
        source = f"class A:\n    {form.format(names)}"
        assert len(constructors_take_few_arguments(_module(source))) == violations, source


def test_fields_of_a_dataclass_are_arguments_and_those_of_a_value_are_not() -> None:
    """A NamedTuple is what many arguments are grouped into."""
    fields = "\n".join(f"    a{number}: int" for number in range(7))

    assert constructors_take_few_arguments(_module(f"@dataclass\nclass A:\n{fields}"))
    assert constructors_take_few_arguments(
        _module(f"@dataclasses.dataclass(frozen=True)\nclass A:\n{fields}")
    )
    assert not constructors_take_few_arguments(_module(f"class A(NamedTuple):\n{fields}"))


def test_a_class_with_too_many_methods_is_seen() -> None:
    """Properties and class methods included."""
    methods = [f"    @property\n    def m{number}(self): ..." for number in range(MOST_METHODS + 1)]

    assert not classes_are_small(_module("class A:\n" + "\n".join(methods[:-1])))
    assert classes_are_small(_module("class A:\n" + "\n".join(methods)))


def test_a_class_with_too_many_lines_is_seen() -> None:
    """Its docstring and its decorators are lines too; a class inside another one counts by itself."""
    lines = "\n".join("    a = 1" for _ in range(MOST_LINES - 2))

    assert not classes_are_small(_module(f"class A:\n    '''Doc.'''\n{lines}"))
    assert classes_are_small(_module(f"class A:\n    '''Doc.\n    '''\n{lines}"))
    assert classes_are_small(_module(f"@final\nclass A:\n    '''Doc.'''\n{lines}"))


def test_files_in_folders_are_looked_at_too(tmp_path: Path) -> None:
    """A file that moves does not leave the rules behind."""
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one.py").write_text(WRITES["setattr"], encoding="utf-8")

    assert [module.name for module in modules_of(tmp_path)] == ["one"]


def _module(source: str) -> Module:
    return Module("sample", ast.parse(source))
