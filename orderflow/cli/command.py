"""A command that an operator wants to be run, as it is typed in a flag."""

import shlex
import shutil
import subprocess
from contextlib import suppress
from typing import Callable, Optional

from orderflow.exits import UsageError

STEP_S = 0.1
GRACE_S = 2.0
"""How long a command may take to end when it is asked to, before it is killed."""


class Command:
    """It is split as a shell would, but no shell runs it, and no data becomes part of it.

    Raises UsageError for what cannot be run, so that this is known before there is anything to run it for.
    """

    def __init__(self, flag: str, text: str) -> None:
        self._flag = flag
        try:
            self._words = shlex.split(text)
        except ValueError as error:
            raise UsageError(f"{flag} {text!r}: {str(error).lower()}") from error
        if not self._words:
            raise UsageError(f"{flag} needs a command")
        if shutil.which(self._words[0]) is None:
            raise UsageError(f"{flag}: there is no command {self._words[0]!r}")

    def run(self, data: bytes, output: Optional[int], stop: Callable[[], bool]) -> Optional[str]:
        """Run it with this input, and its output to a descriptor; what went wrong, None if all went well.

        When asked to stop, it is terminated.
        """
        try:
            process = subprocess.Popen(
                self._words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL if output is None else output
            )
        except OSError as error:
            return f"{self._flag} cannot be run: {error.strerror}"
        left: Optional[bytes] = data
        while not stop():
            with suppress(subprocess.TimeoutExpired):
                process.communicate(left, STEP_S)
                return f"{self._flag} ended with {process.returncode}" if process.returncode else None
            left = None
        _end(process)
        return None


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.communicate(timeout=GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
