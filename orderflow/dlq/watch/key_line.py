"""The last line of a screen: its keys and what they do, to be pressed or clicked.

It looks as Textual's Footer, which is made anew, a widget for each key, whenever the focus moves or a screen
comes up. That is half of what such an answer costs; to draw one line costs next to nothing.
"""

from typing import Any, ClassVar, Dict, List, NamedTuple, Set

from rich.cells import cell_len
from rich.text import Text
from textual.events import MouseDown
from textual.widget import Widget


class Shown(NamedTuple):
    """A key in the line."""

    key: str
    """As Textual names it."""
    label: str
    what: str

    @property
    def width(self) -> int:
        """In columns."""
        return cell_len(self.label) + cell_len(self.what)


class KeyLine(Widget):
    """The keys of the screen that this stands on, as the focus moves."""

    COMPONENT_CLASSES: ClassVar[Set[str]] = {"keys--key", "keys--what"}
    DEFAULT_CSS = """
    KeyLine {
        dock: bottom;
        height: 1;
        color: $footer-foreground;
        background: $footer-background;
        .keys--key { color: $footer-key-foreground; background: $footer-key-background; text-style: bold; }
        .keys--what { color: $footer-description-foreground; background: $footer-description-background; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._keys: List[Shown] = []

    def on_mount(self) -> None:
        """Follow what can be pressed."""
        self.screen.bindings_updated_signal.subscribe(self, self._follow)

    def render(self) -> Text:
        """As many as there is room for."""
        key_style, what_style = map(self.get_component_rich_style, ("keys--key", "keys--what"))
        text = Text(no_wrap=True, overflow="crop", end="")
        for one in self._keys:
            text.append(one.label, key_style).append(one.what, what_style)
        return text

    def on_mouse_down(self, event: MouseDown) -> None:
        """A click is the key."""
        end = 0
        for one in self._keys:
            end += one.width
            if event.x < end:
                self.app.simulate_key(one.key)
                return

    def _follow(self, screen: Any) -> None:
        # While another window has the keyboard nothing is focused here, but it comes back as it was.
        if screen is self.screen and self.app.app_focus:
            keys = self._now()
            if keys != self._keys:
                self._keys = keys
                self.refresh()

    def _now(self) -> List[Shown]:
        """One key of each action."""
        found: Dict[str, Shown] = {}
        for _, binding, _, _ in self.screen.active_bindings.values():
            if binding.show:
                label = f" {self.app.get_key_display(binding)} "
                found.setdefault(binding.action, Shown(binding.key, label, f"{binding.description} "))
        return list(found.values())
