"""One worker's life: start, serve, reload, drain, close. The only importer of uvloop."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import attrgetter
from time import monotonic
from typing import Final

import uvloop

from gateway.acceptor import Acceptor, Gate
from gateway.app import Gateway
from gateway.config import ConfigError, Settings
from gateway.headers import Networks
from gateway.shared import Shared

TICK: Final = 1.0  # seconds between two signs of life
# What a reload cannot change.
FIXED: Final = ("host", "port", "workers", "stores", "cache.front", "cache.shared")
RESERVED_FILES: Final = 64  # descriptors kept for everything but connections


def run(
    settings: Settings,
    sockets: Sequence[socket.socket],
    shared: Shared,
    slot: int,
    reload: Callable[[], Settings],
) -> int:
    """Serve on `sockets` until told to stop; returns the exit code."""
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        worker = Worker(settings, sockets, shared, slot, reload)
        return runner.run(worker.live())


class Worker:
    """A process's gateway, its listening sockets and its signals."""

    def __init__(
        self,
        settings: Settings,
        sockets: Sequence[socket.socket],
        shared: Shared,
        slot: int,
        reload: Callable[[], Settings],
    ) -> None:
        self._settings = settings
        self._sockets = sockets
        self._shared = shared
        self._region = shared.regions[slot]
        self._slot = slot
        self._read_settings = reload
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._interrupted = False
        self._reloading: asyncio.Task[None] | None = None
        self._changed = False  # told so since they were last read
        self._tls: ssl.SSLContext | None = None

    async def live(self) -> int:
        loop = asyncio.get_running_loop()
        settings = self._settings
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._region.heartbeat = monotonic()
        if settings.tls is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
            self._tls.set_alpn_protocols(["http/1.1"])
            self._tls.load_cert_chain(settings.tls.cert, settings.tls.key)
        gateway = self._gateway = Gateway(settings, self._shared, self._slot)
        await gateway.open()
        gate = self._gate = Gate(gateway.front, *bounds(settings))
        acceptors = [Acceptor(loop, s, gate, gateway, self._tls) for s in self._sockets]
        for acceptor in acceptors:
            acceptor.start()
        pulse = loop.create_task(self._beat(gateway))
        gc.collect()
        gc.set_threshold(10_000, 20, 20)  # requests leave no cycles: look for them seldom
        gc.freeze()  # what lives as long as the process need not be looked at again
        ports = sorted({s.getsockname()[1] for s in self._sockets if s.family != socket.AF_UNIX})
        gateway.log.info("worker_started", slot=self._slot, ports=ports)
        await self._stopping.wait()
        await self._drain(gateway, acceptors)
        pulse.cancel()
        await gateway.close()
        return 0

    def _interrupt(self) -> None:
        """A second Ctrl-C does not wait; a SIGTERM more is what service managers send along."""
        if self._interrupted:
            self._hurry.set()
        self._interrupted = True
        self._stopping.set()

    def _reload(self) -> None:
        self._changed = True
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.get_running_loop().create_task(self._follow())

    async def _follow(self) -> None:
        """Read the settings, and again when they changed while they were read."""
        while self._changed:
            self._changed = False
            await self._apply()

    async def _apply(self) -> None:
        """Put new settings to work whole, or none of them."""
        gateway = self._gateway
        try:
            settings = await asyncio.to_thread(self._read_settings)
            await gateway.apply(settings)
        except ConfigError as error:
            for problem in error.problems:
                gateway.log.error("reload_refused", problem=str(problem))
            self._count_reload("refused")
            return
        except Exception as error:  # noqa: BLE001 - a bad reload must never end a good worker
            gateway.log.error("reload_refused", problem=repr(error))
            self._count_reload("failed")
            return
        self._gate.obey(*bounds(settings))
        if self._tls is not None and settings.tls is not None:
            self._tls.load_cert_chain(settings.tls.cert, settings.tls.key)
        before = self._settings
        fixed = [name for name in FIXED if attrgetter(name)(settings) != attrgetter(name)(before)]
        if (settings.tls is None) != (self._settings.tls is None):
            fixed.append("tls")
        if fixed:
            gateway.log.warning("restart_needed", settings=fixed)
        self._settings = settings
        self._count_reload("done")
        gateway.log.info("reloaded", routes=len(settings.routes))

    def _count_reload(self, result: str) -> None:
        if self._shared.alone:  # the parent counts where there is one
            self._gateway.metrics.reloads.child(result).inc()

    async def _beat(self, gateway: Gateway) -> None:
        """A sign of life a second; how late it is is the loop's lag."""
        due = monotonic()
        while True:
            now = monotonic()
            self._region.heartbeat = now
            gateway.tick(max(0.0, now - due))
            due = now + TICK
            await asyncio.sleep(TICK)

    async def _drain(self, gateway: Gateway, acceptors: Sequence[Acceptor]) -> None:
        settings, front = self._settings, gateway.front
        gateway.log.info("draining", connections=len(front.connections))
        front.draining = True
        await self._pause(settings.drain_delay)
        for acceptor in acceptors:
            await acceptor.close()
        front.leave()
        deadline = monotonic() + settings.drain_timeout
        while front.connections and monotonic() < deadline and not self._hurry.is_set():
            front.close_idle()
            await self._pause(0.05)
        cut = front.cut_all()
        if cut:
            gateway.log.warning("drain_cut", connections=cut)
            await asyncio.sleep(0.05)  # for the last answers to be written
        gateway.log.info("drained")

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._hurry.wait(), seconds)
        except TimeoutError:
            return


def bounds(settings: Settings) -> tuple[int, int, Networks, Networks]:
    """How many connections there may be, in all and by address, whom to trust and who announces."""
    limits = settings.limits
    most = limits.connections or room_for_connections(live=settings.realtime is not None)
    most_of_one = limits.connections_per_address
    return most, most_of_one, settings.trusted_proxies, settings.proxy_protocol


def raise_file_limit() -> None:
    """Use all descriptors that the system grants: the soft limit is for programs that select."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):  # an infinite hard limit may not be taken whole
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def room_for_connections(live: bool = False) -> int:
    """Clients that the process's descriptors allow, each with an upstream's connection.

    With `live` updates most have none: a quarter is kept for those that do.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    room = soft - RESERVED_FILES
    return max(16, room * 3 // 4 if live else room // 2)
