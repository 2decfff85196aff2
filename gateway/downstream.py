"""One client's connection: it reads requests, one at a time, and writes their answers.

The theory. A connection is in one of six states, and what arrives is handled by state:

    HEAD     between requests, or inside a head   -> parse it, hand the exchange to the pipeline
    BODY     inside a request's body              -> count it, hand its pieces to the sink
    WAIT     the request is read, not answered    -> hold what comes (a pipelined request)
    SKIP     answered before its body was read    -> read the rest, throw it away
    TUNNEL   bytes are nobody's business          -> hand them to the sink
    LINGER   answered, and it will be closed      -> throw away until the client has closed

A pipelined request waits in `_held` until the one before it is answered, so there is one
exchange at a time and answers cannot change places. Memory is bounded: when `_held` passes the
buffer's size, or the sink says `pause`, the socket is not read.

Length: one state machine, whose transitions are only understood side by side.
"""

from __future__ import annotations

import asyncio
import fcntl
import re
import socket
import struct
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

from gateway.deadline import Deadline
from gateway.errors import (
    BadRequest,
    ClientError,
    Draining,
    GatewayError,
    PayloadTooLarge,
    RequestTimeout,
)
from gateway.exchange import Exchange, Peer, Piece, Response, Sink
from gateway.front import Front, Member
from gateway.http1.chunked import BadChunk, ChunkedDecoder
from gateway.http1.fields import CHUNKED
from gateway.http1.request import (
    METHOD,
    RequestHead,
    check_partial_request,
    parse_request,
    without_userinfo,
)
from gateway.http1.status import reason

EMPTY_LINES: Final = re.compile(rb"\A(?:\r\n)+")
HEAD, BODY, WAIT, SKIP, TUNNEL, LINGER = range(6)
READING: Final = (BODY, SKIP)
HOLDING: Final = (WAIT, HEAD)

# An answer made before the request's body was read: up to so many bytes are still read for the
# connection's sake; beyond, closing it is cheaper for both.
SKIP_BYTES: Final = 65536
LINGER_BYTES: Final = 1 << 20
SMALL: Final = 2048  # bytes of a body that are cheaper to copy behind their head than to gather
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Downstream(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_decoder",
        "_expecting",
        "_held",
        "_last",
        "_left",
        "_looping",
        "_paused",
        "_seen",
        "_state",
        "_taken",
        "_timer",
        "_transport",
        "_unsent",
        "_window",
        "companion",
        "exchange",
        "front",
        "full",
        "out",
        "peer",
        "sink",
    )

    def __init__(self, front: Front, peer: Peer) -> None:
        self.front = front
        self.peer = peer
        self.exchange: Exchange | None = None
        self.sink: Sink | None = None
        self.full = False
        self.out: list[Piece] = []
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # until made
        self._state = HEAD
        self._held = b""
        self._seen = 0
        self._looping = False
        self._paused = False
        self._left = 0
        self._taken = 0
        self._window = 0
        self._unsent = 0
        self._expecting = False
        self._last: RequestHead | None = None
        self._timer: Deadline[Member] | None = None
        self._decoder: ChunkedDecoder | None = None
        self.companion: asyncio.Protocol | None = None

    @property
    def made(self) -> bool:
        """Whether the connection came about: who counts it hears of its end."""
        return self._transport is not None

    def accompany(self, companion: asyncio.Protocol) -> None:
        """Let another protocol write to the same transport; it hears of the connection's end."""
        self.companion = companion
        companion.connection_made(self._transport)

    # ------------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(self.front.limits.buffer)
        self.front.connections.add(self)
        self._wait(self.front.head)

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state == HEAD and not self.full:
            self._read(self._held + data if self._held else data)
        elif state in READING:
            self._read_body(data)
        elif state == TUNNEL:
            assert self.sink is not None
            self.sink.received((data,))
        elif state in HOLDING:
            self._held = self._held + data if self._held else data
            if len(self._held) > self.front.limits.buffer:
                self.pause()
        else:
            self._left -= len(data)
            if self._left < 0:
                self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        front = self.front
        front.connections.discard(self)
        self._wait(None)
        front.send.stop(self)
        self._state = LINGER
        self._held = b""
        if front.on_closed is not None:
            front.on_closed(self)
        exchange, sink = self.exchange, self.sink
        self.exchange = self.sink = None
        if exchange is not None:
            if exchange.status != 101:
                exchange.error = exchange.error or "client_closed"
            if not exchange.status:
                exchange.status = 499  # nginx's code for a client that did not wait
            if sink is not None:
                sink.abandoned()
            front.pipeline.finish(exchange)
        if self.companion is not None:
            self.companion.connection_lost(exc)

    def pause_writing(self) -> None:
        self.full = True
        self._await_taking()
        if self.sink is not None:
            self.sink.blocked()

    def resume_writing(self) -> None:
        self.full = False
        if not self._transport.is_closing():  # else the rest has to go out, too
            self.front.send.stop(self)
        if self.sink is not None:
            self.sink.unblocked()
        elif self._state == HEAD and self._held and not self._looping:
            self.resume()
            self._read(self._held)

    # ------------------------------------------------------------------------------- reading

    def _read(self, data: bytes) -> None:
        """Read requests from `data`, until one has to wait or there is no whole one left."""
        front = self.front
        self._looping = True
        while True:
            if data[:2] == b"\r\n":  # RFC 9112, 2.2: empty lines before a request are ignored
                data, self._seen = EMPTY_LINES.sub(b"", data, 1), 0
            end = data.find(b"\r\n\r\n", max(0, self._seen - 3))
            try:
                if end < 0:
                    self._await_head(data)
                    break
                head, target = parse_request(data, end, front.limits.head, self._last)
            except ClientError as error:
                self._refuse_head(data, error)
                break
            if self._timer is not None:
                self._timer.stop(self)
            self._seen = 0
            self._held = data[end + 4 :]
            self._last = head
            exchange = self.exchange = Exchange(self, head, target)
            if head.length:
                self._take_with_body(exchange, head)
            else:
                self._state = WAIT
                front.pipeline.handle(exchange)
            data = self._held
            if not data or self._state != HEAD or self.full:
                break  # a client that takes no answers gets no further ones
        self._looping = False

    def _await_head(self, data: bytes) -> None:
        """Part of a head has come: the rest has its time, counted from its first byte."""
        front = self.front
        check_partial_request(data, front.limits.head, self._seen)
        if self._timer is not front.head:
            self._wait(front.head)
        self._held = data
        self._seen = len(data)

    def _wait(self, timer: Deadline[Member] | None) -> None:
        """Have this time-out run for what is to come, in place of the one before."""
        if self._timer is not None:
            self._timer.stop(self)
        self._timer = timer
        if timer is not None:
            timer.start(self)

    def _take_with_body(self, exchange: Exchange, head: RequestHead) -> None:
        self._state = BODY
        self._left = length = head.length
        self._taken = self._window = 0
        self._expecting = head.expect
        self._decoder = None
        if length == CHUNKED:
            self._decoder = ChunkedDecoder(self.front.limits.chunk_extension)
        self._wait(self.front.body)
        self.front.pipeline.handle(exchange)
        if self._held and self._state in (BODY, SKIP):
            data, self._held = self._held, b""
            self._read_body(data)

    def _refuse_head(self, data: bytes, error: ClientError) -> None:
        """Answer what is no request: there is nothing to route, so what is known is made up."""
        line = data.partition(b"\r\n")[0].split(b" ")
        method, target = (line[0], line[1]) if len(line) > 1 else (b"-", b"-")
        if METHOD.fullmatch(method) is None:
            method = b"-"
        self._held = b""
        self._begin_refused(RequestHead(method, 1, b""), without_userinfo(target[:8192]), error)

    def _begin_refused(self, head: RequestHead, target: bytes, error: ClientError) -> None:
        self._wait(None)
        self._state = WAIT
        exchange = self.exchange = Exchange(self, head, target)
        exchange.closes = True
        self.front.pipeline.refuse(exchange, error)

    def _read_body(self, data: bytes) -> None:
        try:
            pieces, rest = self._unframe(data)
        except BadChunk as error:
            self.give_up(BadRequest(f"the body's framing is broken: {error}"))
            return
        exchange = self.exchange
        if exchange is None:  # it is answered: the rest of its body is read and dropped
            if self._taken > SKIP_BYTES:
                self._linger()
            elif rest is not None:
                self._state, self._held = HEAD, rest
                self._next()
            return
        route = exchange.route
        if route is not None and route.max_body and self._taken > route.max_body:
            self.give_up(PayloadTooLarge(closes=True))
            return
        sink = self.sink
        if rest is not None:
            self._wait(None)
            self._state, self._held = WAIT, rest
        if sink is None:
            return
        if pieces:
            sink.received(pieces)
        if rest is not None and self.sink is sink:  # it may have answered, and be gone
            sink.ended()

    def _unframe(self, data: bytes) -> tuple[list[Piece], bytes | None]:
        """A body's pieces, and the bytes behind it once it is complete."""
        decoder = self._decoder
        if decoder is not None:
            pieces = cast("list[Piece]", decoder.feed(data))
            for piece in pieces:
                self._taken += len(piece)
            return pieces, decoder.rest if decoder.done else None
        size = len(data)
        left = self._left
        if size < left:
            self._left = left - size
            self._taken += size
            return [data], None
        self._left = 0
        self._taken += left
        if size == left:
            return [data], b""
        return [memoryview(data)[:left]], data[left:]

    def give_up(self, error: ClientError | Draining) -> None:
        """Answer the exchange with an error, whatever is being done about it."""
        exchange, sink = self.exchange, self.sink
        self.sink = None
        if exchange is None:
            self.cut()
            return
        if sink is not None:
            sink.abandoned()
        exchange.closes = True
        self.front.pipeline.refuse(exchange, error)

    # --------------------------------------------------------------------- what the sink says

    @property
    def received_all(self) -> bool:
        return self._state != BODY

    def proceed(self) -> None:
        if self._expecting and self._state == BODY:
            self._expecting = False
            if not self._taken:  # a client that did not wait needs no permission
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def flush(self) -> None:
        out = self.out
        if len(out) == 1:
            self._transport.write(out[0])
        elif len(out) == 2 and len(out[1]) <= SMALL:
            self._transport.write(b"".join(out))
        elif out:
            self._transport.writelines(out)
        out.clear()

    def writer(self) -> Callable[[bytes], None]:
        return self._transport.write

    def respond(self, response: Response) -> None:
        exchange = self.exchange
        assert exchange is not None
        head = exchange.head
        keep = head.keep_alive and not (response.closes or self.front.draining)
        if self._state == BODY and (self._expecting or not self._worth_skipping()):
            # Whether a body that waits for permission follows is not known: start afresh.
            keep = False
        exchange.status = response.status
        lines = [b"HTTP/1.1 %d %b" % (response.status, reason(response.status))]
        lines += response.lines
        if not keep:
            lines.append(b"Connection: close")
        elif not head.minor:
            lines.append(b"Connection: keep-alive")
        if response.status != 204:  # RFC 9110, 8.6: it must not have one
            lines.append(b"Content-Length: %d" % len(response.body))
        self.out.append(b"\r\n".join((*lines, b"\r\n")))
        if head.method != b"HEAD":
            self.out.append(response.body)
            exchange.body_sent = len(response.body)
        self.finish(keep)

    def refuse(self, error: GatewayError) -> None:
        self.sink = None
        if self.exchange is not None:
            self.front.pipeline.refuse(self.exchange, error)

    def _worth_skipping(self) -> bool:
        return self._decoder is None and self._left <= SKIP_BYTES

    def finish(self, keep_alive: bool) -> None:
        if self.out:
            self.flush()
        exchange = self.exchange
        self.exchange = self.sink = None
        front = self.front
        if exchange is not None:
            front.pipeline.finish(exchange)
        if self._paused:
            self.resume()
        if not keep_alive:
            closes = exchange is not None and exchange.closes
            if self._state == WAIT and not self._held and not closes:
                self.close()
            else:  # what the client still sends would turn a close into a reset
                self._linger()
        elif self._state == WAIT:
            self._state = HEAD
            self._timer = front.idle
            front.idle.start(self)
            if self._held:
                self._next()
        elif self._state == BODY:
            if self._worth_skipping() or self._decoder is not None:
                self._state = SKIP
                self._taken = 0
            else:
                self._linger()

    def _next(self) -> None:
        """Go on to a request that is here already; a loop, for there may be thousands."""
        self._wait(self.front.idle)
        if self._held and not self._looping and not self.full:
            self._read(self._held)

    def _linger(self) -> None:
        """Close in a way that lets the client read the answer first (RFC 9112, 9.6)."""
        self._state = LINGER
        self._held = b""
        self._left = LINGER_BYTES
        self._wait(self.front.linger)
        if self._transport.can_write_eof():
            with suppress(OSError):  # a client that is gone already
                self._transport.write_eof()
        else:  # TLS has no half close
            self._transport.close()

    def tunnel(self) -> bytes:
        self._state = TUNNEL
        self._last = None
        held, self._held = self._held, b""
        self.resume()
        return held

    def pause(self) -> None:
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            if self._state == BODY:
                self._wait(None)
            elif self._state == TUNNEL:  # a target that takes nothing is no end that one waits for
                self.front.send.start(self)
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self._transport.is_closing():
            self._paused = False
            if self._state == BODY:
                self._window = self._taken
                self._wait(self.front.body)
            elif self._state == TUNNEL and not self.full:
                self.front.send.stop(self)
            self._transport.resume_reading()

    def close(self) -> None:
        if self._transport.get_write_buffer_size():
            self._await_taking()  # a client that takes nothing does not keep us waiting
        self._transport.close()

    def cut(self) -> None:
        """Reset the connection: to whoever reads to its end, an end would look like one."""
        raw = self._transport.get_extra_info("socket")
        if raw is not None and not self._transport.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self._transport.abort()

    # ------------------------------------------------------------------------------ deadlines

    def head_expired(self) -> None:
        if not self._held:
            self.close()
            return
        data, self._held = self._held, b""
        self._refuse_head(data, RequestTimeout("the request's head did not come in time"))

    def body_window(self) -> None:
        """A body's rate is looked at once a window, so that bursts do not count against it."""
        least = self.front.limits.body_min_rate * self.front.BODY_WINDOW
        if self._taken - self._window >= least:
            self._window = self._taken
            self._wait(self.front.body)
        elif self.exchange is None or self.exchange.status:
            self.cut()
        else:
            self.give_up(RequestTimeout("the request's body came too slowly"))

    def _await_taking(self) -> None:
        self._unsent = self._not_taken()
        self.front.send.start(self)

    def _not_taken(self) -> int:
        """Bytes that the client has not taken: in the transport, and in the kernel."""
        size = self._transport.get_write_buffer_size()
        raw = self._transport.get_extra_info("socket")
        if raw is None or raw.fileno() < 0:
            return size
        queued = bytearray(4)
        with suppress(OSError):  # SIOCOUTQ, tcp(7)
            fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, queued)
        return size + int.from_bytes(queued, sys.byteorder)

    def send_expired(self) -> None:
        unsent = self._not_taken()
        if (self.full or self._transport.is_closing()) and unsent < self._unsent:
            self._unsent = unsent  # it reads, if slowly
            self.front.send.start(self)
            return
        if self.exchange is not None:
            self.exchange.error = "stalled"
        self.cut()
