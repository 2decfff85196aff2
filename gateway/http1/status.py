"""Reason phrases of the statuses that the gateway gives itself (RFC 9110, 15)."""

from __future__ import annotations

from typing import Final

REASONS: Final = {
    200: b"OK", 400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found",
    405: b"Method Not Allowed", 408: b"Request Timeout", 410: b"Gone", 413: b"Content Too Large",
    414: b"URI Too Long", 417: b"Expectation Failed", 422: b"Unprocessable Content",
    429: b"Too Many Requests", 431: b"Request Header Fields Too Large",
    500: b"Internal Server Error", 501: b"Not Implemented", 502: b"Bad Gateway",
    503: b"Service Unavailable", 504: b"Gateway Timeout", 505: b"HTTP Version Not Supported",
}  # fmt: skip


def reason(status: int) -> bytes:
    return REASONS.get(status, b"")
