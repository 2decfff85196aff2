"""One client's WebSocket: what it asks is done, what it should hear is written.

It stands where a tunnel stands: behind the 101, the connection's bytes come here. There is no
task, no timer and no queue of its own; a connection that only listens costs its objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex
from time import monotonic
from typing import Final

from aiohttp.http import WSMsgType

from gateway.exchange import Exchange, Piece
from gateway.realtime import handshake, wire
from gateway.realtime.frames import FrameError, Frames, sendable
from gateway.realtime.hub import Hub, Member
from gateway.realtime.wire import Refused, Subscribe, Unsubscribe, Update

NORMAL, GOING_AWAY, PROTOCOL_ERROR, UNSUPPORTED = 1000, 1001, 1002, 1003
NO_CODE, ABNORMAL, POLICY = 1005, 1006, 1008  # the first two are never sent: they name what was not

OPEN, CLOSING, CLOSED = range(3)
ROUNDING: Final = 1e-6  # seconds that sums of fractions may be off


class Session(Member):
    """A client's end of the hub, over a WebSocket."""

    __slots__ = (
        "_allowed_at",
        "_bytes",
        "_client",
        "_deflate",
        "_frames",
        "_heard",
        "_hub",
        "_id",
        "_received",
        "_since",
        "_state",
        "_strikes",
        "_write",
        "code",
        "reason",
    )

    def __init__(self, hub: Hub, exchange: Exchange, deflate: bool) -> None:
        super().__init__(hub, hub.limits.pace)
        self.exchange = exchange
        self._hub = hub
        self._client = exchange.client
        self._write = exchange.client.writer()
        self._deflate = deflate
        self._frames = Frames(self._take, hub.limits.max_message, deflate)
        self._id = token_hex(8)
        self._state = OPEN
        self._heard = True
        self._since = monotonic()
        self._allowed_at = 0.0  # when the next message is in time (`_in_rate`)
        self._strikes = 0
        self._received = 0
        self._bytes = 0
        self.code = ABNORMAL
        self.reason = ""

    def open(self) -> None:
        """Begin: the 101 is sent."""
        hub, exchange = self._hub, self.exchange
        self._client.sink = self
        held = self._client.tunnel()
        hub.enter(self)
        hub.idles.start(self)
        hub.log.info(
            "websocket_opened",
            connection_id=self._id,
            request_id=exchange.request_id.decode(),
            client_ip=exchange.client_ip.decode(),
            principal=None if exchange.principal is None else exchange.principal.id,
        )
        self.tell("welcome", connection_id=self._id)
        if held:
            self.received((held,))
        if self._client.front.draining:
            self.leave()

    # ---------------------------------------------------------------------- to the client

    @property
    def full(self) -> bool:
        return self._client.full or self._state != OPEN

    def offer(self, update: Update, now: float) -> None:
        """What is inherited, with `write` in its place: a call less, ten thousand times over."""
        if self._ready and (now - self._sent_at >= self._period or self._in_time(now)):
            self._sent_at = now
            self.sent += 1
            data = update.deflated if self._deflate else update.frame
            self._bytes += len(data)
            self._write(data)
        else:
            self._hold(update)

    def write(self, update: Update) -> None:
        data = update.deflated if self._deflate else update.frame
        self._bytes += len(data)
        self._write(data)

    def tell(self, kind: str, **fields: object) -> None:
        if self._state == OPEN:
            self._send(wire.frame(wire.message(kind, **fields)))

    def _send(self, data: bytes) -> None:
        self._bytes += len(data)
        self._write(data)

    def ping(self) -> None:
        if self._client.full:
            self._heard = True  # perhaps it is not read; if it takes nothing, that has its time
        elif self._heard:
            self._heard = False
            self._send(wire.frame(b"", wire.PING))
        else:
            self._end("silent")
            return
        self._hub.pings.start(self)

    def idle(self) -> None:
        seconds = self._hub.limits.idle_timeout
        self._close(NORMAL, f"no subscription and no message for {seconds:g} s")

    def leave(self) -> None:
        self._close(GOING_AWAY, "")

    def _close(self, code: int, reason: str) -> None:
        """Begin to close (RFC 6455, 7.1.2): the client has a moment to answer."""
        if self._state != OPEN:
            return
        self._send(wire.close_frame(code, reason))
        self._state = CLOSING
        self.code, self.reason = code, reason
        self._hub.leave(self)
        self._hub.closing.start(self)

    def dismiss(self) -> None:
        self._close(POLICY, "the credentials are no longer valid")

    def overdue(self) -> None:
        self._finish()

    def _finish(self) -> None:
        """Nothing more is to be said."""
        self._hub.leave(self)
        self._hub.closing.stop(self)
        if self._state != CLOSED:
            self._state = CLOSED
            self._client.close()

    def _end(self, why: str) -> None:
        """Cut off one with whom nothing can be agreed."""
        self.reason = self.exchange.error = why
        self._hub.leave(self)
        self._state = CLOSED
        self._client.cut()

    # -------------------------------------------------------------------- from the client

    def received(self, pieces: Sequence[Piece]) -> None:
        self._heard = True
        for piece in pieces:
            if self._state == CLOSED:
                return
            try:
                self._frames.feed(piece)
            except FrameError as error:
                # Behind our own Close it is read on, and not minded: a close would be a reset.
                if self._state == OPEN:
                    self._refuse(error)

    def _refuse(self, error: FrameError) -> None:
        """Fail the connection (RFC 6455, 7.1.7): say why, and read no more of it."""
        self._hub.log.info("websocket_error", connection_id=self._id, problem=error.reason)
        self._send(wire.close_frame(error.code, error.reason))
        self.code, self.reason = error.code, error.reason
        self._over()
        self._client.finish(keep_alive=False)

    def _take(self, kind: WSMsgType, data: str | bytes | int) -> None:
        """A message or a control frame has come."""
        if kind is WSMsgType.CLOSE:
            assert isinstance(data, int)
            self._answer_close(data)
        if self._state != OPEN:
            return
        self._received += 1
        self._hub.meters.received.inc()
        if self._client.full:
            self._client.pause()  # who reads none of its answers gets no more of them
        if not self._in_rate():
            self._warn()
        elif kind is WSMsgType.TEXT:
            assert isinstance(data, str)
            self._obey(data)
        elif kind is WSMsgType.PING:
            self._send(wire.frame(bytes(data), wire.PONG))  # type: ignore[arg-type]
        elif kind is WSMsgType.BINARY:
            self._refuse(FrameError(UNSUPPORTED, "messages are text"))

    def _answer_close(self, code: int) -> None:
        if self._state == OPEN:
            if code and not sendable(code):
                self._refuse(FrameError(PROTOCOL_ERROR, "no such close code"))
                return
            self.code = code or NO_CODE
            self._send(wire.close_frame(code) if code else wire.frame(b"", wire.CLOSE))
        self._finish()

    def _in_rate(self) -> bool:
        """Whether this message is within the rate (GCRA; a whole count may come at once)."""
        rate = self._hub.limits.message_rate
        now = monotonic()
        step = rate.period / rate.count
        at = max(self._allowed_at, now - (rate.count - 1) * step)
        if at > now + ROUNDING:
            return False
        if at + (rate.count - 1) * step <= now + ROUNDING:
            self._strikes = 0  # quiet for as long as it takes to be as good as new
        self._allowed_at = at + step
        return True

    def _warn(self) -> None:
        """The first time in a row it is told; if it goes on, it has to go."""
        rate = self._hub.limits.message_rate
        self._strikes += 1
        if self._strikes == 1:
            self._tell_error("too_many_messages", f"at most {rate}; what is beyond is ignored")
        elif self._strikes > rate.count:
            self._refuse(FrameError(POLICY, "too many messages"))

    def _tell_error(self, code: str, message: str) -> None:
        self.tell("error", error=code, message=message)

    # --------------------------------------------------------------------- what it asks for

    def _obey(self, text: str) -> None:
        hub = self._hub
        limits = hub.limits
        try:
            action = wire.read_action(text, limits.max_symbols, limits.wildcard)
            if isinstance(action, Subscribe):
                self._subscribe(action)
            elif isinstance(action, Unsubscribe):
                hub.unsubscribe(self, action.symbols)
                self.tell("unsubscribed", symbols=action.symbols)
            else:
                self.tell("pong")
        except Refused as refused:
            self._tell_error(refused.code, refused.message)
        if self.symbols:
            hub.idles.stop(self)
        else:
            hub.idles.start(self)

    def _subscribe(self, asked: Subscribe) -> None:
        most = self._hub.limits.max_symbols
        if len(self.symbols.union(asked.symbols)) > most:
            raise Refused("too_many_symbols", f"at most {most} symbols on one connection")
        if asked.conflate is not None:
            self.conflate = asked.conflate
        new = self._hub.subscribe(self, asked.symbols)
        self.tell("subscribed", symbols=asked.symbols)
        if new and asked.since is not None:
            self._hub.recover(self, new, asked.since)

    # --------------------------------------------------------------- what the connection says

    def ended(self) -> None:
        """Never: what comes behind a 101 has no end of its own."""

    def blocked(self) -> None:
        self._ready = False

    def unblocked(self) -> None:
        self._client.resume()
        if self._state == OPEN:
            self.release()

    def going_away(self) -> None:
        self.leave()

    def abandoned(self) -> None:
        """The connection is gone, however that came."""
        self._over()

    def _over(self) -> None:
        """Nothing more comes and nothing more goes."""
        hub = self._hub
        hub.leave(self)
        hub.closing.stop(self)
        self._state = CLOSED
        self.exchange.body_sent = self._bytes
        del self._frames  # they know whom they tell: a cycle, which the collector finds late
        hub.log.info(
            "websocket_closed",
            connection_id=self._id,
            request_id=self.exchange.request_id.decode(),
            code=self.code,
            reason=self.reason or None,
            seconds=round(monotonic() - self._since, 3),
            sent=self.sent,
            received=self._received,
            dropped=self.dropped,
        )


class LiveSocket:
    """A route's endpoint: opens sessions."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def handle(self, exchange: Exchange) -> None:
        accept = handshake.accept_key(exchange)
        self._hub.admit(exchange)
        deflate = self._hub.limits.deflate and handshake.deflates(exchange)
        exchange.status = 101
        client = exchange.client
        client.out.append(handshake.answer(exchange, accept, deflate))
        client.flush()
        Session(self._hub, exchange, deflate).open()
