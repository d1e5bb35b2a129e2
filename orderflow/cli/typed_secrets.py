"""Keeps secrets that were typed on a command line out of what is said about it.

A log keeps what a terminal forgets. A password has no place on a command line, but it gets typed: after a
flag that does not exist, or where `-X` was forgotten or mistyped.
"""

import re
from itertools import takewhile
from typing import Container, Dict, Iterator, List, Sequence, Set, Tuple

from orderflow.model.text import MOST_QUOTED, escape

_STEM = "(?:pass|pwd|secret|token|credential|key|pem|user[-_.]?info|jaas|config|assertion)"
"""In a name whose value may be a secret."""
_is_name = re.compile(rf"[\w.-]*{_STEM}[\w.-]*=?", re.I).fullmatch
_find_name = re.compile(rf"{_STEM}[\w.-]*=", re.I).search
_find_user = re.compile(r"(?:://)?[^\s:/@]*:(?!//)(?=.*@)", re.S).search


def without_assigned(text: str, words: Sequence[str]) -> str:
    """The text with `…` for what stands in these words after a `secret.name=`, or between `user:` and `@`.

    A text may repeat a word in part only, or without its beginning.
    """
    secrets: Dict[str, List[str]] = {}
    for before, secret in _assigned(words):
        secrets.setdefault(before, []).append(secret)
    for before in sorted(secrets, key=len, reverse=True):
        text = _hidden_after(before, secrets[before], text)
    return text


def without_typed(text: str, words: Sequence[str], flags: Container[str]) -> str:
    """The same, also with `…` for each word after a secret's name, unless that is one of `flags`."""
    for word in _following(words, flags):
        for spelt in _spellings(word):
            text = re.sub(rf"(?<!\w){re.escape(spelt)}(?!\w)", "…", text)
    return without_assigned(text, words)


def _assigned(words: Sequence[str]) -> Iterator[Tuple[str, str]]:
    """What stands before each secret within a word, and the secret."""
    for word in words:
        for spelt in _spellings(word):
            name, user = _find_name(spelt), _find_user(spelt)
            if name:
                yield name[0], spelt[name.end() :]
            if name and word.startswith("-"):  # of `-token=x`, the flag -t takes `oken=x` for its value
                yield "=", spelt[name.end() :]
            if user and "@" in spelt:
                yield user[0], spelt[user.end() : spelt.rindex("@")]


def _following(words: Sequence[str], flags: Container[str]) -> Iterator[str]:
    """The words that are the values of secrets: after `--password`, `password`, `password=`, `password =`."""
    is_value = False
    for word in words:
        if not is_value:
            is_value = word not in flags and _is_name(word) is not None
        elif word != "=":
            is_value = False
            yield word


def _spellings(word: str) -> Set[str]:
    """How a text may spell a word: as it is, in quotes, in quotes and cut, and escaped."""
    quoted, cut = repr(word)[1:-1], repr(word[:MOST_QUOTED])[1:-1]
    return {word, quoted, cut, escape(word)} - {""}


def _hidden_after(before: str, secrets: Sequence[str], text: str) -> str:
    """The text with `…` for as much of a secret as follows after each `before`."""
    parts, end = [], 0
    while before in text[end:]:
        start, end = end, text.index(before, end) + len(before)
        parts.append(text[start:end])
        hidden = max(_shared(text[end : end + len(secret)], secret) for secret in secrets)
        if hidden:
            parts.append("…")
            end += hidden
    return "".join([*parts, text[end:]])


def _shared(text: str, other: str) -> int:
    """How many characters two texts have in common from their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(text, other)))
