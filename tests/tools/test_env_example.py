"""`.env.example`: complete, up to date, and true when it is taken at its word."""

from pathlib import Path

import config
from tools import env_example

FILE = Path(env_example.__file__).resolve().parent.parent / ".env.example"


def test_it_is_what_the_catalogue_says() -> None:
    """It is up to date; if it is not: python tools/env_example.py > .env.example."""
    assert env_example.text() == FILE.read_text(encoding="utf-8")


def test_as_it_is_it_changes_nothing() -> None:
    """Copied to .env untouched, it gives the defaults."""
    assert config.load({}, {}, "/nowhere/.env") == config.load({}, {}, str(FILE))


def test_every_default_in_it_is_the_default(tmp_path: Path) -> None:
    """With the comment signs taken off, every setting still has its default value."""
    taken = tmp_path / ".env"
    lines = FILE.read_text(encoding="utf-8").splitlines()
    ours = [line[1:] for line in lines for setting in config.SETTINGS if line.startswith(f"#{setting.env}=")]
    taken.write_text("\n".join(ours), encoding="utf-8")

    assert config.load({}, {}, "/nowhere/.env") == config.load({}, {}, str(taken))
    assert len(ours) == len([setting for setting in config.SETTINGS if not setting.secret])
