"""The usual FastAPI proxy: httpx.AsyncClient, streamed both ways. Run by uvicorn.

The upstream's port comes in the environment as UPSTREAM_PORT.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from starlette.background import BackgroundTask

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
UPSTREAM = f"http://127.0.0.1:{os.environ['UPSTREAM_PORT']}"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    limits = httpx.Limits(max_connections=2048, max_keepalive_connections=2048)
    async with httpx.AsyncClient(limits=limits, timeout=30, trust_env=False) as app.state.client:
        yield


app = FastAPI(lifespan=lifespan)


@app.api_route("/api/service1/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def forward(path: str, request: Request) -> StreamingResponse:
    client: httpx.AsyncClient = request.app.state.client
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    attempt = client.build_request(
        request.method,
        f"{UPSTREAM}/api/{path}",
        params=request.query_params,
        headers=[(k, v) for k, v in request.headers.items() if k not in HOP_BY_HOP],
        content=request.stream() if has_body else None,
    )
    answer = await client.send(attempt, stream=True)
    return StreamingResponse(
        answer.aiter_raw(),
        status_code=answer.status_code,
        headers={k: v for k, v in answer.headers.items() if k not in HOP_BY_HOP},
        background=BackgroundTask(answer.aclose),
    )
