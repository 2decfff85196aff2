"""Targeted cache control (RFC 9213): a Dictionary of structured fields (RFC 9651) for one cache.

Only a whole, well-formed dictionary counts. What no directive of a cache means is read for its
form and dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gateway.caching.directives import Directives, Fields

OURS: Final = b"gateway-cache-control"
TARGETS: Final = (OURS, b"cdn-cache-control")
"""The fields meant for us, the most exact one first."""

KEY: Final = re.compile(rb"[a-z*][a-z0-9_\-.*]*+")
ITEM: Final = re.compile(
    rb"(?P<number>-?(?:\d{1,12}\.\d{1,3}|\d{1,15}))(?![\d.])"
    rb'|"(?P<string>(?:[ !#-\[\]-~]|\\["\\])*+)"'
    rb"|(?P<token>[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+)"
    rb"|:(?P<bytes>[A-Za-z0-9+/=]*+):"
    rb"|\?(?P<boolean>[01])"
    rb"|@(?P<date>-?\d{1,15})"
    rb'|%"(?P<display>(?:[ !#$&-~]|%[0-9a-f]{2})*+)"'
)
COUNTED: Final = frozenset((b"max-age", b"s-maxage", b"stale-while-revalidate", b"stale-if-error"))


class _Broken(Exception):
    """It is no dictionary."""


def targeted(fields: Fields) -> Directives | None:
    """The directives of the first field that is meant for us; None if there is none (2.2)."""
    for name in TARGETS:
        values = fields.get(name)
        if values:
            found = dictionary(values)
            if found:
                return found
    return None


def dictionary(values: Sequence[bytes]) -> dict[bytes, bytes | None]:
    """The members as directives; none at all where the field is not well-formed.

    A member whose value has the wrong type is left out. Of several, the last counts (RFC 9651).
    """
    text = b",".join(values).strip(b" ")
    found: dict[bytes, bytes | None] = {}
    at = 0
    try:
        while at < len(text):
            match = _expect(KEY, text, at)
            at, name = match.end(), match[0]
            kind, value = "boolean", b"1"
            if text[at : at + 1] == b"=":
                at, kind, value = _value(text, at + 1)
            at = _parameters(text, at)
            found.pop(name, None)
            _take(found, name, kind, value)
            at = _next(text, at)
    except _Broken:
        return {}
    return found


def _take(found: dict[bytes, bytes | None], name: bytes, kind: str, value: bytes) -> None:
    if name in COUNTED:
        if kind == "number" and value.isdigit():
            found[name] = value
    elif kind == "boolean":
        if value == b"1":
            found[name] = None
    elif kind in ("string", "token"):
        found[name] = value


def _expect(what: re.Pattern[bytes], text: bytes, at: int) -> re.Match[bytes]:
    match = what.match(text, at)
    if match is None:
        raise _Broken
    return match


def _value(text: bytes, at: int) -> tuple[int, str, bytes]:
    """An item or an inner list: where it ends, its type and its value."""
    if text[at : at + 1] != b"(":
        match = _expect(ITEM, text, at)
        kind = match.lastgroup or ""
        return match.end(), kind, match[kind]
    at += 1
    while True:
        start = at
        at = _spaces(text, at)
        if text[at : at + 1] == b")":
            return at + 1, "list", b""
        if at == start and text[start - 1 : start] != b"(":
            raise _Broken  # members are separated by spaces
        at = _parameters(text, _expect(ITEM, text, at).end())


def _parameters(text: bytes, at: int) -> int:
    """Where the parameters end: no directive has any."""
    while text[at : at + 1] == b";":
        at = _expect(KEY, text, _spaces(text, at + 1)).end()
        if text[at : at + 1] == b"=":
            at = _expect(ITEM, text, at + 1).end()
    return at


def _spaces(text: bytes, at: int) -> int:
    while text[at : at + 1] == b" ":
        at += 1
    return at


def _next(text: bytes, at: int) -> int:
    """Where the next member begins: behind a comma, of which none may be the last."""
    rest = text[at:].lstrip(b" \t")
    if not rest:
        return len(text)
    after = rest[1:].lstrip(b" \t")
    if rest[:1] != b"," or not after:
        raise _Broken
    return len(text) - len(after)
