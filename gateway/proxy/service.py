"""What a request's relay is given: an upstream as this worker speaks to it, and a route's ways."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.deadline import Deadline
from gateway.exchange import Exchange
from gateway.proxy.dial import Dialer
from gateway.proxy.transport import Connection
from gateway.proxy.websocket import Tunnel, TunnelMetrics
from gateway.telemetry.instruments import CounterCell, HistogramCell
from gateway.upstreams.target import Target
from gateway.upstreams.upstream import Upstream


class UpstreamMetrics:
    """An upstream's cells, looked up once."""

    def __init__(
        self,
        duration: HistogramCell,
        retries: CounterCell,
        errors: Callable[[str], CounterCell],
    ) -> None:
        self.duration = duration
        self.retries = retries
        self.errors = errors


class Service:
    """An upstream as a worker speaks to it: its targets, their dialers, its cells."""

    def __init__(
        self,
        upstream: Upstream[Connection],
        dialers: dict[Target[Connection], Dialer],
        metrics: UpstreamMetrics,
        key: Callable[[Exchange], bytes] | None,
    ) -> None:
        self.name = upstream.name
        self.upstream = upstream
        self.dialers = dialers
        self.metrics = metrics
        self.observe = metrics.duration.observe  # seconds until an answer's head
        self.budget = upstream.retries.budget
        self.key = key


class Expiring(Protocol):
    """Who waits for an upstream."""

    def expired(self) -> None:
        """It was silent for too long."""


class Forwarding:
    """How a route's requests are forwarded. Times in seconds, sizes in bytes."""

    def __init__(
        self,
        service: Service,
        loop: asyncio.AbstractEventLoop,
        *,
        timeout: float,
        replay: int,
        cut: int = 0,
        rewrite: bytes | None = None,
        preserve_host: bool = True,
        via: bool = False,
        websocket: TunnelMetrics | None = None,
        websocket_idle: Deadline[Tunnel] | None = None,
    ) -> None:
        """`cut` bytes of the path give way to `rewrite`."""
        self.service = service
        self.loop = loop
        self.replay = replay
        self.preserve_host = preserve_host
        self.websocket = websocket
        self.websocket_idle = websocket_idle
        self.via: Sequence[bytes] = (b"Via: 1.1 gateway",) if via else ()
        self.silence: Deadline[Expiring] = Deadline(loop, timeout, lambda who: who.expired())
        self.moves = rewrite is not None
        self._cut = cut
        self._rewrite = rewrite or b""

    def path(self, path: bytes) -> bytes:
        """What the upstream is asked for: the bytes that chose the route, but for its prefix."""
        return self._rewrite + path[self._cut :] or b"/"
