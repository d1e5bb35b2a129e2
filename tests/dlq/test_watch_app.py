"""The live screen as a person uses it: keys, at 80x24. Needs Textual, which is optional."""

import asyncio
import gc
import io
import signal
import time
import weakref
from typing import Any, Awaitable, Callable, List, Optional

import pytest

pytest.importorskip("textual")

from textual import constants
from textual.widgets import DataTable, Static

from orderflow.cli.output import Notes
from orderflow.cli.signals import StopSignals
from orderflow.dlq.verbs.watch import without_secrets
from orderflow.dlq.watch import table_screen
from orderflow.dlq.watch.app import LONGEST_DIRTY_S, Watch
from orderflow.dlq.watch.host import Command, Looks
from orderflow.dlq.watch.key_line import KeyLine
from orderflow.dlq.watch.keyboard import Browser, Terminal
from orderflow.dlq.watch.screens import MOST_ROWS
from orderflow.exits import CommandError
from tests.dlq.test_watch_model import filled, letters


class Still:
    """A feed that has read everything."""

    trouble: Optional[str] = None
    read = expected = 11
    is_behind = False

    def __init__(self) -> None:
        self.told: List[str] = []

    def start(self) -> None:
        """It has begun long ago."""
        self.told.append("start")

    def stop(self) -> None:
        """Nothing runs."""
        self.told.append("stop")

    def give_way(self) -> None:
        """There is nothing to read."""

    def reload(self) -> None:
        """Somebody asked."""
        self.told.append("reload")


def _letter(position: str) -> List[str]:
    return [f"letter {position} [bold]x"]


def _health(width: int) -> List[str]:
    raise CommandError("cannot tell: Kafka does not answer")


class Acting(Watch):
    """Writes down what it would step aside for."""

    acted: List[Any] = []

    def act(self, *verb: str) -> None:
        """Only write it down."""
        self.acted.append(verb)

    def act_on_waiting(self, *verb: str) -> None:
        """Only write it down."""
        self.acted.append(("on waiting", *verb))


def app() -> Acting:
    looks = Looks(_letter, _health, lambda width: ["3 waiting"])
    made = Acting("orders-dlq", filled(), Still(), looks, Command(["dlq"]), StopSignals(Notes(io.StringIO())))
    made.acted = []
    return made


def driven(steps: Callable[[Acting, Any], Awaitable[None]]) -> Acting:
    """Run the app at 80x24 and do this in it."""
    made = app()

    async def run() -> None:
        async with made.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            await steps(made, pilot)

    asyncio.run(run())
    return made


def rows(made: Watch) -> List[List[str]]:
    table = made.screen.query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(at)] for at in range(table.row_count)]


def text(made: Watch, name: str) -> str:
    widget = made.screen.query_one(name, Static)
    return str(widget.render())


def test_groups_letters_and_one_in_full() -> None:
    """Enter looks deeper, Escape comes back, and the foot says what to type for the same."""

    async def steps(made: Acting, pilot: Any) -> None:
        assert [row[1].strip() for row in rows(made)] == ["8", "2"]
        assert text(made, "#head").startswith("orders-dlq  10 unresolved of 11")
        assert text(made, "#foot").startswith("python dlq_handler.py list -g ")
        await pilot.press("enter")
        await pilot.pause()
        assert rows(made)[0][1] == "0:7"
        assert text(made, "#foot") == "python dlq_handler.py show 0:7"
        await pilot.press("down", "enter")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert text(made, "#text") == "letter 0:6 [bold]x"
        await pilot.press("escape", "escape")
        await pilot.pause()
        assert [row[1].strip() for row in rows(made)] == ["8", "2"]

    driven(steps)


def test_a_filter_is_typed_and_ended() -> None:
    """It holds while it is typed, stays with Enter, and goes with Escape."""

    async def steps(made: Acting, pilot: Any) -> None:
        await pilot.press("slash", *"positive")
        await pilot.pause()
        assert [row[1].strip() for row in rows(made)] == ["2"]
        await pilot.press("enter")
        await pilot.pause()
        assert [row[1].strip() for row in rows(made)] == ["2"]
        await pilot.press("escape")
        await pilot.pause()
        assert [row[1].strip() for row in rows(made)] == ["8", "2"]

    driven(steps)


def test_what_arrives_is_shown_and_the_cursor_stays() -> None:
    """A row that grows does not move the cursor to another group."""

    async def steps(made: Acting, pilot: Any) -> None:
        await pilot.press("down")
        chosen = made.screen.chosen()  # type: ignore[attr-defined]
        made.known.add(
            letters(*range(20, 40), reason="validate.quantity", message="quantity must be positive")
        )
        made.known.draw_up()
        await pilot.pause(1.0)
        assert [row[1].strip() for row in rows(made)] == ["22", "8"]
        assert made.screen.chosen() == chosen  # type: ignore[attr-defined]

    driven(steps)


def test_the_heading_of_the_charts_is_whole_whatever_they_span() -> None:
    """That of a few minutes has seconds, and is wider than a chart; no column is wider than it has to be."""

    async def steps(made: Acting, pilot: Any) -> None:
        for latest, heading in ((2, "00:00:00-00:02:00  WHAT"), (90, "00:00-01:30   WHAT")):
            made.known.clear()
            made.known.add(letters(0, latest))
            made.known.draw_up()
            made.screen.show()  # type: ignore[attr-defined]
            await pilot.pause()
            assert heading in made.screen.query_one(DataTable).render_line(0).text

    driven(steps)


def test_replay_and_discard_are_the_verbs_own() -> None:
    """The screen steps aside for their dry run and question; it writes nothing itself."""

    async def steps(made: Acting, pilot: Any) -> None:
        await pilot.press("r")
        await pilot.press("d", *"test", "enter")
        await pilot.pause()

    acted = driven(steps).acted

    assert [verb[:2] for verb in acted] == [("replay", "-g"), ("discard", "-g")]
    assert acted[1][3:] == ("--reason", "test")


def test_waiting_orders_are_acted_on_by_the_verb() -> None:
    """With its own table and its own question, and only from their own screen."""

    async def steps(made: Acting, pilot: Any) -> None:
        await pilot.press("g", "w")
        await pilot.app.workers.wait_for_complete()
        await pilot.press("r", "g")
        await pilot.pause()
        await pilot.app.workers.wait_for_complete()
        assert text(made, "#text") == "3 waiting"

    assert driven(steps).acted == [
        ("on waiting", "waiting", "--retry-now", "--all"),
        ("on waiting", "waiting", "--give-up", "--all"),
    ]


def test_what_is_selected_is_not_passed_on_to_waiting_orders() -> None:
    """It is about dead letters; settings are passed on."""
    command = Command(["dlq"], ["--since", "2h", "-b", "k:9"], ["-b", "k:9"])

    assert command.words("replay", "-g", "7f") == ["dlq", "replay", "-g", "7f", "--since", "2h", "-b", "k:9"]
    assert command.words_on_waiting("waiting", "--all") == ["dlq", "waiting", "--all", "-b", "k:9"]


def test_other_screens_and_trouble_there() -> None:
    """What cannot be found out is said where it would stand."""

    async def steps(made: Acting, pilot: Any) -> None:
        await pilot.press("p")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert text(made, "#text") == "cannot tell: Kafka does not answer"
        assert text(made, "#foot") == "python dlq_handler.py health"
        await pilot.press("escape", "w")
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()
        assert text(made, "#text") == "3 waiting"
        await pilot.press("escape", "s")
        await pilot.pause()
        assert text(made, "#head").endswith("by last")
        await pilot.press("q")

    made = driven(steps)
    assert made.reading.told == ["start", "stop"]  # type: ignore[attr-defined]


def test_why_nothing_is_read_stands_before_what_may_be_cut_off() -> None:
    """On the screen of a group, too: what is known stays there."""

    async def steps(made: Acting, pilot: Any) -> None:
        made.reading.trouble = "topic orders-dlq does not exist; consumer.py creates it"
        made.screen.show()  # type: ignore[attr-defined]
        assert text(made, "#head").startswith(
            "orders-dlq  topic orders-dlq does not exist; consumer.py creates it"
        )
        await pilot.press("enter")
        await pilot.pause()
        assert "  topic orders-dlq does not exist; consumer.py creates it  " in text(made, "#head")
        made.reading.trouble = None
        made.screen.show()  # type: ignore[attr-defined]
        assert text(made, "#head").endswith("  the latest 8")

    driven(steps)


def test_it_ends_when_its_terminal_is_gone() -> None:
    """A lost ssh connection must not leave a process that reads on for nobody."""

    async def steps(made: Acting, pilot: Any) -> None:
        made.signals.request(signal.SIGHUP)
        await pilot.pause(1.0)

    made = driven(steps)
    assert made.return_code == 128 + signal.SIGHUP
    assert made.reading.told == ["start", "stop"]  # type: ignore[attr-defined]


def test_what_is_read_and_what_has_no_row_is_said_within_80_columns() -> None:
    """A table that is not the whole truth yet says so before anything that may be cut off."""

    async def steps(made: Acting, pilot: Any) -> None:
        made.reading.is_behind = True
        made.reading.read, made.reading.expected = 450_000, 1_000_000
        made.known.add([one for n in range(MOST_ROWS) for one in letters(n, reason=f"process.r{n}")])
        made.known.draw_up()
        await pilot.pause(1.0)
        assert (
            text(made, "#head")
            == "orders-dlq  110 unresolved of 111  by count  reading 45 %  2 more groups: / fin…"
        )
        assert len(rows(made)) == MOST_ROWS

    driven(steps)


def test_a_command_that_is_shown_has_the_settings_and_no_secret() -> None:
    """It is typed elsewhere, and a screen is looked at by others."""
    typed = ["-b", "k:9", "-X", "sasl.password=hunter2", "--schema-registry-url=http://me:hunter2@r:8081"]

    assert Command(["dlq"], typed, typed, without_secrets(typed)).shown("show", "0:7") == (
        "python dlq_handler.py show 0:7 -b k:9 -X 'sasl.password=…' '--schema-registry-url=http://me:…@r:8081'"
    )


def test_the_keys_are_named_at_the_foot_and_can_be_clicked() -> None:
    """Those of what is focused: a filter that is typed into takes no `s`."""

    async def steps(made: Acting, pilot: Any) -> None:
        named = " ⏎ Look  / Filter  s Sort  r Replay  d Discard  p Health  w Waiting  q Quit "
        assert text_of_keys(made) == named
        await pilot.click(KeyLine, offset=(named.index("Sort"), 0))
        await pilot.pause()
        assert text(made, "#head").endswith("by last")
        await pilot.press("slash")
        await pilot.pause()
        assert "Look" not in text_of_keys(made)

    driven(steps)


def text_of_keys(made: Watch) -> str:
    return str(made.screen.query_one(KeyLine).render())


def test_a_terminal_and_a_browser_have_the_quick_keyboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever Textual has chosen."""
    assert app().get_driver_class() is Terminal

    monkeypatch.setattr(constants, "DRIVER", "textual.drivers.web_driver:WebDriver")
    assert app().get_driver_class() is Browser


def test_no_garbage_is_collected_in_an_answer() -> None:
    """Python would do it when so many objects were made, which a long topic's are, and take 100 ms for it."""

    async def steps(made: Acting, pilot: Any) -> None:
        assert not gc.isenabled()

    driven(steps)
    assert gc.isenabled()


def test_garbage_is_collected_soon_while_somebody_types_all_the_time() -> None:
    """What ten seconds leave takes 100 ms to collect, and a key that is pressed meanwhile waits."""

    class Ring:
        """Garbage that only the collector finds."""

        def __init__(self) -> None:
            self.itself = self

    async def steps(made: Acting, pilot: Any) -> None:
        ring, deadline_s = weakref.ref(Ring()), time.monotonic() + 2 * LONGEST_DIRTY_S
        while ring() is not None:
            assert time.monotonic() < deadline_s
            await pilot.press("s")

    driven(steps)


def test_cells_that_change_are_drawn_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """All come in the end, and a table that is made anew meanwhile has the newest."""
    monkeypatch.setattr(table_screen, "AT_ONCE", 1)

    async def steps(made: Acting, pilot: Any) -> None:
        made.known.add(
            letters(*range(20, 40), reason="validate.quantity", message="quantity must be positive")
        )
        made.known.draw_up()
        made.screen.show()  # type: ignore[attr-defined]
        for _ in range(200):
            await pilot.pause(0.01)
            if sorted(row[1].strip() for row in rows(made)) == ["22", "8"]:
                return
        raise AssertionError(rows(made))

    driven(steps)
