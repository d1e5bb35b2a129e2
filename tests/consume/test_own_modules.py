"""A handler finds its own modules first, and everybody else those that they mean."""

import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict

import pytest

from tests.support.pipeline import ROOT

RUNS_S = 60
Ran = Callable[..., str]


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    """Load `shop/<name>:charge` in a new process, then run some code; returns what it printed."""

    def run(then: str, files: Dict[str, str], name: str = "shop.py", before: str = "") -> str:
        shop = tmp_path / "shop"
        shop.mkdir()
        for file, source in files.items():
            (shop / file).parent.mkdir(exist_ok=True)
            (shop / file).write_text(source, encoding="utf-8")
        code = (
            f"{before}\n"
            "from orderflow.consume.handler import load\n"
            "from orderflow.consume.own_modules import let_own_modules_win\n"
            f"let_own_modules_win({str(shop / name)!r})\n"
            f"charge = load({str(shop / name) + ':charge'!r})\n{then}"
        )
        # What is imported may warn of an old Python, which is none of our doing.
        command = [sys.executable, "-W", "ignore", "-c", f"import sys\nsys.path[0] = {str(ROOT)!r}\n{code}"]
        done = subprocess.run(
            command, cwd=str(tmp_path), capture_output=True, text=True, timeout=RUNS_S, check=False
        )
        return (done.stdout + done.stderr).strip()

    return run


OWN = "def send(): return 'own'"
IMPORTS_LATER = (
    "from orderflow.cli.exposition import Exposition\n"
    "from confluent_kafka.schema_registry import SchemaRegistryClient\n"
    "import http.server, email.utils\n"
    "print(charge({}))"
)


@pytest.mark.parametrize(
    "name", ["email", "http", "socketserver", "prometheus_client", "httpx", "html", "calendar"]
)
def test_a_file_that_is_called_as_another_module_is_the_handlers_alone(ran: Ran, name: str) -> None:
    """What serves the metrics and asks the registry finds the module that it means."""
    files = {"shop.py": f"from {name} import send\ndef charge(order): return send()", f"{name}.py": OWN}

    assert "own" == ran(IMPORTS_LATER, files)


@pytest.mark.parametrize("name", ["email", "http", "prometheus_client"])
def test_a_file_that_nobody_imports_is_in_nobodys_way(ran: Ran, name: str) -> None:
    """It need not be a module at all."""
    assert "own" == ran(
        IMPORTS_LATER, {"shop.py": "def charge(order): return 'own'", f"{name}.py": "raise SystemExit"}
    )


@pytest.mark.parametrize("name", ["email", "http", "socketserver", "prometheus_client"])
def test_a_handler_whose_file_is_called_as_another_module_is_in_nobodys_way(ran: Ran, name: str) -> None:
    """Whether that one is loaded already, or is going to be."""
    assert "own" == ran(IMPORTS_LATER, {f"{name}.py": "def charge(order): return 'own'"}, f"{name}.py")


def test_what_the_handler_imports_finds_what_it_means(ran: Ran) -> None:
    """A library that the handler imports is not the handler."""
    files = {
        "shop.py": "import http.client\ndef charge(order): return http.client.OK.phrase",
        "email.py": "1/0",
    }

    assert "OK" == ran("print(charge({}))", files)


def test_a_handler_that_imports_its_own_once_more_gets_the_same(ran: Ran) -> None:
    """At a call, or in a package by a relative name: what it opened is not opened twice."""
    files = {
        "shop.py": (
            "import html\nfrom html import opened\n"
            "def charge(order):\n    import html.later\n    return opened is html.later.find()"
        ),
        "html/__init__.py": "opened = object()",
        "html/later.py": "def find():\n    from . import opened\n    return opened",
    }

    assert "True" == ran("print(charge({}))", files)


def test_a_module_that_is_in_the_place_of_another_is_named(ran: Ran) -> None:
    """While a handler is loaded its own come first, so that a library may miss what it needs."""
    files = {"shop.py": "import email\nimport http.client\ndef charge(order): pass", "email.py": OWN}

    said = ran("", files)

    assert "the module email is" in said
    assert "shop/email.py: if another one is meant, rename this file" in said


def test_a_handler_is_loaded_without_what_only_metrics_need(ran: Ran) -> None:
    """The start stays fast."""
    then = "import sys\nprint([name for name in ('http', 'prometheus_client') if name in sys.modules])"

    assert "[]" == ran(then, {"shop.py": "def charge(order): pass", "http.py": OWN})
