"""What all client connections of a worker share: limits, time-outs, and who is there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.deadline import Deadline
from gateway.errors import Draining, GatewayError
from gateway.exchange import Exchange, Peer, Sink
from gateway.http1.fields import HeadLimits


class Pipeline(Protocol):
    """What a connection needs of the request's path."""

    def handle(self, exchange: Exchange) -> None: ...

    def refuse(self, exchange: Exchange, error: GatewayError) -> None: ...

    def finish(self, exchange: Exchange) -> None: ...


@dataclass(slots=True)
class Limits:
    """Bounds on what a client may do; sizes in bytes, times in seconds."""

    head: HeadLimits = field(default_factory=HeadLimits)
    head_timeout: float = 10
    body_min_rate: int = 100
    keepalive_timeout: float = 75
    send_timeout: float = 60
    chunk_extension: int = 256
    buffer: int = 65536


class Member(Protocol):
    """One of the connections."""

    peer: Peer
    exchange: Exchange | None
    sink: Sink | None

    def head_expired(self) -> None: ...

    def body_window(self) -> None: ...

    def send_expired(self) -> None: ...

    def give_up(self, error: Draining) -> None: ...

    def close(self) -> None: ...

    def cut(self) -> None: ...


class Front:
    """What all client connections of a worker share; a reload puts another `pipeline` in."""

    BODY_WINDOW: Final = 10.0  # seconds over which a body's rate is taken
    LINGER_TIME: Final = 2.0  # seconds granted to a client to read a last answer

    def __init__(self, loop: asyncio.AbstractEventLoop, pipeline: Pipeline, limits: Limits) -> None:
        self.pipeline = pipeline
        self.draining = False
        self.connections: set[Member] = set()
        self.on_closed: Callable[[Member], None] | None = None
        timer = Deadline[Member]
        self.head = timer(loop, limits.head_timeout, lambda c: c.head_expired())
        self.idle = timer(loop, limits.keepalive_timeout, lambda c: c.close())
        self.body = timer(loop, self.BODY_WINDOW, lambda c: c.body_window())
        self.send = timer(loop, limits.send_timeout, lambda c: c.send_expired())
        self.linger = timer(loop, self.LINGER_TIME, lambda c: c.cut())
        self.obey(limits)

    def obey(self, limits: Limits) -> None:
        """Have these limits hold from now on; who waits already, waits as long as it was told."""
        self.limits = limits
        self.head.seconds = limits.head_timeout
        self.idle.seconds = limits.keepalive_timeout
        self.send.seconds = limits.send_timeout

    def close_idle(self) -> None:
        """Close the connections that carry no request."""
        for connection in [c for c in self.connections if c.exchange is None]:
            connection.close()

    def leave(self) -> None:
        """End what has no end of its own: tunnels."""
        for connection in list(self.connections):
            if connection.sink is not None:
                connection.sink.going_away()

    def cut_all(self) -> int:
        """End every connection; requests without an answer get one. How many had a request."""
        busy = 0
        for connection in list(self.connections):
            exchange = connection.exchange
            if exchange is not None:
                busy += 1
            if exchange is not None and not exchange.status:
                connection.give_up(Draining())
            else:
                connection.cut()
        return busy

    def cancel(self) -> None:
        for deadline in (self.head, self.idle, self.body, self.send, self.linger):
            deadline.cancel()
