"""What a cache did, for who debugs it: Cache-Status (RFC 9211)."""

from __future__ import annotations

from typing import Final

NAME: Final = b"Cache-Status: gateway; "
BYPASS: Final = NAME + b"fwd=bypass"


def hit(left: int) -> bytes:
    """From the store; `left` seconds of freshness, fewer than none when it is stale."""
    return NAME + b"hit; ttl=%d" % left


def forwarded(
    reason: bytes, status: int, *, stored: bool = False, collapsed: bool = False
) -> bytes:
    """Asked upstream: why, what it said, and whether the answer is kept.

    `reason` is `uri-miss`, `vary-miss`, `stale`, `request`, `method` or `bypass`.
    """
    line = NAME + b"fwd=%b; fwd-status=%d" % (reason, status)
    if stored:
        line += b"; stored"
    if collapsed:
        line += b"; collapsed"
    return line
