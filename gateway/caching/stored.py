"""An answer that is kept: what is sent of it is put together once, and then only joined."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.caching import status as cache_status
from gateway.caching.directives import Fields, fields_of
from gateway.caching.freshness import Terms, sent_at
from gateway.http1.fields import name_of, without
from gateway.http1.status import reason

ANSWER, MARKER = 1, 2
_KIND: Final = struct.Struct(">B")
_HEAD: Final = struct.Struct(">BHddBIiHI")  # kind, status, born, lifetime, flags, ... see `pack`
_ASKS, _STRICT = 1, 2
NO_LENGTH: Final = frozenset((204, 304))


@dataclass(frozen=True, slots=True)
class Marker:
    """Stands where an answer would: which one, these fields of the request choose.

    `nonce` is part of the variants' keys: with the marker they are gone.
    """

    names: tuple[bytes, ...]
    nonce: bytes

    def pack(self) -> bytes:
        return b"%b%b%b" % (_KIND.pack(MARKER), self.nonce, b",".join(self.names))


NONCE_BYTES: Final = 8


class Stored:
    """A whole answer. Not changed once it is made, but for `tail`, which is remembered."""

    __slots__ = (
        "_tail",
        "_tail_at",
        "asks",
        "body",
        "born",
        "etag",
        "first",
        "if_error",
        "last_modified",
        "lifetime",
        "lines",
        "sent",
        "size",
        "status",
        "strict",
        "text",
        "until",
        "while_revalidating",
    )

    def __init__(
        self,
        status: int,
        first: bytes,
        lines: Sequence[bytes],
        body: bytes,
        *,
        born: float,
        terms: Terms,
    ) -> None:
        """`lines` are those that are kept (`kept`); `born` is when its age was nothing."""
        self.status = status
        self.first = first or b"HTTP/1.1 %d %b" % (status, reason(status))
        self.lines = lines
        self.body = body
        self.born = born
        self.lifetime = terms.lifetime
        self.until = born + terms.lifetime  # the end of its freshness
        self.asks = terms.asks
        self.strict = terms.strict
        self.while_revalidating = terms.while_revalidating
        self.if_error = terms.if_error
        fields = fields_of(lines)
        self.etag = _one(fields, b"etag")
        self.last_modified = _one(fields, b"last-modified")
        self.sent = sent_at(fields, born)
        self.text = b"\r\n".join((self.first, *lines, b""))
        self.size = len(body) + 2 * len(self.text) + OVERHEAD
        self._tail = b""
        self._tail_at = -1

    def tail(self, now: float) -> bytes:
        """Age and Cache-Status, of which there is a new one a second."""
        second = int(now)
        if second != self._tail_at:
            self._tail_at = second
            self._tail = b"Age: %d\r\n%b\r\n" % (self.age(now), self._hit(now))
        return self._tail

    def tail_lines(self, now: float) -> tuple[bytes, bytes]:
        return b"Age: %d" % self.age(now), self._hit(now)

    def _hit(self, now: float) -> bytes:
        return cache_status.hit(int(self.until - now))

    def age(self, now: float) -> int:
        return max(0, int(now - self.born))

    def pack(self) -> bytes:
        """As bytes that `unpack` understands, also in another process."""
        flags = self.asks * _ASKS | self.strict * _STRICT
        if_error = -1 if self.if_error is None else min(self.if_error, 2**31 - 1)
        text = self.text
        head = _HEAD.pack(
            ANSWER, self.status, self.born, self.lifetime, flags,
            self.while_revalidating, if_error, len(self.first), len(text),
        )  # fmt: skip
        return b"".join((head, text, self.body))


OVERHEAD: Final = 1024  # bytes that an answer takes beside its own


def _one(fields: Fields, name: bytes) -> bytes | None:
    values = fields.get(name)
    return values[0] if values else None


def kept(
    lines: Sequence[bytes], size: int, status: int, terms: Terms, missing: Sequence[bytes]
) -> list[bytes]:
    """An answer's lines as they are kept; `size` is the body's.

    `missing` are lines for when there is none of their name: what is kept has a date (RFC 9110,
    6.6.1).
    """
    left = without(lines, terms.dropped)
    names = {name_of(line) for line in left}
    left += [line for line in missing if name_of(line) not in names]
    if b"content-length" not in names and status not in NO_LENGTH:
        left.append(b"Content-Length: %d" % size)
    return left


def unpack(data: bytes) -> Stored | Marker | None:
    """What was packed; None for what another version has packed."""
    if not data or data[0] not in (ANSWER, MARKER):
        return None
    if data[0] == MARKER:
        return Marker(tuple(data[1 + NONCE_BYTES :].split(b",")), data[1 : 1 + NONCE_BYTES])
    try:
        _, status, born, lifetime, flags, revalidating, if_error, first, length = _HEAD.unpack_from(
            data
        )
    except struct.error:
        return None
    start = _HEAD.size
    text = data[start : start + length]
    return Stored(
        status,
        text[:first],
        text[first + 2 : -2].split(b"\r\n") if length > first + 2 else [],
        data[start + length :],
        born=born,
        terms=Terms(
            lifetime,
            0,
            asks=bool(flags & _ASKS),
            strict=bool(flags & _STRICT),
            while_revalidating=revalidating,
            if_error=None if if_error < 0 else if_error,
        ),
    )
