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
from struct import Struct
from time import time
from typing import Final
from wsgiref.handlers import format_date_time

from gateway.exchange import Exchange, Head, forwarded_lines
from gateway.http1.fields import name_of
from gateway.http1.request import RequestHead

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


PAGE: Final = 128
_DIGITS: Final = Struct("32s16s" * PAGE)
_PARENTS: Final = Struct("55s" * PAGE)
_PARENT: Final = b"00-%b-%b-01" * PAGE
_names: Final[list[tuple[bytes, bytes]]] = []


def _draw() -> tuple[bytes, bytes]:
    """A random name for a request (or trace), and the `traceparent` of a trace that it begins.

    From the system's generator, a page at a time: a system call each would cost more than all
    else that is done for a name.
    """
    parts = _DIGITS.unpack(urandom(24 * PAGE).hex().encode())
    _names.extend(zip(parts[::2], _PARENTS.unpack(_PARENT % parts), strict=True))
    return _names.pop()


def identify(exchange: Exchange) -> None:
    """Name the request and its place in a trace: as the client said, or anew."""
    head = exchange.head
    name, trace = _names.pop() if _names else _draw()
    given, parent = head.request_id, head.traceparent
    exchange.trace_id = name
    if parent is not None:
        match = TRACEPARENT.fullmatch(parent)
        if match is not None and (match[1] != b"00" or match[4] is None):
            exchange.trace_id, trace = match[2], parent
    exchange.traceparent = trace
    if given is not None and REQUEST_ID.fullmatch(given) is not None:
        name = given
    exchange.request_id = name


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
            if "%" in part.decode("ascii"):  # a scope id is a name of that host's own choosing
                return
            exchange.client_ip = str(address).encode()
            if not any(address in network for network in trusted):
                return


def upward(exchange: Exchange, path: bytes, host: bytes, extra: Sequence[bytes]) -> bytes:
    """The head that goes upstream; `extra` are lines such as the framing's."""
    head = exchange.head
    peer = exchange.client.peer
    name = host if exchange.host is None else exchange.host
    forwarded = peer.forwarded
    if peer.trusted:
        forwarded, name, more = _passed_on(exchange, name)
        extra = (*more, *extra)
    text = head.text
    if exchange.upward:
        extra = (*exchange.upward, *extra)
    if exchange.withheld:
        text = _without(head.lines, exchange.withheld)
    if head.tracestate is not None and exchange.traceparent is head.traceparent:
        extra = (*extra, *head.tracestate)  # else it belongs to what was dropped
    return (
        b"%b %b%b HTTP/1.1\r\nHost: %b\r\n%b%b%b%b\r\nX-Request-ID: %b\r\ntraceparent: %b\r\n\r\n"
    ) % (
        head.method,
        path,
        exchange.query,
        host,
        text,
        b"\r\n".join((*extra, b"")) if extra else b"",
        forwarded,
        name,
        exchange.request_id,
        exchange.traceparent,
    )


def _without(lines: Sequence[bytes], names: frozenset[bytes]) -> bytes:
    """The lines but for these names; to a WSGI server, `_` is as good as `-`."""
    kept = [line for line in lines if name_of(line).replace(b"_", b"-") not in names]
    return b"\r\n".join((*kept, b""))


def _passed_on(exchange: Exchange, name: bytes) -> tuple[bytes, bytes, Sequence[bytes]]:
    """What a trusted peer said of the client, its own address added."""
    head, peer = exchange.head, exchange.client.peer
    before = [value for value in head.forwarded_for or () if value]
    address = b", ".join((*before, peer.address_bytes))
    forwarded = forwarded_lines(address, head.forwarded_proto or peer.scheme)
    return forwarded, head.forwarded_host or name, head.forwarded or ()


def cookie(head: RequestHead, name: bytes) -> bytes:
    """A cookie's value, or nothing (RFC 6265, 4.2.1)."""
    for value in head.values(b"cookie"):
        for pair in value.split(b";"):
            key, mark, held = pair.strip().partition(b"=")
            if mark and key == name:
                return held
    return b""


def downward(exchange: Exchange, head: Head, *more: bytes) -> bytes:
    """An answer's head for the client; `more` are lines such as the framing's."""
    if exchange.lines:
        more = (*exchange.lines, *more)
    if not head.dated:
        more = (*more, date_line())
    if not head.named:
        more = (*more, SERVER_LINE)
    return b"%bX-Request-ID: %b\r\n%b\r\n" % (
        head.text,
        exchange.request_id,
        b"\r\n".join((*more, b"")) if more else b"",
    )


def separate(lines: Sequence[bytes]) -> list[bytes]:
    """An exchange's lines, each by itself."""
    return b"\r\n".join(lines).split(b"\r\n") if lines else []


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
