"""A table of the live screen, under a head line, with a filter and the command of the chosen row."""

from typing import Any, ClassVar, Dict, List, NamedTuple, Optional, Sequence, Tuple, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import DataTable, Input, Static

from orderflow.dlq.watch.host import Host
from orderflow.dlq.watch.key_line import KeyLine
from orderflow.model.cells import fit

REFRESH_S = 0.5
ANSWER_S = 0.2
"""After a key, for which nothing else is drawn."""
AT_ONCE, SOON_S = 40, 0.01
"""Cells that are changed at once, and how long keys have their turn before the next."""


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
