"""The metadata committed with an offset: which later orders are already finished, and which still wait."""

import re
from bisect import bisect_left
from functools import lru_cache
from math import log2
from typing import Dict, Iterator, List, Match, NamedTuple, Optional, Sequence, Tuple
from zlib import crc32

from orderflow.model.topic_name import TOPIC_NAME

METADATA_LIMIT = 4000
"""Bytes of metadata to write: a little below the broker's default `offset.metadata.max.bytes` (4,096)."""

MAX_ATTEMPTS = 31
"""The most attempts that a metadata entry can count; a page can count more."""

FORMAT = "of1"
PAGED_FORMAT = "of2"
HEADER_LIMIT = 141
"""Most bytes of metadata besides the entries: the topic's id, the owner, two offsets of 19 digits, a time of
10, the checksum."""
LONGEST_OWNER = 48
LONGEST_TEXT = METADATA_LIMIT + 96
"""What a list may have grown to that an earlier version, which wrote no topic id, had filled to the limit."""
REACHES = [100 << power for power in range(9)]
"""The reaches that one digit can express."""
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
DIGIT_VALUES = {digit: value for value, digit in enumerate(DIGITS)}

EXACT_DELAY_S = 32
DELAYS_S = [*range(EXACT_DELAY_S), *(round(EXACT_DELAY_S * 1.36**step) for step in range(32))]
"""The delays that one digit can express: exact up to 32 s, then in steps of a third, to about 5 days."""


class Entry(NamedTuple):
    """A head (the first unfinished order of its key) as the metadata lists it."""

    offset: int
    attempts: int
    delay_s: int
    has_followers: bool = False
    announced: bool = False


class PageName(NamedTuple):
    """Which record of a ledger topic lists the heads if the metadata has no room; see ledger_page.py."""

    topic: str
    partition: int
    number: int


class Stand(NamedTuple):
    """What a commit says about its partition besides listing the heads."""

    base: int
    """The committed offset."""
    next: int
    clean: bool
    braked: bool
    alone: Optional[int]
    reach: Optional[int]
    written_at_s: int
    topic_id: Optional[str] = None
    """Kafka's id of the topic; None where brokers give none."""
    owner: Optional[str] = None
    """Whose transaction may follow: the transactional id without the group; None: nobody's."""


class Signature(NamedTuple):
    """What all commits of an owner for a topic have in common."""

    topic_id: Optional[str] = None
    owner: Optional[str] = None


class Commit(NamedTuple):
    """What a committed offset's metadata says about its partition."""

    next: int
    entries: List[Entry]
    clean: bool
    braked: bool
    alone: Optional[int]
    """The offset being called alone at this commit, or that died alone and was not called since."""
    written_at_s: int
    reach: Optional[int] = None
    """About how many orders beyond `next` may be called before the next commit. None: not known."""
    page: Optional[PageName] = None
    """The page that lists the heads. None: `entries` lists them all. Otherwise `entries` is empty until the
    page has been read, which does not mean that nothing waits."""
    topic_id: Optional[str] = None
    """The topic that it was written for, as `spelled`; None: it does not say."""
    owner: Optional[str] = None
    """Who wrote it: the transactional id without the group. None: it does not say."""

    @property
    def is_complete(self) -> bool:
        """Whether `entries` lists the heads. A page without heads is never written."""
        return self.page is None or bool(self.entries)


# --- the metadata's text -----------------------------------------------------------------------------
#
#   of1@<topic id>/<owner>;<flags>;<next - offset>;<alone - offset, or empty>;<written at>;<entries>;<check>
#   of2@<topic id>/<owner>;<flags>;<next - offset>;<alone - offset, or empty>;<written at>;<page>;<partition>;
#       <topic>;<check>
#
# A topic that is deleted and created again, or mirrored into another cluster, has another id, and the offsets
# there are other orders: the text says what it is about, so that it can be told from what is damaged. Without
# "@<topic id>" it holds for any topic: brokers before Kafka 2.8 give no ids, and earlier versions wrote none.
# The owner is whose transactions may follow this commit: a successor ends one that was left open. Without
# "/<owner>" there are none (at-least-once), or the owner has a name that is too long.
# The second form names a page of the ledger topic, by number, instead of listing the entries.
# flags: o(pen) or c(lean), then b where the outage brake holds, then a digit for the reach (REACHES)
# if it is known. Numbers are decimal.
# An entry, in offset order: the distance from the previous one, doubled, plus 1 with followers, in
# digits of 5 bits, low first, the sixth bit set while more follow; one digit of attempts, doubled,
# plus 1 if announced; one digit of delay (DELAYS_S). An announced entry with a delay is not being
# called now: it was when a process died, and still has to be called IN_COMPANY. The check is the
# CRC-32, in hex, of the committed offset and all text before it: metadata that was cut, or that a mirror
# copied to another cluster's offset, would list too little, and what is not listed counts as finished.
# The check does not prevent forgery, so what is read is bounded: offsets that can exist, times of ten
# digits, no longer than we write. Everything else counts as foreign.


TOPIC_ID = "[A-Za-z0-9_-]{1,22}"
OWNER = f"[A-Za-z0-9._-]{{1,{LONGEST_OWNER}}}"
STAND = (
    rf"(?:@({TOPIC_ID}))?(?:/({OWNER}))?;([co])(b?)([0-8]?);([0-9]{{1,19}});([0-9]{{0,19}});([0-9]{{1,10}})"
)
CHECK = "[0-9a-f]{8}"
TEXT = re.compile(rf"{FORMAT}{STAND};([A-Za-z0-9_-]*);{CHECK}", re.ASCII)
"""Anything longer or in another form was not written by us: whoever may commit may also forge metadata."""
PAGED_TEXT = re.compile(
    rf"{PAGED_FORMAT}{STAND};([0-9]{{1,19}});([0-9]{{1,9}});({TOPIC_NAME});{CHECK}", re.ASCII
)
URL_SAFE = str.maketrans("+/", "-_")
MAX_OFFSET = 2**63 - 1
LONGEST_NUMBER = 13
"""Most 5-bit digits that a doubled distance between two offsets takes."""


def reach_digit(reach: Optional[int]) -> str:
    """The digit of the smallest expressible reach that is not below this one, or of the largest."""
    return "" if reach is None else str(min(bisect_left(REACHES, reach), len(REACHES) - 1))


def first_form(stand: Stand, entries: str) -> str:
    """The metadata that lists the heads itself, their entries as text."""
    return sealed(f"{FORMAT}{_stand(stand)};{entries}", stand.base)


def second_form(stand: Stand, page: PageName) -> str:
    """The metadata that names the page on which the heads are listed."""
    return sealed(f"{PAGED_FORMAT}{_stand(stand)};{page.number};{page.partition};{page.topic}", stand.base)


def _stand(stand: Stand) -> str:
    flags = ("c" if stand.clean else "o") + ("b" if stand.braked else "") + reach_digit(stand.reach)
    alone = "" if stand.alone is None else str(stand.alone - stand.base)
    topic_id = spelled(stand.topic_id)
    of_topic = "" if topic_id is None else f"@{topic_id}"
    of_owner = "" if stand.owner is None else f"/{stand.owner}"
    return f"{of_topic}{of_owner};{flags};{stand.next - stand.base};{alone};{stand.written_at_s}"


def sealed(body: str, base: int) -> str:
    """The text with its check, which holds at the offset `base` alone."""
    return f"{body};{crc32(f'{base};{body}'.encode()):08x}"


def spelled(topic_id: Optional[str]) -> Optional[str]:
    """A topic's id as `kafka-topics.sh` prints it; None where brokers give none.

    The client spells it with the other two signs of base64 (seen with librdkafka 2.16). One that is of no
    known form is not written at all: a text that we could not read would be worse.
    """
    text = "" if topic_id is None else topic_id.translate(URL_SAFE)
    return text if re.fullmatch(TOPIC_ID, text, re.ASCII) else None


def is_writable(owner: str) -> bool:
    """Whether an owner's name can stand in the metadata."""
    return re.fullmatch(OWNER, owner, re.ASCII) is not None


def read_metadata(text: str, base: int, topic_id: Optional[str] = None) -> Optional[Commit]:
    """What the metadata of the committed offset `base` says; None if it is not ours, or of another topic.

    `topic_id` None: the topic's id is not known, and nothing can be held against it.
    """
    commit = _read_or_none(text, base)
    return None if commit is None or _is_of_another(commit, topic_id) else commit


def of_another_topic(text: str, base: int, topic_id: Optional[str]) -> Optional[Commit]:
    """What the metadata says of another topic of this name: one that was deleted, or of another cluster.

    None if it says nothing of the kind.
    """
    commit = _read_or_none(text, base)
    return commit if commit is not None and _is_of_another(commit, topic_id) else None


def _is_of_another(commit: Commit, topic_id: Optional[str]) -> bool:
    wanted = spelled(topic_id)
    return None not in (wanted, commit.topic_id) and commit.topic_id != wanted


def _read_or_none(text: str, base: int) -> Optional[Commit]:
    try:
        return _read(text, base)
    except ValueError:
        return None


def _read(text: str, base: int) -> Commit:
    if len(text) > LONGEST_TEXT or text != sealed(text.rpartition(";")[0], base):
        raise ValueError(text)
    listed, paged = TEXT.fullmatch(text), PAGED_TEXT.fullmatch(text)
    if listed is not None:
        commit = _commit(listed, base)._replace(entries=list(_read_entries(listed[9], base)))
    elif paged is not None:
        commit = _commit(paged, base)._replace(page=PageName(paged[11], int(paged[10]), int(paged[9])))
    else:
        raise ValueError(text)
    if not _is_sound(commit, base):
        raise ValueError(text)
    return commit


def _commit(found: Match[str], base: int) -> Commit:
    topic_id, owner, state, brake, reach, span, alone, written_at_s = found.groups()[:8]
    return Commit(
        next=base + int(span),
        entries=[],
        clean=state == "c",
        braked=bool(brake),
        alone=base + int(alone) if alone else None,
        written_at_s=int(written_at_s),
        reach=REACHES[int(reach)] if reach else None,
        topic_id=topic_id,
        owner=owner,
    )


def _is_sound(commit: Commit, base: int) -> bool:
    """Whether offsets rise, begin at the base and can exist: anything else could skip a record."""
    known = commit.alone is None or base <= commit.alone < commit.next
    if not (known and 0 <= base <= commit.next <= MAX_OFFSET):
        return False
    if commit.page is not None:
        return base < commit.next
    offsets = [entry.offset for entry in commit.entries]
    first = offsets[0] if offsets else commit.next
    return first == base and rise(offsets, commit.next)


def rise(offsets: Sequence[int], end: int) -> bool:
    """Whether offsets follow each other, all of them before `end`."""
    return all(low < high for low, high in zip(offsets, [*offsets[1:], end]))


@lru_cache(maxsize=20_000)
def entry_text(step: int, attempts: int, announced: bool, delay_s: int) -> str:
    """The text of one entry. Cached, since entries are much alike."""
    return _number(step) + DIGITS[min(attempts, MAX_ATTEMPTS) * 2 + announced] + _delay(delay_s)


def _number(number: int) -> str:
    digits = ""
    while number > 31:
        digits += DIGITS[32 + (number & 31)]
        number >>= 5
    return digits + DIGITS[number]


def _delay(delay_s: int) -> str:
    """The digit of the shortest expressible delay that is not below this one, or of the longest."""
    return DIGITS[min(bisect_left(DELAYS_S, delay_s), len(DELAYS_S) - 1)]


def _read_entries(text: str, base: int) -> Iterator[Entry]:
    values = iter([DIGIT_VALUES[digit] for digit in text])
    last = base
    for digit in values:
        step = _read_number(digit, values)
        attempts, delay = next(values, None), next(values, None)
        if attempts is None or delay is None:
            raise ValueError("cut off")
        last += step >> 1
        yield Entry(last, attempts >> 1, DELAYS_S[delay], bool(step & 1), bool(attempts & 1))


def _read_number(digit: int, values: Iterator[int]) -> int:
    number, shift = digit & 31, 5
    while digit >= 32:
        following = next(values, None)
        if following is None or shift >= 5 * LONGEST_NUMBER:
            raise ValueError("cut off, or not a distance between two offsets")
        digit = following
        number |= (digit & 31) << shift
        shift += 5
    return number


# --- how many heads fit ------------------------------------------------------------------------------


def capacity(span: int, limit: int = METADATA_LIMIT) -> int:
    """How many heads fit into `limit` bytes wherever they lie within `span` offsets; at least 1.

    A number v takes at most 1 + log32(v) digits, which is concave, so n distances that add up to
    the span take at most n times the digits of their mean. That bound depends only on the count and
    the span: replacing a finished head by its follower can never make the text too long.
    """
    return _capacity(max(span, 1).bit_length(), limit)


_capacities: Dict[Tuple[int, int], int] = {}


def _capacity(span_bits: int, limit: int) -> int:
    known = _capacities.get((span_bits, limit))
    if known is None:
        known = _capacities[span_bits, limit] = _search_capacity(2**span_bits, limit - HEADER_LIMIT)
    return known


def _search_capacity(span: int, room: int) -> int:
    low, high = 1, max(1, room // 3) + 1
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if _worst_size(middle, span) <= room else (low, middle)
    return low


def _worst_size(count: int, span: int) -> float:
    return count * (3 + log2(2 * span / count + 2) / 5)
