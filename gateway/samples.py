"""The services behind `gateway demo`: plain aiohttp applications, and a process that serves them.

Two JSON services, one of them with two instances, a WebSocket that echoes, a page that shows live
predictions, somebody who predicts, and a worker that explains what was predicted.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import cycle
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Final

from aiohttp import web

from gateway.jobs.samples import Point, handlers
from gateway.jobs.worker import Handler

MOST_ORDERS: Final = 1000
MOST_TICKS: Final = 3600
OUTAGE: Final = 15.0
"""s for which an instance of the catalogue calls itself unwell when it is asked to."""
BETWEEN: Final = 0.5  # s between two predictions
SEED: Final = 4  # the same walk each time
POINTS: Final = 100  # predictions that are remembered of each share
PRICES: Final = {
    "AAPL": 231.0,
    "MSFT": 428.0,
    "GOOG": 176.0,
    "AMZN": 214.0,
    "NVDA": 142.0,
    "TSLA": 338.0,
}


async def serve(
    sockets: Mapping[str, socket.socket],
    watched: int,
    publish: Callable[[bytes], object],
    work: Callable[[Mapping[str, Handler]], Coroutine[Any, Any, None]],
) -> None:
    """Have each of SERVICES answer on the socket of its name, until the pipe `watched` ends.

    Meanwhile there are predictions, which `publish` tells the gateway, and jobs, which `work` has
    done by what it is given.
    """
    runners = []
    for name, listener in sockets.items():
        runner = web.AppRunner(
            SERVICES[name](), access_log=None, handler_cancellation=True, shutdown_timeout=0
        )
        await runner.setup()
        await web.SockSite(runner, listener).start()
        runners.append(runner)
    parent_gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(watched, parent_gone.set)
    predictor = Predictor(Random(SEED))
    working = asyncio.create_task(work(handlers(predictor.series, "the sample feed")))
    while not parent_gone.is_set():
        publish(predictor.event(datetime.now(UTC)))
        with suppress(TimeoutError):
            await asyncio.wait_for(parent_gone.wait(), BETWEEN)
    working.cancel()
    await asyncio.wait((working,))
    for runner in runners:
        await runner.cleanup()


class Orders:
    """Lists, takes and exports orders; tells the time."""

    def __init__(self) -> None:
        self._orders: dict[int, dict[str, Any]] = {}
        self._last = 0
        for item, quantity in (("tea", 2), ("cups", 4), ("honey", 1)):
            self._take(item, quantity)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/api/orders", self.all)
        application.router.add_get(r"/api/orders/{number:\d{1,9}}", self.one)
        application.router.add_post("/api/orders", self.create)
        application.router.add_get("/api/export", self.export)
        application.router.add_get("/api/clock", clock)
        return application

    async def all(self, request: web.Request) -> web.Response:
        return web.json_response({"orders": list(self._orders.values())})

    async def one(self, request: web.Request) -> web.Response:
        order = self._orders.get(int(request.match_info["number"]))
        if order is None:
            return web.json_response({"error": "there is no such order"}, status=404)
        return web.json_response(order)

    async def create(self, request: web.Request) -> web.Response:
        """Take an order, whatever its Content-Type says: curl's own is a form's."""
        try:
            wanted = await request.json()
            item, quantity = str(wanted["item"]), int(wanted.get("quantity", 1))
        except (ValueError, TypeError, LookupError, AttributeError):
            return web.json_response({"error": "expected item and quantity"}, status=400)
        return web.json_response(self._take(item, quantity), status=201)

    async def export(self, request: web.Request) -> web.StreamResponse:
        """A line for each order, as if each took a while to find."""
        answer = web.StreamResponse(headers={"Content-Type": "text/csv"})
        await answer.prepare(request)
        await answer.write(b"id,item,quantity\n")
        for order in list(self._orders.values()):
            await asyncio.sleep(0.2)
            item = str(order["item"]).replace('"', '""')
            await answer.write(f'{order["id"]},"{item}",{order["quantity"]}\n'.encode())
        return answer

    def _take(self, item: str, quantity: int) -> dict[str, Any]:
        if len(self._orders) >= MOST_ORDERS:
            del self._orders[next(iter(self._orders))]
        self._last += 1
        order = self._orders[self._last] = {"id": self._last, "item": item, "quantity": quantity}
        return order


async def clock(request: web.Request) -> web.StreamResponse:
    """Server-Sent Events: the time once a second, `ticks` times."""
    wanted = request.query.get("ticks", "")
    ticks = min(int(wanted), MOST_TICKS) if wanted.isdecimal() else MOST_TICKS
    answer = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    await answer.prepare(request)
    for number in range(1, ticks + 1):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        await answer.write(f"id: {number}\nevent: tick\ndata: {now}\n\n".encode())
        if number < ticks:
            await asyncio.sleep(1)
    return answer


class Catalog:
    """An instance of a service that has several: its answers say which."""

    ITEMS: Final = {"tea": 4.5, "cups": 12.0, "honey": 7.25}

    def __init__(self, name: str) -> None:
        self._name = name
        self._well_from = 0.0

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/health", self.health)
        application.router.add_get("/api/items", self.all)
        application.router.add_get("/api/items/{item}", self.one)
        application.router.add_post("/api/outage", self.outage)
        return application

    async def health(self, request: web.Request) -> web.Response:
        well = monotonic() >= self._well_from
        return self._answer({"status": "ok" if well else "outage"}, 200 if well else 503)

    async def all(self, request: web.Request) -> web.Response:
        return self._answer({"items": self.ITEMS})

    async def one(self, request: web.Request) -> web.Response:
        item = request.match_info["item"]
        if item not in self.ITEMS:
            return self._answer({"error": "there is no such item"}, 404)
        return self._answer({"item": item, "price": self.ITEMS[item]})

    async def outage(self, request: web.Request) -> web.Response:
        self._well_from = monotonic() + OUTAGE
        return self._answer({"status": f"unhealthy for {OUTAGE:.0f} s"})

    def _answer(self, fields: dict[str, Any], status: int = 200) -> web.Response:
        return web.json_response({"served_by": self._name, **fields}, status=status)


def echo() -> web.Application:
    """A WebSocket that sends back what it gets."""

    async def talk(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        async for message in connection:
            if message.type is web.WSMsgType.TEXT:
                await connection.send_str(message.data)
            elif message.type is web.WSMsgType.BINARY:
                await connection.send_bytes(message.data)
        return connection

    application = web.Application()
    application.router.add_get("/ws/echo", talk)
    return application


def page() -> web.Application:
    """What shows live predictions in a browser."""

    async def show(request: web.Request) -> web.FileResponse:
        return web.FileResponse(Path(__file__).with_name("demo.html"))

    application = web.Application()
    application.router.add_get("/live", show)
    return application


class Predictor:
    """Prices that walk at random, one share after the other."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._prices = dict(PRICES)
        self._turns = cycle(PRICES)
        self._past = {
            symbol: deque([Point(price, 0.5)], POINTS) for symbol, price in PRICES.items()
        }

    def event(self, now: datetime) -> bytes:
        """The next prediction, as it goes over the bus."""
        symbol = next(self._turns)
        price = self._prices[symbol] * (1 + self._random.gauss(0, 0.002))
        self._prices[symbol] = price
        point = Point(round(price, 2), round(self._random.uniform(0.6, 0.95), 2))
        self._past[symbol].append(point)
        fields = {
            "symbol": symbol,
            "predicted_price": point.price,
            "confidence": point.confidence,
            "timestamp": now.isoformat(timespec="milliseconds"),
        }
        return json.dumps(fields).encode()

    def series(self, symbol: str, count: int) -> list[Point]:
        """The last predictions for a symbol, oldest first."""
        return list(self._past.get(symbol, ()))[-count:]


def _catalog(name: str) -> web.Application:
    return Catalog(name).application()


SERVICES: Final[Mapping[str, Callable[[], web.Application]]] = {
    "orders": lambda: Orders().application(),
    "catalog-a": partial(_catalog, "a"),
    "catalog-b": partial(_catalog, "b"),
    "echo": echo,
    "page": page,
}
