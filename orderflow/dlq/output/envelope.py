"""Dead letters as JSON: kcat's envelope, made lossless, and ours beside it.

JSON is pure ASCII, so that it is harmless on a terminal too.
"""

import base64
import json
import math
from decimal import Decimal
from typing import Any, Dict, Optional

from orderflow.dlq.letter import Letter
from orderflow.dlq.masking import is_masked
from orderflow.model.json_text import DEEPEST
from orderflow.model.moments import written

Json = Dict[str, Any]

# --- JSON: kcat's envelope, made lossless, and ours beside it ---


TIMESTAMP_TYPES = {"CreateTime": "create", "LogAppendTime": "logappend", None: "unknown"}
"""As kcat spells them."""


def to_json(value: Any) -> str:
    """One line of JSON, printable ASCII only."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def envelope(letter: Letter) -> Json:
    """One dead letter whole: nothing of the record is lost, and what it does not carry is null.

    Of one with hidden fields the bytes are missing, so that nobody imports it for the whole.
    """
    record, told = letter.record, letter.told
    row = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "tstype": TIMESTAMP_TYPES[record.timestamp_type],
        "ts": record.timestamp_ms,
        "key": text_or_none(record.key),
        "key_b64": base64_or_none(record.key),
        "headers": [[name, _lossless(value)] for name, value in record.headers],
        "payload": plain(letter.order),
        "payload_b64": base64_or_none(record.value),
        "dialect": told.dialect,
        "source": {
            "topic": told.topic,
            "partition": told.partition,
            "offset": told.offset,
            "timestamp": told.timestamp_ms,
        },
        "consumer_group": told.group,
        "attempts": told.attempts,
        "error": {
            "reason": told.reason,
            "stage": told.stage,
            "class": told.error_class,
            "cause": told.root_class,
            "message": told.message,
            "frame": told.frame,
        },
        "fingerprint": told.fingerprint,
        "state": letter.state,
        "replays": told.replay_count,
        "headers_left_out": told.headers_left_out,
    }
    return {name: row[name] for name in row if name not in BYTES} if is_masked(letter) else row


BYTES = ("key_b64", "payload_b64")


TOO_DEEP = "(nested too deeply)"


def plain(value: Any, depth: int = 0) -> Any:
    """A decoded value as JSON can say it: times in ISO 8601, bytes in base64, NaN and infinities as text."""
    if depth > DEEPEST:
        return TOO_DEEP
    if isinstance(value, dict):
        return {str(name): plain(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner, depth + 1) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    if isinstance(value, (bytes, bytearray)):
        return {"b64": base64_or_none(bytes(value))}
    if isinstance(value, Decimal):
        return f"{value:f}"
    time = written(value)
    if time is not None:
        return time
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def text_or_none(value: Optional[bytes]) -> Optional[str]:
    """The bytes as text, or None where they are none, or no UTF-8."""
    try:
        return None if value is None else value.decode("utf-8")
    except UnicodeDecodeError:
        return None


def base64_or_none(value: Optional[bytes]) -> Optional[str]:
    """The bytes in base64, or None where there are none."""
    return None if value is None else base64.b64encode(value).decode("ascii")


def _lossless(value: Optional[bytes]) -> Any:
    """A header's value: text where the bytes are UTF-8, else the bytes themselves."""
    text = text_or_none(value)
    return {"b64": base64_or_none(value)} if text is None and value is not None else text
