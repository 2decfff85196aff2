"""A WebSocket echo server that does as little as the protocol allows.

Usage: python echo.py PORT. Text and binary frames come back as they are, a ping as a pong, a
close as a close. It is the load's other end, not a server to copy: what is not a frame or is
over 64 KiB closes the connection.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
import sys

import uvloop

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
MAX_FRAME = 65536
PING, PONG, CLOSE = 0x9, 0xA, 0x8


def accept_key(key: bytes) -> bytes:
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


def unmasked(payload: bytes, mask: bytes) -> bytes:
    if mask == b"\0\0\0\0":
        return payload
    stream = (mask * (len(payload) // 4 + 1))[: len(payload)]
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return mixed.to_bytes(len(payload), "big")


def frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def split_frame(data: bytes) -> tuple[int, bytes, int] | None:
    """First byte, payload and length on the wire of a masked frame; None if not yet whole."""
    if len(data) < 2:
        return None
    size, at = data[1] & 0x7F, 2
    if size > 125:
        at = 4 if size == 126 else 10
        size = int.from_bytes(data[2:at], "big")
    end = at + 4 + size
    if len(data) < end:
        return None
    return data[0], unmasked(data[at + 4 : end], data[at : at + 4]), end


class Echo(asyncio.Protocol):
    __slots__ = ("_held", "_open", "_transport")

    def __init__(self) -> None:
        self._held = b""
        self._open = False

    # uvloop's transport is an asyncio.Transport in everything but its bases.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._held + data
        if not self._open:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._held = head
                return
            self._shake_hands(head)
        while (found := split_frame(data)) is not None:
            first, payload, size = found
            data = data[size:]
            self._answer(first, payload)
        self._held = data
        if len(data) > MAX_FRAME + 14:
            self._transport.abort()

    def _shake_hands(self, head: bytes) -> None:
        self._open = True
        key = b""
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"sec-websocket-key":
                key = value.strip()
        self._transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key) + b"\r\n\r\n"
        )

    def _answer(self, first: int, payload: bytes) -> None:
        opcode = first & 0x0F
        if opcode == PING:
            first = first & 0xF0 | PONG
        self._transport.write(frame(first, payload))
        if opcode == CLOSE:
            self._transport.close()


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    server = await loop.create_server(Echo, "127.0.0.1", port, backlog=4096)
    await ended.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
