"""Who takes part: the gateway, what people use instead, and the floor."""

from __future__ import annotations

from dataclasses import dataclass

from bench.lineup import PYTHON, ROOT, Peer

BARE = "bare"
NATS_SERVER = "nats-server"
HERE = {"PYTHONPATH": str(ROOT)}


@dataclass(frozen=True, slots=True)
class Server:
    """`health` is the path that answers a GET beside the updates, empty where there is none."""

    peer: Peer
    health: str = ""
    nats: bool = False

    @property
    def name(self) -> str:
        return self.peer.name


SERVERS: tuple[Server, ...] = (
    Server(
        Peer(
            "gateway",
            PYTHON,
            ("-m", "gateway", "serve", "--config", "@DIR@/gateway.yaml"),
            "make install",
            "rates, buffers, history, JSON log, metrics",
            (("ws/peers/gateway.yaml", "gateway.yaml"),),
            modules=("gateway",),
            environment=HERE,
            version=("-c", "import gateway; print(gateway.__version__)"),
        ),
        health="/health",
        nats=True,
    ),
    Server(
        Peer(
            "websockets",
            PYTHON,
            ("-m", "bench.ws.peers.hub_websockets", "@PORT@", "@CONTROL@"),
            "pip install websockets uvloop",
            "the library's broadcast()",
            modules=("websockets", "uvloop"),
            environment=HERE,
            version=("-c", "import websockets; print(websockets.__version__)"),
        )
    ),
    Server(
        Peer(
            "fastapi",
            PYTHON,
            (
                *("-m", "uvicorn", "bench.ws.peers.hub_fastapi:app", "--port", "@PORT@"),
                *("--loop", "uvloop", "--http", "httptools", "--no-access-log"),
                *("--backlog", "4096", "--timeout-keep-alive", "300", "--log-level", "warning"),
            ),
            "pip install fastapi 'uvicorn[standard]'",
            "ConnectionManager, send_json to each",
            modules=("fastapi", "uvicorn", "httptools", "uvloop", "websockets"),
            environment={**HERE, "CONTROL": "@CONTROL@"},
            version=("-c", "import fastapi; print(fastapi.__version__)"),
        ),
        health="/health",
    ),
    Server(
        Peer(
            BARE,
            PYTHON,
            ("-m", "bench.ws.peers.bare", "@PORT@", "@CONTROL@"),
            "make install",
            "a loop of send calls, nothing else",
            environment=HERE,
            version=("-V",),
        )
    ),
)
BY_NAME = {server.name: server for server in SERVERS}
