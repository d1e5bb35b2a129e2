"""Serves the live screen to browsers (textual-serve): a process for each visitor, whose screen is the page.

There is no log-in, so nobody may get here by way of somebody else's browser. A page from elsewhere can open
a web socket to 127.0.0.1, and a name of its own can be made to lead here. So a request has to ask for a host
that was meant, and to come from this page, which loads nothing from elsewhere.
"""

import asyncio
import html
import logging
from typing import Any, FrozenSet, Optional, Set

from aiohttp import web
from textual_serve.server import Server

MOST_VISITORS = 8
"""At once: each has a process that reads the topic."""
EVERYWHERE = ("0.0.0.0", "::")
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title}</title>
<link rel="stylesheet" href="static/css/xterm.css">
<style>
@font-face {{ font-family: "Roboto Mono"; src: url("static/fonts/RobotoMono-VariableFont_wght.ttf"); }}
html, body {{ height: 100%; margin: 0; background: #121212; }}
#terminal {{ width: 100vw; height: 100vh; }}
#ended, #start {{ display: none; }}
.-closed #ended {{ display: block; position: absolute; inset: auto 0 0 0; padding: 1em;
  background: #700; color: #fff; font: 16px "Roboto Mono", monospace; }}
</style>
<script src="static/js/textual.js"></script>
<script src="focus.js"></script>
</head>
<body>
<div id="terminal" class="textual-terminal" data-session-websocket-url="{socket}" data-font-size="16"></div>
<div id="start"></div>
<div id="ended">This screen has ended: reload the page, or see the terminal where it is served.</div>
</body>
</html>
"""

FOCUS = """addEventListener("load", function look() {
  const terminal = document.querySelector(".xterm-helper-textarea");
  terminal ? terminal.focus() : setTimeout(look, 50);
});
"""
"""Keys work at once, without a click into the page."""


class Serving(Server):
    """The server of one command, for browsers that ask for it by the name that was typed."""

    def __init__(self, command: str, host: str, port: int, title: str) -> None:
        super().__init__(command, host=host, port=port, title=title)
        self._visits: Set[asyncio.Task[Any]] = set()

    def initialize_logging(self) -> None:
        """Nothing on the terminal: the library would tell of the command, with all that was typed."""
        logging.getLogger("textual-serve").addHandler(logging.NullHandler())

    async def on_startup(self, app: web.Application) -> None:
        """Where it listens has been said."""

    async def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[_guard(names_meant(self.host))])
        app.add_routes(
            [
                web.get("/", self.page),
                web.get("/focus.js", self.focus),
                web.get("/ws", self.visit),
                web.static("/static", self.statics_path),
            ]
        )
        app.on_shutdown.append(self.on_shutdown)
        return app

    async def page(self, request: web.Request) -> web.Response:
        """The page: a terminal, and what it needs from here."""
        socket = f"{'wss' if request.secure else 'ws'}://{request.host}/ws"
        text = PAGE.format(title=html.escape(self.title), socket=html.escape(socket))
        return web.Response(text=text, content_type="text/html")

    async def focus(self, request: web.Request) -> web.Response:
        """What gives the keyboard to the terminal."""
        return web.Response(text=FOCUS, content_type="text/javascript")

    async def visit(self, request: web.Request) -> web.StreamResponse:
        """One visitor's screen, for as long as he looks at it."""
        if len(self._visits) >= MOST_VISITORS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_VISITORS} others are looking already\n")
        visit: Any = asyncio.current_task()
        self._visits.add(visit)
        try:
            return await self.handle_websocket(request)
        finally:
            self._visits.discard(visit)

    async def on_shutdown(self, app: web.Application) -> None:
        """Whoever still looks would hold up the end for a minute."""
        visits = list(self._visits)
        for visit in visits:
            visit.cancel()
        await asyncio.gather(*visits, return_exceptions=True)


def names_meant(host: str) -> FrozenSet[str]:
    """The names that a browser may ask for. None of them where any is meant: it listens everywhere."""
    bare = host.strip("[]")
    if bare in EVERYWHERE:
        return frozenset()
    shown = f"[{bare}]" if ":" in bare else bare
    return frozenset((shown, *LOOPBACK) if shown in LOOPBACK else (shown,))


def refusal_of(host: str, origin: Optional[str], meant: FrozenSet[str]) -> Optional[str]:
    """Why a request is not answered that asks for this host, from a page of this origin; None if it is."""
    if meant and host.rpartition(":")[0] not in meant and host not in meant:
        return f"it is served as {', '.join(sorted(meant))} only"
    if origin is not None and origin.partition("://")[2] != host:
        return "a page from elsewhere may not look at it"
    return None


def _guard(meant: FrozenSet[str]) -> Any:
    """Answers no browser that was sent here by somebody else, and tells it to load nothing from elsewhere."""

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        refusal = refusal_of(request.host, request.headers.get("Origin"), meant)
        if refusal is not None:
            raise web.HTTPForbidden(text=f"{refusal}\n")
        response: web.StreamResponse = await handler(request)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    return guard
