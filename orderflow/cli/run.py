"""A script from its first line to its exit code: arguments, streams, expected failures in one line.

Owns: `run`, and the look of `--help`.
Does not know: what the script does.
Used by: producer.py, consumer.py, dlq_handler.py, tools/demo.py.
"""

import argparse
import os
import sys
from typing import Callable, NoReturn, Optional, Sequence, TextIO

from orderflow.cli.terminal import complain
from orderflow.exits import FAILED, INTERRUPTED, OK, CommandError
from orderflow.model.text import without_passwords

Main = Callable[[Sequence[str], TextIO, TextIO], int]


def run(main: Main, argv: Optional[Sequence[str]] = None) -> int:
    """Call `main(argv, out, err)` and return the exit code, with expected failures told in one line.

    A reader of our output that goes away (`| head`) ends it quietly with 0. A bug keeps its traceback.
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
    """Put the null device where stdin, stdout or stderr was closed before we started (`2>&-`).

    Else the next file or socket gets that number, and what any library prints goes into it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The lowest number that is free. Children are to have it, too.
            null = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(null, True)
            setattr(sys, name, os.fdopen(null, mode, encoding="utf-8"))


def _discard_unread(*streams: TextIO) -> None:
    """Point what nobody reads at the null device, or the interpreter complains when it flushes at exit."""
    for stream in streams:
        try:
            stream.flush()
        except ValueError:  # it is closed
            continue
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)


def arguments(doc: str, examples: Sequence[str]) -> argparse.ArgumentParser:
    """A parser whose help opens with the first line of `doc` and ends with real commands to copy."""
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
    """Help at a width that does not depend on the terminal, so that the documents can quote it."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)
