"""Frames of RFC 6455, 5.2 by hand: a writer that can write what is wrong, a reader that is strict.

Neither end under test has a part in it, nor has a library: what they have in common with the code
under test would go unseen.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Final

from tests.e2e.stage import Connection

CONT: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
MASK: Final = b"\x37\xfa\x21\x3d"
"""The masking key of RFC 6455, 5.7: tests send the same bytes in every run."""
NO_CODE: Final = 1005
"""What a Close without a body counts as (RFC 6455, 7.1.5)."""
RSV1: Final = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `rsv` is three bits, the first of which (4) says that a message is deflated."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0

    def wire(self, mask: bytes | None = MASK) -> bytes:
        """The frame's bytes: a client's, or with no mask a server's."""
        first = self.fin << 7 | self.rsv << 4 | self.opcode
        size = len(self.payload)
        masked = 0x80 if mask is not None else 0
        if size < 126:
            head = struct.pack("!BB", first, masked | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", first, masked | 126, size)
        else:
            head = struct.pack("!BBQ", first, masked | 127, size)
        if mask is None:
            return head + self.payload
        return head + mask + xored(self.payload, mask)


def xored(data: bytes, mask: bytes) -> bytes:
    """`data` under a mask of four bytes, or from under it (RFC 6455, 5.3)."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(key)).to_bytes(size)


def text(payload: bytes | str = b"Hello, world!") -> Frame:
    return Frame(TEXT, payload.encode() if isinstance(payload, str) else payload)


def binary(payload: bytes = b"Hello, world!") -> Frame:
    return Frame(BINARY, payload)


def ping(payload: bytes = b"") -> Frame:
    return Frame(PING, payload)


def pong(payload: bytes = b"") -> Frame:
    return Frame(PONG, payload)


def close(code: int = 1000, reason: bytes = b"") -> Frame:
    """A Close; `NO_CODE` has no body at all."""
    return Frame(CLOSE, b"" if code == NO_CODE else struct.pack("!H", code) + reason)


def code_of(frame: Frame) -> int:
    """What a Close says."""
    assert frame.opcode == CLOSE
    if not frame.payload:
        return NO_CODE
    frame.payload[2:].decode()
    return int(struct.unpack_from("!H", frame.payload)[0])


def fragments(opcode: int, *pieces: bytes, rsv: int = 0) -> tuple[Frame, ...]:
    """A message in as many frames as there are pieces."""
    frames = [Frame(CONT, piece, fin=False) for piece in pieces]
    frames[0] = replace(frames[0], opcode=opcode, rsv=rsv)
    frames[-1] = replace(frames[-1], fin=True)
    return tuple(frames)


def sliced(data: bytes, size: int) -> list[bytes]:
    """`data` in pieces of this size, the last of which may be shorter."""
    return [data[at : at + size] for at in range(0, len(data), size)]


class BadServer(Exception):
    """A server's frame that breaks RFC 6455."""


async def read_frame(connection: Connection, rsv: int = 0) -> Frame:
    """The server's next frame, of which only these reserved bits may be set.

    Raises BadServer, IncompleteReadError at the connection's end, ConnectionError, TimeoutError.
    """
    first, second = await connection.exactly(2)
    opcode, size = first & 15, second & 127
    if second & 0x80:
        raise BadServer("a server's frame is masked")
    if first >> 4 & 7 & ~rsv:
        raise BadServer(f"reserved bits are set: {first:08b}")
    if opcode not in (CONT, TEXT, BINARY, CLOSE, PING, PONG):
        raise BadServer(f"opcode {opcode}")
    if opcode >= CLOSE and (size > 125 or first < 0x80):
        raise BadServer("a control frame is too long, or a fragment")
    if size == 126:
        size = int.from_bytes(await connection.exactly(2))
        least = 126
    elif size == 127:
        size = int.from_bytes(await connection.exactly(8))
        least = 1 << 16
    else:
        least = 0
    if size < least:
        raise BadServer("a length is not written in as few bytes as it can be")
    return Frame(opcode, await connection.exactly(size), bool(first & 0x80), first >> 4 & 7)
