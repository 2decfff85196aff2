"""What a 304 changes in a stored head."""

from __future__ import annotations

import pytest

from gateway.caching.directives import fields_of
from gateway.caching.freshening import confirms, freshened


def test_fields_are_replaced_added_and_kept() -> None:
    stored = [b"A: 1", b"a: 2", b"B: 1", b"Content-Length: 5", b"Content-Encoding: gzip"]
    update = [b"A: 9", b"C: 1", b"Content-Length: 0", b"Content-Encoding: br"]
    assert freshened(stored, update) == [
        b"B: 1",
        b"Content-Length: 5",
        b"Content-Encoding: gzip",
        b"A: 9",
        b"C: 1",
    ]


@pytest.mark.parametrize(
    ("told", "etag", "ours"),
    [
        (None, b'"a"', True),
        (b'"a"', b'"a"', True),
        (b'"b"', b'"a"', False),
        (b'W/"b"', b'"a"', True),
        (b'"b"', None, False),
    ],
)
def test_304_speaks_of_the_stored_answer(
    told: bytes | None, etag: bytes | None, ours: bool
) -> None:
    fields = fields_of([] if told is None else [b"ETag: " + told])
    assert confirms(fields, etag) is ours
