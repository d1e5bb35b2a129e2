"""The live screen on a real broker. Needs Textual, which is optional."""

import asyncio
import io
import time
from typing import Any, Callable

import pytest

pytest.importorskip("textual")

from confluent_kafka.admin import AdminClient
from textual.widgets import Static

import config
import dlq_handler
from orderflow.cli.output import Notes, Output
from orderflow.cli.signals import StopSignals
from orderflow.dlq.selection_flags import selected
from orderflow.dlq.verbs.watch import build
from tests.support.dlq_tools import make_topic, ours, send

pytestmark = pytest.mark.broker


def watch(bootstrap_servers: str, topic: str) -> Any:
    """The app as the verb builds it."""
    args = dlq_handler.parse(["watch", "-b", bootstrap_servers, "--dlq-topic", topic])
    err = Notes(io.StringIO())
    settings = config.load(args, {}, "")
    desk = dlq_handler.open_desk(args, settings, Output(io.StringIO()), err, StopSignals(err))
    return build(desk, selected(desk, args))


def head(app: Any) -> str:
    """The line at the top."""
    return str(app.screen.query_one("#head", Static).render())


async def until(said: str, app: Any, pilot: Any) -> None:
    """Wait until the line at the top says this."""
    deadline_s = time.monotonic() + 20
    while said not in head(app):
        assert time.monotonic() < deadline_s, head(app)
        await pilot.pause(0.2)


@pytest.mark.parametrize("is_missed", [True, False])
def test_a_topic_that_was_created_again_is_read_again(
    kafka: Any, topic: Callable[..., str], is_missed: bool
) -> None:
    """That it is away is said at the top; it may be so for so short a time that no look finds it missing."""
    servers, name = kafka.bootstrap_servers, topic("dlq")
    admin = AdminClient({"bootstrap.servers": servers})
    app = watch(servers, name)

    async def steps() -> None:
        async with app.run_test(size=(200, 24)) as pilot:
            await until("2 unresolved of 2", app, pilot)
            admin.delete_topics([name])[name].result(10)
            if is_missed:
                await until(f"topic {name} does not exist", app, pilot)
            make_topic(servers, name)
            send(servers, name, [ours(7)])
            await until("1 unresolved of 1", app, pilot)

    make_topic(servers, name)
    send(servers, name, [ours(1), ours(2)])
    asyncio.run(steps())
