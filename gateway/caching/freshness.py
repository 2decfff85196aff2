"""Whether an answer may be kept, and for how long it is good (RFC 9111, 3 and 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.caching import dates
from gateway.caching.directives import (
    Directives,
    Fields,
    delta,
    directives,
    listed,
    seconds,
)
from gateway.caching.targeted import OURS, targeted

HEURISTIC: Final = frozenset((200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501))
"""May be given a lifetime that they do not state (RFC 9110, 15.1), but for partial ones."""

UNDERSTOOD: Final = HEURISTIC | {
    201, 202, 302, 303, 307, 400, 401, 402, 403, 406, 407, 408, 409, 411, 412, 413, 415, 416, 417,
    421, 422, 426, 428, 429, 431, 451, 500, 502, 503, 504, 505, 511,
}  # fmt: skip
"""Whose meaning for caching is known here, as `must-understand` asks."""

PARTIAL: Final = frozenset((206, 304))
FRACTION: Final = 0.1  # of the time since the last change (RFC 9111, 4.2.2)
LONGEST_GUESS: Final = 86400  # s

# RFC 9111, 3.1; hop-by-hop fields are gone already. Age is worked out anew for each answer.
NEVER_KEPT: Final = frozenset(
    (b"proxy-authenticate", b"proxy-authentication-info", b"proxy-authorization", b"age", OURS)
)


@dataclass(frozen=True, slots=True)
class Terms:
    """How an answer may be used. Times in seconds."""

    lifetime: float
    age: float  # when it came
    asks: bool = False  # its origin has to be asked each time (no-cache)
    strict: bool = False  # never used stale
    while_revalidating: int = 0
    if_error: int | None = None
    dropped: frozenset[bytes] = NEVER_KEPT  # names of fields that are not kept


def terms(
    status: int,
    fields: Fields,
    *,
    authorised: bool,
    ttl: float,
    asked_at: float,
    now: float,
    cookies: bool = False,
) -> Terms | None:
    """An answer's terms; None if it must not be kept.

    `authorised`: its request had credentials. `ttl` is given to what states no lifetime.
    `cookies`: an answer that sets a cookie is kept, too, if it states its lifetime itself.
    """
    if status < 200 or status in PARTIAL:
        return None
    meant = targeted(fields)
    found = directives(fields.get(b"cache-control", ())) if meant is None else meant
    if not _storable(status, found, authorised):
        return None
    lifetime = stated(fields, found, now, targeted=meant is not None)
    if b"set-cookie" in fields and (lifetime is None or not cookies):
        return None
    if lifetime is None:
        lifetime = _given(status, fields, found, ttl, now)
        if lifetime is None:
            return None
    if lifetime <= 0 and not (fields.get(b"etag") or fields.get(b"last-modified")):
        return None  # stale at once, and nothing to ask about it with
    strict = not {b"must-revalidate", b"proxy-revalidate", b"s-maxage"}.isdisjoint(found)
    return Terms(
        lifetime,
        initial_age(fields, asked_at, now),
        asks=b"no-cache" in found and not found[b"no-cache"],
        strict=strict or b"no-cache" in found,
        while_revalidating=seconds(found, b"stale-while-revalidate") or 0,
        if_error=seconds(found, b"stale-if-error"),
        dropped=NEVER_KEPT | listed(found.get(b"no-cache")) | listed(found.get(b"private")),
    )


def _storable(status: int, found: Directives, authorised: bool) -> bool:
    if b"must-understand" in found:  # it overrides no-store where it is obeyed (5.2.2.3)
        if status not in UNDERSTOOD:
            return False
    elif b"no-store" in found:
        return False
    if b"private" in found and not found[b"private"]:
        return False
    return not authorised or not SHAREABLE.isdisjoint(found)


SHAREABLE: Final = frozenset((b"public", b"s-maxage", b"must-revalidate"))
"""One of these lets an answer to a request with credentials be shared (RFC 9111, 3.5)."""


def stated(fields: Fields, found: Directives, now: float, *, targeted: bool) -> float | None:
    """The lifetime that an answer states itself (4.2.1); None if it states none.

    A targeted field stands in for Expires as well (RFC 9213, 2.2).
    """
    for name in (b"s-maxage", b"max-age"):
        lifetime = seconds(found, name)
        if lifetime is not None:
            return lifetime
    expires = fields.get(b"expires")
    if targeted or not expires:
        return None
    end = dates.parse(expires[0])
    return 0 if end is None else max(0, end - sent_at(fields, now))


def _given(status: int, fields: Fields, found: Directives, ttl: float, now: float) -> float | None:
    """The lifetime of an answer that states none; None if it must not be given one (4.2.2)."""
    if status not in HEURISTIC and b"public" not in found:
        return None
    if ttl > 0:
        return ttl
    changed = fields.get(b"last-modified")
    since = dates.parse(changed[0]) if changed else None
    if since is None:
        return 0
    return min(max(0.0, (sent_at(fields, now) - since) * FRACTION), LONGEST_GUESS)


def sent_at(fields: Fields, now: float) -> float:
    """When the origin made the answer: now, where it does not say."""
    said = fields.get(b"date")
    moment = dates.parse(said[0]) if said else None
    return now if moment is None else moment


def initial_age(fields: Fields, asked_at: float, now: float) -> float:
    """How old an answer is when it comes (4.2.3)."""
    apparent = max(0.0, now - sent_at(fields, now))
    # RFC 9111, 5.1: the first member counts; what is no number is ignored.
    said = fields.get(b"age")
    age = delta(said[0].partition(b",")[0].strip(b" \t")) if said else None
    return max(apparent, (age or 0) + (now - asked_at))
