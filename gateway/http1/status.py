"""Reason phrases (RFC 9110, 15)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

REASONS: Final = {
    **{status.value: status.phrase.encode() for status in HTTPStatus},
    # Renamed by RFC 9110; the library has the old phrases.
    413: b"Content Too Large",
    414: b"URI Too Long",
    422: b"Unprocessable Content",
}


def reason(status: int) -> bytes:
    return REASONS.get(status, b"")
