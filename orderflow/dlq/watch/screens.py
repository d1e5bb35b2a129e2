"""The screens of the live screen: groups, the dead letters of one, a text, orders that wait, a question."""

from typing import Any, ClassVar, List, Optional, Sequence, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import Screen
from textual.widgets import DataTable, Input, Static

from orderflow.dlq.desk import now_ms
from orderflow.dlq.output.group_table import span_text
from orderflow.dlq.output.listing import sparkline
from orderflow.dlq.output.times import ago, clock
from orderflow.dlq.watch.host import Host, Lines
from orderflow.dlq.watch.key_line import KeyLine
from orderflow.dlq.watch.model import SORTS, GroupRow, Row
from orderflow.dlq.watch.model import Table as GroupTable
from orderflow.dlq.watch.table_screen import Listing
from orderflow.exits import CommandError
from orderflow.model.cells import fit
from orderflow.model.text import plural

LOOK_AGAIN_S = 5.0
MOST_ROWS = 100
"""Of a table; a filter finds the others. More would take longer to draw than a key may take."""


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
