"""The `websockets` library's asyncio server and its `broadcast`, with its own defaults, on uvloop.

Usage: python -m bench.ws.peers.hub_websockets PORT CONTROL.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from bench.ws import wire

BACKLOG = 4096
WANTED: dict[str, set[ServerConnection]] = defaultdict(set)


async def session(connection: ServerConnection) -> None:
    welcome = {"type": "welcome", "connection_id": str(connection.id)}
    await connection.send(wire.compact(welcome).decode())
    mine: set[str] = set()
    try:
        async for message in connection:
            symbols = json.loads(message)["symbols"]
            mine.update(symbols)
            for symbol in symbols:
                WANTED[symbol].add(connection)
            answer = {"type": "subscribed", "symbols": symbols}
            await connection.send(wire.compact(answer).decode())
    finally:
        for symbol in mine:
            WANTED[symbol].discard(connection)


class Control(asyncio.DatagramProtocol):
    number = 0

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self.number += 1
        message = wire.update(data, self.number)
        broadcast(WANTED[message["symbol"]], wire.compact(message).decode())


async def main(port: int, control: int) -> None:
    await asyncio.get_running_loop().create_datagram_endpoint(
        Control, local_addr=("127.0.0.1", control)
    )
    async with serve(session, "127.0.0.1", port, backlog=BACKLOG) as server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
