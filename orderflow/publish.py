"""What a handler returns to choose where its result goes, and with what."""

from typing import Any, Iterable, Mapping, Optional, Tuple, Union

HeaderValue = Union[bytes, str, None]
HeadersGiven = Union[Mapping[str, HeaderValue], Iterable[Tuple[str, HeaderValue]]]


class Publish:
    """A result that names its topic, its key or its headers. Return one, or a list of them.

    `value` is encoded as any result is; None is a record without a value, a tombstone. What is left out is as
    for a plain result: PROCESSED_TOPIC, the order's key, and the headers by which a trace goes on.
    """

    __slots__ = ("headers", "key", "topic", "value")

    def __init__(
        self,
        value: Any,
        topic: Optional[str] = None,
        key: Union[bytes, str, None] = None,
        headers: Optional[HeadersGiven] = None,
    ) -> None:
        self.value = value
        self.topic = topic
        self.key = key
        self.headers = headers

    def __repr__(self) -> str:
        """Without what may be secret: the value, the key and the headers' values."""
        return f"Publish(topic={self.topic!r})"
