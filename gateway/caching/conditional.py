"""Conditional requests (RFC 9110, 13): answered from what is stored, and made to revalidate it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gateway.caching import dates
from gateway.caching.wishes import Wishes
from gateway.http1.fields import name_of

TAG: Final = re.compile(rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*+"')
# What describes the body that is not sent; all else the client may use (RFC 9110, 15.4.5).
BODY_FIELDS: Final = frozenset(
    (
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"content-language",
        b"content-range",
        b"content-md5",
    )
)


def unchanged(wishes: Wishes, etag: bytes | None, last_modified: bytes | None, date: float) -> bool:
    """Whether the client has this answer already: 304 is enough.

    If-None-Match is compared weakly and goes before If-Modified-Since (13.2.2). `date` is when
    the answer was made, for one that does not say when it last changed (RFC 9111, 4.3.2).
    """
    if wishes.none_match is not None:
        return etag is not None and matches(wishes.none_match, etag)
    if wishes.modified_since is None:
        return False
    since = dates.parse(wishes.modified_since)
    changed = dates.parse(last_modified) if last_modified is not None else None
    if since is None:
        return False
    return (date if changed is None else changed) <= since


def matches(asked: bytes, etag: bytes) -> bool:
    """Whether a list of entity tags, or `*`, has this one in it, compared weakly (8.8.3.2)."""
    if asked.strip() == b"*":
        return True
    own = etag.removeprefix(b"W/")
    if asked.strip() == etag:  # a tag that is not well-formed is equal to itself only
        return True
    return any(tag.removeprefix(b"W/") == own for tag in TAG.findall(asked))


def is_strong(etag: bytes | None) -> bool:
    return etag is not None and not etag.startswith(b"W/")


def same_version(if_range: bytes, etag: bytes | None, last_modified: bytes | None) -> bool:
    """Whether a range of this answer fits what the client has (13.1.5): a strong comparison."""
    if if_range[:1] in (b'"', b"W"):
        return if_range == etag and is_strong(etag)
    return if_range == last_modified


def without_body_fields(lines: Sequence[bytes]) -> list[bytes]:
    """An answer's header lines as a 304 has them."""
    return [line for line in lines if name_of(line) not in BODY_FIELDS]


def asking(etag: bytes | None, last_modified: bytes | None) -> tuple[bytes, ...]:
    """The lines that ask an origin whether an answer is still good (RFC 9111, 4.3.1)."""
    lines = []
    if etag is not None:
        lines.append(b"If-None-Match: " + etag)
    if last_modified is not None:
        lines.append(b"If-Modified-Since: " + last_modified)
    return tuple(lines)
