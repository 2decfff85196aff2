"""permessage-deflate by hand (RFC 7692): what a client offers, and messages it has deflated."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from tests.websocket.frames import CONT, RSV1, TEXT, Frame, fragments, sliced

TAIL = b"\x00\x00\xff\xff"
"""The end of a flush, which a message leaves out (RFC 7692, 7.2.1)."""


def offer(*parameters: str) -> bytes:
    """A handshake's line."""
    return "; ".join(("Sec-WebSocket-Extensions: permessage-deflate", *parameters)).encode()


def agreed(head: bytes) -> dict[str, str | None] | None:
    """What a 101 says of the extension; None where it says nothing."""
    lines = [line.partition(b":") for line in head.split(b"\r\n")]
    found = [v.strip() for n, _, v in lines if n.lower() == b"sec-websocket-extensions"]
    if not found:
        return None
    (value,) = found
    name, *parameters = (part.strip() for part in value.decode().split(";"))
    assert name == "permessage-deflate"
    split = [parameter.partition("=") for parameter in parameters]
    assert len({name for name, _, _ in split}) == len(split), "a parameter is there twice"
    return {name: value or None for name, _, value in split}


class Deflater:
    """A client's two directions. Windows in bits; `fresh` is without context takeover."""

    def __init__(
        self, ours: int = 15, theirs: int = 15, *, fresh: bool = False, theirs_fresh: bool = False
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._fresh = fresh
        self._theirs_fresh = theirs_fresh
        self._packer = zlib.compressobj(6, zlib.DEFLATED, -ours)
        self._reader = zlib.decompressobj(-theirs)

    def pack(self, payload: bytes) -> bytes:
        """A message's payload, deflated."""
        if self._fresh:
            self._packer = zlib.compressobj(6, zlib.DEFLATED, -self._ours)
        packed = self._packer.compress(payload) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        return packed.removesuffix(TAIL)

    def message(self, payload: bytes, opcode: int = TEXT, size: int = 0) -> tuple[Frame, ...]:
        """A deflated message; in fragments of `size` bytes, if that is given."""
        packed = self.pack(payload)
        pieces = sliced(packed, size) if size else [packed]
        return fragments(opcode, *pieces, rsv=RSV1)

    def unpack(self, frames: Iterable[Frame]) -> bytes:
        """The message that these frames are, deflated or not."""
        first, *more = frames
        assert all(frame.opcode == CONT and not frame.rsv for frame in more)
        payload = b"".join((first.payload, *(frame.payload for frame in more)))
        if not first.rsv:
            return payload
        if self._theirs_fresh:
            self._reader = zlib.decompressobj(-self._theirs)
        return self._reader.decompress(payload + TAIL)


def final_block(payload: bytes) -> bytes:
    """Deflated as a stream that ends, with an empty block behind it (RFC 7692, 7.2.3.4)."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    return packer.compress(payload) + packer.flush(zlib.Z_FINISH) + b"\x00"


def stored(payload: bytes) -> bytes:
    """Deflated without compression: one stored block (RFC 7692, 7.2.3.3)."""
    packer = zlib.compressobj(0, zlib.DEFLATED, -15)
    return (packer.compress(payload) + packer.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)
