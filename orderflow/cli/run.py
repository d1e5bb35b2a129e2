"""Runs a script: its streams and exit code, with expected failures told in one line."""

import os
import sys
import traceback
from typing import Callable, Iterator, Optional, Sequence, Set, TextIO

from orderflow.cli.arguments import WrongArguments
from orderflow.cli.log import JSON, TEXT
from orderflow.cli.output import Notes, Output, ReaderLeft
from orderflow.cli.typed_secrets import without_assigned
from orderflow.exits import FAILED, INTERRUPTED, OK, USAGE, CommandError, UsageError

Main = Callable[[Sequence[str], Output, Notes], int]


def run(
    main: Main,
    argv: Optional[Sequence[str]] = None,
    log_format: Callable[[Sequence[str]], str] = lambda argv: TEXT,
) -> int:
    """Call `main(argv, out, err)` and return its exit code; an expected failure becomes one line.

    If the reader of our output goes away (`| head`), the script ends with 0. A bug keeps its traceback.
    `log_format` tells from the arguments how everything on stderr is to be written. It must not fail.
    """
    closed = _open_closed_streams()
    argv = sys.argv[1:] if argv is None else argv
    out, err = Output(sys.stdout, "stdout" in closed), _notes(log_format(argv), "stderr" in closed)
    try:
        code = _guarded(main, argv, out, err)
    except ReaderLeft:
        code = OK
    _discard_unread(sys.stdout, sys.stderr)
    return code


def _notes(log_format: str, is_closed: bool) -> Notes:
    if log_format != JSON:
        return Notes(sys.stderr, is_closed)
    from orderflow.cli.json_notes import JsonNotes  # most people never need it

    notes = JsonNotes(sys.stderr, is_closed)
    notes.begin()
    return notes


def _guarded(main: Main, argv: Sequence[str], out: Output, err: Notes) -> int:
    try:
        return _unless_lost(main(argv, out, err), out, err)
    except WrongArguments as wrong:
        err.complain_of_usage(wrong.message, wrong.lines)
        return USAGE
    except SystemExit as exit_request:  # argparse, after --help
        return exit_request.code if isinstance(exit_request.code, int) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except CommandError as error:
        err.complain(*(without_assigned(line, argv) for line in error.lines), traceback=error.traceback)
        return error.exit_code
    except ReaderLeft:
        raise
    except Exception as bug:  # noqa: BLE001 - it is told, with all that is known of it
        err.complain_of_bug([without_assigned(line, argv) for line in _traceback_of(bug)])
        return FAILED


def _traceback_of(bug: Exception) -> Iterator[str]:
    """What Python would print, but an error's text, which can hold data, stays on one line."""
    for part in traceback.format_exception(type(bug), bug, bug.__traceback__):
        is_frame = part.startswith("  File ")
        yield from part.rstrip("\n").split("\n") if is_frame else [part.strip("\n")]


def _unless_lost(code: int, out: Output, err: Notes) -> int:
    """The code of a script that has ended well, or not, if nobody could learn how."""
    if out.lost is None or out.reader_left:
        return code
    err.complain(out.complaint(out.lost))
    return code or FAILED


def _open_closed_streams() -> Set[str]:
    """Open the null device in place of stdin, stdout or stderr closed before we started (`2>&-`).

    Otherwise the next file or socket gets that descriptor, and whatever a library prints goes into it.
    Returns which were closed.
    """
    closed = set()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the lowest free descriptor. Child processes must inherit it too.
            null = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
            os.set_inheritable(null.fileno(), True)
            setattr(sys, name, null)
            closed.add(name)
    return closed


def standard_input() -> TextIO:
    """stdin, for scripts that read data from it. Raises UsageError where it was closed before we started."""
    # The null device that replaces it has this name; `< /dev/null` has not.
    if getattr(sys.stdin, "name", None) == os.devnull:
        raise UsageError("cannot read stdin: it is closed")
    return sys.stdin


def _discard_unread(*streams: TextIO) -> None:
    """Redirect unread streams to the null device, or the interpreter's flush at exit complains.

    Ours are written at once; this is about what handlers and libraries have printed.
    """
    for stream in streams:
        try:
            stream.flush()
        except ValueError:  # already closed
            continue
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
