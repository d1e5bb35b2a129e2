"""How `make test` runs its parts: which exit code counts, and what the last line says."""

import contextlib
import functools
from pathlib import Path
from typing import Callable, List

import pytest

from tools import run_tests
from tools.run_tests import PARTS

TESTS = """
import pytest

def test_one(): pass
def test_two(): pass
@pytest.mark.skip
def test_three(): pass
def test_broken(): assert False
def test_behind(): pass
"""
PLUGINS = ("hypothesispytest", "xdist", "cacheprovider")
"""Which these runs need not wait for."""

main = functools.partial(run_tests.main, broker_of_a_part=contextlib.nullcontext)
"""Without a broker: these tests need none."""

Part = Callable[[str], List[str]]


@pytest.fixture
def part(tmp_path: Path) -> Part:
    """Make a part of the tests above: those whose names have one of the words."""
    (tmp_path / "test_some.py").write_text(TESTS, encoding="utf-8")
    without = [f"-pno:{name}" for name in PLUGINS]
    return lambda words: [*without, f"--rootdir={tmp_path}", "-c/dev/null", str(tmp_path), "-k", words]


def test_the_last_line_counts_the_tests_of_all_parts(part: Part, capfd: pytest.CaptureFixture[str]) -> None:
    code = main([], [part("one or three"), part("two")])

    last = capfd.readouterr().out.splitlines()[-1]
    assert code == 0
    assert last.startswith("===") and " 2 passed, 1 skipped in " in last


def test_the_first_failure_ends_the_run_and_is_told_last(
    part: Part, capfd: pytest.CaptureFixture[str]
) -> None:
    """In a later part too, and whatever was green before it."""
    code = main([], [part("one"), part("broken or behind"), part("two")])

    said = capfd.readouterr().out.splitlines()
    assert code == 1
    assert " 1 failed, 3 deselected in " in said[-1]
    assert any(line.startswith("FAILED ") and "test_broken" in line for line in said[-4:])


def test_a_part_in_which_no_test_ran_fails_the_run(part: Part) -> None:
    assert main([], [part("no_such_name"), part("one")]) == 5


@pytest.mark.parametrize("chaos", [False, True])
@pytest.mark.parametrize("clock", [False, True])
def test_each_test_is_in_one_part_and_the_long_ones_are_in_none(chaos: bool, clock: bool) -> None:
    """What judges speed is in the last part, which runs in one process."""
    marks = {"chaos": chaos, "clock": clock}
    ran_in = [number for number, part in enumerate(PARTS) if eval(part[part.index("-m") + 1], {}, marks)]

    assert ran_in == ([] if chaos else [1] if clock else [0])
    assert "-n" not in PARTS[-1]
