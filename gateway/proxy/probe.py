"""Health checks: a GET to a target, again and again, by the session and not by its pool."""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable

import aiohttp
from yarl import URL

from gateway.config.model import HealthCheck
from gateway.proxy.dial import Dialer
from gateway.proxy.transport import Connection
from gateway.upstreams import health
from gateway.upstreams.target import Target


async def probe(
    dialer: Dialer,
    connector: aiohttp.BaseConnector,
    check: HealthCheck,
    *,
    tls: ssl.SSLContext | None,
    server_name: str | None,
    changed: Callable[[Target[Connection], str], None],
) -> None:
    """Keep a target's `healthy` up to date until cancelled; `changed` hears of each turn."""
    target = dialer.target
    # `encoded`: the path is asked for as it was written, its query and escapes too.
    url = URL(f"{dialer.url.origin()}{check.path}", encoded=True)
    session = aiohttp.ClientSession(
        connector=connector, connector_owner=False, cookie_jar=aiohttp.DummyCookieJar()
    )

    async def ask(_: Target[Connection]) -> bool:
        async with session.get(
            url, allow_redirects=False, ssl=tls or True, server_hostname=server_name
        ) as answer:
            return answer.status < 400

    async with session:
        await health.watch(target, ask, check, changed, random.random)
