"""The library, installed without the scripts: types, test kit and the shipped schema come with it."""

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from tests.support.pipeline import ROOT, bare_environment

HANDLER = """
from typing import Any, Dict

from orderflow import Delivery, InvalidOrder, RejectOrder, RetryLater
from orderflow.testing import Fate, deliver

ORDER: Dict[str, Any] = {
    "order_id": "A-1", "customer_id": "C-1", "product_id": "CD", "quantity": 1, "price": 1.0, "timestamp": 1,
}


def check(order: Dict[str, Any]) -> None:
    if order["price"] > 100:
        raise InvalidOrder("price", "is too high")


def charge(order: Dict[str, Any], delivery: Delivery) -> Dict[str, Any]:
    if order["quantity"] > 9:
        raise RejectOrder("too many")
    if delivery.attempt == 1:
        raise RetryLater("closed", after=60)
    return {"id": delivery.id}


(fate,) = deliver(charge, [ORDER], rules=check)
processed: Fate = fate
print(processed.attempts, processed.results[0].json())
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the wheel in it; what it depends on is borrowed from ours."""
    folder = tmp_path_factory.mktemp("package")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder))
    (wheel,) = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", str(folder / "fresh"))
    place = run(
        str(folder / "fresh/bin/python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"
    )
    run(*pip, "install", "--no-deps", "--no-index", "--target", place, str(wheel))
    Path(place, "borrowed.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return folder / "fresh" / "bin" / "python"


def run(*command: str, cwd: Any = None) -> str:
    finished = subprocess.run(command, cwd=cwd, env=bare_environment(), capture_output=True, timeout=120)
    assert finished.returncode == 0, (finished.stdout + finished.stderr).decode()
    return finished.stdout.decode().strip()


def test_an_installed_package_runs_a_handler_and_its_test(python: Path, tmp_path: Path) -> None:
    """From anywhere, with the shipped schema, and without the project's folder."""
    (tmp_path / "shop.py").write_text(HANDLER, encoding="utf-8")

    assert run(str(python), "shop.py", cwd=tmp_path) == "2 {'id': 'orders-0-0@in-memory'}"
    where = run(str(python), "-c", "import orderflow; print(orderflow.__file__)", cwd=tmp_path)
    assert not where.startswith(str(ROOT))


@pytest.mark.skipif(sys.version_info < (3, 10), reason="types are checked on a newer Python")
def test_a_handler_is_checked_against_the_types_of_the_package(python: Path, tmp_path: Path) -> None:
    """`py.typed` is there, and nothing that a handler imports is of an unknown type."""
    (tmp_path / "shop.py").write_text(HANDLER, encoding="utf-8")
    wrong = HANDLER.replace(
        "print(processed.attempts", "processed.attempts.upper(); print(processed.attempts"
    )
    (tmp_path / "wrong.py").write_text(wrong, encoding="utf-8")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--python-executable"]

    assert "Success" in run(*mypy, str(python), "shop.py", cwd=tmp_path)
    with pytest.raises(AssertionError, match='"int" has no attribute "upper"'):
        run(*mypy, str(python), "wrong.py", cwd=tmp_path)
