#!/usr/bin/env python3
"""Makes the pictures of `watch` in docs/ again: a real run over the mess that the runbook's tests make.

The terminal's are SVG, which Textual draws itself; the browser's is a PNG, and needs Chromium (Debian:
`apt-get install chromium`). Without it, only those of the terminal are made.
"""

import asyncio
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, List, NamedTuple, Optional

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import aiohttp

import config
import dlq_handler
from orderflow.cli.output import Notes, Output
from orderflow.cli.signals import StopSignals
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.verbs.watch import build
from tests.support.mess import make_mess
from tools.local_kafka import LocalKafka

FOLDER = ROOT / "docs" / "screens"
SIZE = (80, 24)
BROWSER, WINDOW, PORT = "chromium", (900, 480), 8090
START_S, DRAWN_S = 5.0, 8.0
TOPICS = {"ORDERS_TOPIC": "orders", "DLQ_TOPIC": "orders-dlq"}
FONT_FROM_ELSEWHERE = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
PATIENCE_S = 20.0


class Scene(NamedTuple):
    """A picture, and the keys that lead to it from the one before."""

    name: str
    keys: List[str]
    text: str
    """What is on it when it is complete."""


SCENES = (
    Scene("groups", [], "KeyError"),
    Scene("filter", ["slash", *"key"], "/key"),
    Scene("letters", ["escape", "enter"], "the latest"),
    Scene("letter", ["enter"], "error"),
    Scene("partitions", ["escape", "escape", "p"], "partition"),
    Scene("waiting", ["escape", "w"], "waiting"),
)


def main() -> int:
    """Make the mess, and take the pictures."""
    FOLDER.mkdir(exist_ok=True)
    with LocalKafka() as kafka:
        os.environ.update(TOPICS, KAFKA_BOOTSTRAP_SERVERS=kafka.bootstrap_servers, CONSUMER_GROUP="orders")
        now_ms = int(time.time() * 1000)
        make_mess(kafka.bootstrap_servers, TOPICS["ORDERS_TOPIC"], TOPICS["DLQ_TOPIC"], "orders", now_ms)
        asyncio.run(_terminal())
        if shutil.which(BROWSER):
            with tempfile.TemporaryDirectory() as folder:
                asyncio.run(_browser(folder))
    return 0


async def _terminal() -> None:
    args, err = dlq_handler.parse(["watch"]), Notes(sys.stderr)
    with StopSignals(err) as signals:
        desk = dlq_handler.open_desk(args, config.load(args), Output(sys.stdout), err, signals)
        app = build(desk, selected(desk, args))
        async with app.run_test(size=SIZE) as pilot:
            for scene in SCENES:
                await pilot.press(*scene.keys)
                picture = await _complete(app, pilot, scene)
                (FOLDER / f"{scene.name}.svg").write_text(picture, encoding="utf-8")


async def _complete(app: Any, pilot: Any, scene: Scene) -> str:
    """The picture once its text is on it, and nothing is asked for any more."""
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        await pilot.pause(1.0)
        drawn = app.export_screenshot(title="dlq_handler.py watch")
        text = re.sub(r"<[^>]*>", "", drawn).replace("&#160;", " ")
        if scene.text in text and "one moment" not in text and "reading" not in text:
            return FONT_FROM_ELSEWHERE.sub("", drawn)
    raise SystemExit(f"{scene.name}: no {scene.text!r} on the screen for {PATIENCE_S:.0f} s")


async def _browser(folder: str) -> None:
    """Serve the same to a browser, and take its picture."""
    words = [sys.executable, str(ROOT / "dlq_handler.py"), "watch", "--web", f"127.0.0.1:{PORT}"]
    flags = ["--headless", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={folder}"]
    serving = subprocess.Popen(words)
    browser = subprocess.Popen([BROWSER, *flags, "about:blank"], stderr=subprocess.DEVNULL)
    try:
        await asyncio.sleep(START_S)
        port, path = (Path(folder) / "DevToolsActivePort").read_text().split()
        async with aiohttp.ClientSession() as session, session.ws_connect(
            f"ws://127.0.0.1:{port}{path}", max_msg_size=0
        ) as devtools:
            picture = await _picture(devtools, f"http://127.0.0.1:{PORT}/")
        (FOLDER / "browser.png").write_bytes(picture)
    finally:
        for process in (browser, serving):
            process.terminate()
        for process in (browser, serving):
            process.wait(10)


async def _picture(devtools: aiohttp.ClientWebSocketResponse, url: str) -> bytes:
    """What the page looks like a moment after it was opened, by Chromium's own protocol."""

    async def ask(method: str, session: Optional[str] = None, **params: Any) -> Any:
        about = {"sessionId": session} if session else {}
        await devtools.send_json({"id": 1, "method": method, "params": params, **about})
        while True:
            answer = await devtools.receive_json(timeout=PATIENCE_S)
            if answer.get("id") == 1:
                if "error" in answer:
                    raise SystemExit(f"{BROWSER}: {method}: {answer['error']['message']}")
                return answer["result"]

    width, height = WINDOW
    target = (await ask("Target.createTarget", url="about:blank"))["targetId"]
    session = (await ask("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    await ask("Emulation.setDeviceMetricsOverride", session, **size)
    await ask("Page.navigate", session, url=url)
    await asyncio.sleep(DRAWN_S)
    return base64.b64decode((await ask("Page.captureScreenshot", session))["data"])


if __name__ == "__main__":
    sys.exit(main())
