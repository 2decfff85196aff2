"""Taking clients' connections from a listening socket, as fast as they can be kept.

The loop's own server drops connections when file descriptors run out, and cannot be paused. Here
the socket is simply not read while there is no room: the kernel's queue holds who comes, and
nobody spins.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final, Protocol

from gateway.downstream import Downstream
from gateway.exchange import Peer
from gateway.front import Front, Member
from gateway.headers import Networks

BATCH: Final = 64  # connections taken at once, before others get their turn
PAUSE: Final = 0.5  # seconds until accepting is tried again
HANDSHAKE: Final = 10.0  # seconds for a TLS handshake
EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Events(Protocol):
    """Who hears of what the operator should know."""

    def paused(self, reason: str) -> None: ...

    def resumed(self) -> None: ...

    def turned_away(self, address: str) -> None: ...


class Gate:
    """How many connections there may be, in all and by address; shared by a worker's sockets."""

    def __init__(self, front: Front, limit: int, per_address: int, trusted: Networks) -> None:
        self.front = front
        self.obey(limit, per_address, trusted)
        self.open = 0
        self.waiting: list[Callable[[], None]] = []
        self._by_address: Counter[str] = Counter()
        front.on_closed = self._left

    def obey(self, limit: int, per_address: int, trusted: Networks) -> None:
        """Have these limits hold for connections from now on. 0 per address means no limit."""
        self.limit = limit
        self.per_address = per_address
        self.trusted = trusted

    @property
    def full(self) -> bool:
        return self.open >= self.limit

    def enter(self, peer: Peer) -> bool:
        """Count one more; False when its address has as many as it may."""
        if not peer.trusted:
            if self.per_address and self._by_address[peer.address] >= self.per_address:
                return False
            self._by_address[peer.address] += 1
        self.open += 1
        return True

    def leave(self, peer: Peer) -> None:
        self.open -= 1
        if not peer.trusted:
            self._by_address[peer.address] -= 1
            if not self._by_address[peer.address]:
                del self._by_address[peer.address]
        if self.waiting:
            waiting, self.waiting = self.waiting, []
            for resume in waiting:
                resume()

    def _left(self, connection: Member) -> None:
        self.leave(connection.peer)


class Acceptor:
    """One listening socket."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        gate: Gate,
        events: Events,
        tls: ssl.SSLContext | None,
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._gate = gate
        self._events = events
        self._tls = tls
        self._scheme = b"https" if tls is not None else b"http"
        self._opening: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._reading = False
        self._told = False
        self._closed = False
        sock.setblocking(False)

    def start(self) -> None:
        """Take connections, until closed or full."""
        if not (self._reading or self._closed):
            self._reading = True
            self._timer = None
            self._loop.add_reader(self._sock.fileno(), self._accept)

    def _stop(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._sock.fileno())

    async def close(self) -> None:
        """Take no more; those that are being opened are waited for."""
        self._closed = True
        if self._reading:
            self._accept()  # those that wait in the kernel's queue would be reset with it
        self._stop()
        if self._timer is not None:
            self._timer.cancel()
        self._sock.close()
        if self._opening:
            await asyncio.wait(self._opening)

    def _accept(self) -> None:
        for _ in range(BATCH):
            if self._gate.full:
                self._wait("connections")
                return
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._wait(errno.errorcode[error.errno or 0])
                    return
                continue  # this one is gone already (accept(2)); the next may be well
            if self._told:
                self._told = False
                self._events.resumed()
            self._open(sock, address)

    def _wait(self, reason: str) -> None:
        self._stop()
        if not self._told:
            self._told = True
            self._events.paused(reason)
        if reason == "connections":
            self._gate.waiting.append(self.start)
        else:
            self._timer = self._loop.call_later(PAUSE, self.start)

    def _open(self, sock: socket.socket, address: tuple[str, int] | str) -> None:
        name = address[0] if isinstance(address, tuple) else ""
        peer = Peer(name, self._trusts(name), self._scheme)
        if not self._gate.enter(peer):
            sock.close()
            self._events.turned_away(name)
            return
        task = self._loop.create_task(self._make(sock, peer))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _trusts(self, address: str) -> bool:
        trusted = self._gate.trusted
        if not trusted or not address:
            return False
        parsed = ip_address(address.partition("%")[0])
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in trusted)

    async def _make(self, sock: socket.socket, peer: Peer) -> None:
        connection = Downstream(self._gate.front, peer)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            await self._loop.connect_accepted_socket(
                lambda: connection,
                sock,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE if self._tls is not None else None,
            )
        except (OSError, ssl.SSLError):
            # A handshake that failed, or a client that had left already.
            sock.close()
            if not connection.made:
                self._gate.leave(peer)
