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
from functools import lru_cache
from ipaddress import ip_address
from typing import Final, Protocol

from gateway.downstream import Downstream
from gateway.exchange import Peer
from gateway.front import Front, Member
from gateway.headers import Networks
from gateway.proxyprotocol import LONGEST, BadHeader, Header, read_header

BATCH: Final = 64  # connections taken at once, before others get their turn
PAUSE: Final = 0.5  # seconds until accepting is tried again
HANDSHAKE: Final = 10.0  # seconds for a TLS handshake
ANNOUNCE: Final = 5.0  # seconds for a PROXY header: more than a retransmission takes
peer_of: Final = lru_cache(1024)(Peer)  # a client that opens many connections is one
EXHAUSTED: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Events(Protocol):
    """Who hears of what the operator should know."""

    def paused(self, reason: str) -> None: ...

    def resumed(self) -> None: ...

    def turned_away(self, address: str) -> None: ...

    def announced(self, address: str, problem: str) -> None: ...


class Gate:
    """How many connections there may be, in all and by address; shared by a worker's sockets."""

    def __init__(
        self,
        front: Front,
        limit: int,
        per_address: int,
        trusted: Networks,
        announcing: Networks = (),
    ) -> None:
        self.front = front
        self.obey(limit, per_address, trusted, announcing)
        self.open = 0
        self.waiting: list[Callable[[], None]] = []
        self._by_address: Counter[str] = Counter()
        front.on_closed = self._left

    def obey(
        self, limit: int, per_address: int, trusted: Networks, announcing: Networks = ()
    ) -> None:
        """Have these limits hold for connections from now on. 0 per address means no limit.

        Connections from `announcing` begin with a PROXY header.
        """
        self.limit = limit
        self.per_address = per_address
        self.trusted = trusted
        self.announcing = announcing

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
        # A balancer speaks for many: what its address has open does not count.
        speaks = is_in(name, self._gate.announcing)
        peer = peer_of(name, speaks or is_in(name, self._gate.trusted), self._scheme)
        if not self._gate.enter(peer):
            self._turn_away(sock, name)
            return
        make = self._make_announced if speaks else self._make
        task = self._loop.create_task(make(sock, peer))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def _turn_away(self, sock: socket.socket, address: str) -> None:
        sock.close()
        self._events.turned_away(address)

    async def _make_announced(self, sock: socket.socket, balancer: Peer) -> None:
        """Make the connection of whoever the header says; without one, none."""
        try:
            async with asyncio.timeout(ANNOUNCE):
                header = await self._header(sock)
        except (BadHeader, OSError) as error:
            sock.close()
            self._gate.leave(balancer)
            if isinstance(error, BadHeader | TimeoutError):  # else it looked whether we are there
                self._events.announced(balancer.address, str(error) or "no PROXY header in time")
            return
        self._events.announced(balancer.address, "")
        name = header.address or balancer.address
        peer = peer_of(name, is_in(name, self._gate.trusted), self._scheme)
        entered = self._gate.enter(peer)
        self._gate.leave(balancer)
        if not entered:
            self._turn_away(sock, name)
            return
        await self._make(sock, peer)

    async def _header(self, sock: socket.socket) -> Header:
        """Read the header from the socket and not a byte more: TLS may be next."""
        sock.setblocking(False)
        held = b""
        while True:
            try:
                seen = sock.recv(LONGEST - len(held), socket.MSG_PEEK)
            except (BlockingIOError, InterruptedError):
                await self._readable(sock)
                continue
            if not seen:
                raise ConnectionAbortedError
            header = read_header(held + seen)
            held += sock.recv(len(seen) if header is None else header.size - len(held))
            if header is not None:
                return header

    async def _readable(self, sock: socket.socket) -> None:
        readable = asyncio.Event()
        self._loop.add_reader(sock.fileno(), readable.set)
        try:
            await readable.wait()
        finally:
            self._loop.remove_reader(sock.fileno())

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


def is_in(address: str, networks: Networks) -> bool:
    """Whether a peer's address is in one of the networks; a Unix socket's is in none."""
    if not networks or not address:
        return False
    parsed = ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in networks)
