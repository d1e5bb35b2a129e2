"""A stretch of wire between a client and a real broker, on which single requests meet with accidents.

The broker's own address in its answers is replaced by ours, of the same length, so that a client that
asks for the leader or the coordinator comes back to us. Formats: the Kafka protocol guide, "Protocol
messages": https://kafka.apache.org/protocol
"""

import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Callable, Dict, List, NamedTuple, Optional, Tuple

PRODUCE, OFFSET_COMMIT, HEARTBEAT = 0, 8, 12
INIT_PRODUCER_ID, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT = 22, 24, 25, 26, 28
NAMES = {
    PRODUCE: "Produce",
    OFFSET_COMMIT: "OffsetCommit",
    HEARTBEAT: "Heartbeat",
    INIT_PRODUCER_ID: "InitProducerId",
    ADD_PARTITIONS: "AddPartitionsToTxn",
    ADD_OFFSETS: "AddOffsetsToTxn",
    END_TXN: "EndTxn",
    TXN_OFFSET_COMMIT: "TxnOffsetCommit",
}
"""The requests that settle something, by their numbers."""

LOST_REQUEST = "request lost"
LOST_ANSWER = "answer lost"
HELD_ANSWER = "answer held back"
"""Never delivered, while the connection stays open: what the request did is not known."""

FIRST_FLEXIBLE = {INIT_PRODUCER_ID: 2, ADD_OFFSETS: 3, END_TXN: 3}
"""From this version on, headers and bodies carry tagged fields."""
TAILS = {INIT_PRODUCER_ID: struct.pack(">qh", -1, -1), ADD_OFFSETS: b"", END_TXN: b""}
"""What follows the error code in an answer."""


class Request(NamedTuple):
    """The head of one request."""

    api: int
    version: int
    correlation: int


class _Accident:
    def __init__(self, api: int, what: object, after: int, times: int) -> None:
        self.api = api
        self.what = what
        self.after = after
        self.times = times


class FaultProxy:
    """Listens on a port of its own and forwards to the broker. Use it with `with`."""

    def __init__(self, bootstrap_servers: str) -> None:
        host, port = bootstrap_servers.split(",")[0].split(":")
        self._broker = (host, int(port))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._here = self._server.getsockname()
        self.happened: List[Tuple[str, object]] = []
        """The accidents so far: the request's name, and what happened to it."""
        self.seen: Dict[Tuple[int, int], int] = {}
        """Requests that passed, by number and version."""
        self._accidents: List[_Accident] = []
        self._lock = threading.Lock()
        self._pairs: List[_Pair] = []
        self._down = False
        self._bytes_per_s = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients."""
        return f"127.0.0.1:{self._here[1]}"

    def break_next(self, api: int, what: object, after: int = 0, times: int = 1) -> None:
        """Have an accident befall the next requests of this kind, once `after` of them have passed.

        `what` is one of the constants above, or the error code to answer with, in place of the broker.
        """
        with self._lock:
            self._accidents.append(_Accident(api, what, after, times))

    def narrow(self, bytes_per_s: float) -> None:
        """Let each connection send no more than this to the broker; 0: as much as it likes."""
        self._bytes_per_s = bytes_per_s

    def heal(self) -> None:
        """No more accidents."""
        with self._lock:
            self._accidents.clear()

    def cut(self) -> None:
        """Drop all connections and accept no more, as a broker that is gone."""
        self._down = True
        for pair in list(self._pairs):
            pair.close()

    def restore(self) -> None:
        """Accept connections again."""
        self._down = False

    def __enter__(self) -> "FaultProxy":
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            if self._down:
                client.close()
            else:
                pair = _Pair(client, self._broker, self._here, self.fate_of, self._passage)
                self._pairs.append(pair)

    def _passage(self, size: int) -> None:
        if self._bytes_per_s:
            time.sleep(size / self._bytes_per_s)

    def fate_of(self, request: Request) -> Optional[object]:
        """What befalls this request, or None."""
        with self._lock:
            place = (request.api, request.version)
            self.seen[place] = self.seen.get(place, 0) + 1
            for accident in self._accidents:
                if accident.api == request.api and accident.times > 0:
                    return self._befall(accident)
        return None

    def _befall(self, accident: _Accident) -> Optional[object]:
        if accident.after > 0:
            accident.after -= 1
            return None
        accident.times -= 1
        self.happened.append((NAMES[accident.api], accident.what))
        return accident.what


class _Pair:
    """One client connection and the broker's end of it."""

    def __init__(
        self,
        client: socket.socket,
        broker: Tuple[str, int],
        here: Tuple[str, int],
        fate_of: Callable[[Request], Optional[object]],
        passage: Callable[[int], None],
    ) -> None:
        """`passage` takes as long as so many bytes take to the broker."""
        self._client = client
        self._broker = socket.create_connection(broker)
        self._fate_of, self._passage = fate_of, passage
        self._there, self._here = _address(*broker), _address(*here)
        self._unanswered: Dict[int, object] = {}
        for pump in (self._requests, self._answers):
            threading.Thread(target=self._run, args=(pump,), daemon=True).start()

    def close(self) -> None:
        for end in (self._client, self._broker):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _run(self, pump: Callable[[], None]) -> None:
        with suppress(OSError, EOFError):
            pump()
        self.close()

    def _requests(self) -> None:
        while True:
            body = _read_frame(self._client)
            request = Request(*struct.unpack(">hhi", body[:8]))
            fate = self._fate_of(request)
            if fate == LOST_REQUEST:
                raise EOFError
            if isinstance(fate, int):
                _send_frame(self._client, refusal(request, body, fate))
                continue
            if fate is not None:
                self._unanswered[request.correlation] = fate
            self._passage(len(body))
            _send_frame(self._broker, body)

    def _answers(self) -> None:
        while True:
            body = _read_frame(self._broker)
            fate = self._unanswered.pop(struct.unpack(">i", body[:4])[0], None)
            if fate == LOST_ANSWER:
                raise EOFError
            if fate is None:
                _send_frame(self._client, body.replace(self._there, self._here))


def refusal(request: Request, body: bytes, code: int) -> bytes:
    """The broker's answer to a request that it refuses with this error code."""
    head, no_throttle, error = struct.pack(">i", request.correlation), bytes(4), struct.pack(">h", code)
    if request.api == ADD_PARTITIONS:
        return head + no_throttle + _refused_partitions(body, error)
    if request.version >= FIRST_FLEXIBLE[request.api]:
        return head + b"\0" + no_throttle + error + TAILS[request.api] + b"\0"
    return head + no_throttle + error + TAILS[request.api]


def _refused_partitions(body: bytes, error: bytes) -> bytes:
    """AddPartitionsToTxn v0-2: every partition that was asked for, each with the error."""
    place = 8
    for _ in range(2):  # the client's id, the transactional id
        place += 2 + max(0, struct.unpack_from(">h", body, place)[0])
    place += 10  # the producer's id and epoch
    (topics,) = struct.unpack_from(">i", body, place)
    answer, place = struct.pack(">i", topics), place + 4
    for _ in range(topics):
        end = place + 2 + struct.unpack_from(">h", body, place)[0]
        (partitions,) = struct.unpack_from(">i", body, end)
        answer, place = answer + body[place:end] + body[end : end + 4], end + 4
        for _ in range(partitions):
            answer, place = answer + body[place : place + 4] + error, place + 4
    return answer


def _address(host: str, port: int) -> bytes:
    """A host and port as they stand in answers."""
    return host.encode() + struct.pack(">i", port)


def _read_frame(end: socket.socket) -> bytes:
    (length,) = struct.unpack(">i", _read(end, 4))
    return _read(end, length)


def _read(end: socket.socket, length: int) -> bytes:
    parts = []
    while length:
        part = end.recv(min(length, 1 << 20))
        if not part:
            raise EOFError
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _send_frame(end: socket.socket, body: bytes) -> None:
    end.sendall(struct.pack(">i", len(body)) + body)
