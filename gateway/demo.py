"""The gateway with something to talk to: `gateway demo`.

Two JSON services, one of them with two instances, and a WebSocket that echoes, all of them
plain aiohttp in one child process. The child lives as long as a pipe that only this process
holds open: it ends with it, however that happens.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, Final, NoReturn

from aiohttp import web

from gateway import workers
from gateway.config import Settings, load
from gateway.config.model import Stores
from gateway.shared import Shared

PACKAGE: Final = Path(__file__).parent
MOST_ORDERS: Final = 1000
MOST_TICKS: Final = 3600
OUTAGE: Final = 15.0
"""s for which an instance of the catalogue calls itself unwell when it is asked to."""

UNSPECIFIED: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where to find what listens everywhere."""

TRY: Final = """
gateway demo on {base}, until Ctrl-C. To try it, in another terminal:

  orders: a service behind /api/service1
    curl {api}/service1/orders
    curl {api}/service1/orders/1
    curl {api}/service1/orders -d '{{"item": "tea", "quantity": 2}}'
    curl -N {api}/service1/export
    curl -N '{api}/service1/clock?ticks=3'

  catalog: two instances behind /api/service2, asked in turn ("served_by"); the one that gets
  the outage fails its health checks for 15 s and is left out
    curl {api}/service2/items
    curl {api}/service2/items/tea
    curl -X POST {api}/service2/outage
    curl -s {base}/metrics | grep gateway_target_up

  a WebSocket that says what it is told
    {websocket} {ws}/ws/echo

  the gateway itself
    curl {base}/health
    curl {api}/gateway/status
    curl -H 'Accept: application/json' {base}/metrics
    curl -i {base}/nowhere

"""

# ------------------------------------------------------------------------------ the gateway


def run(host: str, port: int, config: Path | None = None) -> int:
    """Serve the samples through a gateway until it is told to stop; returns the exit code.

    What `config` and the environment say holds, but for where to listen and what is behind;
    without it the demo is the same wherever it is started. Raises ConfigError.
    """
    flags = {"host": host, "port": port}
    if config is None:
        base = load(None, {}, flags, PACKAGE)  # where no settings lie
    else:
        base = load(config, os.environ, flags, Path.cwd())
    with sample_services() as urls:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
        settings = over_samples(base, urls)
        return workers.run(settings, lambda: settings, _serve_and_tell)


def _leave(number: int, frame: object) -> NoReturn:
    """Until the gateway listens to signals itself there is nothing to drain.

    At once, as the loop that is being made cannot be left by an exception. The services notice.
    """
    os._exit(0)


def over_samples(base: Settings, urls: Mapping[str, str]) -> Settings:
    """Settings with the samples behind them, by the names in SERVICES, and nothing else."""
    samples = Settings.model_validate(
        {
            "upstreams": {
                "orders": {"targets": [urls["orders"]]},
                "catalog": {
                    "targets": [urls["catalog-a"], urls["catalog-b"]],
                    "balance": "round_robin",
                    "health_check": {
                        "path": "/health",
                        "interval": 1,
                        "timeout": 1,
                        "healthy_after": 1,
                        "unhealthy_after": 1,
                    },
                    "retries": {},
                    "circuit_breaker": {},
                },
                "echo": {"targets": [urls["echo"]]},
            },
            "routes": [
                _service("orders", "/api/service1"),
                _service("catalog", "/api/service2"),
                {"name": "echo", "path": "/ws/echo", "upstream": "echo", "websocket": True},
            ],
        }
    )
    return base.model_copy(
        update={
            "upstreams": samples.upstreams,
            "routes": samples.routes,
            "stores": Stores(),
            "workers": 1,
            "tls": None,
            # Nobody watches its readiness, and a clock may tick for an hour.
            "drain_delay": 0.0,
            "drain_timeout": 2.0,
        }
    )


def _service(name: str, prefix: str) -> dict[str, object]:
    return {
        "name": name,
        "prefix": prefix,
        "upstream": name,
        "strip_prefix": True,
        "rewrite": "/api",
    }


def _serve_and_tell(
    settings: Settings,
    sockets: Sequence[socket.socket],
    shared: Shared,
    slot: int,
    reload: workers.Reload,
) -> int:
    from gateway import server

    port: int = sockets[0].getsockname()[1]
    sys.stderr.write(what_to_try(settings.host, port))
    sys.stderr.flush()
    return server.run(settings, sockets, shared, slot, reload)


def what_to_try(host: str, port: int) -> str:
    """The lines that are printed when the port is open."""
    name = UNSPECIFIED.get(host, host)
    place = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    # The library comes with the tests' extra, which `make install` installs.
    websocket = f"{sys.executable} -m websockets" if find_spec("websockets") else "websocat"
    base = f"http://{place}"
    return TRY.format(base=base, api=f"{base}/api", ws=f"ws://{place}", websocket=websocket)


# -------------------------------------------------------------------------------- the child


@contextmanager
def sample_services() -> Iterator[dict[str, str]]:
    """The samples at work inside the block; their URLs by name.

    The ports are bound before the child is made: what is asked early waits, nothing is refused.
    """
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in SERVICES}
    urls = {name: f"http://127.0.0.1:{one.getsockname()[1]}" for name, one in sockets.items()}
    watched, held = os.pipe()
    child = os.fork()
    if not child:
        os.close(held)
        _live(sockets, watched)
    os.close(watched)
    for one in sockets.values():
        one.close()
    try:
        yield urls
    finally:
        os.close(held)
        os.waitpid(child, 0)


def _live(sockets: Mapping[str, socket.socket], watched: int) -> NoReturn:
    """The child's whole life. It never returns into what the parent was doing."""
    code = 1
    try:
        # Ctrl-C and a stop of the whole group reach it too, but the gateway still drains then.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        asyncio.run(_serve_samples(sockets, watched))
        code = 0
    finally:
        os._exit(code)


async def _serve_samples(sockets: Mapping[str, socket.socket], watched: int) -> None:
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
    await parent_gone.wait()
    for runner in runners:
        await runner.cleanup()


# ------------------------------------------------------------------------------ the services


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


def _catalog(name: str) -> web.Application:
    return Catalog(name).application()


SERVICES: Final[Mapping[str, Callable[[], web.Application]]] = {
    "orders": lambda: Orders().application(),
    "catalog-a": partial(_catalog, "a"),
    "catalog-b": partial(_catalog, "b"),
    "echo": echo,
}
