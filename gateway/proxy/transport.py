"""One connection to a target: it sends a request and reads its answer, over and over.

The connection owns its place in the target's pool: it goes back to the idle ones exactly once
an answer, when the answer is complete, its framing was sound and nothing came behind it; in
every other case it is thrown away, and the slot is given back when the transport is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Final, Protocol, cast

from gateway.errors import UpstreamClosed, UpstreamError, UpstreamProtocolError
from gateway.exchange import Piece
from gateway.http1.chunked import BadChunk, ChunkedDecoder
from gateway.http1.fields import CHUNKED, UNTIL_CLOSE, HeadLimits
from gateway.http1.response import ResponseHead, parse_response
from gateway.upstreams.pool import Pool

IDLE, HEAD, BODY, TUNNEL, CLOSED = range(5)

FLUSH_TIME: Final = 2.0  # seconds for a target to take what a tunnel's client left behind
RESPONSE_LIMITS: Final = HeadLimits(line=65536, field=65536, total=65536, count=200)


class Listener(Protocol):
    """What a connection tells whoever sent the request."""

    method: bytes

    def informed(self, head: ResponseHead) -> None:
        """An interim answer came (1xx)."""

    def answered(self, head: ResponseHead) -> None:
        """The answer's head came."""

    def switched(self, head: ResponseHead, rest: bytes) -> None:
        """101: from here on it is a tunnel, and `rest` is its first bytes."""

    def carried(self, data: bytes) -> None:
        """The tunnel's bytes."""

    def delivered(self, pieces: list[Piece]) -> None:
        """Parts of the answer's body."""

    def paused(self) -> None:
        """All that has come so far was told: nothing more for now."""

    def completed(self, trailers: Sequence[bytes]) -> None:
        """The answer is whole. The connection is no longer the listener's."""

    def failed(self, error: UpstreamError) -> None:
        """The attempt is over. The connection is no longer the listener's."""

    def upstream_blocked(self) -> None:
        """The target takes no more of the request for now."""

    def upstream_unblocked(self) -> None:
        """It takes it again."""


class Heads:
    """What heads of a target's answers may be, and the last one, which the next often equals."""

    __slots__ = ("last", "limits")

    def __init__(self, limits: HeadLimits = RESPONSE_LIMITS) -> None:
        self.limits = limits
        self.last: ResponseHead | None = None


class Connection(asyncio.Protocol):
    """A connection to a target. `served` counts the answers it has brought."""

    __slots__ = (
        "_closing",
        "_decoder",
        "_heads",
        "_held",
        "_keep",
        "_left",
        "_listener",
        "_pool",
        "_state",
        "_transport",
        "blocked",
        "idle_since",
        "sent_all",
        "served",
        "started",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        pool: Pool[Connection],
        heads: Heads,
    ) -> None:
        self._transport = transport
        self._pool: Pool[Connection] | None = pool
        self._heads = heads
        self._listener: Listener | None = None
        self._state = IDLE
        self._held = b""
        self._left = 0
        self._keep = False
        self._decoder: ChunkedDecoder | None = None
        self._closing: asyncio.TimerHandle | None = None
        self.served = 0
        self.idle_since = 0.0
        self.blocked = False
        self.started = False  # a byte of the answer has come
        self.sent_all = False

    @property
    def usable(self) -> bool:
        return self._state == IDLE and not self._transport.is_closing()

    def send(self, listener: Listener, head: bytes) -> None:
        """Begin a request; the connection belongs to `listener` until it is told otherwise."""
        self._listener = listener
        self._state = HEAD
        self.started = self.sent_all = False
        self._transport.write(head)

    def write(self, pieces: list[Piece]) -> None:
        """More of the request, framed already."""
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    def pause(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def release(self) -> None:
        """Throw it away: its listener wants no more of it."""
        self._listener = None
        self._state = CLOSED
        self._transport.abort()

    def close(self) -> None:
        """Close it when what was written is sent, or was not taken in time: a tunnel's end."""
        if self._closing is None and self._transport.get_write_buffer_size():
            loop = asyncio.get_running_loop()
            self._closing = loop.call_later(FLUSH_TIME, self._transport.abort)
        self._transport.close()

    def discard(self) -> None:
        """Close it without giving its slot back: that was done, or another takes its place."""
        self._pool = None
        self._transport.abort()

    def hand_to(self, listener: Listener) -> None:
        """Another listens from here on."""
        self._listener = listener

    # ------------------------------------------------------------------ the transport's calls

    def data_received(self, data: bytes) -> None:
        listener = self._listener
        if listener is None:  # bytes that nobody asked for: what they answer is not certain
            self._transport.abort()
            return
        try:
            state = self._state
            if state == BODY:
                self._read_body(listener, data)
            elif state == HEAD:
                self.started = True
                self._read_head(listener, self._held + data if self._held else data)
            elif state == TUNNEL:
                listener.carried(data)
                return
            if self._listener is listener:
                listener.paused()
        except BadChunk as error:
            self._fail(UpstreamProtocolError(f"the upstream's chunks are broken: {error}"))
        except UpstreamError as error:
            self._fail(error)

    def eof_received(self) -> None:
        if self._state == BODY and self._left == UNTIL_CLOSE and self._listener is not None:
            self._keep = False
            self._complete(())

    def connection_lost(self, exc: Exception | None) -> None:
        if self._closing is not None:
            self._closing.cancel()
        if self._pool is not None:
            # An idle one that is not in the pool was just handed to a waiter, who has its slot.
            if self._state != IDLE:
                self._pool.release_slot()
            else:
                self._pool.forget(self)
        listener, self._listener = self._listener, None
        self._state = CLOSED
        if listener is not None:
            listener.failed(UpstreamClosed())

    def pause_writing(self) -> None:
        self.blocked = True
        if self._listener is not None:
            self._listener.upstream_blocked()

    def resume_writing(self) -> None:
        self.blocked = False
        if self._listener is not None:
            self._listener.upstream_unblocked()

    # ------------------------------------------------------------------------------- reading

    def _read_head(self, listener: Listener, data: bytes) -> None:
        heads = self._heads
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > heads.limits.total + 2 * heads.limits.count:
                    raise UpstreamProtocolError("the upstream's head is too large")
                self._held = data
                return
            head = parse_response(data, end, listener.method, heads.limits, heads.last)
            data = data[end + 4 :]
            if head.status >= 200:
                break
            if head.status == 101:
                self._held = b""
                self._state = TUNNEL
                listener.switched(head, data)
                return
            listener.informed(head)
        self._held = b""
        heads.last = head
        self._keep = head.keep_alive
        self._left = length = head.length
        self._state = BODY
        listener.answered(head)
        if self._listener is not listener:
            return  # it chose to make another attempt
        if length == len(data):  # most answers are here whole
            if data:
                listener.delivered([data])
            self._complete(())
            return
        if length == CHUNKED:
            self._decoder = ChunkedDecoder(trailer_bytes=heads.limits.total)
        if data:
            self._read_body(listener, data)

    def _read_body(self, listener: Listener, data: bytes) -> None:
        left = self._left
        if left == CHUNKED:
            decoder = self._decoder
            assert decoder is not None
            pieces = decoder.feed(data)
            if pieces:
                listener.delivered(cast("list[Piece]", pieces))
            if decoder.done and self._listener is listener:
                self._decoder = None
                self._keep = self._keep and not decoder.rest
                self._complete(decoder.trailers)
            return
        if left == UNTIL_CLOSE:
            listener.delivered([data])
            return
        size = len(data)
        if size > left:  # more than it announced: what follows answers nothing
            self._keep = False
            data = data[:left]
            size = left
        self._left = left = left - size
        if size:
            listener.delivered([data])
        if not left and self._listener is listener:
            self._complete(())

    def _complete(self, trailers: Sequence[bytes]) -> None:
        listener = self._listener
        assert listener is not None
        self._listener = None
        self.served += 1
        if self._keep and self.sent_all and not self._transport.is_closing():
            self._state = IDLE
            if self._pool is not None and not self._pool.put(self, monotonic()):
                self.discard()
        else:
            self._state = CLOSED
            self._transport.abort()
        listener.completed(trailers)

    def _fail(self, error: UpstreamError) -> None:
        listener = self._listener
        self.release()
        if listener is not None:
            listener.failed(error)
