"""One byte range of a body of ten."""

from __future__ import annotations

import pytest

from gateway.caching.ranges import one_range


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (b"bytes=0-1", (0, 2)),
        (b"bytes=9-9", (9, 10)),
        (b"bytes=5-", (5, 10)),
        (b"bytes=5-99", (5, 10)),
        (b"bytes=-3", (7, 10)),
        (b"bytes=-99", (0, 10)),
        (b"BYTES= 1-2 ", (1, 3)),
        (b"bytes=10-", (0, 0)),
        (b"bytes=10-12", (0, 0)),
        (b"bytes=-0", (0, 0)),
        (b"bytes=5-2", None),
        (b"bytes=0-1,3-4", None),
        (b"bytes=-", None),
        (b"bytes=a-b", None),
        (b"items=0-1", None),
        (b"", None),
    ],
)
def test_range(value: bytes, part: tuple[int, int] | None) -> None:
    assert one_range(value, 10) == part


def test_empty_body_has_no_range() -> None:
    assert one_range(b"bytes=0-", 0) == (0, 0)
    assert one_range(b"bytes=-1", 0) == (0, 0)
