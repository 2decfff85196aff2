"""The opening handshake, as the WebSocket's server (RFC 6455, 4.2)."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha1
from typing import Final

from aiohttp.http import WS_KEY

from gateway import headers
from gateway.errors import BadRequest
from gateway.exchange import Exchange

KEY: Final = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==")  # 16 bytes in base64
VERSION_LINE: Final = b"Sec-WebSocket-Version: 13"
EXTENSION: Final = b"permessage-deflate"
FLAGS: Final = (b"server_no_context_takeover", b"client_no_context_takeover")
WINDOW: Final = re.compile(rb"[89]|1[0-5]")  # bits
WHOLE_WINDOW: Final = b"15"
# RFC 7692, 7.1.1: no message needs what came before it, so one compression serves all clients.
DEFLATE_LINE: Final = (
    b"Sec-WebSocket-Extensions: permessage-deflate"
    b"; server_no_context_takeover; client_no_context_takeover"
)


def accept_key(exchange: Exchange) -> bytes:
    """What a request to open a WebSocket is answered with. Raises `BadRequest` if it is none.

    A refused opening closes the connection: a proxy in front that takes it for open would pass on
    as frames what would be requests here.
    """
    head = exchange.head
    if not head.upgrade:
        raise BadRequest("this path speaks WebSocket", closes=False, fields=(VERSION_LINE,))
    if head.length:
        raise BadRequest("a WebSocket's opening has no body")
    if head.values(b"sec-websocket-version") != [b"13"]:
        raise BadRequest("only version 13 is spoken here", fields=(VERSION_LINE,))
    keys = head.values(b"sec-websocket-key")
    if len(keys) != 1 or KEY.fullmatch(keys[0]) is None:
        raise BadRequest("Sec-WebSocket-Key is 16 bytes in base64")
    return b64encode(sha1(keys[0] + WS_KEY, usedforsecurity=False).digest())


def deflates(exchange: Exchange) -> bool:
    """Whether one of the client's offers can be taken (RFC 7692, 5.1)."""
    offers = b",".join(exchange.head.values(b"sec-websocket-extensions")).split(b",")
    return any(_can_take(offer) for offer in offers)


def _can_take(offer: bytes) -> bool:
    """Not one with a window of the client's choice: one compression serves all (7.1)."""
    name, *parameters = (part.strip(b" \t") for part in offer.split(b";"))
    if name != EXTENSION:
        return False
    seen = set()
    for parameter in parameters:
        key, equals, value = parameter.partition(b"=")
        if key in seen:
            return False
        seen.add(key)
        if key in FLAGS:
            known = not equals
        elif key == b"client_max_window_bits":
            known = not equals or WINDOW.fullmatch(value.strip(b'"')) is not None
        else:
            known = key == b"server_max_window_bits" and value.strip(b'"') == WHOLE_WINDOW
        if not known:
            return False
    return True


def answer(exchange: Exchange, accept: bytes, deflate: bool) -> bytes:
    """The head that switches protocols."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        headers.UPGRADE_LINES,
        b"Sec-WebSocket-Accept: " + accept,
        *((DEFLATE_LINE,) if deflate else ()),
        *exchange.lines,
        b"X-Request-ID: " + exchange.request_id,
        headers.date_line(),
        headers.SERVER_LINE,
    ]
    return b"\r\n".join((*lines, b"\r\n"))
