"""A GET to a target for the gateway itself, by the session and not by its pool."""

from __future__ import annotations

import ssl

import aiohttp
from yarl import URL

from gateway.errors import UpstreamProtocolError
from gateway.proxy.dial import Dialer


async def fetch(
    dialer: Dialer,
    connector: aiohttp.BaseConnector,
    path: str,
    *,
    tls: ssl.SSLContext | None,
    server_name: str | None,
    most: int,
) -> bytes:
    """The body of a 200, of at most so many bytes.

    Raises `UpstreamProtocolError` for any other answer; `aiohttp.ClientError`, OSError.
    """
    session = aiohttp.ClientSession(
        connector=connector,
        connector_owner=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    )
    # `encoded`: the path is asked for as it was written, its query and escapes too.
    url = URL(f"{dialer.url.origin()}{path}", encoded=True)
    async with (
        session,
        session.get(
            url, allow_redirects=False, ssl=tls or True, server_hostname=server_name
        ) as answer,
    ):
        if answer.status != 200:
            raise UpstreamProtocolError(f"the answer's status is {answer.status}")
        body = bytearray()
        async for piece in answer.content.iter_any():
            body += piece
            if len(body) > most:
                raise UpstreamProtocolError(f"the answer has more than {most} bytes")
        return bytes(body)
