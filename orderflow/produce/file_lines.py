"""Reads the lines of a file or a pipe as they arrive."""

import io
import os
import re
import select
from codecs import BOM_UTF8
from collections import deque
from typing import BinaryIO, Deque, Iterator, List, Optional, Sequence

from orderflow.exits import CommandError
from orderflow.model.text import plural

MAX_RECORD_BYTES = 16 * 1024 * 1024
"""Limit of one record in a file: far more than Kafka accepts, and little of a machine's memory."""
_CHUNK_BYTES = 64 * 1024
_IDLE_S = 0.1
_NUL = "\udc00"
_CUT = "a line that is too long"
"""Stands for it, and is told by its identity."""
_NOT_TEXT = re.compile("[\udc00-\udcff]")


class Silent(Exception):
    """Nothing arrived for a moment."""


class TooLong(Exception):
    """A line is longer than a record may be, and is skipped."""

    def __init__(self) -> None:
        super().__init__(f"is longer than {MAX_RECORD_BYTES:,} bytes, the limit of a record")


class Lines:
    """The lines of one file or pipe, line ends included; the csv module takes as many as a record needs.

    Raises `Silent` whenever nothing arrives for a moment, even within a record: `rewind`, then go on. Raises
    `TooLong` for a line that is; the one after it comes next.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._fd = stream.fileno()
        self._size = os.fstat(self._fd).st_size
        self._name = name
        self._read_bytes = 0
        self._block = io.StringIO()
        self._block_bytes = 0
        self._source = self._lines()
        self._again: Deque[str] = deque()
        self._record: List[str] = []
        self._record_chars = 0
        self.first = 1
        """Number of the current record's first line."""
        self.suspect = False
        """Whether there were bytes that are not text; the lines have lone surrogates in their place."""

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._source)
        if line is None:
            raise Silent
        self._record.append(line)
        if line is _CUT:
            raise TooLong
        if len(self._record) > 1:
            self._check_size(line)
        return line

    @property
    def last(self) -> int:
        """Number of the line read last."""
        return self.first + len(self._record) - 1

    @property
    def are_blank(self) -> bool:
        """Whether nothing but blanks is on the lines of the current record; a pair of quotes is something."""
        return all(not line.strip(" \t\r\n") for line in self._record)

    @property
    def fraction(self) -> Optional[float]:
        """How much has been read, 0 to 1; None if the end is not known, as with a pipe."""
        if not self._size:
            return None
        block = self._block.getvalue()
        unread = 1 - self._block.tell() / len(block) if block else 0.0
        return (self._read_bytes - unread * self._block_bytes) / self._size

    def begin(self) -> None:
        """Start a new record with the next line."""
        self.first += len(self._record)
        self._record = []

    def rewind(self, without: str = "\0") -> None:
        """Read the lines of this record again, without the given character."""
        self._again.extendleft(line.replace(without, "") for line in reversed(self._record))
        self._record = []

    def _check_size(self, line: str) -> None:
        if len(self._record) == 2:
            self._record_chars = len(self._record[0])
        self._record_chars += len(line)
        if self._record_chars > MAX_RECORD_BYTES:
            raise CommandError(f"{self._name}:{self.first}: {TooLong()}; is a quote never closed?")

    def _lines(self) -> Iterator[Optional[str]]:
        """Whole lines, ends included; None whenever nothing arrived for a moment, `_CUT` for a long one."""
        rest, skips = b"", False
        for chunk in self._chunks():
            if chunk is None:
                yield None
                continue
            if skips:
                skipped, newline, chunk = chunk.partition(b"\n")
                self._read_bytes += len(skipped + newline)
                skips = not newline
            whole, newline, tail = chunk.rpartition(b"\n")
            if newline:
                yield from self._text(rest + whole + newline)
                rest = tail
            else:
                rest += chunk
            if len(rest) > MAX_RECORD_BYTES:
                yield _CUT
                self._read_bytes += len(rest)
                rest, skips = b"", True
        if rest:
            yield from self._text(rest)

    def _text(self, block: bytes) -> Iterator[str]:
        """The lines of a block. Bytes that are not text, including NUL, become lone surrogates.

        A byte order mark at the very start is no part of the text.
        """
        if not self._read_bytes and block.startswith(BOM_UTF8):
            block, self._read_bytes = block[len(BOM_UTF8) :], len(BOM_UTF8)
        try:
            text = block.decode()
        except UnicodeDecodeError:
            text, self.suspect = block.decode(errors="surrogateescape"), True
        if "\0" in text:
            text, self.suspect = text.replace("\0", _NUL), True
        self._read_bytes += len(block)
        self._block, self._block_bytes = io.StringIO(text, newline="\n"), len(block)
        return self._block

    def _chunks(self) -> Iterator[Optional[bytes]]:
        """What can be read now; None after a short wait, so that a silent pipe never blocks the caller."""
        while True:
            if not select.select([self._fd], [], [], _IDLE_S)[0]:
                yield None
                continue
            try:
                chunk = os.read(self._fd, _CHUNK_BYTES)
            except OSError as error:
                raise CommandError(f"{self._name}: cannot be read: {error.strerror}") from error
            if not chunk:
                self._check_still_whole()
                return
            yield chunk

    def _check_still_whole(self) -> None:
        """A file that was cut while it was read ends early: what is missing must not pass for the end."""
        size = os.fstat(self._fd).st_size
        if size < self._size:
            raise CommandError(
                f"{self._name}: became shorter while it was read: {plural(size, 'byte')} of {self._size:,}; "
                "what is gone is not published"
            )


def check_text(parts: Sequence[str]) -> None:
    """Refuse what was not text in the file."""
    for number, part in enumerate(parts, 1):
        found = _NOT_TEXT.search(part)
        if found:
            what = "a NUL byte" if found[0] == _NUL else f"byte 0x{ord(found[0]) - 0xDC00:02x}"
            column = f"in column {number}" if len(parts) > 1 else f"at column {found.start() + 1}"
            raise ValueError(f"is not UTF-8 text: {what} {column}")
