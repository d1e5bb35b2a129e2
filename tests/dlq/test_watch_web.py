"""The live screen in a browser: who may look at it. Needs textual-serve, which is optional."""

import asyncio
import time
from typing import Any, Dict, Optional

import pytest

pytest.importorskip("textual_serve")

from aiohttp.test_utils import TestClient, TestServer

from orderflow.dlq.watch.web import Serving, names_meant, refusal_of

HERE = "127.0.0.1:8090"


@pytest.mark.parametrize(
    ("typed", "host", "origin", "is_answered"),
    [
        ("127.0.0.1", HERE, None, True),
        ("127.0.0.1", HERE, f"http://{HERE}", True),
        ("127.0.0.1", "localhost:8090", "http://localhost:8090", True),
        ("::1", "[::1]:8090", "http://[::1]:8090", True),
        ("10.0.0.7", "10.0.0.7:8090", None, True),
        ("desk.example", "desk.example", "https://desk.example", True),
        ("0.0.0.0", "any.example:8090", "http://any.example:8090", True),
        ("127.0.0.1", HERE, "http://evil.example", False),
        ("127.0.0.1", HERE, "http://127.0.0.1:9999", False),
        ("127.0.0.1", HERE, "null", False),
        ("127.0.0.1", "evil.example:8090", "http://evil.example:8090", False),
        ("10.0.0.7", "localhost:8090", None, False),
        ("0.0.0.0", "any.example:8090", "http://evil.example", False),
    ],
)
def test_nobody_gets_here_by_way_of_another_page(
    typed: str, host: str, origin: Optional[str], is_answered: bool
) -> None:
    """Neither by a web socket of a page from elsewhere, nor by a name that was made to lead here."""
    assert (refusal_of(host, origin, names_meant(typed)) is None) is is_answered


def _asked(path: str, headers: Dict[str, str]) -> Any:
    """Status, headers and text of one answer."""

    async def ask() -> Any:
        app = await Serving("false", "127.0.0.1", 8090, "<watch>")._make_app()
        async with TestClient(TestServer(app)) as client, client.get(path, headers=headers) as answer:
            return answer.status, answer.headers, await answer.text()

    return asyncio.run(ask())


@pytest.mark.parametrize("path", ["/", "/focus.js", "/static/js/textual.js", "/ws"])
def test_every_path_is_guarded(path: str) -> None:
    """The page, what it loads, and the socket."""
    assert _asked(path, {"Host": "evil.example:8090"})[0] == 403


def test_the_page_loads_nothing_from_elsewhere() -> None:
    """And its browser is told so, should a text of a dead letter ever get into it."""
    status, headers, text = _asked("/", {"Host": HERE})

    assert status == 200
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "https://" not in text
    assert f'"ws://{HERE}/ws"' in text
    assert "<title>&lt;watch&gt;</title>" in text


def test_a_visitor_does_not_hold_up_the_end() -> None:
    """Ctrl-C ends it although somebody still looks."""

    async def look() -> float:
        app = await Serving("exec head -c 1", "127.0.0.1", 8090, "watch")._make_app()
        client = TestClient(TestServer(app))
        async with client, client.ws_connect("/ws", headers={"Host": HERE}) as socket:
            began_s = time.monotonic()
            reading = asyncio.ensure_future(socket.receive())  # a browser answers the good-bye
            await client.server.close()
            await reading
        return time.monotonic() - began_s

    assert asyncio.run(look()) < 5
