"""Heads of answers (RFC 9112, 4): read, checked, and sorted for a proxy."""

from __future__ import annotations

import re
from typing import Final

from gateway.errors import BadRequest, UpstreamProtocolError
from gateway.http1.fields import (
    CHUNKED,
    CONNECTION,
    CONTENT_LENGTH,
    DATE,
    EDGE,
    HOP,
    KEEP_ALIVE,
    PLAIN,
    REQUEST_ID,
    SERVER,
    TRAILER,
    TRANSFER_ENCODING,
    UNTIL_CLOSE,
    UPGRADE,
    HeadLimits,
    Lines,
    length_of,
    tokens,
    too_large,
    without,
)
from gateway.http1.request import OPTIONS

STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [\t -~\x80-\xff]*+)?\r\n")

RESPONSE_KINDS: Final = {
    b"connection": CONNECTION,
    b"content-length": CONTENT_LENGTH,
    b"transfer-encoding": TRANSFER_ENCODING,
    b"upgrade": UPGRADE,
    b"te": HOP,
    b"keep-alive": HOP,
    b"proxy-connection": HOP,
    b"trailer": TRAILER,
    b"x-request-id": REQUEST_ID,
    b"date": DATE,
    b"server": SERVER,
}


EDGES: Final = (b"access-control-", b"x-ratelimit-", b"ratelimit", b"deprecation", b"sunset")


def kind_of(name: bytes) -> int:
    """What an answer's field means."""
    if name.startswith(b"x-accel-"):
        return HOP
    if name.startswith(EDGES):
        return EDGE
    return RESPONSE_KINDS.get(name, PLAIN)


known: Final = Lines(kind_of)


class ResponseHead:
    """An answer's head, not changed once it is read. `first` is its status line, in our version.

    Lines are without their line ends. `length` counts the body's bytes, or is `CHUNKED` or
    `UNTIL_CLOSE`.
    """

    length = UNTIL_CLOSE
    trailer: bytes | None = None
    upgrade = b""  # the protocol that is switched to
    dated = False
    named = False  # a Server field came
    edge = False  # a field came that a route may have a policy for
    text = b""  # the status line and the lines, each with its line end

    def __init__(self, block: bytes, method: bytes, status: int, minor: int, first: bytes) -> None:
        self.block = block  # all of it, as it came
        self.method = method  # of its request
        self.status = status
        self.minor = minor
        self.first = first
        self.keep_alive = minor == 1
        self.lines: list[bytes] = []


def parse_response(
    data: bytes, end: int, method: bytes, limits: HeadLimits, last: ResponseHead | None = None
) -> ResponseHead:
    """Read an answer's head in `data[: end + 4]`; `method` is that of its request.

    `last` is the head before it on the same connection, in case it is the same again. Raises
    `UpstreamProtocolError`.
    """
    block = data[:end]
    if last is not None and block == last.block and method == last.method:
        return last
    match = STATUS_LINE.match(data)
    if match is None:
        raise UpstreamProtocolError("the upstream's status line is malformed")
    start = match.end()
    lines = data[start:end].split(b"\r\n") if end > start else []
    size = end + 2 - start
    if (size > limits.quick or len(lines) > limits.count) and too_large(lines, limits):
        raise UpstreamProtocolError("the upstream's head is too large")
    minor, status = match.groups()
    first = data[: start - 2] if minor == b"1" else b"HTTP/1.1" + data[8 : start - 2]
    head = ResponseHead(block, method, int(status), int(minor), first)
    try:
        _sort(head, lines, method)
    except BadRequest:
        raise UpstreamProtocolError from None
    head.text = b"\r\n".join((first, *head.lines, b""))
    return head


def _sort(head: ResponseHead, received: list[bytes], method: bytes) -> None:
    lines = head.lines
    append = lines.append
    length = coding = None
    named: list[bytes] | None = None
    for line in received:
        field = known[line]
        if field is None:
            append(line)
            continue
        kind, value = field
        if kind == DATE:
            if not head.dated:
                append(line)
                head.dated = True
        elif kind == SERVER:
            if not head.named:
                append(line)
                head.named = True
        elif kind == CONTENT_LENGTH:
            size = length_of(value)
            if size < 0 or (length is not None and length != size):
                raise UpstreamProtocolError
            # RFC 9110, 8.6: neither may have one, and clients would wait for a body.
            if length is None and head.status != 204 and head.status >= 200:
                append(line)
            length = size
        elif kind == KEEP_ALIVE:
            head.keep_alive = True
        elif kind == CONNECTION:
            named = tokens(value) if named is None else named + tokens(value)
        elif kind == TRANSFER_ENCODING:
            coding = value.lower() if coding is None else b""
        elif kind == TRAILER:
            head.trailer = line if head.trailer is None else head.trailer + b"\r\n" + line
        elif kind == UPGRADE:
            head.upgrade = value.lower()
        elif kind == EDGE:
            append(line)
            head.edge = True
    if coding is not None and (coding != b"chunked" or length is not None or head.minor == 0):
        raise UpstreamProtocolError("the upstream's answer is framed in two ways or in none")
    status = head.status
    if method == b"HEAD" or status < 200 or status == 204 or status == 304:
        head.length = 0
    elif coding is not None:
        head.length = CHUNKED
    elif length is not None:
        head.length = length
    if named is None:
        head.upgrade = b""
    else:
        if b"close" in named:
            head.keep_alive = False
        elif head.minor == 0:
            head.keep_alive = head.keep_alive or b"keep-alive" in named
        if b"upgrade" not in named:
            head.upgrade = b""
        drop = set(named) - OPTIONS - {b"content-length"}
        if drop:
            head.lines = without(head.lines, drop)
