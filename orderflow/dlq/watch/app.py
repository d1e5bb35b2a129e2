"""The live screen itself, in Textual, which only this file and its tests import.

It only reads. Replaying, discarding and acting on waiting orders are the verbs' own: the screen steps aside
for their dry run and their question. The command that a key stands for is shown at the foot.
"""

import shlex
import subprocess
from typing import Any, Callable, ClassVar, List, NamedTuple, Optional, Protocol, Sequence

from rich.text import Text
from textual.app import App, ComposeResult, SuspendNotSupported
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Footer, Input, Static

from orderflow.dlq.desk import now_ms
from orderflow.dlq.output.group_table import span_text
from orderflow.dlq.output.listing import fit, sparkline
from orderflow.dlq.output.times import ago, clock
from orderflow.dlq.watch.model import SORTS, Model
from orderflow.exits import CommandError

REFRESH_S = 0.5
LOOK_AGAIN_S = 5.0
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

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End, within a moment."""

    def reload(self) -> None:
        """Read everything again."""


class Command(NamedTuple):
    """How the verbs are run: the start of the command line, and the settings that were typed for `watch`."""

    program: Sequence[str]
    settings: Sequence[str] = ()
    unselected: Sequence[str] = ()
    """The settings without what selects dead letters."""

    def words(self, *verb: str) -> List[str]:
        """To be run."""
        return [*self.program, *verb, *self.settings]

    def words_on_waiting(self, *verb: str) -> List[str]:
        """To be run on orders that wait, and not on the dead letters that are shown."""
        return [*self.program, *verb, *self.unselected]

    @staticmethod
    def shown(*verb: str) -> str:
        """To be read and typed."""
        return shlex.join(["python", "dlq_handler.py", *verb])


class Watch(App[int]):
    """One live screen over the dead letters."""

    TITLE = "orderflow watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head { height: 1; text-style: bold; }
    #foot { height: 1; color: $text-muted; }
    DataTable { height: 1fr; }
    Input { display: none; height: 3; }
    Input.asked { display: block; }
    """
    BINDINGS: ClassVar[List[Any]] = [Binding("q", "quit", "Quit")]

    def __init__(self, topic: str, model: Model, reading: Feed, looks: Looks, command: Command) -> None:
        super().__init__()
        self.topic = topic
        self.known = model
        self.reading = reading
        self.looks = looks
        self.command = command

    def on_mount(self) -> None:
        """Begin with the groups."""
        self.reading.start()
        self.push_screen(GroupsScreen())

    def on_unmount(self) -> None:
        """Nothing is left running."""
        self.reading.stop()

    def act(self, *verb: str) -> None:
        """Step aside for a verb, with its own dry run and question, and read again what it did."""
        self._step_aside(self.command.words(*verb), verb)

    def act_on_waiting(self, *verb: str) -> None:
        """The same for a verb that is not about the dead letters that are shown."""
        self._step_aside(self.command.words_on_waiting(*verb), verb)

    def _step_aside(self, words: Sequence[str], verb: Sequence[str]) -> None:
        try:
            with self.suspend():
                subprocess.run(words, check=False)
                input("\nEnter goes back to the screen ")
        except SuspendNotSupported:  # in a browser there is no terminal to ask on
            self.notify(self.command.shown(*verb), title="Type this in a terminal", timeout=30)
            return
        self.reading.reload()


class Listing(Screen[None]):
    """A table under a head line, with a filter, and the command of the chosen row at the foot."""

    COLUMNS: Sequence[str] = ()

    def __init__(self) -> None:
        super().__init__()
        self.needle = ""
        self.seen: Any = None

    @property
    def watch_app(self) -> Watch:
        """The app that this is a screen of."""
        app: Any = self.app
        return app  # type: ignore[no-any-return]

    def compose(self) -> ComposeResult:
        """Head, table, filter, foot."""
        yield Static(id="head", markup=False)
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Input(placeholder="only rows with this text; Enter keeps it, Escape ends it")
        yield Static(id="foot", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Show what is known, and go on."""
        table = self.query_one(DataTable)
        for column in self.COLUMNS:
            table.add_column(column, key=column)
        table.focus()
        self.show()
        self.set_interval(REFRESH_S, self.show)

    def on_screen_resume(self) -> None:
        """The table has the keyboard again."""
        self.query_one(DataTable).focus()

    def show(self) -> None:
        """Bring the table up to date if anything has changed."""
        raise NotImplementedError

    def command_words(self) -> Sequence[str]:
        """What the chosen row stands for; nothing where there is none."""
        raise NotImplementedError

    def fill(self, keys: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Put these rows into the table; the cursor stays on the row that it was on."""
        table, chosen = self.query_one(DataTable), self.chosen()
        table.clear()
        for key, cells in zip(keys, rows):
            table.add_row(*(Text(cell, no_wrap=True) for cell in cells), key=key)
        if chosen in keys:
            table.move_cursor(row=keys.index(chosen or ""))
        self.show_foot()

    def chosen(self) -> Optional[str]:
        """The key of the row that the cursor is on."""
        table = self.query_one(DataTable)
        if not table.row_count:
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def show_foot(self) -> None:
        """The command of the chosen row."""
        words = self.command_words()
        self.query_one("#foot", Static).update(Command.shown(*words) if words else "")

    def head(self, text: str) -> None:
        """The line at the top."""
        self.query_one("#head", Static).update(fit(text, max(1, self.size.width)))

    def on_data_table_row_highlighted(self) -> None:
        """The cursor has moved."""
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


class GroupsScreen(Listing):
    """The kinds of failure."""

    COLUMNS = ("GROUP", "COUNT", "FIRST", "LAST", "WHEN", "WHAT")
    BINDINGS: ClassVar[List[Any]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "sort", "Sort"),
        Binding("r", "replay", "Replay"),
        Binding("d", "discard", "Discard"),
        Binding("p", "health", "Partitions"),
        Binding("w", "waiting", "Waiting"),
        Binding("f5", "reload", "Reload", show=False),
        Binding("escape", "back", "Back", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.order = SORTS[0]

    def show(self) -> None:
        """The groups, if any dead letter came."""
        app = self.watch_app
        self._show_head()
        state = (app.known.version, self.needle, self.order, now_ms() // 5_000)
        if state == self.seen:
            return
        self.seen = state
        table, at_ms = app.known.table(self.needle, self.order), now_ms()
        span = span_text(table.window) if table.window else ""
        self.query_one(DataTable).columns["WHEN"].label = Text(span or "WHEN")  # type: ignore[index]
        rows = [
            (
                row.digits,
                f"{row.number:,}",
                ago(row.first_ms, at_ms),
                ago(row.last_ms, at_ms),
                sparkline(row.counts),
                row.what,
            )
            for row in table.rows
        ]
        self.fill([row.fingerprint for row in table.rows], rows)

    def _show_head(self) -> None:
        app = self.watch_app
        found = app.known.counts()
        told = f"{app.topic}  {found.unresolved:,} unresolved of {found.count:,}"
        if app.reading.read < app.reading.expected:
            told += f"  reading {app.reading.read:,} of {app.reading.expected:,}"
        if self.needle:
            told += f"  /{self.needle}"
        if app.reading.trouble:
            told = f"{told}  {app.reading.trouble}"
        self.head(f"{told}  by {self.order}")

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
        known = self.watch_app.known
        state = (known.version, self.needle)
        if state == self.seen:
            return
        self.seen = state
        rows = known.letters(self.fingerprint, self.needle)
        self.head(f"group {known.digits_of(self.fingerprint)}  the latest {len(rows):,}")
        cells = [(clock(row.at_ms), row.position, fit(row.key, 16), row.what) for row in rows]
        self.fill([row.position for row in rows], cells)

    def command_words(self) -> Sequence[str]:
        """One dead letter in full."""
        chosen = self.chosen()
        return ("show", chosen) if chosen else ()

    def on_data_table_row_selected(self) -> None:
        """Look at it in full."""
        chosen, look = self.chosen(), self.watch_app.looks.letter
        if chosen:
            self.app.push_screen(TextScreen(lambda width: look(chosen), ("show", chosen), again=False))


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
        yield Static(Command.shown(*self._words), id="foot", markup=False)
        yield Footer()

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
        app: Any = self.app
        app.act_on_waiting("waiting", what, "--all")
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
        yield Footer()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on with the verb."""
        reason = event.value.strip()
        if reason:
            self.app.pop_screen()
            app: Any = self.app
            app.act("discard", "-g", self._digits, "--reason", reason)
