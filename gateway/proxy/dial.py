"""Opening connections to a target: the session's connector resolves, connects and secures.

aiohttp's connector does what a library does better (DNS with a cache, happy eyeballs, TLS); the
connection that it opened is then given our own protocol (`Transport.set_protocol`) and kept in
the target's own pool, because what the library's client and pool do for a request costs more
than the rest of the gateway.
"""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic
from typing import Final

import aiohttp
from prometheus_async import aio
from yarl import URL

from gateway import authorities
from gateway.errors import ConnectTimeout, UpstreamError, UpstreamInsecure, UpstreamUnreachable
from gateway.http1.fields import HeadLimits
from gateway.proxy.transport import Connection, Heads
from gateway.telemetry.instruments import HistogramCell
from gateway.upstreams.target import Target

# Connections that are being opened to a target at once. Each holds 7 KB until it is open, and while
# others wait for their turn some that are open already may come back and serve them.
OPENING: Final = 128
NO_TIMEOUT: Final = aiohttp.ClientTimeout()  # the whole is timed here, queue and all
DEFAULT: Final = aiohttp.connector._SSL_CONTEXT_VERIFIED


class Connector(aiohttp.TCPConnector):
    """Trusts whom the system trusts, and reads who that is when it is first asked for."""

    def _get_ssl_context(self, req: aiohttp.ClientRequest) -> ssl.SSLContext | None:
        context = super()._get_ssl_context(req)
        if context is DEFAULT:
            authorities.read(context)
        return context


class Dialer:
    """Opens connections to one target, for its pool."""

    def __init__(
        self,
        target: Target[Connection],
        session: aiohttp.ClientSession,
        connector: aiohttp.BaseConnector,
        *,
        connect_timeout: float,
        buffer: int,
        limits: HeadLimits,
        seconds: HistogramCell,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> None:
        self.target = target
        address = target.address
        self.secure = address.scheme == "https"
        if address.scheme == "unix":
            self.origin = f"unix://{address.socket}"
            url = URL("http://localhost/")
        else:
            self.origin = f"{address.scheme}://{address.authority.decode()}"
            url = URL.build(scheme=address.scheme, host=address.host, port=address.port)
        self.url = url
        self._request = aiohttp.ClientRequest(
            "GET",
            url,
            session=session,
            loop=asyncio.get_running_loop(),
            ssl=tls if tls is not None else True,
            server_hostname=server_name,
        )
        if self.secure and tls is None:
            authorities.read(DEFAULT)  # now, and not while a request waits
        self._connector = connector
        self._connect_timeout = connect_timeout
        self._buffer = buffer
        self._heads = Heads(limits)
        self._turns = asyncio.Semaphore(OPENING)
        self._seconds = seconds  # how long connections took to open

    async def connection(self, *, fresh: bool = False) -> Connection:
        """A new connection, or one that came back before it was this one's turn to be opened.

        With `fresh` none that came back is good enough, unless there is no room for a new one.
        Raises the `UpstreamError` that tells why there is none.
        """
        pool = self.target.pool
        if not pool.reserve():
            idle = await pool.wait()
            if idle is not None:
                if idle.usable:
                    return idle
                idle.discard()
        loop = asyncio.get_running_loop()
        due = loop.time() + self._connect_timeout if self._connect_timeout else None
        try:
            # Turns come in order: who is ahead has given up by `due`, and no timer is needed here.
            async with self._turns:
                idle = None if fresh else pool.take()
                if idle is not None:  # it came back meanwhile, and has a slot of its own
                    pool.release_slot()
                    if idle.usable:
                        return idle
                    idle.discard()
                return await aio.time(self._seconds, self._open(due))
        except BaseException:
            pool.release_slot()
            raise

    async def _open(self, due: float | None) -> Connection:
        try:
            async with asyncio.timeout_at(due):
                opened = await self._connector.connect(self._request, [], NO_TIMEOUT)
        except TimeoutError:
            raise ConnectTimeout from None
        except (aiohttp.ClientSSLError, ssl.SSLError, ssl.CertificateError) as error:
            raise UpstreamInsecure from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamUnreachable from error
        transport = opened.transport
        if transport is None or opened.protocol is None or opened.protocol.should_close:
            opened.close()
            raise UpstreamUnreachable
        connection = Connection(transport, self.target.pool, self._heads)
        transport.set_protocol(connection)
        transport.set_write_buffer_limits(self._buffer)
        # The library's own protocol, displaced from its transport, lets go of it at this word; so
        # `close` ends nothing but what the connector remembers of the connection, 3 KB.
        opened.protocol.connection_lost(None)
        opened.close()
        return connection

    def expire(self) -> None:
        """Close what was idle for too long, or all that is idle once the pool is closed."""
        for connection in self.target.pool.expire(monotonic()):
            connection.discard()

    def close(self) -> None:
        for connection in self.target.pool.close():
            connection.discard()


def is_safe_to_repeat(error: UpstreamError) -> bool:
    """Whether the upstream has certainly seen nothing of a request that failed so."""
    return isinstance(error, UpstreamUnreachable | UpstreamInsecure | ConnectTimeout)
