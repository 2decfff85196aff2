"""A stored answer's fields after a 304 (RFC 9111, 3.2 and 4.3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.caching.conditional import is_strong
from gateway.caching.directives import Fields
from gateway.http1.fields import name_of

# They describe the body that is stored, which the 304 did not bring.
OF_THE_BODY: Final = frozenset(
    (b"content-length", b"content-encoding", b"content-range", b"content-md5", b"transfer-encoding")
)


def freshened(stored: Sequence[bytes], update: Sequence[bytes]) -> list[bytes]:
    """The stored lines, those that the update has replaced by the update's."""
    news = [line for line in update if name_of(line) not in OF_THE_BODY]
    names = {name_of(line) for line in news}
    return [*(line for line in stored if name_of(line) not in names), *news]


def confirms(fields: Fields, etag: bytes | None) -> bool:
    """Whether a 304 speaks of the stored answer: another strong tag is another one's (4.3.4)."""
    told = fields.get(b"etag")
    return not told or not is_strong(told[0]) or told[0] == etag
