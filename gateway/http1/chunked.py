"""The chunked coding (RFC 9112, 7.1): taken apart as it arrives, and put together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final

from gateway.http1.fields import LINE


class BadChunk(ValueError):
    """The chunked coding is broken; there is no way to find its end."""


# RFC 9112, 7.1. White space stands before an extension only; 15 digits stay below 2**60.
CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15}+)((?:[ \t]*+;[\t -~\x80-\xff]*+)?)\r\n")
CHUNK_LINE_BEGUN: Final = re.compile(
    rb"(?:[0-9A-Fa-f]{1,15}+(?:[ \t]*+(?:;[\t -~\x80-\xff]*+)?)\r?)?"
)


class ChunkedDecoder:
    """Takes the chunked coding apart as it arrives, without copying what it carries.

    `feed` gives the pieces of the body; `done` turns true behind the last chunk and its
    trailers, and `rest` holds the bytes that came after. Memory is bounded: held is at most one
    line, of a chunk (`extension` bytes of it its extension) or of the trailers, which are
    `trailer_bytes` in all.
    """

    __slots__ = (
        "_extension",
        "_held",
        "_left",
        "_seen",
        "_state",
        "_trailer_bytes",
        "done",
        "rest",
        "trailers",
    )

    SIZE, DATA, END, TRAILER = range(4)

    def __init__(self, extension: int = 256, trailer_bytes: int = 32768) -> None:
        self._extension = extension
        self._trailer_bytes = trailer_bytes
        self._state = self.SIZE
        self._left = 0
        self._held = b""
        self._seen = 0  # bytes of `_held` in which no line ends
        self.done = False
        self.rest = b""
        self.trailers: list[bytes] = []

    def feed(self, data: bytes) -> list[memoryview]:
        """The body's pieces in `data`, as views of it. Raises `BadChunk`."""
        if self._held:
            data = self._held + data
            self._held = b""
        pieces: list[memoryview] = []
        view = memoryview(data)
        at, size = 0, len(data)
        while at < size and not self.done:
            if self._state == self.DATA:
                piece = view[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left == 0:
                    self._state = self.END
                continue
            step = self._steps[self._state](self, data, at)
            if step < 0:
                self._held = data[at:]
                return pieces
            at = step
        if self.done:
            self.rest = data[at:]
        return pieces

    def _read_size(self, data: bytes, at: int) -> int:
        match = CHUNK_LINE.match(data, at)
        if match is None:
            # Longest line: 15 digits, the extension, and its line end.
            short = len(data) - at < self._extension + 18
            if short and CHUNK_LINE_BEGUN.fullmatch(data, at):
                return -1
            raise BadChunk("malformed chunk size")
        if match.end(2) - match.start(2) > self._extension:
            raise BadChunk("chunk extension too long")
        self._left = int(match.group(1), 16)
        self._state = self.DATA if self._left else self.TRAILER
        return match.end()

    def _read_end(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._state = self.SIZE
            return at + 2
        if end == b"\r":
            return -1
        raise BadChunk("chunk longer than its size")

    def _read_trailer(self, data: bytes, at: int) -> int:
        end = data.find(b"\n", at + self._seen)
        if end < 0:
            self._seen = len(data) - at
            if self._seen > self._trailer_bytes:
                raise BadChunk("trailers too large")
            return -1
        self._seen = 0
        if end == at or data[end - 1] != 13:
            raise BadChunk("a trailer line ends in a bare LF")
        if end == at + 1:
            self.done = True
            return end + 1
        line = data[at : end - 1]
        self._trailer_bytes -= len(line)
        if self._trailer_bytes < 0:
            raise BadChunk("trailers too large")
        if LINE.fullmatch(line) is None:
            raise BadChunk("malformed trailer")
        self.trailers.append(line)
        return end + 1

    _steps: ClassVar = {SIZE: _read_size, END: _read_end, TRAILER: _read_trailer}


def chunked(pieces: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """Pieces of a body as chunks, without copying them (RFC 9112, 7.1)."""
    framed: list[bytes | memoryview] = []
    for piece in pieces:
        framed += (b"%x\r\n" % len(piece), piece, b"\r\n")
    return framed
