"""What the gateway changes in a head on its way: pure functions over raw lines.

Up: hop-by-hop fields are gone already (`gateway.http1`); who asked, by what name and over what
is told in `X-Forwarded-*`, and the request is named by `X-Request-ID` and `traceparent`.
Down: the answer's own lines, the request's name, Date and Server where they are missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from os import urandom
from time import time
from typing import Final
from wsgiref.handlers import format_date_time

from gateway.exchange import Exchange, Peer
from gateway.http1.fields import without
from gateway.http1.request import RequestHead
from gateway.http1.response import ResponseHead

Networks = tuple[IPv4Network | IPv6Network, ...]

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
# W3C Trace Context, 3.2: version ff is invalid, ids of zeros only are, and version 00 ends
# behind its flags.
TRACEPARENT: Final = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(-.*)?"
)
SERVER_LINE: Final = b"Server: gateway"
CHUNKED_LINE: Final = b"Transfer-Encoding: chunked"
CLOSE_LINE: Final = b"Connection: close"
KEEP_ALIVE_LINE: Final = b"Connection: keep-alive"
UPGRADE_LINES: Final = b"Connection: Upgrade\r\nUpgrade: websocket"


class Names:
    """Random names for requests, drawn from the system's generator a page at a time."""

    __slots__ = ("_at", "_pool")

    PAGE = 24 * 128

    def __init__(self) -> None:
        self._at = self.PAGE * 2
        self._pool = b""

    def draw(self) -> bytes:
        """48 hexadecimal digits: 32 name a request or trace, 16 a span."""
        at = self._at
        if at >= self.PAGE * 2:
            self._pool = urandom(self.PAGE).hex().encode()
            at = 0
        self._at = at + 48
        return self._pool[at : at + 48]


names: Final = Names()


def identify(exchange: Exchange) -> None:
    """Name the request and its place in a trace: as the client said, or anew."""
    head = exchange.head
    drawn = names.draw()
    given = head.request_id
    if given is None or REQUEST_ID.fullmatch(given) is None:
        given = drawn[:32]
    exchange.request_id = given
    parent = head.traceparent
    if parent is not None:
        match = TRACEPARENT.fullmatch(parent)
        if match is not None and (match[1] != b"00" or match[4] is None):
            exchange.trace_id = match[2]
            return
    exchange.trace_id = drawn[:32]
    exchange.traceparent = b"00-%b-%b-01" % (drawn[:32], drawn[32:])


def believe(exchange: Exchange, trusted: Networks) -> None:
    """Take the client's address from a trusted peer's `X-Forwarded-For`.

    The rightmost address that is not trusted itself: what stands left of it anybody can write.
    """
    for value in reversed(exchange.head.forwarded_for or ()):
        for part in reversed(value.split(b",")):
            try:
                address = ip_address(part.strip().decode("ascii"))
            except ValueError:
                return
            exchange.client_ip = str(address)
            if not any(address in network for network in trusted):
                return


def upward(exchange: Exchange, path: bytes, host: bytes, extra: Sequence[bytes]) -> bytes:
    """The head that goes upstream; `extra` are lines such as the framing's."""
    head = exchange.head
    client = exchange.client.peer
    if client.trusted:
        address, proto, name, forwarded = _passed_on(exchange, client)
        extra = (*forwarded, *extra)
    else:
        address, proto, name = client.address_bytes, client.scheme, exchange.host
    lines = head.lines
    if exchange.traceparent is not head.traceparent and head.traceparent is not None:
        lines = without(lines, {b"tracestate"})  # it belongs to what was dropped
    return (
        b"%b %b%b HTTP/1.1\r\nHost: %b\r\n%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n"
        b"X-Forwarded-Host: %b\r\nX-Request-ID: %b\r\ntraceparent: %b\r\n\r\n"
    ) % (
        head.method,
        path,
        exchange.query,
        host,
        b"\r\n".join((*lines, *extra, b"")),
        address,
        proto,
        host if name is None else name,
        exchange.request_id,
        exchange.traceparent,
    )


def _passed_on(
    exchange: Exchange, peer: Peer
) -> tuple[bytes, bytes, bytes | None, Sequence[bytes]]:
    """What a trusted peer said of the client, its own address added."""
    head = exchange.head
    address = b", ".join((*(head.forwarded_for or ()), peer.address_bytes))
    proto = head.forwarded_proto or peer.scheme
    return address, proto, head.forwarded_host or exchange.host, head.forwarded or ()


def cookie(head: RequestHead, name: bytes) -> bytes:
    """A cookie's value, or nothing (RFC 6265, 4.2.1)."""
    for value in head.values(b"cookie"):
        for pair in value.split(b";"):
            key, mark, held = pair.strip().partition(b"=")
            if mark and key == name:
                return held
    return b""


def downward(exchange: Exchange, head: ResponseHead) -> list[bytes]:
    """The lines of an answer's head for the client, without framing."""
    lines = [
        head.first,
        *head.lines,
        b"X-Request-ID: " + exchange.request_id,
    ]
    if not head.dated:
        lines.append(date_line())
    if not head.named:
        lines.append(SERVER_LINE)
    return lines


class _Clock:
    """A Date line a second, shared by all answers in it (RFC 9110, 6.6.1)."""

    second = -1
    line = b""


def date_line() -> bytes:
    now = int(time())
    if now != _Clock.second:
        _Clock.second = now
        _Clock.line = b"Date: %b" % format_date_time(now).encode()
    return _Clock.line
