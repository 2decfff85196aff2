"""A WebSocket load: each connection sends a small frame, waits for its echo, sends the next.

Usage: python -m bench.wsload PORT --connections 64 --seconds 2 --size 32. Prints one line of
JSON with the same names as the wrk script. Frames are masked with zeros, which RFC 6455 allows
and which keeps the load generator cheap.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from functools import partial

import uvloop

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
OPEN_SECONDS = 10.0


class Tally:
    """What all the connections of a run have seen."""

    __slots__ = ("failed", "latencies_ns", "opened", "stopping", "wrong")

    def __init__(self) -> None:
        self.latencies_ns: list[int] = []
        self.opened = 0
        self.failed = 0
        self.wrong = 0
        self.stopping = False


class Client(asyncio.Protocol):
    __slots__ = ("_expected", "_frame", "_held", "_open", "_ready", "_sent_ns", "_tally", "_write")

    def __init__(self, tally: Tally, payload: bytes, ready: asyncio.Future[None]) -> None:
        self._tally = tally
        size = len(payload)
        self._frame = bytes((0x82, 0x80 | size)) + b"\0\0\0\0" + payload
        self._expected = bytes((0x82, size)) + payload
        self._ready = ready
        self._sent_ns = 0
        self._open = False
        self._held = b""

    # uvloop's transport is an asyncio.Transport in everything but its bases.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._write = transport.write
        self._write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        if self._held:
            data = self._held + data
        if not self._open:
            self._finish_handshake(data)
            return
        if len(data) < len(self._expected):
            self._held = data
            return
        self._held = b""
        tally = self._tally
        now = time.perf_counter_ns()
        tally.latencies_ns.append(now - self._sent_ns)
        if data != self._expected:
            tally.wrong += 1
        if not tally.stopping:
            self._sent_ns = now
            self._write(self._frame)

    def _finish_handshake(self, data: bytes) -> None:
        if b"\r\n\r\n" not in data:
            self._held = data
            return
        self._held = b""
        self._open = data.startswith(b"HTTP/1.1 101 ")
        if self._open:
            self._tally.opened += 1
        self._settle()

    def send(self) -> None:
        if self._open:
            self._sent_ns = time.perf_counter_ns()
            self._write(self._frame)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._tally.stopping:
            self._tally.failed += 1
        self._settle()

    def _settle(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)


def percentile(ordered: list[int], share: float) -> int:
    """The value below which `share` (0 to 1) of an ordered list lies; 0 for an empty one."""
    if not ordered:
        return 0
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def same(client: Client) -> Client:
    return client


async def run(port: int, connections: int, seconds: float, size: int) -> dict[str, int]:
    loop = asyncio.get_running_loop()
    tally = Tally()
    clients: list[Client] = []
    transports: list[asyncio.Transport] = []
    waiting: list[asyncio.Future[None]] = []
    for _ in range(connections):
        ready: asyncio.Future[None] = loop.create_future()
        client = Client(tally, b"x" * size, ready)
        transport, _ = await loop.create_connection(partial(same, client), "127.0.0.1", port)
        clients.append(client)
        transports.append(transport)
        waiting.append(ready)
    await asyncio.wait(waiting, timeout=OPEN_SECONDS)
    began = time.perf_counter_ns()
    for client in clients:
        client.send()
    await asyncio.sleep(seconds)
    tally.stopping = True
    elapsed = time.perf_counter_ns() - began
    for transport in transports:
        transport.abort()
    ordered = sorted(tally.latencies_ns)
    return {
        "duration_us": elapsed // 1000,
        "requests": len(ordered),
        "bytes": len(ordered) * (size + 2),
        "connect": connections - tally.opened,
        "read": tally.failed,
        "write": 0,
        "status": 0,
        "timeout": 0,
        "wrong": tally.wrong,
        "p50_us": percentile(ordered, 0.50) // 1000,
        "p95_us": percentile(ordered, 0.95) // 1000,
        "p99_us": percentile(ordered, 0.99) // 1000,
        "max_us": (ordered[-1] if ordered else 0) // 1000,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=32, help="payload, at most 125 bytes")
    args = parser.parse_args()
    figures = uvloop.run(run(args.port, args.connections, args.seconds, args.size))
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
