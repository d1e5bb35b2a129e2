"""A page of the ledger topic: the heads of one partition, where the commit metadata has no room for them.

The key of the record names the consumer group and the partition, so that compaction keeps the latest page of
each. The value is binary, big-endian:

    magic (4 bytes), number (8), base (8), next (8), written at (4, epoch seconds), heads (4), keys (4)
    for each head, by offset: its offset (8), when it is due (4, epoch seconds; 0 while it is in flight),
                              attempts (3), flags (1)
    for each head with followers: a hash of its key (8)
    the CRC-32 of the record's key, of the topic's id if brokers give ids, and of everything before it (4)

The number, `base` and `next` tell a page from its predecessors. A head's key is needed where the head itself
has gone from the log: its followers are then found by the hash. The check catches damage, copies under
another key, and pages of another topic of this name, which a mirror may have put beside ours. It keeps nobody
from forging a page, so what is read is bounded, and anything else is no page.
"""

from hashlib import blake2b
from struct import Struct, error
from typing import Dict, List, NamedTuple, Optional
from zlib import crc32

from orderflow.model.commit_metadata import MAX_OFFSET, Commit, Entry, rise, spelled
from orderflow.model.ledger_record import ledger_key

MAGIC = b"ofp1"
HEADER = Struct(">4sQQQIII")
ENTRY = Struct(">QII")
CHECK = Struct(">I")
KEY_HASH_BYTES = 8
HEAD_BYTES = ENTRY.size + KEY_HASH_BYTES
"""The most that one head takes."""
RECORD_BYTES = 1_000
"""More than what surrounds the heads: header and check, the record's key, and the batch around it."""

FOLLOWED, ANNOUNCED, IN_COMPANY = 1, 2, 4
"""Flags of an entry. IN_COMPANY: announced, but not being called now; see `commit_metadata`."""
MOST_ATTEMPTS = (1 << 24) - 1
MOST_SECONDS = (1 << 32) - 1


class Page(NamedTuple):
    """The heads of one partition as a page lists them."""

    number: int
    base: int
    """The offset that was committed with it."""
    next: int
    written_at_s: int
    entries: List[Entry]
    key_hashes: Dict[int, bytes]
    """By the offset of a head with followers, the hash of its key."""


class Heading(NamedTuple):
    """What a page says besides listing the heads."""

    number: int
    base: int
    next: int
    written_at_s: int


def page_key(group: str, topic: str, partition: int) -> bytes:
    """The record key of a partition's pages."""
    return ledger_key(group, topic, partition)


def key_hash(key: bytes) -> bytes:
    """Tells the followers of a head from all other orders."""
    return blake2b(key, digest_size=KEY_HASH_BYTES).digest()


def most_heads(max_record_bytes: int) -> int:
    """How many heads a page can list in a topic that accepts records of this size."""
    return max(0, max_record_bytes - RECORD_BYTES) // HEAD_BYTES


def entry_bytes(offset: int, due_s: float, attempts: int, flags: int) -> bytes:
    """One head. `due_s`: epoch seconds, 0 while it is in flight."""
    due = min(MOST_SECONDS, max(0, round(due_s)))
    return ENTRY.pack(offset, due, (min(attempts, MOST_ATTEMPTS) << 8) | flags)


def write_page(
    key: bytes,
    heading: Heading,
    entries: List[bytes],
    key_hashes: List[bytes],
    topic_id: Optional[str] = None,
) -> bytes:
    """The value of a page. `entries` by offset; `key_hashes` of those with followers, in the same order.

    `topic_id`: Kafka's id of the topic of the orders; None where brokers give none.
    """
    header = HEADER.pack(MAGIC, *heading, len(entries), len(key_hashes))
    body = b"".join([header, *entries, *key_hashes])
    return body + CHECK.pack(crc32(body, _seed(key, topic_id)))


def _seed(key: bytes, topic_id: Optional[str]) -> int:
    """What the check begins with: whose page it is."""
    text = spelled(topic_id)
    return crc32(key if text is None else key + b"@" + text.encode())


def number_of(value: Optional[bytes]) -> int:
    """The number that a page bears, without a look at the rest; -1 if it is none."""
    if value is None or len(value) < HEADER.size or not value.startswith(MAGIC):
        return -1
    number: int = HEADER.unpack_from(value)[1]
    return number


def read_page(key: bytes, value: Optional[bytes], topic_id: Optional[str] = None) -> Optional[Page]:
    """The page in a record; None if it is none of ours, of another topic of this name, or damaged.

    A page that was written without a topic's id holds for any: earlier versions wrote such pages.
    """
    try:
        return _read(key, value or b"", topic_id)
    except (error, ValueError):
        return None


def completed(commit: Commit, base: int, page: Page) -> Optional[Commit]:
    """A commit of offset `base` with the heads of a page; None if it is an older or foreign page.

    It is the page that the commit names, or a later one, if compaction took that: with at-least-once a page
    is written, and so true, before the offset is committed.
    """
    name = commit.page
    assert name is not None
    if page.number == name.number:
        if page.next != commit.next:
            return None
        entries = [entry for entry in page.entries if entry.offset >= base]
        return commit._replace(entries=_later(entries, commit.written_at_s - page.written_at_s))
    if page.number < name.number or page.base < base or page.next < commit.next:
        return None
    listed = {entry.offset for entry in page.entries}
    return commit._replace(
        next=page.next,
        entries=page.entries,
        clean=False,
        alone=commit.alone if commit.alone in listed else None,
        written_at_s=page.written_at_s,
        page=name._replace(number=page.number),
    )


def _later(entries: List[Entry], passed_s: int) -> List[Entry]:
    """The entries at a commit that was written so much later than their page: due when they were before.

    Where the clock has been set back in between, they are due after the delays that the page tells.
    """
    if passed_s <= 0:
        return entries
    # The delay of an announced entry is none, but says how to call it.
    return [
        each if each.announced else each._replace(delay_s=max(0, each.delay_s - passed_s)) for each in entries
    ]


def _read(key: bytes, value: bytes, topic_id: Optional[str]) -> Page:
    magic, number, base, following, written_at_s, heads, keys = HEADER.unpack_from(value)
    listed = HEADER.size + heads * ENTRY.size
    hashed = listed + keys * KEY_HASH_BYTES
    if magic != MAGIC or len(value) != hashed + CHECK.size:
        raise ValueError("not a page, or cut off")
    (check,), body = CHECK.unpack_from(value, hashed), value[:hashed]
    if all(check != crc32(body, _seed(key, written_for)) for written_for in (topic_id, None)):
        raise ValueError("damaged, or of another key or topic")
    entries = [
        _entry(offset, due_s, tried, written_at_s)
        for offset, due_s, tried in ENTRY.iter_unpack(value[HEADER.size : listed])
    ]
    followed = [entry.offset for entry in entries if entry.has_followers]
    offsets = [entry.offset for entry in entries]
    if len(followed) != keys or not (base <= min(offsets, default=base) and following <= MAX_OFFSET):
        raise ValueError("contradicts itself")
    if not rise(offsets, following):
        raise ValueError("offsets that do not rise")
    hashes = [value[place : place + KEY_HASH_BYTES] for place in range(listed, hashed, KEY_HASH_BYTES)]
    return Page(number, base, following, written_at_s, entries, dict(zip(followed, hashes)))


def _entry(offset: int, due_s: int, tried: int, written_at_s: int) -> Entry:
    flags = tried & 0xFF
    delay_s = 1 if flags & IN_COMPANY else max(0, due_s - written_at_s)
    return Entry(offset, tried >> 8, delay_s, bool(flags & FOLLOWED), bool(flags & ANNOUNCED))
