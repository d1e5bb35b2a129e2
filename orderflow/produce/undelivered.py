"""The file of orders that could not be delivered, in a form that can be sent again."""

import base64
import json
import os
from typing import Any, Callable, Dict, Optional, TextIO


class Undelivered:
    """Keeps orders for another try, in a new file that is created for the first one.

    An order is written as JSON if that encodes to exactly the same record again, else as its bytes in
    base64; order_file.py reads both.
    """

    def __init__(
        self,
        decode: Callable[[bytes], Dict[str, Any]],
        encode: Callable[[Dict[str, Any]], bytes],
        key_of: Callable[[Dict[str, Any]], Optional[bytes]],
        name: str = "undelivered",
    ) -> None:
        self._decode = decode
        self._encode = encode
        self._key_of = key_of
        self._name = name
        self._file: Optional[TextIO] = None
        self.path: Optional[str] = None
        """The file's path; None while it is not created."""
        self.kept = 0
        """Orders in the file."""
        self.lost: Optional[str] = None
        """Why an order could not be kept; None if all were."""

    def keep(self, key: Optional[bytes], value: Optional[bytes]) -> bool:
        """Write one record at once. False on a full disk: raising in the client's callback would not help."""
        try:
            if self._file is None:
                self._file = self._create()
            self._file.write(json.dumps(self._line(key, value)) + "\n")
        except OSError as error:
            self.lost = f"{self.path or self._name}: {error.strerror}"
            return False
        self.kept += 1
        return True

    def close(self) -> None:
        """Close the file."""
        if self._file is None:
            return
        try:
            self._file.close()
        except OSError as error:
            self.lost = f"{self.path}: {error.strerror}"

    def _create(self) -> TextIO:
        """A new file that only its owner can read, since it holds customers' data."""
        number = 1
        while True:
            path = f"{self._name}.jsonl" if number == 1 else f"{self._name}-{number}.jsonl"
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                number += 1
                continue
            self.path = path
            return os.fdopen(descriptor, "w", buffering=1, encoding="ascii")

    def _line(self, key: Optional[bytes], value: Optional[bytes]) -> Dict[str, Any]:
        order = self._order(key, value)
        return {"key_b64": _base64(key), "payload_b64": _base64(value)} if order is None else order

    def _order(self, key: Optional[bytes], value: Optional[bytes]) -> Optional[Dict[str, Any]]:
        """The order that encodes to exactly this record; None if there is none."""
        if value is None:
            return None
        try:
            order = self._decode(value)
            same = self._encode(order) == value and self._key_of(order) == key
            json.dumps(order)
        except Exception:  # noqa: BLE001 - whatever is wrong with the bytes, they are kept as they are
            return None
        return order if same else None


def _base64(part: Optional[bytes]) -> Optional[str]:
    return None if part is None else base64.b64encode(part).decode()
