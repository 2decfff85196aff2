"""FastAPI's usual connection manager: who is connected in lists, `send_json` to one after another.

Run by uvicorn. The port on which updates come is in the environment as CONTROL.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from bench.ws import wire


class ConnectionManager:
    def __init__(self) -> None:
        self.active: dict[str, list[WebSocket]] = defaultdict(list)

    async def connect(self, websocket: WebSocket) -> None:
        await websocket.accept()

    def subscribe(self, websocket: WebSocket, symbols: list[str]) -> None:
        for symbol in symbols:
            self.active[symbol].append(websocket)

    def disconnect(self, websocket: WebSocket) -> None:
        for connections in self.active.values():
            if websocket in connections:
                connections.remove(websocket)

    async def broadcast(self, message: dict[str, Any]) -> None:
        for connection in list(self.active[message["symbol"]]):
            await connection.send_json(message)


manager = ConnectionManager()
broadcasts: set[asyncio.Task[None]] = set()


class Control(asyncio.DatagramProtocol):
    number = 0

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.number += 1
        task = asyncio.create_task(manager.broadcast(wire.update(data, self.number)))
        broadcasts.add(task)
        task.add_done_callback(broadcasts.discard)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        Control, local_addr=("127.0.0.1", int(os.environ["CONTROL"]))
    )
    yield
    transport.close()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "healthy"}


@app.websocket(wire.PATH)
async def predictions(websocket: WebSocket) -> None:
    await manager.connect(websocket)
    await websocket.send_json({"type": "welcome", "connection_id": str(id(websocket))})
    try:
        while True:
            message = await websocket.receive_json()
            manager.subscribe(websocket, message["symbols"])
            await websocket.send_json({"type": "subscribed", "symbols": message["symbols"]})
    except WebSocketDisconnect:
        manager.disconnect(websocket)
