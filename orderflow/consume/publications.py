"""Turns what a handler returned into the records to send, or says what is wrong with it."""

import collections
from typing import AbstractSet, Any, Callable, NamedTuple, Optional, Sequence, Tuple, Type

from orderflow.consume.misplaced import fault_of_place
from orderflow.consume.results import PLAIN, encode_result, fault_of_text, is_plain, require_outcome
from orderflow.errors import ResultTooLarge, TopicUnusable, UnusableResult, class_name_of
from orderflow.model.dead_letter import size_of
from orderflow.model.records import Header, Headers, Message, Outgoing, headers_of
from orderflow.model.topic_name import INTERNAL_TOPICS, is_topic_name
from orderflow.publish import Publish

TRACE = frozenset(("traceparent", "tracestate"))
"""W3C Trace Context: one belongs to the other, so both are the order's or neither."""
PASSED_ON = TRACE | {"baggage"}
LONGEST_PASSED_ON = 8192
"""Bytes; W3C Baggage asks for no more."""
MOST_RECORDS = 10_000
"""Results of one order: they share a transaction."""
SMALL = 64 * 1024
"""A record that is so far below its limit need not be measured."""
COLLECTIONS: Tuple[Type[Any], ...] = (
    list,
    tuple,
    set,
    frozenset,
    collections.deque,
    type({}.keys()),
    type({}.values()),
)
"""What several results may come in. A set's go out in any order."""

_NEVER_PUBLICATIONS = PLAIN | {dict}
"""The types of most results: look-ups are paid for by every order."""


class Targets(NamedTuple):
    """Where results may go."""

    processed_topic: Optional[str]
    max_result_bytes: int
    """The largest record that `processed_topic` accepts."""
    limit_of: Callable[[str], int]
    """The largest record that another topic accepts. Raises OrderError if it cannot be written to."""
    needs_key: Callable[[str], bool] = lambda topic: False
    """Whether a topic refuses records without a key, as those do that are compacted."""

    def records_of(self, message: Message, result: object) -> Sequence[Outgoing]:
        """The records to publish for a handler's result. Raises OrderError if they cannot be published."""
        if result is None:
            return ()
        if type(result) not in _NEVER_PUBLICATIONS:
            asked = _publications(result)
            if asked is not None:
                return [self._record(message, publish, place) for place, publish in enumerate(asked)]
        require_outcome(result)
        if self.processed_topic is None:
            _require_nothing_to_send(result)
            return ()
        key, value, headers = message.key(), encode_result(result), passed_on(message)
        record = Outgoing(self.processed_topic, key, value, headers, source=message.partition())
        if key is None:
            self._require_no_key(self.processed_topic)
        if headers or len(value) + SMALL > self.max_result_bytes or (key and len(key) > SMALL // 2):
            _require_size(record, self.max_result_bytes)
        return (record,)

    def _record(self, message: Message, publish: Publish, place: int) -> Outgoing:
        topic = _topic(publish.topic, self.processed_topic, place)
        headers = _headers(publish.headers)
        value: Optional[bytes] = None
        if publish.value is not None:
            require_outcome(publish.value)
            value = encode_result(publish.value)
        key = message.key() if publish.key is None else _bytes(publish.key, "key")
        headers += passed_on(message, {name for name, _ in headers})
        record = Outgoing(topic, key, value, headers, source=message.partition())
        if key is None:
            self._require_no_key(topic)
        is_ours = topic == self.processed_topic
        _require_size(record, self.max_result_bytes if is_ours else self.limit_of(topic))
        return record

    def _require_no_key(self, topic: str) -> None:
        """Raise for a topic that takes no record without a key: Kafka would refuse the whole settlement."""
        if self.needs_key(topic):
            what = f"topic {topic} is compacted, so it takes no result without a key, and the order has none"
            raise TopicUnusable(f"{what}: return Publish(…, key=…)", "publish.no_key")


def passed_on(message: Message, given: AbstractSet[str] = frozenset()) -> Headers:
    """The headers of an order by which its trace goes on, less those that the handler gives itself."""
    headers = headers_of(message).headers
    if not headers:
        return []
    left = PASSED_ON - (given | TRACE if given & TRACE else given)
    return [header for header in headers if header[0] in left and len(header[1] or b"") <= LONGEST_PASSED_ON]


def _publications(result: object) -> Optional[Sequence[Publish]]:
    """The result as a list of Publish; None if it is a plain one."""
    if isinstance(result, Publish):
        return (result,)
    if not isinstance(result, COLLECTIONS) or not any(isinstance(one, Publish) for one in result):
        return None
    asked = tuple(result)
    for place, one in enumerate(asked):
        if not isinstance(one, Publish):
            one_kind, kind = class_name_of(type(one)), class_name_of(type(result))
            what = f"a {kind} with a Publish in it holds nothing else"
            raise _wrong(f"the result[{place}] is a {one_kind}: {what}")
    if len(asked) > MOST_RECORDS:
        raise _wrong(f"the result has {len(asked)} records, at most {MOST_RECORDS} can go with one order")
    return asked


def _require_nothing_to_send(result: object) -> None:
    """Raise for a result that is about to be dropped with a Publish in it."""
    fault = None if is_plain(result) else fault_of_place(result)
    if fault is not None:
        raise _wrong(fault)


def _topic(topic: Any, default: Optional[str], place: int) -> str:
    if topic is None:
        if default is None:
            raise _wrong(f"the result[{place}] is a Publish without a topic, and PROCESSED_TOPIC is not set")
        return default
    if not isinstance(topic, str) or not is_topic_name(topic):
        raise _wrong(f"Publish(topic={_shown(topic)}): not the name of a topic (letters, digits, `._-`)")
    if topic in INTERNAL_TOPICS:
        raise _wrong(f"Publish(topic={_shown(topic)}): a topic of Kafka's own, which accepts nothing")
    return topic


def _headers(given: Any) -> Headers:
    if given is None:
        return []
    try:
        pairs = list(given.items() if hasattr(given, "items") else given)
        return [_header(name, value) for name, value in pairs]
    except (TypeError, ValueError, AttributeError) as error:
        raise _wrong(f"Publish(headers=…): give a dict or a list of (name, value): {error}") from error


def _header(name: Any, value: Any) -> Header:
    if not isinstance(name, str):
        raise _wrong(f"Publish(headers=…): the name {_shown(name)} is not text")
    if not name or "\0" in name or fault_of_text(name) is not None:
        raise _wrong(f"Publish(headers=…): {_shown(name)} cannot be a header's name")
    return name, None if value is None else _bytes(value, f"header {_shown(name)}")


def _bytes(given: Any, what: str) -> bytes:
    if isinstance(given, (bytes, bytearray, memoryview)):
        return bytes(memoryview(given))
    if not isinstance(given, str):
        raise _wrong(f"Publish: the {what} is of type {class_name_of(type(given))}; give bytes or text")
    if fault_of_text(given) is not None:
        raise _wrong(f"Publish: the {what} holds half a surrogate pair")
    return given.encode()


def _shown(name: object) -> str:
    """A name as it may be repeated: text, cut; of anything else the type."""
    if not isinstance(name, str):
        return f"<{class_name_of(type(name))}>"
    return repr(name if len(name) <= 60 else f"{name[:60]}…")


def _require_size(record: Outgoing, max_bytes: int) -> None:
    size = size_of(record)
    if size > max_bytes:
        raise ResultTooLarge(f"the result has {size} bytes, topic {record.topic} accepts at most {max_bytes}")


def _wrong(message: str) -> UnusableResult:
    return UnusableResult(message, "publish.invalid")
