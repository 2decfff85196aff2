"""What becomes of a stored answer when its origin was asked about it."""

from __future__ import annotations

from time import time
from typing import Final

from gateway import headers
from gateway.caching.directives import Fields, fields_of
from gateway.caching.freshening import freshened
from gateway.caching.freshness import Terms, terms
from gateway.caching.stored import Stored, kept
from gateway.caching.wishes import Wishes
from gateway.exchange import Answer
from gateway.http1.fields import name_of, without

FAILURES: Final = frozenset((500, 502, 503, 504))
"""What `stale-if-error` is for (RFC 5861, 4)."""

COOKIE: Final = b"set-cookie"
USELESS: Final = Terms(0, 0, asks=True, strict=True)


def put_away(head: Answer, body: bytes, found: Terms) -> Stored:
    """An answer that has come whole, as it is kept."""
    lines = kept(head.lines, len(body), head.status, found, missing())
    return Stored(head.status, head.first, lines, body, born=time() - found.age, terms=found)


def renewed(
    stored: Stored, head: Answer, *, ttl: float, asked_at: float
) -> tuple[Stored, Terms | None]:
    """The stored answer with what a 304 says of it; without terms it must not be kept."""
    lines = freshened(stored.lines, head.lines)
    fields: dict[bytes, list[bytes]] = fields_of(lines)
    now = time()
    found = terms(
        stored.status,
        {**fields, b"age": fields_of(head.lines).get(b"age", [])},
        authorised=False,  # it was for sharing when it was stored
        ttl=ttl,
        asked_at=asked_at,
        now=now,
        cookies=True,
    )
    use = found or USELESS
    lines = kept(lines, len(stored.body), stored.status, use, missing())
    again = Stored(stored.status, stored.first, lines, stored.body, born=now - use.age, terms=use)
    return again, found


def parted(head: Answer) -> tuple[Answer, list[bytes]]:
    """A 304 without the cookies that it sets, and these: they are for who asked."""
    cookies = [line for line in head.lines if name_of(line) == COOKIE]
    return Answer(head.status, without(head.lines, (COOKIE,))), cookies


def may_stand_in(stored: Stored, wishes: Wishes, now: float, disconnected: float | None) -> bool:
    """Whether a stale answer is better than the failure of its origin (RFC 9111, 4.2.4).

    `disconnected`: s of staleness that are, where there was no answer at all; None if it did
    answer, with a failure.
    """
    if stored.strict or stored.asks or wishes.no_cache or wishes.max_age is not None:
        return False
    allowed = (stored.if_error, wishes.stale_if_error, disconnected)
    return now - stored.until <= max((value for value in allowed if value), default=-1)


def differs(stored: Stored, fields: Fields) -> bool:
    """Whether an answer to HEAD with these fields is not the stored one's (RFC 9111, 4.3.5)."""
    before = (
        (b"etag", stored.etag),
        (b"last-modified", stored.last_modified),
        (b"content-length", b"%d" % len(stored.body)),
    )
    return any(name in fields and fields[name][0] != value for name, value in before)


def missing() -> tuple[bytes, bytes]:
    """The lines that an answer gets which came without them."""
    return headers.date_line(), headers.SERVER_LINE
