"""The live screen itself, in Textual, which only this file, those of its keys, and their tests import.

It only reads. Replaying, discarding and acting on waiting orders are the verbs' own: the screen steps aside
for their dry run and their question. The command that a key stands for is shown at the foot.
"""

import gc
import io
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from typing import (
    Any,
    Callable,
    ClassVar,
    Dict,
    List,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
    Type,
    cast,
)

from rich.text import Text
from textual.app import App, ComposeResult, SuspendNotSupported
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.driver import Driver
from textual.events import Event, Key
from textual.screen import Screen
from textual.widgets import DataTable, Input, Static

from orderflow.cli.output import Notes
from orderflow.cli.signals import StopSignals
from orderflow.dlq.desk import now_ms
from orderflow.dlq.output.group_table import span_text
from orderflow.dlq.output.listing import sparkline
from orderflow.dlq.output.times import ago, clock
from orderflow.dlq.watch.key_line import KeyLine
from orderflow.dlq.watch.keyboard import QUICK
from orderflow.dlq.watch.model import SORTS, GroupRow, Model, Row
from orderflow.dlq.watch.model import Table as GroupTable
from orderflow.exits import CommandError
from orderflow.model.cells import fit
from orderflow.model.text import plural

REFRESH_S = 0.5
ANSWER_S = 0.2
"""After a key, for which nothing else is drawn."""
HEAR_S = 0.2
CLEAN_UP_S, LONGEST_DIRTY_S = 1.0, 2.0
"""Between two collections of garbage, and while somebody types all the time. A key may have to wait for
one: 20 ms, and 100 after ten seconds."""
LOOK_AGAIN_S = 5.0
MOST_ROWS = 100
"""Of a table; a filter finds the others. More would take longer to draw than a key may take."""
AT_ONCE, SOON_S = 40, 0.01
"""Cells that are changed at once, and how long keys have their turn before the next."""
Lines = Callable[[int], List[str]]
"""Text for a width in columns; may take a moment, and raise CommandError."""


class Looks(NamedTuple):
    """Where the screens that ask Kafka get their text."""

    letter: Callable[[str], List[str]]
    """One dead letter in full, by its position."""
    health: Lines
    waiting: Lines


class Feed(Protocol):
    """What keeps the model up to date."""

    trouble: Optional[str]
    """Why nothing is read at the moment."""
    read: int
    expected: int
    is_behind: bool
    """Whether what was there at the start is not read to its end."""

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, within a moment."""

    def reload(self) -> None:
        """Read everything again."""

    def give_way(self) -> None:
        """Rest for a moment: somebody waits for the screen."""


class Command(NamedTuple):
    """How the verbs are run: the start of the command line, and the settings that were typed for `watch`."""

    program: Sequence[str]
    settings: Sequence[str] = ()
    unselected: Sequence[str] = ()
    """The settings without what selects dead letters."""
    told: Sequence[str] = ()
    """The same without secrets."""

    def words(self, *verb: str) -> List[str]:
        """To be run."""
        return [*self.program, *verb, *self.settings]

    def words_on_waiting(self, *verb: str) -> List[str]:
        """To be run on orders that wait, and not on the dead letters that are shown."""
        return [*self.program, *verb, *self.unselected]

    def shown(self, *verb: str) -> str:
        """To be read and typed."""
        return shlex.join(["python", "dlq_handler.py", *verb, *self.told])


class Host(Protocol):
    """What the screens know of the app that shows them."""

    topic: str
    known: Model
    reading: Feed
    looks: Looks
    command: Command

    @property
    def is_answering(self) -> bool:
        """Whether a key was pressed just now."""

    @property
    def trouble(self) -> List[str]:
        """Why nothing is read at the moment; empty if it is."""

    def act(self, *verb: str) -> None:
        """Step aside for a verb, with its own dry run and question, and read again what it did."""

    def act_on_waiting(self, *verb: str) -> None:
        """The same for a verb that is not about the dead letters that are shown."""


class Watch(App[int]):
    """One live screen over the dead letters."""

    TITLE = "orderflow watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 1; text-style: bold; }
    #told { height: 1; }
    #foot { height: 1; color: $text-muted; }
    DataTable { height: 1fr; }
    Input { display: none; height: 3; }
    Input.asked { display: block; }
    """
    BINDINGS: ClassVar[List[Any]] = [Binding("q", "quit", "Quit")]

    def __init__(
        self,
        topic: str,
        model: Model,
        reading: Feed,
        looks: Looks,
        command: Command,
        signals: StopSignals,
    ) -> None:
        super().__init__()
        self.signals = signals
        self.key_s = 0.0
        """When the last key was pressed, on the monotonic clock."""
        self._cleaned_s = time.monotonic()
        self.topic = topic
        self.known = model
        self.reading = reading
        self.looks = looks
        self.command = command

    def get_driver_class(self) -> Type[Driver]:
        """One that hears a lone Escape as soon as it can."""
        driver = super().get_driver_class()
        return QUICK.get(driver, driver)

    def on_mount(self) -> None:
        """Begin with the groups."""
        self.reading.start()
        self.push_screen(GroupsScreen())
        self.set_interval(HEAR_S, self._end_if_asked)
        gc.disable()
        gc.freeze()  # what is there by now stays, and need not be looked through each time
        self.set_interval(HEAR_S, self._clean_up)

    def on_unmount(self) -> None:
        """Nothing is left running."""
        self.reading.stop()
        gc.unfreeze()
        gc.enable()

    @property
    def is_answering(self) -> bool:
        """Whether a key was pressed just now."""
        return time.monotonic() - self.key_s <= ANSWER_S

    def _clean_up(self) -> None:
        """Collect garbage between answers, a little at a time: Python itself does it in the midst of one.

        All of it, since what a screen was drawn with is mostly still in use when it is looked at first.
        """
        dirty_s = time.monotonic() - self._cleaned_s
        if dirty_s >= (LONGEST_DIRTY_S if self.is_answering else CLEAN_UP_S):
            gc.collect()
            self._cleaned_s = time.monotonic()

    def act(self, *verb: str) -> None:
        """Step aside for a verb, with its own dry run and question, and read again what it did."""
        self._step_aside(self.command.words(*verb), verb)

    def act_on_waiting(self, *verb: str) -> None:
        """The same for a verb that is not about the dead letters that are shown."""
        self._step_aside(self.command.words_on_waiting(*verb), verb)

    def _step_aside(self, words: Sequence[str], verb: Sequence[str]) -> None:
        heard = StopSignals(Notes(io.StringIO()))
        try:
            with self.suspend(), heard:  # Ctrl-C is meant for the verb, and comes back here
                _run_and_wait(words)
        except SuspendNotSupported:  # in a browser there is no terminal to ask on
            self.notify(self.command.shown(*verb), title="Type this in a terminal", timeout=30)
            return
        if heard.signal is not None and heard.signal != signal.SIGINT:  # the terminal is gone
            self.exit(return_code=heard.exit_code)
        self.reading.reload()

    @property
    def trouble(self) -> List[str]:
        """Why nothing is read at the moment; empty if it is."""
        return [self.reading.trouble] if self.reading.trouble else []

    async def on_event(self, event: Event) -> None:
        """A key is answered before anything else is read."""
        if isinstance(event, Key):
            self.key_s = time.monotonic()
            self.reading.give_way()
        await super().on_event(event)

    def _end_if_asked(self) -> None:
        """By SIGTERM, or since the terminal is gone: nobody would see what is read."""
        if self.signals.requested:
            self.exit(return_code=self.signals.exit_code)


def _run_and_wait(words: Sequence[str]) -> None:
    subprocess.run(words, check=False)
    with suppress(EOFError, OSError):
        input("\nEnter goes back to the screen ")


class Rows(DataTable[Text]):
    """A table whose Enter is named at the foot."""

    BINDINGS: ClassVar[List[Any]] = [Binding("enter", "select_cursor", "Look")]


class _Change(NamedTuple):
    """A cell that has another text now."""

    text: str
    has_other_length: bool


class Listing(Screen[None]):
    """A table under a head line, with a filter, and the command of the chosen row at the foot."""

    COLUMNS: Sequence[str] = ()

    def __init__(self) -> None:
        super().__init__()
        self.needle = ""
        self.seen: Any = None
        """What the table was made of."""
        self._rows: Dict[str, Sequence[str]] = {}
        self._wanted: Optional[str] = None
        """The row that the cursor was put on, also while it is not there."""
        self._changes: Dict[Tuple[str, str], _Change] = {}
        """By row and column: what the table does not show yet."""

    @property
    def watch_app(self) -> Host:
        """The app that this is a screen of."""
        return cast(Host, self.app)

    def compose(self) -> ComposeResult:
        """Head, table, filter, foot."""
        yield Static(id="head", markup=False)
        yield Rows(cursor_type="row", zebra_stripes=True)
        yield Input(placeholder="only rows with this text; Enter keeps it, Escape ends it")
        yield Static(id="told", markup=False)
        yield Static(id="foot", markup=False)
        yield KeyLine()

    def on_mount(self) -> None:
        """Show what is known, and go on."""
        table = self.query_one(DataTable)
        for column in self.COLUMNS:
            table.add_column(column, key=column)
        table.focus()
        self.show()
        self.set_interval(REFRESH_S, self._keep_up)

    def _keep_up(self) -> None:
        if not self.watch_app.is_answering:
            self.show()

    def on_screen_resume(self) -> None:
        """The table has the keyboard again."""
        self.query_one(DataTable).focus()
        self.show()

    def show(self) -> None:
        """Bring the table up to date if anything has changed."""
        raise NotImplementedError

    def command_words(self) -> Sequence[str]:
        """What the chosen row stands for; nothing where there is none."""
        raise NotImplementedError

    def fill(self, rows: Dict[str, Sequence[str]]) -> None:
        """Show these rows, by their keys; the cursor stays on the row that it was on."""
        before, self._rows = self._rows, rows
        if list(rows) == list(before):
            self._update(rows, before)
        else:
            self._replace(rows)
        self.show_foot()

    def _update(self, rows: Dict[str, Sequence[str]], were: Dict[str, Sequence[str]]) -> None:
        """Most of what arrives changes a few cells: the rest is not drawn again."""
        is_under_way = bool(self._changes)
        for key, cells in rows.items():
            for column, cell, before in zip(self.COLUMNS, cells, were[key]):
                if cell != before:
                    self._changes[key, column] = _Change(cell, len(cell) != len(before))
        if not is_under_way:
            self._change_some()

    def _change_some(self) -> None:
        """A few of the cells, and the others between keys: all of them would hold up an answer."""
        if self.watch_app.is_answering:
            self.set_timer(ANSWER_S, self._change_some)
            return
        table = self.query_one(DataTable)
        for place in list(self._changes)[:AT_ONCE]:
            change = self._changes.pop(place)
            table.update_cell(*place, _cell(change.text), update_width=change.has_other_length)
        if self._changes:
            self.set_timer(SOON_S, self._change_some)

    def _replace(self, rows: Dict[str, Sequence[str]]) -> None:
        table, wanted = self.query_one(DataTable), self._wanted
        self._changes.clear()
        table.clear()
        for key, cells in rows.items():
            table.add_row(*map(_cell, cells), key=key)
        if wanted in rows:
            table.move_cursor(row=list(rows).index(wanted))
        self._wanted = wanted

    def chosen(self) -> Optional[str]:
        """The key of the row that the cursor is on."""
        table = self.query_one(DataTable)
        if not table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def show_foot(self) -> None:
        """The last cell of the chosen row, which may have been cut off, and its command."""
        words, cells = self.command_words(), self._rows.get(self.chosen() or "")
        self._tell("#told", fit(cells[-1], max(1, self.size.width)) if cells else "")
        self._tell("#foot", self.watch_app.command.shown(*words) if words else "")

    def head(self, text: str) -> None:
        """The line at the top."""
        self._tell("#head", fit(text, max(1, self.size.width)))

    def _tell(self, name: str, text: str) -> None:
        """Change a line if it is another one."""
        line = self.query_one(name, Static)
        if line.content != text:
            line.update(text, layout=False)

    def on_data_table_row_highlighted(self) -> None:
        """The cursor has moved."""
        self._wanted = self.chosen() or self._wanted
        self.show_foot()

    def action_filter(self) -> None:
        """Ask for a text."""
        asked = self.query_one(Input)
        asked.add_class("asked")
        asked.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while it is typed."""
        self.needle, self.seen = event.value, None
        self.show()

    def on_input_submitted(self) -> None:
        """Keep the filter."""
        self._leave_filter()

    def action_back(self) -> None:
        """End the filter, or go back to where one came from."""
        asked = self.query_one(Input)
        if asked.has_class("asked") or self.needle:
            asked.value = ""
            self._leave_filter()
        elif len(self.app.screen_stack) > 2:
            self.app.pop_screen()

    def _leave_filter(self) -> None:
        asked = self.query_one(Input)
        asked.set_class(bool(asked.value), "asked")
        self.query_one(DataTable).focus()


def _cell(text: str) -> Text:
    return Text(text, no_wrap=True)


class GroupsScreen(Listing):
    """The kinds of failure."""

    COLUMNS = ("GROUP", "COUNT", "FIRST", "LAST", "WHEN", "WHAT")
    BINDINGS: ClassVar[List[Any]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort", "Sort"),
        Binding("r", "replay", "Replay"),
        Binding("d", "discard", "Discard"),
        Binding("p", "health", "Health"),
        Binding("w", "waiting", "Waiting"),
        Binding("f5", "reload", "Reload", show=False),
        Binding("escape", "back", "Back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.order = SORTS[0]
        self._more = 0
        """Groups that there is no row for."""

    def show(self) -> None:
        """The groups, if any dead letter came."""
        if not self.is_current:
            return
        table, at_ms = self.watch_app.known.table, now_ms()
        state = (table, self.needle, self.order, at_ms // 5_000)
        if state != self.seen:
            self.seen = state
            found = table.found(self.needle, self.order)
            self._more = max(0, len(found) - MOST_ROWS)
            shown = found[:MOST_ROWS]
            digits = max((len(f"{row.number:,}") for row in shown), default=0)
            self.fill({row.fingerprint: _group_cells(row, at_ms, max(digits, 5)) for row in shown})
            self._show_span(span_text(table.window) if table.window else "WHEN")
        self._show_head(table)

    def _show_span(self, span: str) -> None:
        """Say what the charts span. A heading is measured when a cell of its column is set, so one is."""
        table = self.query_one(DataTable)
        column = table.columns["WHEN"]  # type: ignore[index]
        if self._rows and column.label.plain != span:
            column.label = Text(span)
            first = next(iter(self._rows))
            table.update_cell(first, "WHEN", table.get_cell(first, "WHEN"), update_width=True)

    def _show_head(self, table: GroupTable) -> None:
        parts = [self.watch_app.topic, *self.watch_app.trouble]
        parts.append(f"{table.unresolved:,} unresolved of {table.read:,}")
        parts += [f"/{self.needle}"] if self.needle else []
        parts += [f"by {self.order}", *self._how_far()]
        parts += (
            [plural(self._more, "more group: / finds it", "more groups: / finds them")] if self._more else []
        )
        self.head("  ".join(parts))

    def _how_far(self) -> List[str]:
        """How much has been read, while the table is not the whole truth yet."""
        reading = self.watch_app.reading
        if reading.trouble or not reading.is_behind:
            return []
        share = f" {100 * reading.read // reading.expected} %" if reading.expected else ""
        return [f"reading{share}"]

    def command_words(self) -> Sequence[str]:
        """The group's dead letters."""
        chosen = self._digits()
        return ("list", "-g", chosen) if chosen else ()

    def _digits(self) -> Optional[str]:
        chosen = self.chosen()
        return self.watch_app.known.digits_of(chosen) if chosen else None

    def on_data_table_row_selected(self) -> None:
        """Look into the group."""
        chosen = self.chosen()
        if chosen:
            self.app.push_screen(LettersScreen(chosen))

    def action_sort(self) -> None:
        """By the next column that it can be sorted by."""
        self.order = SORTS[(SORTS.index(self.order) + 1) % len(SORTS)]
        self.show()

    def action_replay(self) -> None:
        """The verb `replay`, for this group."""
        chosen = self._digits()
        if chosen:
            self.watch_app.act("replay", "-g", chosen)

    def action_discard(self) -> None:
        """The verb `discard`, for this group; it wants a reason."""
        chosen = self._digits()
        if chosen:
            self.app.push_screen(ReasonScreen(chosen))

    def action_health(self) -> None:
        """Consumers, partitions and their owners."""
        self.app.push_screen(TextScreen(self.watch_app.looks.health, ("health",)))

    def action_waiting(self) -> None:
        """What waits for a retry."""
        self.app.push_screen(WaitingScreen(self.watch_app.looks.waiting, ("waiting", "--summary")))

    def action_reload(self) -> None:
        """Read everything again."""
        self.watch_app.reading.reload()


def _group_cells(row: GroupRow, at_ms: int, digits: int) -> Sequence[str]:
    times = (ago(row.first_ms, at_ms), ago(row.last_ms, at_ms))
    return (row.digits, f"{row.number:,}".rjust(digits), *times, sparkline(row.counts), row.what)


class LettersScreen(Listing):
    """The latest dead letters of a group."""

    COLUMNS = ("DIED (UTC)", "POSITION", "KEY", "WHAT")
    BINDINGS: ClassVar[List[Any]] = [
        Binding("escape", "back", "Back"),
        Binding("slash", "filter", "Filter", key_display="/"),
    ]

    def __init__(self, fingerprint: str) -> None:
        super().__init__()
        self.fingerprint = fingerprint

    def show(self) -> None:
        """Its dead letters, if any came."""
        known, trouble = self.watch_app.known, self.watch_app.trouble
        state = (known.version, self.needle, *trouble)
        if not self.is_current or state == self.seen:
            return
        self.seen = state
        rows = known.letters(self.fingerprint, self.needle)
        self.head(
            "  ".join([f"group {known.digits_of(self.fingerprint)}", *trouble, f"the latest {len(rows):,}"])
        )
        self.fill({row.position: _letter_cells(row) for row in rows})

    def command_words(self) -> Sequence[str]:
        """One dead letter in full."""
        chosen = self.chosen()
        return ("show", chosen) if chosen else ()

    def on_data_table_row_selected(self) -> None:
        """Look at it in full."""
        chosen, look = self.chosen(), self.watch_app.looks.letter
        if chosen:
            self.app.push_screen(TextScreen(lambda width: look(chosen), ("show", chosen), again=False))


def _letter_cells(row: Row) -> Sequence[str]:
    return clock(row.at_ms), row.position, fit(row.key, 16), row.what


class TextScreen(Screen[None]):
    """Lines of text that Kafka is asked for, by a thread, so that keys are answered meanwhile."""

    BINDINGS: ClassVar[List[Any]] = [Binding("escape", "app.pop_screen", "Back")]

    def __init__(self, lines: Lines, words: Sequence[str], again: bool = True) -> None:
        super().__init__()
        self._lines = lines
        self._words = words
        self._again = again

    def compose(self) -> ComposeResult:
        """The text, and the command that prints the same."""
        with VerticalScroll():
            yield Static("one moment …", id="text", markup=False)
        yield Static(cast(Host, self.app).command.shown(*self._words), id="foot", markup=False)
        yield KeyLine()

    def on_mount(self) -> None:
        """Ask, and ask again."""
        self.query_one(VerticalScroll).focus()
        self.look()
        if self._again:
            self.set_interval(LOOK_AGAIN_S, self.look)

    def look(self) -> None:
        """Ask in a thread; one question at a time."""
        self.run_worker(self._ask, thread=True, exclusive=True, group="look")

    def _ask(self) -> None:
        try:
            told = "\n".join(self._lines(max(20, self.size.width - 2)))
        except CommandError as error:
            told = str(error)
        self.app.call_from_thread(self._tell, told)

    def _tell(self, told: str) -> None:
        if self.is_attached:
            self.query_one("#text", Static).update(Text(told))


class WaitingScreen(TextScreen):
    """How many orders wait, and what can be done about them."""

    BINDINGS: ClassVar[List[Any]] = [
        Binding("r", "retry_now", "Try all now"),
        Binding("g", "give_up", "Give all up"),
    ]

    def action_retry_now(self) -> None:
        """The verb shows what waits, and asks."""
        self._act("--retry-now")

    def action_give_up(self) -> None:
        """The same."""
        self._act("--give-up")

    def _act(self, what: str) -> None:
        cast(Host, self.app).act_on_waiting("waiting", what, "--all")
        self.look()


class ReasonScreen(Screen[None]):
    """Asks why a group is discarded; the verb then asks whether it really is to be."""

    BINDINGS: ClassVar[List[Any]] = [Binding("escape", "app.pop_screen", "Back")]

    def __init__(self, digits: str) -> None:
        super().__init__()
        self._digits = digits

    def compose(self) -> ComposeResult:
        """One question."""
        yield Static(f"discard group {self._digits}: why? It is kept with who and when", markup=False)
        yield Input(placeholder="reason", classes="asked")
        yield KeyLine()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on with the verb."""
        reason = event.value.strip()
        if reason:
            self.app.pop_screen()
            cast(Host, self.app).act("discard", "-g", self._digits, "--reason", reason)
