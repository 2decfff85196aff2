"""A client's frames, read by aiohttp's compiled parser and watched for what it lets pass.

aiohttp's reader checks opcodes, reserved bits and UTF-8, unmasks and inflates. It does not mind a
client that does not mask (RFC 6455, 5.1) or writes lengths longer than they are (5.2), a new
message in the middle of one that began with an empty fragment (5.4), control frames that say that
they are deflated (RFC 7692, 6.1), or close codes that nobody may send (7.4). It comes without a
task and without a queue: what it has read is handed on at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.http import WebSocketError, WSCloseCode, WSMessage, WSMessageTextBytes, WSMsgType

from gateway.exchange import Piece

Hear = Callable[[WSMsgType, "str | bytes | int"], None]

CONTROL: Final = 8  # opcodes from here on
COMPRESSED: Final = 0x40
PROTOCOL_ERROR, POLICY = 1002, 1008
SENDABLE: Final = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))
SHORTEST: Final = {126: 126, 127: 65536}  # bytes that are worth a longer length
LONGEST_HEAD: Final = 14  # bytes
# Of one message: each costs more than its bytes, and only messages count against a client's rate.
MOST_FRAGMENTS: Final = 2048


class FrameError(Exception):
    """What came is against the protocol; `code` is the one to close with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class _Inbox(WebSocketDataQueue):
    """Stands where the reader expects a queue."""

    def __init__(self, hear: Hear, most: int) -> None:
        # The queue's own state is never used: nothing is put into it, so it is never full.
        self._hear = hear
        self._most = most
        self.failure: BaseException | None = None

    def feed_data(self, data: WSMessage | WSMessageTextBytes, size: int) -> None:
        if size > self._most:  # of what was inflated, the reader lets one byte more pass
            raise WebSocketError(WSCloseCode.MESSAGE_TOO_BIG, "the message is too long")
        self._hear(data.type, data.data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException | None = None) -> None:
        self.failure = exc


class Frames:
    """One connection's incoming frames; messages up to `most` bytes go to `hear`."""

    __slots__ = ("_fragments", "_head", "_inbox", "_left", "_open", "_reader")

    def __init__(self, hear: Hear, most: int, deflate: bool) -> None:
        self._inbox = _Inbox(hear, most)
        # The reader refuses what is as long as its limit.
        self._reader = WebSocketReader(self._inbox, most + 1, deflate, decode_text=True)
        self._head = b""  # of a frame whose head is not whole
        self._left = 0  # bytes of the current frame's payload that have not come
        self._open = False  # between the first fragment of a message and its last
        self._fragments = 0

    def feed(self, data: Piece) -> None:
        """Read on. Raises `FrameError`, after what came before the error was handed on."""
        at, size = 0, len(data)
        while at < size:
            end = self._to_end(data, at)
            part = bytes(data) if not at and end == size else bytes(data[at:end])
            failed, _ = self._reader.feed_data(part)
            if failed:
                raise self._failure()
            at = end

    def _failure(self) -> FrameError:
        error = self._inbox.failure
        if isinstance(error, zlib.error):
            return FrameError(PROTOCOL_ERROR, "the message cannot be inflated")
        if not isinstance(error, WebSocketError):
            assert error is not None
            raise error  # not the client's: what heard a message failed
        return FrameError(int(error.code), str(error))

    def _to_end(self, data: Piece, at: int) -> int:
        """Where the current frame ends in `data`, or `data` does. Raises `FrameError`."""
        if not self._left:
            held = len(self._head)
            head = self._head + bytes(data[at : at + LONGEST_HEAD - held])
            need = _head_size(head)
            if len(head) < need:
                self._head = head
                return at + len(head) - held
            self._left = _payload_size(head)
            self._check(head)
            self._head = b""
            at += need - held
        step = min(self._left, len(data) - at)
        self._left -= step
        return at + step

    def _check(self, head: bytes) -> None:
        final, opcode = head[0] & 0x80, head[0] & 0x0F
        if not head[1] & 0x80:
            raise FrameError(PROTOCOL_ERROR, "a client masks its frames")
        if self._left < SHORTEST.get(head[1] & 0x7F, 0):
            raise FrameError(PROTOCOL_ERROR, "a length is written longer than it is")
        if opcode >= CONTROL:
            if head[0] & COMPRESSED:
                raise FrameError(PROTOCOL_ERROR, "a control frame is not deflated")
            return
        if self._open != (opcode == 0):
            raise FrameError(PROTOCOL_ERROR, "a message is not continued, or none had begun")
        self._open = not final
        self._fragments = self._fragments + 1 if opcode == 0 else 1
        if self._fragments > MOST_FRAGMENTS:
            raise FrameError(POLICY, "too many fragments")


def _head_size(head: bytes) -> int:
    """Of a frame, in bytes, as far as these tell (RFC 6455, 5.2)."""
    if len(head) < 2:
        return 2
    length = head[1] & 0x7F
    extended = 2 if length == 126 else 8 if length == 127 else 0
    return 2 + extended + (4 if head[1] & 0x80 else 0)


def _payload_size(head: bytes) -> int:
    length = head[1] & 0x7F
    if length < 126:
        return length
    return int.from_bytes(head[2:4] if length == 126 else head[2:10])


def sendable(code: int) -> bool:
    """Whether this may stand in a Close (RFC 6455, 7.4, and IANA's registry)."""
    return code in SENDABLE or 3000 <= code < 5000
