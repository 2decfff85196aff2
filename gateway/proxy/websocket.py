"""A WebSocket passing through: bytes, untouched, in both directions.

The tunnel reads frame headers (RFC 6455, 5.2) for two things only: to count messages, and to
know where a frame ends, because that is where a Close can be put in when the gateway has to
leave (1001). Extensions, compression, fragments, pings and close codes are the ends' business.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from os import urandom
from typing import Final

from gateway.deadline import Deadline
from gateway.errors import UpstreamError
from gateway.exchange import Client, Exchange, Piece
from gateway.http1.response import ResponseHead
from gateway.proxy.transport import Connection
from gateway.telemetry.instruments import CounterCell, GaugeCell

CLOSE: Final = 8  # opcode; those above are control frames, too
GOING_AWAY: Final = b"\x03\xe9"  # 1001, RFC 6455, 7.4.1
CLOSE_WAIT: Final = 1.0  # seconds for a client to answer our Close


class TunnelMetrics:
    """A route's cells, looked up once. Directions as the client sees them."""

    def __init__(self, open_: GaugeCell, sent: CounterCell, received: CounterCell) -> None:
        self.open = open_
        self.sent = sent
        self.received = received


class Frames:
    """Follows the frames of one direction. What is no WebSocket at all does it no harm."""

    __slots__ = ("_head", "_left", "closing", "messages")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.messages = 0
        self.closing = False  # a Close has come

    @property
    def between(self) -> bool:
        """Whether the last byte seen was a frame's last."""
        return not (self._left or self._head)

    def follow(self, data: bytes | memoryview, one: bool = False) -> int:
        """Look at `data` (`one`: to the end of the current frame only); how far that was."""
        at, size = 0, len(data)
        while at < size:
            if self._left:
                step = min(self._left, size - at)
                self._left -= step
                at += step
            else:
                at = self._read_head(data, at)
            if one and self.between:
                break
        return at

    def _read_head(self, data: bytes | memoryview, at: int) -> int:
        held = len(self._head)
        head = self._head + bytes(data[at : at + 14 - held])  # no header is longer
        if len(head) < 2:
            self._head = head
            return at + len(head) - held
        length = head[1] & 0x7F
        need = 2 + (2 if length == 126 else 8 if length == 127 else 0)
        whole = need + (4 if head[1] & 0x80 else 0)
        if len(head) < whole:
            self._head = head
            return at + len(head) - held
        self._left = int.from_bytes(head[2:need]) if need > 2 else length
        self._head = b""
        opcode = head[0] & 0x0F
        if opcode == CLOSE:
            self.closing = True
        elif head[0] & 0x80 and opcode < CLOSE:
            self.messages += 1
        return at + whole - held


class Tunnel:
    """A client and a target, each handed the other's bytes."""

    __slots__ = (
        "_client",
        "_closed",
        "_connection",
        "_down",
        "_exchange",
        "_going",
        "_idle",
        "_leaving",
        "_metrics",
        "_timer",
        "_up",
    )

    def __init__(
        self,
        exchange: Exchange,
        client: Client,
        connection: Connection,
        metrics: TunnelMetrics,
        idle: Deadline[Tunnel] | None,
        closed: Callable[[], None],
    ) -> None:
        """`closed` is called once, when the target's part is over."""
        self._exchange = exchange
        self._client = client
        self._connection = connection
        self._metrics = metrics
        self._idle = idle
        self._closed: Callable[[], None] | None = closed
        self._up = Frames()
        self._down = Frames()
        self._going = False
        self._leaving: set[Frames] = set()  # the directions in which a Close was put
        self._timer: asyncio.TimerHandle | None = None

    def open(self, first: bytes) -> None:
        """Begin: `first` came from the target behind its 101."""
        self._metrics.open.inc()
        self._client.sink = self
        self._connection.hand_to(self)
        held = self._client.tunnel()
        if first:
            self.carried(first)
        if held:
            self.received((held,))
        if self._idle is not None:
            self._idle.start(self)
        if self._client.front.draining:
            self.going_away()

    def received(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            passing = self._follow(self._up, piece)
            self._metrics.received.inc(self._counted(self._up))
            if passing:
                self._connection.write([passing])

    def carried(self, data: bytes) -> None:
        passing = self._follow(self._down, data)
        self._metrics.sent.inc(self._counted(self._down))
        if passing:
            self._exchange.body_sent += len(passing)
            self._client.out.append(passing)
            self._client.flush()

    def _follow(self, frames: Frames, data: Piece) -> Piece:
        if self._idle is not None:
            self._idle.start(self)
        if not self._going:
            frames.follow(data)
            return data
        if frames in self._leaving:
            frames.follow(data)
            if self._up.closing and len(self._leaving) == 2:
                self._end()  # the client has answered our Close
            return b""
        end = frames.follow(data, one=True)
        if frames.between:
            self._put_close(frames, data[:end])
            return b""
        return data

    @staticmethod
    def _counted(frames: Frames) -> int:
        count, frames.messages = frames.messages, 0
        return count

    def going_away(self) -> None:
        """Tell both ends 1001, each where a frame ends, and close when the client has answered."""
        if not self._going:
            self._going = True
            for frames in (self._up, self._down):
                if frames.between:
                    self._put_close(frames, b"")

    def _put_close(self, frames: Frames, before: Piece) -> None:
        self._leaving.add(frames)
        if frames is self._down:
            self._client.out.append(bytes(before) + b"\x88\x02" + GOING_AWAY)
            self._client.flush()
        else:
            mask = urandom(4)
            masked = bytes(a ^ b for a, b in zip(GOING_AWAY, mask, strict=False))
            self._connection.write([bytes(before) + b"\x88\x82" + mask + masked])
        if len(self._leaving) == 2:
            self._timer = asyncio.get_running_loop().call_later(CLOSE_WAIT, self._end)

    def expired(self) -> None:
        """Silence for longer than the route allows."""
        self._exchange.error = "websocket_idle"
        self._end()

    def _end(self) -> None:
        self._client.close()
        self._connection.close()

    # -------------------------------------------------------------------------- the two ends

    def ended(self) -> None:
        """Never: a tunnel has no body."""

    def blocked(self) -> None:
        self._connection.pause()

    def unblocked(self) -> None:
        self._connection.resume()

    def upstream_blocked(self) -> None:
        self._client.pause()

    def upstream_unblocked(self) -> None:
        self._client.resume()

    def abandoned(self) -> None:
        self._close()
        self._connection.close()

    def failed(self, error: UpstreamError) -> None:
        self._close()
        self._client.close()

    def _close(self) -> None:
        closed, self._closed = self._closed, None
        if closed is None:
            return
        self._metrics.open.dec()
        if self._idle is not None:
            self._idle.stop(self)
        if self._timer is not None:
            self._timer.cancel()
        closed()

    # ------------------------------------------------ what no connection says behind its 101

    method = b"GET"

    def informed(self, head: ResponseHead) -> None: ...

    def answered(self, head: ResponseHead) -> None: ...

    def switched(self, head: ResponseHead, rest: bytes) -> None: ...

    def delivered(self, pieces: list[Piece]) -> None: ...

    def paused(self) -> None: ...

    def completed(self, trailers: Sequence[bytes]) -> None: ...
