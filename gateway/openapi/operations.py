"""What a document says of requests, made ready: paths, their operations, what each takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.http1.fields import name_of, value_of
from gateway.openapi.bodies import Media
from gateway.openapi.fields import Parameter, Raw
from gateway.openapi.matcher import Paths
from gateway.openapi.parameters import crumbs, pairs
from gateway.openapi.words import short

MOST_FINDINGS: Final = 10


class Finding(NamedTuple):
    """What is wrong with a request: in which part, in which parameter, where in its value."""

    place: str
    name: str
    path: str
    message: str

    def told(self) -> Mapping[str, str]:
        return {"in": self.place, "name": self.name, "path": self.path, "message": self.message}


class Brought(NamedTuple):
    """What a request brings beside its path and its body, as it came."""

    query: bytes  # without its question mark
    fields: Raw  # of its head (`by_field`), where the operation looks at them
    has_body: bool


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `known` are the names of its query; None: all may be."""

    path: Sequence[tuple[int, Parameter]] = ()  # which of the path's values, and what it is
    query: Sequence[Parameter] = ()
    fields: Sequence[Parameter] = ()
    cookies: Sequence[Parameter] = ()
    known: frozenset[str] | None = None
    takes_body: bool = False
    needs_body: bool = False
    closed: bool = False  # a body that is not described may not be
    media: Mapping[str, Media | None] = field(default_factory=dict)  # by range; None: unread

    def looks_at_fields(self, has_body: bool) -> bool:
        """Whether it matters what stands in the head of a request."""
        return bool(self.fields or self.cookies or (has_body and self.media))

    def findings(self, values: Sequence[bytes], brought: Brought) -> list[Finding]:
        """What is wrong with a request before its body is looked at. `values` are the path's."""
        found: list[Finding] = []
        for number, parameter in self.path:
            add(found, parameter, {parameter.key: [values[number]]})
        if self.query or self.known is not None:
            raw, unread = by_name(pairs(brought.query))
            for parameter in self.query:
                add(found, parameter, raw)
            self._strangers(found, raw, unread)
        for parameter in self.fields:
            add(found, parameter, brought.fields)
        if self.cookies:
            raw, _ = by_name(crumbs(brought.fields.get("cookie", ())))
            for parameter in self.cookies:
                add(found, parameter, raw)
        if self.takes_body or self.closed:
            self._outside(found, brought)
        return found[:MOST_FINDINGS]

    def _strangers(self, found: list[Finding], raw: Raw, unread: bool) -> None:
        """Names in the query that the operation does not know."""
        if self.known is None:
            return
        if unread:
            found.append(Finding("query", "", "", "holds a name that is no text"))
        deep = tuple(parameter.key + "[" for parameter in self.query if parameter.deep)
        for name in raw:
            if name not in self.known and not (deep and name.startswith(deep)):
                found.append(Finding("query", short(name), "", "is not described"))
                if len(found) >= MOST_FINDINGS:
                    return

    def _outside(self, found: list[Finding], brought: Brought) -> None:
        """What is known of the body without reading it."""
        if not brought.has_body:
            if self.needs_body:
                found.append(Finding("body", "", "", "is missing"))
        elif not self.takes_body:
            found.append(Finding("body", "", "", "is not described"))
        elif self.media:
            kinds = brought.fields.get("content-type", ())
            if len(kinds) != 1 or range_of(kinds[0], self.media) is None:
                wrong = "expected one of " + ", ".join(self.media)
                found.append(Finding("header", "content-type", "", short(wrong, 200)))
            elif self.reads(brought) is not None:
                found.extend(self._coded(brought, kinds[0]))

    @staticmethod
    def _coded(brought: Brought, kind: bytes) -> Iterable[Finding]:
        """What keeps a body from being read."""
        codings = brought.fields.get("content-encoding", ())
        if any(coding.lower() not in (b"", b"identity") for coding in codings):
            yield Finding("header", "content-encoding", "", "a coded body cannot be checked")
        if charset(kind) not in (b"", b"utf-8", b"utf8", b"us-ascii"):
            yield Finding("header", "content-type", "", "expected charset utf-8")

    def reads(self, brought: Brought) -> Media | None:
        """What the body has to be, if it is to be read."""
        if not self.media or not brought.has_body:
            return None
        kinds = brought.fields.get("content-type")
        fitting = range_of(kinds[0], self.media) if kinds else None
        return None if fitting is None else self.media[fitting]

    def body(self, media: Media, data: bytes) -> list[Finding]:
        """What is wrong with a whole body."""
        if not data:
            return [Finding("body", "", "", "is missing")] if self.needs_body else []
        return [Finding("body", "", flaw.path, flaw.message) for flaw in media.flaws(data)]


@dataclass(frozen=True, slots=True)
class Item:
    """A path: its operations by method, and the line that tells them."""

    operations: Mapping[bytes, Operation]
    allow: bytes


class Api:
    """A document's paths. `match` finds one, and the values that are in it."""

    def __init__(self, paths: Paths[Item]) -> None:
        self.match = paths.match


def add(found: list[Finding], parameter: Parameter, raw: Raw) -> None:
    place, name = parameter.place, parameter.name
    found += [Finding(place, name, path, message) for path, message in parameter.flaws(raw)]


def by_name(fields: Iterable[tuple[str | None, bytes]]) -> tuple[Raw, bool]:
    """Values by name, and whether there is a name that cannot be read."""
    raw: dict[str, list[bytes]] = {}
    unread = False
    for name, value in fields:
        if name is None:
            unread = True
        else:
            raw.setdefault(name, []).append(value)
    return raw, unread


def by_field(lines: Iterable[bytes]) -> Raw:
    """Header values by name. `X_Y` is `X-Y`, too, to many who may be behind the gateway."""
    raw: dict[str, list[bytes]] = {}
    for line in lines:
        name = name_of(line).replace(b"_", b"-").decode()
        raw.setdefault(name, []).append(value_of(line))
    return raw


def field_key(name: str) -> str:
    return name.lower().replace("_", "-")


def media_type(content_type: bytes) -> str:
    return content_type.partition(b";")[0].strip(b" \t").lower().decode("latin-1")


def range_of(content_type: bytes, ranges: Mapping[str, object]) -> str | None:
    """The closest of the ranges that a Content-Type is in (RFC 9110, 12.5.1)."""
    kind = media_type(content_type)
    for each in (kind, kind.partition("/")[0] + "/*", "*/*"):
        if each in ranges:
            return each
    return None


def charset(content_type: bytes) -> bytes:
    """A Content-Type's charset in lower case; nothing where it names none."""
    for part in content_type.lower().split(b";")[1:]:
        name, _, value = part.partition(b"=")
        if name.strip(b" \t") == b"charset":
            return value.strip(b' \t"')
    return b""
