"""Byte ranges (RFC 9110, 14) of a stored body."""

from __future__ import annotations

import re
from typing import Final

SINGLE: Final = re.compile(rb"(?i:bytes)=[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*")


def one_range(value: bytes, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last; None where the whole is the answer.

    Several ranges at once are answered with the whole, as a server may (14.2). A range that the
    body does not have is (0, 0).
    """
    match = SINGLE.fullmatch(value)
    if match is None:
        return None
    first, last, tail = match.groups()
    if tail is not None:
        length = min(int(tail), size)
        return (size - length, size) if length else (0, 0)
    start = int(first)
    end = int(last) + 1 if last else size
    if end <= start and last:
        return None  # not a range at all (14.1.1)
    if start >= size:
        return 0, 0
    return start, min(end, size)
