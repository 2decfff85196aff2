"""The plainest aiohttp proxy: Application, ClientSession.request, StreamResponse.

Usage: python aiohttp_proxy.py PORT UPSTREAM_PORT ECHO_PORT
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, WSMsgType, web

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
SESSION = web.AppKey("session", ClientSession)


def without_hop_by_hop(headers: object) -> list[tuple[str, str]]:
    return [(k, v) for k, v in headers.items() if k.lower() not in HOP_BY_HOP]  # type: ignore[attr-defined]


def application(upstream: str, echo: str) -> web.Application:
    async def forward(request: web.Request) -> web.StreamResponse:
        target = upstream + request.path_qs.replace("/api/service1", "/api", 1)
        async with request.app[SESSION].request(
            request.method,
            target,
            headers=without_hop_by_hop(request.headers),
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(
                status=answer.status, headers=without_hop_by_hop(answer.headers)
            )
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
            return response

    async def relay(request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse(compress=False)
        await client.prepare(request)
        async with request.app[SESSION].ws_connect(echo + request.path_qs) as server:

            async def pump(source: object, target: object) -> None:
                async for message in source:  # type: ignore[attr-defined]
                    if message.type is WSMsgType.TEXT:
                        await target.send_str(message.data)  # type: ignore[attr-defined]
                    elif message.type is WSMsgType.BINARY:
                        await target.send_bytes(message.data)  # type: ignore[attr-defined]
                await target.close()  # type: ignore[attr-defined]

            await asyncio.gather(pump(client, server), pump(server, client))
        return client

    async def session(app: web.Application) -> AsyncIterator[None]:
        connector = TCPConnector(limit=0, keepalive_timeout=300)
        async with ClientSession(
            connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False
        ) as app[SESSION]:
            yield

    app = web.Application(client_max_size=10 << 20)
    app.cleanup_ctx.append(session)
    app.router.add_get("/ws", relay)
    app.router.add_route("*", "/api/service1/{tail:.*}", forward)
    return app


if __name__ == "__main__":
    port, upstream_port, echo_port = (int(argument) for argument in sys.argv[1:4])
    uvloop.install()
    web.run_app(
        application(f"http://127.0.0.1:{upstream_port}", f"http://127.0.0.1:{echo_port}"),
        host="127.0.0.1",
        port=port,
        backlog=4096,
        access_log=None,
        print=None,
    )
