"""Runs a script: its arguments, streams and exit code, with expected failures told in one line."""

import argparse
import os
import sys
from typing import Callable, NoReturn, Optional, Sequence, TextIO

from orderflow.cli.terminal import complain
from orderflow.exits import FAILED, INTERRUPTED, OK, CommandError, UsageError
from orderflow.model.text import without_passwords

Main = Callable[[Sequence[str], TextIO, TextIO], int]


def run(main: Main, argv: Optional[Sequence[str]] = None) -> int:
    """Call `main(argv, out, err)` and return its exit code; an expected failure becomes one line.

    If the reader of our output goes away (`| head`), the script ends with 0. A bug keeps its traceback.
    """
    _open_closed_streams()
    out, err = sys.stdout, sys.stderr
    try:
        code = _guarded(main, sys.argv[1:] if argv is None else argv, out, err)
        out.flush()
    except BrokenPipeError:
        code = OK
    _discard_unread(out, err)
    return code


def _guarded(main: Main, argv: Sequence[str], out: TextIO, err: TextIO) -> int:
    try:
        return main(argv, out, err)
    except SystemExit as exit_request:  # argparse: 0 for --help, 2 for a wrong flag
        return exit_request.code if isinstance(exit_request.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except CommandError as error:
        complain(err, str(error))
        return error.exit_code


def _open_closed_streams() -> None:
    """Open the null device in place of stdin, stdout or stderr closed before we started (`2>&-`).

    Otherwise the next file or socket gets that descriptor, and whatever a library prints goes into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the lowest free descriptor. Child processes must inherit it too.
            null = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
            os.set_inheritable(null.fileno(), True)
            setattr(sys, name, null)


def standard_input() -> TextIO:
    """stdin, for scripts that read data from it. Raises UsageError where it was closed before we started."""
    # The null device that replaces it has this name; `< /dev/null` has not.
    if getattr(sys.stdin, "name", None) == os.devnull:
        raise UsageError("cannot read stdin: it is closed")
    return sys.stdin


def _discard_unread(*streams: TextIO) -> None:
    """Redirect unread streams to the null device, or the interpreter's flush at exit complains."""
    for stream in streams:
        try:
            stream.flush()
        except ValueError:  # already closed
            continue
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def arguments(doc: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """A parser whose help starts with the first line of `doc` and ends with commands to copy."""
    epilog = "examples:\n" + "\n".join(f"  {example}" for example in examples)
    return _Parser(
        description=doc.strip().split("\n")[0], epilog=epilog, allow_abbrev=False, formatter_class=_HelpFormat
    )


class _Parser(argparse.ArgumentParser):
    """Repeats no password of what was typed in the wrong place."""

    def error(self, message: str) -> NoReturn:
        """What argparse calls for a wrong flag."""
        super().error(without_passwords(message))


class _HelpFormat(argparse.RawDescriptionHelpFormatter):
    """Help of a fixed width, whatever the terminal, so that the documents can quote it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)
