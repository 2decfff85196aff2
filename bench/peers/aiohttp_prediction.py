"""An aiohttp handler that returns the bytes of a cached prediction, and does nothing else for it.

Usage: python aiohttp_prediction.py PORT BODY SMALL_BODY
"""

from __future__ import annotations

import sys

import uvloop
from aiohttp import web

FIELDS = {"Cache-Control": "max-age=3600", "ETag": 'W/"64c1d1a1e2400"'}


def application(prediction: bytes, small: bytes) -> web.Application:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=prediction, content_type="application/json", headers=FIELDS)

    async def answer_small(request: web.Request) -> web.Response:
        return web.Response(body=small, content_type="application/json")

    app = web.Application()
    app.router.add_get("/api/prediction/{symbol}", answer)
    app.router.add_get("/api/service1/small", answer_small)
    return app


if __name__ == "__main__":
    uvloop.install()
    web.run_app(
        application(sys.argv[2].encode(), sys.argv[3].encode()),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        backlog=4096,
        access_log=None,
        print=None,
    )
