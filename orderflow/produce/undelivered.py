"""The file of orders that could not be delivered, in a form that can be sent again."""

import base64
import json
import os
from contextlib import suppress
from typing import Any, Callable, Dict, Optional

from orderflow.cli.output import write_all


class Undelivered:
    """Keeps orders for another try, in a new file that is created for the first one.

    An order is written as JSON if that is read and encoded to exactly the same record again, else as its
    bytes in base64; order_file.py reads both.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Dict[str, Any]],
        encode: Callable[[Dict[str, Any]], bytes],
        key_of: Callable[[Dict[str, Any]], Optional[bytes]],
        read: Callable[[str], Any],
        name: str = "undelivered",
    ) -> None:
        """`read` is how `--input` reads a line."""
        self._decode = decode
        self._encode = encode
        self._key_of = key_of
        self._read = read
        self._name = name
        self._descriptor: Optional[int] = None
        self._size = 0
        """Of the whole lines in the file."""
        self.path: Optional[str] = None
        """The file's path; None while it is not created."""
        self.kept = 0
        """Orders in the file."""
        self.lost: Optional[str] = None
        """Why an order could not be kept; None if all were."""

    def keep(self, key: Optional[bytes], value: Optional[bytes]) -> bool:
        """Write one record at once. False on a full disk: raising in the client's callback would not help."""
        line = f"{self._line(key, value)}\n".encode("ascii")
        try:
            if self._descriptor is None:
                self._descriptor = self._create()
            write_all(self._descriptor, line)
        except OSError as error:
            self.lost = f"{self.path or self._name}: {error.strerror}"
            self._cut()
            return False
        self._size += len(line)
        self.kept += 1
        return True

    def close(self) -> None:
        """Close the file. One in which nothing could be kept is not left behind."""
        if self._descriptor is None or self.path is None:
            return
        with suppress(OSError):
            os.close(self._descriptor)
        if not self.kept:
            with suppress(OSError):
                os.unlink(self.path)

    def _cut(self) -> None:
        """Leave no half line, which would be taken for a bad one when the file is given to `--input`."""
        if self._descriptor is not None:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)

    def _create(self) -> int:
        """A new file that only its owner can read, since it holds customers' data."""
        number = 1
        while True:
            path = f"{self._name}.jsonl" if number == 1 else f"{self._name}-{number}.jsonl"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            except FileExistsError:
                number += 1
                continue
            self.path = path
            return descriptor

    def _line(self, key: Optional[bytes], value: Optional[bytes]) -> str:
        order = self._order(key, value)
        return (
            json.dumps({"key_b64": _base64(key), "payload_b64": _base64(value)}) if order is None else order
        )

    def _order(self, key: Optional[bytes], value: Optional[bytes]) -> Optional[str]:
        """The order as JSON that becomes exactly this record; None if there is none."""
        if value is None:
            return None
        try:
            line = json.dumps(self._decode(value))
            again = self._read(line)
            same = self._encode(again) == value and self._key_of(again) == key
        except Exception:  # noqa: BLE001 - whatever is wrong with the bytes, they are kept as they are
            return None
        return line if same else None


def _base64(part: Optional[bytes]) -> Optional[str]:
    return None if part is None else base64.b64encode(part).decode()
