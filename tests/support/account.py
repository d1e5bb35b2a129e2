"""What became of every order, counted by reading the topics and nothing else.

    python tests/support/account.py --orders-topic orders --processed-topic processed --dlq-topic orders-dlq

A dead letter names in its headers the place of its order. A result names the order's id, in the field
`delivery` of its JSON, which the handlers in examples/ and tests/ return. An order that is replayed stands at
a second place under its first id: each place needs a fate of its own, and a replayed one has its dead letter.
A result does not tell which of these places it is of; those where the order did not die have a claim to it.
"""

import argparse
import csv
import json
import re
import sys
import time
from collections import Counter, defaultdict
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

READ_TIMEOUT_S = 60.0
FINDINGS_SHOWN = 20
CONFLUENT_PREFIX_BYTES = 5
SINGLE_OBJECT_PREFIX_BYTES = 10
DIAGNOSTIC_PREFIXES = ("__dlq.errors.", "orders.dlq.")
NO_TOPIC_ID = "A" * 22
"""All zeros, as the client spells them."""


class Position(NamedTuple):
    """A record's position. Its text is `topic-partition-offset`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


class Line(NamedTuple):
    """One record of a topic, as far as the account needs it."""

    position: Position
    key: Optional[bytes]
    value: Optional[bytes]
    headers: Tuple[Tuple[str, Optional[bytes]], ...] = ()
    topic_id: Optional[str] = None
    """Tells topics of one name apart; Kafka before 2.8 has none."""

    @property
    def id(self) -> str:
        """What handlers are told that this order is called: the id of its first place, replayed or not."""
        claims = [value for known, value in self.headers if known == "orders.replay.id"]
        if len(claims) == 1 and re.fullmatch(rb"[!-~]{1,400}", claims[0] or b""):
            return (claims[0] or b"").decode("ascii")
        return str(self.position) if self.topic_id is None else f"{self.position}@{self.topic_id}"

    def header(self, name: str) -> Optional[str]:
        """The last header of this name as text, None where there is none."""
        found = [value for known, value in self.headers if known == name and value is not None]
        return found[-1].decode("utf-8", "replace") if found else None


class Finding(NamedTuple):
    """One way in which the account does not close."""

    kind: str
    """`lost`, `doubled`, `two fates`, `altered`, `renamed`, `stranger`, `out of key order`, ..."""
    what: str


class Account(NamedTuple):
    """The counts, and everything that is wrong with them."""

    published: int
    replayed: int
    processed: int
    dead_lettered: int
    resolved: int
    """Dead letters whose order came back by a replay: their fate is the replayed order's."""
    findings: Tuple[Finding, ...]

    @property
    def closes(self) -> bool:
        """True when every order has exactly one fate and nothing else is there."""
        return not self.findings

    def kinds(self) -> Dict[str, int]:
        """How many findings of each kind."""
        return dict(Counter(finding.kind for finding in self.findings))


# --- the account: pure

NOWHERE = Position("", -1, -1)
"""Stands for the source of a fate that does not say where it came from."""
_Fates = Dict[Position, List[Line]]


def take_account(
    orders: Sequence[Line],
    results: Sequence[Line],
    dead_letters: Sequence[Line],
    repeats_allowed: bool = False,
) -> Account:
    """Compare what was published with what became of it.

    `repeats_allowed` is for at-least-once: an order may then have several fates, but never none.
    """
    sources = {order.position: order for order in orders}
    dead = _by_source(dead_letters)
    processed = _by_place(results, orders, dead)
    findings = _everything_wrong(orders, sources, processed, dead)
    if not repeats_allowed:
        findings += [*_repeated(orders, processed, dead), *_replayed_twice(orders)]
    came_back = {order.header("orders.replay.from") for order in orders}
    replays = len(_replays(orders))
    return Account(
        published=len(orders) - replays,
        replayed=replays,
        processed=len(sources.keys() & processed.keys()),
        dead_lettered=len(sources.keys() & dead.keys()),
        resolved=sum(str(letter.position) in came_back for letter in dead_letters),
        findings=tuple(findings),
    )


def _everything_wrong(
    orders: Sequence[Line], sources: Dict[Position, Line], processed: _Fates, dead: _Fates
) -> List[Finding]:
    """The faults that no guarantee excuses."""
    return [
        *_strangers(sources, processed, "result"),
        *_strangers(sources, dead, "dead letter"),
        *_lost(orders, processed, dead),
        *_altered(sources, processed, dead),
        *_renamed(orders, sources, dead),
        *_out_of_key_order(sources, processed, "processed"),
        *_out_of_key_order(sources, dead, "dead-lettered"),
    ]


def missing_from_topic(ids: Sequence[str], orders: Sequence[Line]) -> List[Finding]:
    """Orders of an input file that do not stand in the topic exactly once. Replays do not count."""
    seen = Counter(order_id(order.value) for order in orders if not order.header("orders.replay.from"))
    missing = [Finding("never published", f"order {wanted}") for wanted in ids if not seen[wanted]]
    return missing + [Finding("published twice", f"order {wanted}") for wanted in ids if seen[wanted] > 1]


def not_processed(ids: Iterable[str], orders: Iterable[Line], results: Iterable[Line]) -> List[Finding]:
    """Orders of an input file that have no result, neither at first nor after a replay."""
    processed = {result_id(result) for result in results}
    done = {order_id(order.value) for order in orders if order.id in processed}
    return [Finding("not processed", f"order {wanted}") for wanted in ids if wanted not in done]


def result_id(result: Line) -> Optional[str]:
    """The id of the order that a result came from, None where the result does not say."""
    try:
        return str(json.loads(result.value or b"")["delivery"])
    except (ValueError, KeyError, TypeError):
        return None


def dead_letter_source(letter: Line) -> Optional[Position]:
    """The position of the order that a dead letter came from, None where its headers do not say."""
    topic, partition, offset = (
        letter.header(f"__dlq.errors.{name}") for name in ("topic", "partition", "offset")
    )
    if not topic or not partition or not offset:
        return None
    return parse_position(f"{topic}-{partition}-{offset}")


def parse_position(text: str) -> Optional[Position]:
    """`topic-partition-offset` (a topic's name may hold hyphens), None where the text is something else."""
    found = re.fullmatch(r"(.+)-(\d+)-(\d+)", text)
    return Position(found[1], int(found[2]), int(found[3])) if found else None


def order_id(value: Optional[bytes]) -> Optional[str]:
    """The first field of an order, read straight from the Avro bytes; None where they hold none."""
    body = _avro_body(value or b"")
    if not body:
        return None
    length, start = _zigzag(body)
    text = body[start : start + length]
    if length < 1 or len(text) != length:
        return None
    return text.decode("utf-8", "replace")


def _avro_body(value: bytes) -> bytes:
    if value[:1] == b"\x00":
        return value[CONFLUENT_PREFIX_BYTES:]
    if value[:2] == b"\xc3\x01":
        return value[SINGLE_OBJECT_PREFIX_BYTES:]
    return b""


def _zigzag(data: bytes) -> Tuple[int, int]:
    """Avro's variable-length integer at the start of `data`, and how many bytes it took."""
    raw = 0
    for index, byte in enumerate(data[:10]):
        raw |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), index + 1
    return -1, len(data)


def _by_source(dead_letters: Iterable[Line]) -> _Fates:
    fates: _Fates = defaultdict(list)
    for letter in dead_letters:
        fates[dead_letter_source(letter) or NOWHERE].append(letter)
    return dict(fates)


def _by_place(results: Iterable[Line], orders: Iterable[Line], dead: _Fates) -> _Fates:
    """Each result at the place that it is of.

    An order that came back has its id at several places. The results belong to those where it did not die,
    one each; what is left over stays at the last, where it is one too many.
    """
    places: Dict[Optional[str], List[Position]] = defaultdict(list)
    for order in orders:
        places[order.id].append(order.position)
    fates: _Fates = defaultdict(list)
    seen: Dict[Optional[str], int] = Counter()
    for result in results:
        called = result_id(result)
        known = places.get(called, [NOWHERE])
        open_places = [place for place in known if place not in dead] or known[-1:]
        fates[open_places[min(seen[called], len(open_places) - 1)]].append(result)
        seen[called] += 1
    return dict(fates)


def _replays(orders: Iterable[Line]) -> List[Line]:
    return [order for order in orders if order.header("orders.replay.from")]


def _name(order: Line) -> str:
    return f"order {order_id(order.value) or '(unreadable)'} at {order.position}"


def _strangers(sources: Dict[Position, Line], fates: _Fates, what: str) -> Iterator[Finding]:
    for source, lines in fates.items():
        if source not in sources:
            for line in lines:
                yield Finding("stranger", f"{what} at {line.position} is of no order in the topic")


def _lost(orders: Iterable[Line], processed: _Fates, dead: _Fates) -> Iterator[Finding]:
    for order in orders:
        if order.position not in processed and order.position not in dead:
            yield Finding("lost", f"{_name(order)} is neither processed nor dead-lettered")


def _repeated(orders: Iterable[Line], processed: _Fates, dead: _Fates) -> Iterator[Finding]:
    for order in orders:
        done, died = processed.get(order.position, []), dead.get(order.position, [])
        if done and died:
            yield Finding("two fates", f"{_name(order)} is {_places(done)} and also {_places(died)}")
        for lines in (done, died):
            if len(lines) > 1:
                yield Finding("doubled", f"{_name(order)} is {_places(lines)}")


def _places(lines: Iterable[Line]) -> str:
    return ", ".join(str(line.position) for line in lines)


def _altered(sources: Dict[Position, Line], processed: _Fates, dead: _Fates) -> Iterator[Finding]:
    for source, order in sources.items():
        for line in processed.get(source, []):
            if line.key != order.key:
                yield Finding("altered", f"{_name(order)}: the key of its result {line.position} differs")
        for line in dead.get(source, []):
            for part in _differences(order, line):
                yield Finding("altered", f"{_name(order)}: the {part} of dead letter {line.position} differs")


def _renamed(orders: Iterable[Line], sources: Dict[Position, Line], dead: _Fates) -> Iterator[Finding]:
    """Dead letters and replays that call an order by another id than its handler was given."""
    called: Dict[str, str] = {}
    for source, letters in dead.items():
        for letter in letters if source in sources else []:
            told, known = letter.header("orders.dlq.id"), sources[source].id
            called[str(letter.position)] = known
            if told not in (None, known):
                yield Finding("renamed", f"{_name(sources[source])}, {known}, died as {told}")
    for order in orders:
        known = called.get(order.header("orders.replay.from") or "", order.id)
        if order.id != known:
            yield Finding("renamed", f"{_name(order)} was called {known} and came back as {order.id}")


def _differences(order: Line, letter: Line) -> Iterator[str]:
    """What a dead letter must carry byte for byte, and does not. A pointer names what it had to leave out."""
    left_out = (letter.header("orders.dlq.left-out") or "").split(",")
    pairs = {
        "key": (order.key, letter.key),
        "value": (order.value, letter.value),
        "headers": (_own_headers(order), _own_headers(letter)),
    }
    return (part for part, (sent, kept) in pairs.items() if sent != kept and part not in left_out)


def _own_headers(line: Line) -> List[Tuple[str, Optional[bytes]]]:
    return [header for header in line.headers if not header[0].startswith(DIAGNOSTIC_PREFIXES)]


def _out_of_key_order(sources: Dict[Position, Line], fates: _Fates, verb: str) -> Iterator[Finding]:
    """Orders of a key that met their fate before an earlier one. A repeat counts at its first place."""
    first = sorted((lines[0].position, source) for source, lines in fates.items() if source in sources)
    latest: Dict[Tuple[int, Optional[bytes], int], Position] = {}
    for fate, source in first:
        order = sources[source]
        lane = (source.partition, order.key, fate.partition)
        before = latest.setdefault(lane, source)
        if order.key is not None and source < before:
            yield Finding("out of key order", f"{_name(order)} was {verb} after {before} of its key")
        latest[lane] = max(source, before)


def _replayed_twice(orders: Iterable[Line]) -> Iterator[Finding]:
    origins = Counter(order.header("orders.replay.from") for order in orders)
    for origin, times in origins.items():
        if origin and times > 1:
            yield Finding("replayed twice", f"dead letter {origin} was sent {times} times")


# --- reading the topics


class Unreadable(Exception):
    """A topic could not be read to its end."""


def read_topic(client: Dict[str, Any], topic: str, timeout_s: float = READ_TIMEOUT_S) -> List[Line]:
    """Every committed record of `topic`, in the order of its partitions and offsets.

    The end is the high water mark at the start, open transactions included: one left behind by a killed
    process would otherwise hide what was committed after it.
    """
    deadline_s = time.monotonic() + timeout_s
    ends, topic_id = _ends_and_id(client, topic, deadline_s)
    consumer = Consumer({**client, **_READER})
    try:
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in ends])
        lines = _until(consumer, ends, deadline_s)
        return sorted((line._replace(topic_id=topic_id) for line in lines), key=lambda line: line.position)
    finally:
        consumer.close()


_READER = {
    "group.id": "order-account",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 20,
}


def _ends_and_id(
    client: Dict[str, Any], topic: str, deadline_s: float
) -> Tuple[Dict[int, int], Optional[str]]:
    """Asked again while the topic was created, or the leader of a partition moved, only a moment ago."""
    admin = AdminClient(client)
    while True:
        try:
            return _told_ends_and_id(admin, topic)
        except KafkaException as error:
            if error.args[0].code() not in _LEADERLESS or time.monotonic() > deadline_s:
                raise
        time.sleep(0.05)


_LEADERLESS = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
)


def _told_ends_and_id(admin: AdminClient, topic: str) -> Tuple[Dict[int, int], Optional[str]]:
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=10)[topic].result()
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    wanted = {TopicPartition(topic, partition.id): latest for partition in described.partitions}
    answers = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=10)
    ends = {place.partition: answer.result().offset for place, answer in answers.items()}
    if min(ends.values()) < 0:  # what the client says, without an error, of a leader that has just died
        raise KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
    return ends, None if str(described.topic_id) == NO_TOPIC_ID else str(described.topic_id)


def _until(consumer: Consumer, ends: Dict[int, int], deadline_s: float) -> Iterator[Line]:
    """Records up to `ends`. Only the end-of-partition event tells that trailing markers are passed."""
    open_partitions = {partition for partition, end in ends.items() if end > 0}
    while open_partitions:
        if time.monotonic() > deadline_s:
            raise Unreadable(
                f"partitions {sorted(open_partitions)} not read to the end: a transaction is still open"
            )
        for message in consumer.consume(5000, timeout=0.03):
            line, error = _line(message), message.error()
            if error is None:
                yield line
            elif error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            elif line.position.offset >= ends[line.position.partition]:
                open_partitions.discard(line.position.partition)


def _line(message: Any) -> Line:
    position = Position(message.topic(), message.partition(), message.offset())
    return Line(position, message.key(), message.value(), tuple(message.headers() or ()))


# --- the command


def report(account: Account) -> str:
    """The account as a person reads it."""
    lines = [
        f"  published      {account.published:>8,}",
        f"  processed      {account.processed:>8,}",
        f"  dead-lettered  {account.dead_lettered - account.resolved:>8,}",
    ]
    if account.replayed:
        lines.append(f"  replayed       {account.replayed:>8,}   (dead letters that were sent again)")
    lines += [f"  {finding.kind.upper()}: {finding.what}" for finding in account.findings[:FINDINGS_SHOWN]]
    if len(account.findings) > FINDINGS_SHOWN:
        lines.append(f"  ... {len(account.findings) - FINDINGS_SHOWN:,} more: {account.kinds()}")
    return "\n".join([*lines, _verdict(account)])


def _verdict(account: Account) -> str:
    if not account.closes:
        return f"The account does NOT close: {len(account.findings):,} findings."
    still_dead = account.dead_lettered - account.resolved
    equation = f"{account.published:,} = {account.processed:,} + {still_dead:,}"
    return f"The account closes: {equation}, each exactly once."


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Read the three topics and print the account. 0: it closes, 1: it does not, or a topic is unreadable."""
    flags = _parser().parse_args(argv)
    client = {"bootstrap.servers": flags.bootstrap_servers, "log_level": 2, **_properties(flags.client_file)}
    try:
        orders, results, dead = (
            read_topic(client, topic)
            for topic in (flags.orders_topic, flags.processed_topic, flags.dlq_topic)
        )
    except (Unreadable, KafkaException) as error:
        print(f"account: {error}", file=sys.stderr)
        return 1
    ids = _ids(flags.input) if flags.input else []
    account = take_account(orders, results, dead, flags.repeats_allowed)
    findings = [*account.findings, *missing_from_topic(ids, orders)]
    if flags.all_processed:
        findings += not_processed(ids, orders, results)
    account = account._replace(findings=tuple(findings))
    print(report(account))
    return 0 if account.closes else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Count what became of every order, by reading the topics alone."
    )
    parser.add_argument("-b", "--bootstrap-servers", default="localhost:9092")
    parser.add_argument("--orders-topic", default="orders")
    parser.add_argument("--processed-topic", required=True)
    parser.add_argument("--dlq-topic", default="orders-dlq")
    parser.add_argument("--input", help="a CSV file whose orders must all have been published, each once")
    parser.add_argument("--all-processed", action="store_true", help="and each of them must have a result")
    parser.add_argument("--repeats-allowed", action="store_true", help="at-least-once: only what is lost")
    parser.add_argument("-F", "--client-file", help="further client properties, a name=value line each")
    return parser


def _properties(path: Optional[str]) -> Dict[str, str]:
    if path is None:
        return {}
    with open(path, encoding="utf-8") as lines:
        return dict(line.strip().split("=", 1) for line in lines if "=" in line)


def _ids(path: str) -> List[str]:
    with open(path, encoding="utf-8", newline="") as rows:
        return [row["order_id"] for row in csv.DictReader(rows)]


if __name__ == "__main__":
    sys.exit(main())
