"""A client's connection without a socket: what is written is kept, what is read is handed in.

Behind it stands a pipeline that answers as it is told and checks what it must be able to trust:
one exchange at a time, each ended once, nothing delivered to one that is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from gateway.downstream import Downstream
from gateway.errors import GatewayError
from gateway.exchange import Exchange, Peer, Piece, Response
from gateway.front import Front, Limits
from tests.still_loop import StillLoop

NOW, FIRST, ENDED, LATER = "now", "first", "ended", "later"
"""When an exchange is answered: at once, at its body's first bytes, at its end, or when asked."""


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.reading = True
        self.closed = self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended
        self.sent += data

    def writelines(self, pieces: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(pieces))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True


@dataclass(slots=True)
class Request:
    """What came of one exchange."""

    method: bytes
    path: bytes
    way: str
    body: bytes = b""
    whole: bool = False
    answered: bool = False


class Upload:
    """The sink of one exchange."""

    def __init__(self, script: Script, request: Request) -> None:
        self._script = script
        self._request = request

    def received(self, pieces: Sequence[Piece]) -> None:
        request = self._request
        assert self._script.open is request
        assert not request.whole
        request.body += b"".join(pieces)
        if request.way == FIRST:
            self._script.answer()

    def ended(self) -> None:
        assert self._script.open is self._request
        assert not self._request.whole
        self._request.whole = True
        if self._request.way in (ENDED, FIRST):
            self._script.answer()

    def blocked(self) -> None: ...

    def unblocked(self) -> None: ...

    def abandoned(self) -> None: ...

    def going_away(self) -> None: ...


@dataclass(slots=True)
class Script:
    """The pipeline."""

    ways: Iterator[str] = field(default_factory=lambda: repeat(ENDED))
    requests: list[Request] = field(default_factory=list)
    refused: list[GatewayError] = field(default_factory=list)
    open: Request | None = None
    current: Exchange | None = None

    def handle(self, exchange: Exchange) -> None:
        assert self.current is None
        way = next(self.ways)
        request = Request(exchange.head.method, exchange.path + exchange.query, way)
        self.requests.append(request)
        self.open, self.current = request, exchange
        if not exchange.head.length:
            request.whole = True
            if way != LATER:
                self.answer()
        elif way == NOW:
            self.answer()
        else:
            exchange.client.sink = Upload(self, request)

    def answer(self) -> None:
        assert self.open is not None
        assert self.current is not None
        self.open.answered = True
        self.current.client.respond(Response(200, b"%d" % len(self.requests)))

    def refuse(self, exchange: Exchange, error: GatewayError) -> None:
        assert self.current in (None, exchange)
        self.refused.append(error)
        self.current = exchange
        exchange.client.respond(Response(error.status, closes=True))

    def finish(self, exchange: Exchange) -> None:
        assert self.current is exchange
        self.open = self.current = None


def connect(
    ways: Iterator[str] | None = None, limits: Limits | None = None
) -> tuple[Wire, Downstream, Script]:
    """A connection that was just made."""
    script = Script() if ways is None else Script(ways)
    front = Front(StillLoop(), script, limits or Limits())
    wire, connection = Wire(), Downstream(front, Peer("192.0.2.7"))
    connection.connection_made(wire)
    return wire, connection, script
