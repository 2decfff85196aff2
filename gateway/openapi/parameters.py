"""Parameters read from text, by their style (OpenAPI 3.1.1, 4.8.12; RFC 6570).

A text is a number or a boolean where the schema wants one and JSON would read it as one: `1`, but
not `+1`, `01` or `1_000`; `true`, but not `yes`. What does not read as such stays text, for the
schema to refuse. Where a schema takes numbers and text, both are tried.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from gateway.openapi.schemas import TEXT, Shape

LONGEST_NUMBER: Final = 64  # characters
INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)")
NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
BROKEN: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
NUMERIC: Final = frozenset(("integer", "number"))
INFINITE: Final = (float("inf"), float("-inf"))


class Unreadable(ValueError):
    """A text that cannot be what it is to be."""


Decode = Callable[[bytes], str]


def decoded(raw: bytes) -> str:
    """Percent-decoded. Raises `Unreadable`."""
    if b"%" in raw:
        if BROKEN.search(raw) is not None:
            raise Unreadable("holds a % that begins no encoded byte")
        raw = unquote_to_bytes(raw)
    return text(raw)


def decoded_form(raw: bytes) -> str:
    """As in queries and forms, where a plus is a space (URL Standard, 5.1)."""
    return decoded(raw.replace(b"+", b" "))


def text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Unreadable("is not UTF-8") from None


def pairs(raw: bytes) -> list[tuple[str | None, bytes]]:
    """A query's or a form's fields, in order; a name that cannot be read is None."""
    found: list[tuple[str | None, bytes]] = []
    for part in raw.split(b"&"):
        if not part:
            continue
        name, _, value = part.partition(b"=")
        try:
            found.append((decoded_form(name), value))
        except Unreadable:
            found.append((None, value))
    return found


def crumbs(lines: Iterable[bytes]) -> list[tuple[str, bytes]]:
    """Cookies, as they came (RFC 6265, 4.2.1)."""
    found = []
    for line in lines:
        for part in line.split(b";"):
            name, mark, value = part.strip(b" \t").partition(b"=")
            if mark:
                found.append((name.decode("latin-1"), value))
    return found


def single(raw: str, shape: Shape, eager: bool) -> object:
    """A text as what the shape wants; `eager`: as a number, even where text would do."""
    kinds = shape.kinds
    if not kinds or ("string" in kinds and not eager):
        return raw
    if "boolean" in kinds and raw in ("true", "false"):
        return raw == "true"
    if NUMERIC & kinds and len(raw) <= LONGEST_NUMBER:
        if INTEGER.fullmatch(raw):
            return int(raw)
        if "number" in kinds and NUMBER.fullmatch(raw) and float(raw) not in INFINITE:
            return float(raw)
    if "null" in kinds and not raw:
        return None
    return raw


def listed(parts: Iterable[str], shape: Shape, eager: bool) -> list[object]:
    items = shape.items or TEXT
    return [single(part, items, eager) for part in parts]


def mapped(parts: Iterable[tuple[str, str]], shape: Shape, eager: bool) -> dict[str, object]:
    """Raises `Unreadable` for a name that stands twice."""
    found: dict[str, object] = {}
    for name, part in parts:
        if name in found:
            raise Unreadable("holds a member twice")
        found[name] = single(part, shape.members.get(name, TEXT), eager)
    return found


Split = Callable[[bytes], list[bytes]]


def commas(raw: bytes) -> list[bytes]:
    return raw.split(b",")


def comma_list(raw: bytes) -> list[bytes]:
    """A header's list, which may have white space around its commas (RFC 9110, 5.6.1)."""
    return [part.strip(b" \t") for part in raw.split(b",")]


def spaces(raw: bytes) -> list[bytes]:
    return re.split(rb"%20|\+", raw)


def pipes(raw: bytes) -> list[bytes]:
    return re.split(rb"\||%7[Cc]", raw)


SPLITS: Final[Mapping[str, Split]] = {
    "form": commas,
    "simple": commas,
    "spaceDelimited": spaces,
    "pipeDelimited": pipes,
    "deepObject": commas,  # never in one text
}


def delimited(
    raw: bytes, shape: Shape, eager: bool, split: Split, decode: Decode, explode: bool
) -> object:
    """A list or an object in one text: split before it is decoded, as %2C is no comma."""
    parts = split(raw) if raw else []
    if shape.listed:
        return listed(map(decode, parts), shape, eager)
    if explode:
        named = [part.partition(b"=") for part in parts]
        return mapped([(decode(n), decode(value)) for n, _, value in named], shape, eager)
    if len(parts) % 2:
        raise Unreadable("holds a name without a value")
    names = map(decode, parts[::2])
    return mapped(zip(names, map(decode, parts[1::2]), strict=True), shape, eager)


def one(values: Sequence[Any]) -> Any:
    """The only one of them: which of several counts would be a guess."""
    if len(values) > 1:
        raise Unreadable("stands here more than once")
    return values[0]
