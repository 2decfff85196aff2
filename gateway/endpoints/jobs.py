"""Jobs over HTTP: taken on, followed, told of."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any, Final

import orjson
from aiohttp import web

from gateway import bodies
from gateway.bodies import Asked
from gateway.errors import BadRequest, NotFound
from gateway.exchange import Exchange
from gateway.jobs import answers
from gateway.jobs.answers import DEFAULT_PAGE, LARGEST_PAGE
from gateway.jobs.job import ANONYMOUS, DONE, FAILED, Job, JobFailed
from gateway.jobs.service import NO_SUCH, Service, Wanted
from gateway.jobs.watching import Watching

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SYMBOL: Final = re.compile(r"[A-Z]{1,5}")
JOB_ID: Final = re.compile(r"[0-9a-f]{32}")
KEY: Final = re.compile(r"[!-~]{1,255}")
CURSOR: Final = re.compile(r"([0-9]{1,16}) ([0-9a-f]{32})")
ENDS: Final = 0.5  # s after which a stream sees that the gateway is shutting down
PING: Final = 30  # times as long without a change: a comment, so that proxies see it goes on
LAST: Final = "end"  # the id of a stream's last event
SOON: Final = "1"  # s, Retry-After of a job that is not over

RESULTS: Final[Mapping[str, str]] = {
    "explanation": "/api/explanation/job",
    "generate": "/generate",
    "detect_inventory": "/detect_inventory",
}
"""Where a job of a kind is looked up."""


class JobEndpoints:
    """Handlers for one worker."""

    def __init__(
        self,
        service: Service,
        watching: Watching,
        *,
        models: Mapping[str, type[Asked]],
        limits: Mapping[str, int],
        exchange_of: Callable[[web.Request], Exchange],
    ) -> None:
        """`models` of bodies, and their most bytes, by kind."""
        self._service = service
        self._watching = watching
        self._models = models
        self._limits = limits
        self._exchange_of = exchange_of

    def take(self, kind: str) -> Handler:
        """202 for a job that is queued."""

        async def handler(request: web.Request) -> web.StreamResponse:
            exchange = self._exchange_of(request)
            symbol = symbol_of(exchange) if kind == "explanation" else ""
            key = key_of(request)
            body = await bodies.read(request, self._models[kind], self._limits[kind])
            estimate = await self._service.estimate(kind)
            job = await self._service.submit(
                Wanted(
                    kind,
                    body.model_dump(exclude_none=True),
                    caller_of(exchange),
                    key,
                    exchange.request_id.decode(),
                    exchange.traceparent.decode(),
                    symbol,
                )
            )
            told = answers.accepted(job, estimate)
            return _answer(told, 202, Location=f"{RESULTS[kind]}/{job.id}")

        return handler

    def tell(self, kind: str) -> Handler:
        """200 with the result, 202 until there is one, 500 with the reason why there is none."""

        async def handler(request: web.Request) -> web.StreamResponse:
            job = await self._find(request, kind)
            if job.status == DONE:
                return _answer(answers.finished(job))
            if job.status == FAILED:
                raise JobFailed(job.reason)
            told = answers.underway(job, await self._service.estimate(kind))
            return _answer(told, 202, **{"Retry-After": SOON})

        return handler

    async def explanation(self, request: web.Request) -> web.StreamResponse:
        """200 with the newest one for a symbol, whoever asked for it."""
        job = await self._service.jobs.explained(symbol_of(self._exchange_of(request)))
        if job is None:
            raise NotFound("there is no explanation for this symbol")
        return _answer(answers.explanation(job))

    async def history(self, request: web.Request) -> web.StreamResponse:
        """200 with a page."""
        limit, before = page_of(request)
        caller = caller_of(self._exchange_of(request))
        found = await self._service.jobs.history(caller, before, limit + 1)
        page = found[:limit]
        cursor = cursor_of(page[-1]) if len(found) > limit else None
        return _answer({"jobs": [answers.past(job) for job in page], "next_cursor": cursor})

    async def progress(self, request: web.Request) -> web.StreamResponse:
        """Server-Sent Events (HTML, 9.2) until the job is over; 204 for who has heard the end."""
        job = await self._find(request, "")
        if request.headers.get("Last-Event-ID") == LAST:
            return web.Response(status=204)  # HTML, 9.2.3: do not connect again
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx is to pass events on at once
            }
        )
        if request.method == "HEAD":
            return response
        async with self._watching.watch(job) as watched:
            await response.prepare(request)
            exchange = self._exchange_of(request)
            exchange.status = response.status  # from here on an error only cuts
            client, silent, told = exchange.client, 0, 0
            while True:
                job_now = watched.job
                if job_now is not None and not silent:
                    told += 1
                    await response.write(event(job_now, told))
                if job_now is None or job_now.over or client.front.draining:
                    return response
                silent = 0 if await watched.changed(ENDS) else silent + 1
                if silent == PING:
                    await response.write(b": ping\n\n")
                    silent = 1

    async def _find(self, request: web.Request, kind: str) -> Job:
        exchange = self._exchange_of(request)
        name = exchange.parameter
        if JOB_ID.fullmatch(name) is None:
            raise NotFound(NO_SUCH)
        return await self._service.find(name, caller_of(exchange), kind)


def event(job: Job, number: int) -> bytes:
    """What changed. Its id says whether it is the last."""
    name = job.status if job.over else "progress"
    mark = LAST if job.over else str(number)
    data = orjson.dumps(answers.change(job))
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (mark.encode(), name.encode(), data)


def caller_of(exchange: Exchange) -> str:
    """Who asks: whom a policy found, else the address. Not in clear: it is kept in the store."""
    if exchange.principal is not None:
        return "principal:" + sha256(exchange.principal.counted).hexdigest()
    return ANONYMOUS + sha256(exchange.client_ip).hexdigest()


def symbol_of(exchange: Exchange) -> str:
    """Raises BadRequest."""
    symbol = exchange.parameter.upper()
    if SYMBOL.fullmatch(symbol) is None:
        raise BadRequest("a symbol is 1 to 5 letters, A to Z", closes=False)
    return symbol


def key_of(request: web.Request) -> str | None:
    """The client's own name for its request. Raises BadRequest."""
    keys = request.headers.getall("Idempotency-Key", [])
    if not keys:
        return None
    if len(keys) > 1 or KEY.fullmatch(keys[0]) is None:
        raise BadRequest(
            "Idempotency-Key is one key of 1 to 255 visible ASCII characters", closes=False
        )
    return keys[0]


def page_of(request: web.Request) -> tuple[int, tuple[int, str] | None]:
    """How many, and behind what. Raises BadRequest."""
    text = request.query.get("limit", str(DEFAULT_PAGE))
    if not re.fullmatch("[0-9]{1,3}", text) or not 1 <= int(text) <= LARGEST_PAGE:
        raise BadRequest(f"limit is 1 to {LARGEST_PAGE}", closes=False)
    cursor = request.query.get("cursor")
    if cursor is None:
        return int(text), None
    try:
        found = CURSOR.fullmatch(urlsafe_b64decode(cursor.encode()).decode())
    except ValueError:
        found = None
    if found is None:
        raise BadRequest("no cursor of ours", closes=False)
    return int(text), (int(found[1]), found[2])


def cursor_of(job: Job) -> str:
    return urlsafe_b64encode(f"{job.finished_at} {job.id}".encode()).decode()


def _answer(body: dict[str, Any], status: int = 200, **fields: str) -> web.Response:
    return web.Response(
        status=status,
        body=orjson.dumps(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store", **fields},
    )
