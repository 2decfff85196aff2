"""The gateway with something to talk to: `gateway demo`.

Two JSON services, one of them with two instances, a WebSocket that echoes, a feed of predictions
and a worker that explains them, all of them in one child process (`gateway.samples`). The child
lives as long as a pipe that only this process holds open: it ends with it, however that happens,
and takes the demo's folder along, in which there is a database with one API key and the jobs.
Predictions go over the bus that is built in: memory which both processes share.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from gateway import authorities, workers
from gateway.config import Settings, load
from gateway.config.apis import Apis, Jobs, Pages, Predictions
from gateway.config.model import Stores
from gateway.config.realtime import Realtime
from gateway.shared import Shared
from gateway.stores.shared_bus import SharedLog

if TYPE_CHECKING:
    from gateway.jobs.worker import Handler

PACKAGE: Final = Path(__file__).parent
SERVICES: Final = ("orders", "catalog-a", "catalog-b", "echo", "page")
DATABASE: Final = "gateway.db"
ORIGIN: Final = "https://shop.example.com"

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

  predictions as they come: a page for a browser, its two sources (to the second one, say
  {{"action": "subscribe", "symbols": ["AAPL", "MSFT"]}}), and what programs can read of them
    {base}/live
    curl -N '{api}/stream/predictions?symbols=AAPL,MSFT'
    {websocket} {ws}/ws/predictions
    curl {api}/asyncapi.json

  jobs, which a worker does: one is asked for and followed until it is over; all that are over.
  What it found is at {api}/explanation/AAPL from then on, for ten minutes
    curl -N {base}/progress/$(curl -s {api}/explanation/AAPL -d'{{"depth": "deep"}}' \
| cut -d'"' -f4)
    curl {base}/history

  predictions and pages, from tables that somebody else fills: gateway/demo.sql does here
    curl {api}/prediction/AAPL
    curl '{api}/predictions?symbols=AAPL,MSFT,NOPE'
    curl '{api}/v1/pages/?sort=-id'

  what all of it looks like, to read and to try in a browser
    {api}/docs

  the orders once more, for those who have a key: it is in the tier "free", 100 requests an hour;
  what a request has to look like, gateway/demo.json says
    curl -i {api}/shop/orders/2 -H 'X-API-Key: {key}'
    curl {api}/shop/orders -H 'X-API-Key: {key}' \
-H 'Content-Type: application/json' --data '{{"item": "tea"}}'
    curl -i {api}/shop/orders/3 -H 'X-API-Key: {key}' -H 'Origin: {origin}'

  more keys, for as long as the demo runs
    {keys} create --owner me --tier pro

  the catalog once more, from a cache that keeps prices for 10 s, and five times a minute
    curl -i {api}/prices/items/honey

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
    with sample_services() as samples:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _leave)
        settings = over_samples(base, samples)
        return workers.run(settings, lambda: settings, partial(_serve_and_tell, samples))


def _leave(number: int, frame: object) -> NoReturn:
    """Until the gateway listens to signals itself there is nothing to drain.

    At once, as the loop that is being made cannot be left by an exception. The services notice.
    """
    os._exit(0)


@dataclass(frozen=True, slots=True)
class Samples:
    """URLs by the names in SERVICES, and the folder that lives as long as they do.

    `events` is where their predictions are.
    """

    urls: Mapping[str, str]
    folder: Path
    events: SharedLog


def over_samples(base: Settings, samples: Samples) -> Settings:
    """Settings with the samples behind them, and nothing else."""
    urls = samples.urls
    made = Settings.model_validate(
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
                "page": {"targets": [urls["page"]]},
            },
            "routes": [
                _service("orders", "/api/service1"),
                _service("catalog", "/api/service2"),
                {"name": "echo", "path": "/ws/echo", "upstream": "echo", "websocket": True},
                {"name": "page", "path": "/live", "upstream": "page"},
                {
                    **_service("orders", "/api/shop"),
                    "name": "shop",
                    "auth": "api_key",
                    "rate_limit": {"by": "tier"},
                    "cors": {"origins": [ORIGIN]},
                    "validate": str(PACKAGE / "demo.json"),
                },
                {
                    **_service("catalog", "/api/prices"),
                    "name": "prices",
                    "rate_limit": "5/minute",
                    "compress": True,
                    "cache": {"ttl": 10},
                },
            ],
        }
    )
    return base.model_copy(
        update={
            "upstreams": made.upstreams,
            "routes": made.routes,
            "stores": Stores(sqlite=samples.folder / DATABASE),
            "realtime": Realtime(auth="none"),
            "apis": Apis(
                predictions=Predictions(auth="none"),
                jobs=Jobs(auth="none"),
                pages=Pages(auth="none"),
            ),
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
    samples: Samples,
    settings: Settings,
    sockets: Sequence[socket.socket],
    shared: Shared,
    slot: int,
    reload: workers.Reload,
) -> int:
    with authorities.unread():
        from gateway import server
        from gateway.commands import keys

    _fill(samples.folder / DATABASE)
    _, key = keys.create(settings, "you", "free", (), None)
    port: int = sockets[0].getsockname()[1]
    sys.stderr.write(what_to_try(settings.host, port, samples.folder, key))
    sys.stderr.flush()
    shared = replace(shared, events=samples.events)
    return server.run(settings, sockets, shared, slot, reload)


def _fill(file: Path) -> None:
    """Do what somebody else does where this is no demo: make tables, and put rows into them."""
    with closing(sqlite3.connect(file)) as database:
        database.executescript((PACKAGE / "demo.sql").read_text("utf-8"))


def what_to_try(host: str, port: int, folder: Path, key: str) -> str:
    """The lines that are printed when the port is open."""
    name = UNSPECIFIED.get(host, host)
    place = f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
    # The library comes with the tests' extra, which `make install` installs.
    websocket = f"{sys.executable} -m websockets" if find_spec("websockets") else "websocat"
    base = f"http://{place}"
    return TRY.format(
        base=base,
        api=f"{base}/api",
        ws=f"ws://{place}",
        websocket=websocket,
        key=key,
        keys=f"GATEWAY_STORES__SQLITE={folder / DATABASE} {sys.executable} -m gateway keys",
        origin=ORIGIN,
    )


# -------------------------------------------------------------------------------- the child


@contextmanager
def sample_services() -> Iterator[Samples]:
    """The samples at work inside the block.

    The ports are bound before the child is made: what is asked early waits, nothing is refused.
    """
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in SERVICES}
    urls = {name: f"http://127.0.0.1:{one.getsockname()[1]}" for name, one in sockets.items()}
    folder = Path(tempfile.mkdtemp(prefix="gateway-demo-"))
    events = SharedLog(1)
    watched, held = os.pipe()
    child = os.fork()
    if not child:
        os.close(held)
        _live(sockets, watched, folder, events)
    os.close(watched)
    for one in sockets.values():
        one.close()
    try:
        yield Samples(urls, folder, events)
    finally:
        os.close(held)
        os.waitpid(child, 0)


def _live(
    sockets: Mapping[str, socket.socket], watched: int, folder: Path, events: SharedLog
) -> NoReturn:
    """The child's whole life, and the folder's. It never returns into what the parent was doing."""
    code = 1
    try:
        # Ctrl-C and a stop of the whole group reach it too, but the gateway still drains then.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        from gateway import samples  # while the parent imports the gateway

        subject = Realtime().subject.encode()
        work = partial(_work, folder)
        asyncio.run(samples.serve(sockets, watched, partial(events.append, subject), work))
        code = 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)


async def _work(folder: Path, handlers: Mapping[str, Handler]) -> None:
    """Do jobs, for ever."""
    from gateway import worker

    settings = Settings(stores=Stores(sqlite=folder / DATABASE))
    async with worker.made(settings, handlers, at_once=2) as made:
        await made.run()
