"""What all servers and clients of this benchmark say to each other.

It is the gateway's own protocol; its peers speak as much of it as they need. Frames of clients
are masked with zeros, which RFC 6455 section 5.3 allows and which costs nobody anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from bench.upstream.echo import accept_key, frame

PATH = "/ws/predictions"
SUBJECT = "event.prediction.updated"
ALL = "ALL"
TEXT, CLOSE, PING, PONG = 0x81, 0x88, 0x89, 0x8A
UPDATE = b'{"type":"prediction_update"'
LETTERS = 26
KEY = re.compile(rb"\r\nsec-websocket-key:\s*(\S+)", re.IGNORECASE)
# As long as the gateway's offsets are, so that frames are of one size.
EPOCH = "6f1d2c9ab04e7788"


def handshake(port: int) -> bytes:
    return (
        f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def switching(head: bytes) -> bytes:
    """The 101 to a client's head."""
    found = KEY.search(head)
    key = found[1] if found else b""
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept_key(key)
    )


def masked(first: int, payload: bytes) -> bytes:
    plain = frame(first, payload)
    head = len(plain) - len(payload)
    return bytes((plain[0], plain[1] | 0x80)) + plain[2:head] + b"\0\0\0\0" + payload


def subscribe(symbols: Iterable[str]) -> bytes:
    return masked(TEXT, compact({"action": "subscribe", "symbols": list(symbols)}))


def compact(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def event(symbol: str, sent_ns: int) -> bytes:
    """What is published; `sent_ns` is of the clock that all processes of a machine share."""
    return compact(
        {
            "symbol": symbol,
            "predicted_price": 187.42,
            "confidence": 0.87,
            "model": "lstm-v3",
            "timestamp": "2026-01-02T15:04:05.678Z",
            "sent_ns": sent_ns,
        }
    )


def update(published: bytes, number: int) -> dict[str, Any]:
    """What is sent to clients for an event."""
    offset = {"offset": f"{EPOCH}-{number}"}
    return {"type": "prediction_update", **json.loads(published), **offset}


def symbol(number: int) -> str:
    """SAAA, SAAB, ...: one to five letters, and never `ALL`."""
    letters = ""
    for _ in range(3):
        number, letter = divmod(number, LETTERS)
        letters = chr(ord("A") + letter) + letters
    return f"S{letters}"


def shares(count: int, symbols: int, subscribers: int) -> list[list[str]]:
    """Which symbols each of `count` clients takes so that each symbol has `subscribers`."""
    taken: list[list[str]] = [[] for _ in range(count)]
    for number in range(symbols * subscribers):
        taken[number % count].append(symbol(number // subscribers))
    return taken


def split(data: bytes) -> Iterator[tuple[int, int, int]]:
    """First byte, start and end of the payload of each whole frame of a server."""
    at, size = 0, len(data)
    while size - at >= 2:
        length, start = data[at + 1], at + 2
        if length == 126:
            start = at + 4
            length = int.from_bytes(data[at + 2 : start], "big")
        elif length == 127:
            start = at + 10
            length = int.from_bytes(data[at + 2 : start], "big")
        end = start + length
        if start > size or end > size:
            return
        yield data[at], start, end
        at = end
