"""Answers as they are kept, and as bytes that another process reads."""

from __future__ import annotations

import pytest

from gateway.caching.freshness import Terms
from gateway.caching.stored import Marker, Stored, kept, unpack

TERMS = Terms(60, 2, while_revalidating=5, if_error=9)
LINES = [b"Date: Sun, 06 Nov 1994 08:49:37 GMT", b'ETag: "a"', b"Last-Modified: x", b"A: \xff"]


def stored(terms: Terms = TERMS, lines: list[bytes] = LINES, body: bytes = b"body") -> Stored:
    return Stored(200, b"", lines, body, born=1000.5, terms=terms)


@pytest.mark.parametrize(
    "entry",
    [
        stored(),
        stored(Terms(0, 0, asks=True, strict=True)),
        stored(lines=[], body=b""),
        Stored(299, b"HTTP/1.1 299 Odd", [], b"\0\r\n\r\n", born=0, terms=TERMS),
    ],
)
def test_what_is_packed_is_what_is_unpacked(entry: Stored) -> None:
    again = unpack(entry.pack())
    assert isinstance(again, Stored)
    for name in Stored.__slots__:
        assert getattr(again, name) == getattr(entry, name), name


def test_marker_is_packed() -> None:
    marker = Marker((b"accept", b"foo"), b"12345678")
    assert unpack(marker.pack()) == marker


@pytest.mark.parametrize("data", [b"", b"\0abc", b"\1abc", b"\x07" + b"x" * 99])
def test_what_is_not_understood_is_not_there(data: bytes) -> None:
    assert unpack(data) is None


def test_validators_and_times_are_read_once() -> None:
    entry = stored()
    assert (entry.etag, entry.last_modified, entry.sent) == (b'"a"', b"x", 784111777)
    assert entry.until == 1060.5


def test_tail_is_made_anew_each_second() -> None:
    entry = stored()
    first = entry.tail(1010.1)
    assert first == b"Age: 9\r\nCache-Status: gateway; hit; ttl=50\r\n"
    assert entry.tail(1010.9) is first
    assert entry.tail(1011.0).startswith(b"Age: 10\r\n")
    assert entry.tail_lines(1011.0)[0] == b"Age: 10"


def test_age_is_never_below_nothing() -> None:
    assert stored().age(10) == 0


def test_lines_that_are_kept() -> None:
    lines = [b"Age: 5", b"A: 1", b"Proxy-Authenticate: x", b"Server: theirs"]
    missing = (b"Date: now", b"Server: gateway")
    assert kept(lines, 4, 200, TERMS, missing) == [
        b"A: 1", b"Server: theirs", b"Date: now", b"Content-Length: 4",
    ]  # fmt: skip
    assert kept([b"Content-Length: 9", b"Date: x"], 4, 200, TERMS, ()) == [
        b"Content-Length: 9", b"Date: x",
    ]  # fmt: skip
    assert kept([], 0, 204, TERMS, ()) == []
