"""The fingerprint of a failure: what failures of one kind have in common, whichever order they struck."""

import hashlib
import re
from functools import lru_cache
from typing import Optional, Tuple

from orderflow.errors import Failure
from orderflow.frames import place_of


@lru_cache(maxsize=1024)
def fingerprint(
    reason: Optional[str], stage: Optional[str], error_class: Optional[str], message: Optional[str]
) -> str:
    """16 hex digits, equal for failures of the same kind whatever numbers and ids they mention."""
    text = None if message is None else normalised(message)
    if text is not None and reason is not None and reason.startswith("decode."):
        text = _OF_ONE.sub(lambda found: _OF_MANY[found[0]], text)
    parts = (reason, stage, error_class, text)
    return digest_of(tuple("" if part is None else part for part in parts))


@lru_cache(maxsize=1024)
def digest_of(parts: Tuple[str, ...]) -> str:
    """16 hex digits of what decides which kind a failure is of."""
    text = "\0".join(parts)
    return hashlib.blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).hexdigest()


def fingerprint_of(failure: Failure) -> str:
    """The fingerprint of a failure: a handler's by kind and function, any other's by kind and message.

    The function tells what a message cannot: that of `KeyError: 'SKU-7'` is the key. A failure of a handler
    that has no frame (nothing of the handler's ran) goes by its message.
    """
    reason, stage, error_class, message = failure[:4]
    if failure.frame is None or stage != "process":
        return fingerprint(reason, stage, error_class, message)
    causes = {cause.error_class for cause in failure.causes}
    return digest_of((reason, stage, error_class, *sorted(causes), f"@{place_of(failure.frame)}"))


_OF_MANY = {
    "# byte is needed": "# bytes are needed",
    "needed and # is left": "needed and # are left",
    "# byte is left over": "# bytes are left over",
    "cut after # byte": "cut after # bytes",
    "decimal of # digit": "decimal of # digits",
}
"""What our decoder says of one, and what it said of one in earlier versions: the same kind of failure."""
_OF_ONE = re.compile(rf"(?:{'|'.join(_OF_MANY)})\b")
FINGERPRINT_FORM = re.compile(r"[0-9a-f]{16}")
TOKEN_WITH_DIGIT = re.compile(r"(?<![\w.\-+@$#%])[\w.\-+@$#%]*\d[\w.:\-+@$#%]*")
BYTES_IN_HEX = re.compile(r"\b[0-9a-f]{2}(?: [0-9a-f]{2})+\b")
OBJECT_IDENTITY = re.compile(r"@[0-9a-f]{4,16}\b")
EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
HEX_RUN = re.compile(r"\b[0-9a-fA-F]{8,}\b")
QUOTED = re.compile(
    r"""(?<!\w)[bBrRuU]?(?:'[^'\n]*'|"[^"\n]*"|`[^`\n]*`|"""
    r"""\u201c[^\u201d\n]*\u201d|\u2018[^\u2019\n]*\u2019|\xab[^\xbb\n]*\xbb)(?!\w)"""
)
RUN_OF_BLANKS = re.compile(r"#(?:[\s,;:/|'\"]+#)+")
NORMALISED_LENGTH = 1024
"""Characters of a message that are looked at; the rest is detail."""
DECIDING_LENGTH = 160
"""Characters of what is left of it that decide its kind."""


def normalised(message: str) -> str:
    """The message, with everything blanked out that differs between failures of the same kind.

    That is each word with a digit in it (numbers, order ids, UUIDs, clock times, addresses), quoted text,
    e-mail addresses, runs of hex digits and the identities of objects; a list of them counts as one.
    """
    text = OBJECT_IDENTITY.sub("@#", BYTES_IN_HEX.sub("#", message[:NORMALISED_LENGTH]))
    # Up to here as it was at first: a dead letter's own fingerprint decides what is left of its message.
    text = RUN_OF_BLANKS.sub("#", TOKEN_WITH_DIGIT.sub("#", text))
    text = QUOTED.sub("#", HEX_RUN.sub("#", EMAIL.sub("#", text)))
    return RUN_OF_BLANKS.sub("#", text)[:DECIDING_LENGTH]
