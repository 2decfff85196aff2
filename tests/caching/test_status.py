"""Cache-Status lines."""

from __future__ import annotations

from gateway.caching import status


def test_hit() -> None:
    assert status.hit(376) == b"Cache-Status: gateway; hit; ttl=376"
    assert status.hit(-4) == b"Cache-Status: gateway; hit; ttl=-4"


def test_forwarded() -> None:
    assert status.forwarded(b"uri-miss", 200) == (
        b"Cache-Status: gateway; fwd=uri-miss; fwd-status=200"
    )
    assert status.forwarded(b"stale", 304, stored=True, collapsed=True) == (
        b"Cache-Status: gateway; fwd=stale; fwd-status=304; stored; collapsed"
    )
