"""A server of twenty lines under the real parent process, and a test's hold on both.

As a program it runs `workers.run` with the small server, and takes for its settings the path
of a JSON file.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from gateway import workers
from gateway.config import ConfigError, Problem
from gateway.telemetry.instruments import Registry
from gateway.telemetry.metrics import Metrics

DEFAULTS = {
    "host": "127.0.0.1",
    "port": 0,
    "workers": 2,
    "drain_delay": 0.0,
    "drain_timeout": 5.0,
    "worker_timeout": 30.0,
    "log_level": "INFO",
    "generation": 1,
    "fault": "",
}
PATIENCE = 20.0


# The program under test


def settings_from(path: str) -> Any:
    settings = SimpleNamespace(**json.loads(Path(path).read_text()))
    settings.stores = SimpleNamespace(counters=1)
    settings.cache = SimpleNamespace(shared=1 << 20)
    if settings.fault == "bad":
        raise ConfigError([Problem("g.yaml", "a", "is wrong"), Problem("g.yaml", "b", "as well")])
    if settings.fault == "unreadable":
        raise RuntimeError("the disk is gone")
    return settings


def serve(settings: Any, sockets: Any, shared: Any, slot: int, reload: Any) -> int:
    if settings.fault == "stillborn":
        return 3
    if settings.fault == "raises":
        raise RuntimeError("no good")
    return asyncio.run(answer_until_told(settings, sockets, shared, slot, reload))


async def answer_until_told(
    settings: Any, sockets: Any, shared: Any, slot: int, reload: Any
) -> int:
    """Answers with its slot, process and settings; `/held` is answered when the drain begins."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    generation = settings.generation
    served = Metrics(Registry(shared.regions[slot], shared.regions)).requests.child("x", "GET", 200)

    def renew() -> None:
        nonlocal generation
        generation = reload().generation

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if b"/held" in head:
            await stopping.wait()
        served.inc()
        body = json.dumps(
            {
                "slot": slot,
                "pid": os.getpid(),
                "generation": generation,
                "files": len(os.listdir("/proc/self/fd")),
                "served": served._cell[0],
            }
        ).encode()
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    def stop() -> None:
        if settings.fault != "stubborn":
            stopping.set()

    loop.add_signal_handler(signal.SIGTERM, stop)
    loop.add_signal_handler(signal.SIGINT, stop)
    loop.add_signal_handler(signal.SIGHUP, renew)
    servers = [await asyncio.start_server(answer, sock=listener) for listener in sockets]

    def beat() -> None:
        shared.regions[slot].heartbeat = time.monotonic()
        loop.call_later(0.05, beat)

    beat()
    await stopping.wait()
    for server in servers:
        server.close()
    if unanswered := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(unanswered)
    return 0


# The tests' hold on it


class Gateway:
    """The program, its log as it comes, and its port."""

    def __init__(self, path: Path, **settings: Any) -> None:
        self.path = path
        self.write(**settings)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.small_gateway", str(path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )
        assert self.process.stdout
        self.output = self.process.stdout.fileno()
        os.set_blocking(self.output, False)
        self.unread = b""
        self.events: list[dict[str, Any]] = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.output, selectors.EVENT_READ)

    def write(self, **settings: Any) -> None:
        self.path.write_text(json.dumps({**DEFAULTS, **settings}))

    def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th such event since the start."""
        deadline = time.monotonic() + PATIENCE
        while True:
            found = [line for line in self.events if line["event"] == event]
            if len(found) >= count:
                return found[count - 1]
            self.selector.select(deadline - time.monotonic())
            data = os.read(self.output, 1 << 16)
            assert data, f"ended without {event}: {self.events}"
            *lines, self.unread = (self.unread + data).split(b"\n")
            self.events += map(json.loads, lines)

    @functools.cached_property
    def port(self) -> int:
        return self.wait_for("gateway_started")["port"]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def ask(self, path: str = "/") -> dict[str, Any]:
        with self.connect() as connection:
            request(connection, path)
            return reply(connection)

    def ask_all(self, count: int = 2) -> dict[int, dict[str, Any]]:
        """An answer of each slot, by slot."""
        return self.ask_until(lambda found: len(found) == count)

    def ask_until(self, enough: Callable[[dict[int, Any]], bool]) -> dict[int, dict[str, Any]]:
        found: dict[int, dict[str, Any]] = {}
        deadline = time.monotonic() + PATIENCE
        while not enough(found):
            assert time.monotonic() < deadline, found
            answer = self.ask()
            found[answer["slot"]] = answer
        return found

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(PATIENCE)


def request(connection: socket.socket, path: str = "/") -> None:
    connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())


def reply(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as answer:
        return json.loads(answer.read().partition(b"\r\n\r\n")[2])


if __name__ == "__main__":
    read = functools.partial(settings_from, sys.argv[1])
    sys.exit(workers.run(read(), read, serve))
