"""Bodies read for checking: JSON strictly and within bounds, and plain forms.

What two parsers could understand differently is refused, for the one behind the gateway is not the
one that checked: a member that stands twice, a number beyond all reason, text that is not UTF-8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from json.decoder import JSONDecodeError
from typing import Any, Final

import orjson

from gateway.openapi.checks import Check
from gateway.openapi.parameters import (
    Unreadable,
    decoded_form,
    listed,
    one,
    pairs,
    single,
    text,
)
from gateway.openapi.schemas import TEXT, Shape
from gateway.openapi.words import Flaw, path_to

MOST_DEPTH: Final = 64  # of lists and objects in each other
MOST_DIGITS: Final = 64  # characters of a number
INFINITE: Final = (float("inf"), float("-inf"))
SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")
ALIKE: Final = bytes.maketrans(b"{}", b"[]")
NOT_BRACKETS: Final = bytes(sorted(set(range(256)) - set(b"[]{}")))


class TwiceError(ValueError):
    """A member stands twice."""


class HugeError(ValueError):
    """A number has too many digits, or is too large for everybody."""


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(members)
    if len(made) != len(members):
        raise TwiceError
    return made


def _integer(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise HugeError
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if len(digits) > MOST_DIGITS or number in INFINITE:
        raise HugeError
    return number


def _constant(name: str) -> None:
    raise JSONDecodeError("no JSON", name, 0)


DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)


def too_deep(data: bytes) -> bool:
    """Whether lists and objects are nested too deeply; exact for what is JSON.

    Without its strings a text has its brackets left; each round takes the innermost pairs away.
    """
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(data.split(b'"')[::2]).translate(ALIKE, NOT_BRACKETS)
    for _ in range(MOST_DEPTH):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def parsed(data: bytes) -> object:
    """The value of a JSON text. Raises `Unreadable`."""
    words = text(data)
    if too_deep(data):
        # Brackets that do not match are no depth, but no JSON either.
        raise Unreadable("is no JSON, or nested too deeply")
    try:
        value = DECODER.decode(words)
        if SURROGATE.search(words) is not None:
            orjson.loads(data)  # which has none that stands alone
    except TwiceError:
        raise Unreadable("holds a member twice") from None
    except HugeError:
        raise Unreadable("holds a number that is too large or too long") from None
    except JSONDecodeError as error:
        at = f": line {error.lineno}, column {error.colno}" if error.doc is words else ""
        raise Unreadable(f"is no JSON{at}") from None
    return value


def weight(data: bytes) -> int:
    """How many values a JSON text holds, or a few more."""
    return data.count(b",") + data.count(b"[") + data.count(b"{") + 1


def form(data: bytes, shape: Shape) -> tuple[Mapping[str, object], list[Flaw]]:
    """A form's fields by name, and what could not be read."""
    fields: dict[str, list[bytes]] = {}
    for name, raw in pairs(data):
        if name is None:
            return {}, [Flaw("", "holds a name that is no text")]
        fields.setdefault(name, []).append(raw)
    value: dict[str, object] = {}
    flaws = []
    for name, raws in fields.items():
        member = shape.members.get(name, TEXT)
        try:
            texts = [decoded_form(raw) for raw in raws]
            if member.listed:
                value[name] = listed(texts, member, True)
            else:
                value[name] = single(one(texts), member, True)
        except Unreadable as error:
            flaws.append(Flaw(path_to((name,)), str(error)))
    return value, flaws


class Media:
    """What a body of one media type has to be."""

    __slots__ = ("_check", "_form")

    def __init__(self, check: Check, *, is_form: bool) -> None:
        self._check = check
        self._form = is_form

    def flaws(self, data: bytes) -> list[Flaw]:
        """What is wrong with a whole body."""
        value: object
        if self._form:
            value, flaws = form(data, self._check.shape)
            if flaws:
                return flaws
        else:
            try:
                value = parsed(data)
            except Unreadable as error:
                return [Flaw("", str(error))]
        if self._check.fits(value):
            return []
        return self._check.flaws(value, weight(data) + data.count(b"&"))
