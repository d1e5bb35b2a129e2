"""Where an error began: its frame, its causes and its traceback, however hostile the error is."""

import importlib.util
import json
import sys
import timeit
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import pytest

from orderflow.consume.results import encode_result
from orderflow.consume.tracebacks import LONGEST_LINE, MOST_KINDS, MOST_LINES, Tracebacks, traceback_of
from orderflow.errors import Cause, RejectOrder, describe
from tests.support.memory import Stored

Call = Callable[[Any], Any]
ORDER: Dict[str, Any] = {}


@pytest.fixture
def code(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Import source as a file of its own: `code("shop/prices.py", source)` is its module."""
    known = set(sys.modules)

    def load(path: str, source: str) -> Any:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(source, encoding="utf-8")
        name = path.split("site-packages/")[-1][: -len(".py")].replace("/", ".").replace(".__init__", "")
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - known:
        del sys.modules[name]


def raised(call: Call, *arguments: Any) -> BaseException:
    """What a call raises."""
    try:
        call(*arguments)
    except BaseException as error:  # noqa: BLE001 - that is what it is for
        return error
    raise AssertionError("nothing was raised")


# --- the frame


def test_the_frame_is_the_innermost_of_the_handlers_own_code(code: Callable[..., Any]) -> None:
    """Its file from the top package on, the line, and the function."""
    prices = code("shop/prices.py", "def total(order):\n    lines = order['lines']\n    return sum(lines)\n")

    assert "shop/prices.py:2 in total" == describe(raised(prices.total, {})).frame


def test_the_standard_library_and_the_toolkit_are_passed_over(code: Callable[..., Any]) -> None:
    """The caller is told: json and our own code fail for what they are given."""
    shop = code("shop.py", "def f(call, value):\n    return call(value)\n")

    assert "shop.py:2 in f" == describe(raised(shop.f, json.loads, "{")).frame
    assert "shop.py:2 in f" == describe(raised(shop.f, encode_result, iter)).frame


def test_an_installed_package_counts_where_nothing_else_is_there(code: Callable[..., Any]) -> None:
    """The handler's own frame first, for a driver raises at the same line whatever was asked of it."""
    driver = code("site-packages/driver/__init__.py", "def query():\n    raise OSError('gone')\n")
    shop = code("shop.py", "def f(call):\n    return call()\n")

    assert "shop.py:2 in f" == describe(raised(shop.f, driver.query)).frame
    assert "driver/__init__.py:2 in query" == _frame_without_this_file(driver.query)


def _frame_without_this_file(call: Callable[[], Any]) -> Optional[str]:
    error = raised(lambda _: call(), None)
    assert error.__traceback__ is not None and error.__traceback__.tb_next is not None
    return describe(error.with_traceback(error.__traceback__.tb_next.tb_next)).frame


def test_code_that_is_in_no_file_has_a_frame_too() -> None:
    """It names what Python names."""
    names: Dict[str, Any] = {}
    exec(compile("def f(x):\n    raise ValueError", "<string>", "exec"), names)
    error = raised(names["f"], 1)
    assert error.__traceback__ is not None

    assert "<string>:2 in f" == describe(error.with_traceback(error.__traceback__.tb_next)).frame


def test_what_was_not_raised_by_a_handler_has_no_frame() -> None:
    """An error without a traceback; one of the codec's or of the rules'."""
    assert describe(ValueError()).frame is None
    assert describe(raised(encode_result, {"x": float("nan")})).frame is None


# --- causes


def fails_by_cause() -> None:
    """Fail for a reason below."""
    try:
        ORDER["sku"]
    except KeyError as error:
        raise RuntimeError("cannot price") from error


def test_the_innermost_cause_is_kept_and_its_frame() -> None:
    """`raise … from …` tells what it began with."""
    failure = describe(raised(lambda _: fails_by_cause(), None))

    assert (Cause("KeyError", "'sku'"),) == failure.causes
    assert "KeyError: 'sku'" == failure.cause
    assert failure.frame is not None and failure.frame.endswith("in fails_by_cause")


def test_what_was_raised_while_handling_another_is_no_cause() -> None:
    """Only what the handler says is one."""

    def careless(_: Any) -> None:
        try:
            ORDER["sku"]
        except KeyError:
            raise ValueError("else")  # noqa: B904 - that is the point

    assert () == describe(raised(careless, 1)).causes


class Group(Exception):
    """A group in the form of Python 3.11's and of its backport to older versions."""

    def __init__(self, message: str, exceptions: Sequence[Any]) -> None:
        super().__init__(message)
        self.exceptions = tuple(exceptions)


def group_of(*errors: Any) -> Group:
    return Group(f"unhandled ({len(errors)} sub-exceptions)", errors)


def test_the_members_of_a_group_are_kept() -> None:
    """Each by what it began with, groups in groups too."""
    inner = raised(lambda _: fails_by_cause(), None)
    failure = describe(group_of(ValueError("a"), group_of(inner, OSError())))

    assert "ValueError: a; KeyError: 'sku'; OSError" == failure.cause


@pytest.mark.skipif(sys.version_info < (3, 11), reason="no groups of its own")
def test_pythons_own_group_is_one() -> None:
    kind = getattr(__builtins__, "ExceptionGroup", None) or __builtins__["ExceptionGroup"]  # type: ignore[index]

    assert "ValueError: a; KeyError: 'b'" == describe(kind("both", [ValueError("a"), KeyError("b")])).cause


def test_what_has_exceptions_that_are_none_is_no_group() -> None:
    """An attribute of that name may be anything."""
    for odd in ((), (1, 2), (None,)):
        assert () == describe(group_of(*odd)).causes


# --- hostile errors


class Hostile(Exception):
    """Everything that can be asked of it raises."""

    def __str__(self) -> str:
        raise KeyboardInterrupt

    @property
    def exceptions(self) -> Any:
        """What a group has."""
        raise SystemExit

    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


def ring() -> BaseException:
    first, second = ValueError("1"), ValueError("2")
    first.__cause__, second.__cause__ = second, first
    return first


def chain(length: int) -> BaseException:
    first = error = ValueError("0")
    for number in range(length):
        error.__cause__ = ValueError(str(number))
        error = error.__cause__
    return first


def members_of_itself() -> BaseException:
    group = group_of()
    group.exceptions = (group, group)
    return group


@pytest.mark.parametrize(
    "error",
    [
        Hostile(),
        ring(),
        chain(3_000),
        members_of_itself(),
        group_of(*map(ValueError, range(10_000))),
        group_of(Hostile(), ValueError("x" * 1_000_000)),
        ValueError("line\n" * 1_000_000),
    ],
    ids=["hostile", "ring", "chain", "own member", "wide", "giant member", "many lines"],
)
def test_whatever_an_error_is_it_is_told_in_bounds(error: BaseException) -> None:
    """Neither its text, nor its attributes, nor its causes end or flood the consumer."""

    def fail(_: Any) -> None:
        raise error

    caught = raised(fail, 1)
    failure, lines = describe(caught), traceback_of(caught)

    assert len(failure.causes) <= 5
    assert len(failure.cause or "") <= 5 * 1_100
    assert len(lines) <= MOST_LINES + 1
    assert all(len(line) <= LONGEST_LINE + 1 for line in lines)


def test_a_failure_is_described_within_microseconds() -> None:
    """A failing order costs no more for its frame than for its line in the log."""
    error = raised(lambda _: fails_by_cause(), None)

    assert min(timeit.repeat(lambda: describe(error), number=200, repeat=5)) / 200 < 100e-6


# --- tracebacks


def note(tracebacks: Tracebacks, error: BaseException) -> None:
    tracebacks.note(error, describe(error), Stored(7, b"key"))


def test_the_first_traceback_of_each_kind_is_shown_once(code: Callable[..., Any]) -> None:
    """A kind is a class and where it began; the message does not count."""
    shop = code("shop.py", "def f(x):\n    return {}[x]\ndef g(x):\n    return {}[x]\n")
    shown: List[Dict[str, Any]] = []
    tracebacks = Tracebacks(lambda name, **fields: shown.append(fields))
    for number in range(3):
        for call in (shop.f, shop.g):
            note(tracebacks, raised(call, number))

    assert ["shop.py:2 in f", "shop.py:4 in g"] == [fields["failure"].frame for fields in shown]
    assert "    return {}[x]" in shown[0]["traceback"]
    assert "KeyError: 0" == shown[0]["traceback"][-1]


def test_what_a_handler_raises_on_purpose_has_no_traceback() -> None:
    """A rejected order is no surprise."""

    def reject(_: Any) -> None:
        raise RejectOrder("sold out")

    shown: List[Any] = []
    note(Tracebacks(lambda name, **fields: shown.append(name)), raised(reject, 1))

    assert [] == shown


def test_kinds_beyond_a_limit_are_not_shown() -> None:
    """Code that is made anew for each order would fill the memory and the terminal."""
    shown: List[Any] = []
    tracebacks = Tracebacks(lambda name, **fields: shown.append(name))
    for number in range(MOST_KINDS + 10):
        names: Dict[str, Any] = {}
        exec(compile(f"def f{number}(x):\n    raise ValueError", f"made_{number}.py", "exec"), names)
        note(tracebacks, raised(names[f"f{number}"], 1))

    assert MOST_KINDS == len(shown)
