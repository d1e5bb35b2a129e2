"""The scripts' flags: a parser that helps who mistypes one, and whose words are as safe as all others."""

import argparse
import platform
import sys
from typing import Any, List, NoReturn, Optional, Sequence, Tuple

from orderflow.cli.output import Notes, Output
from orderflow.cli.typed_secrets import without_typed
from orderflow.exits import USAGE
from orderflow.model.text import did_you_mean, escape, without_passwords
from orderflow.version import VERSION


def arguments(doc: Optional[str], examples: Sequence[str]) -> argparse.ArgumentParser:
    """A parser whose help starts with the first line of `doc` and ends with commands to copy.

    `doc` is None where Python was told to leave docstrings out (-OO).
    """
    epilog = "examples:\n" + "\n".join(f"  {example}" for example in examples)
    parser = _Parser(
        description=(doc or "").strip().split("\n")[0],
        epilog=epilog,
        allow_abbrev=False,
        formatter_class=_HelpFormat,
    )
    told = f"%(prog)s of orderflow {VERSION}, Python {platform.python_version()}"
    parser.add_argument("--version", action="version", version=told, help="show the version and end")
    return parser


class WrongArguments(SystemExit):
    """What was typed is not understood."""

    def __init__(self, usage: str, prog: str, message: str, unknown: Sequence[str] = ()) -> None:
        super().__init__(USAGE)
        self.unknown = unknown
        """The words that fit nowhere."""
        self.lines = [*usage.rstrip("\n").split("\n"), f"{prog}: error: {message}"]
        """For people: the usage, then what is wrong."""
        self.message = message


class _Parser(argparse.ArgumentParser):
    """Says what an unknown flag may have meant, and repeats no secret of what was typed."""

    _typed: Sequence[str] = ()
    """The words that are being parsed."""

    def parse_known_args(  # type: ignore[override]
        self, args: Optional[Sequence[str]] = None, namespace: Any = None
    ) -> Tuple[argparse.Namespace, List[str]]:
        """What argparse calls for the script, and for a verb with what is left for it."""
        self._typed = sys.argv[1:] if args is None else list(args)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            known = [flag for flag in self._option_string_actions if flag.startswith("--")]
            flag = unknown[0].partition("=")[0]
            hint = did_you_mean(flag, known) if flag.startswith("--") else ""
            raise self._wrong(f"unrecognized arguments: {' '.join(unknown)}{hint}", unknown)
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """What argparse calls for a wrong flag."""
        raise self._wrong(message)

    def _wrong(self, message: str, unknown: Sequence[str] = ()) -> WrongArguments:
        told = without_passwords(without_typed(message, self._typed, self._option_string_actions))
        return WrongArguments(self.format_usage(), self.prog, escape(told), unknown)

    def _print_message(self, message: str, file: Any = None) -> None:
        """What argparse calls for help, of which each line is ours."""
        to_stdout = file is sys.stdout
        out = Output(sys.stdout) if to_stdout else Notes(sys.stderr)
        out.lines(message.rstrip("\n").split("\n") if message else [])


class _HelpFormat(argparse.RawDescriptionHelpFormatter):
    """Help of a fixed width, whatever the terminal, so that the documents can quote it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)
