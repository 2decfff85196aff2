"""The gateway as the process it is: started, asked, told by signals, its log read as it comes."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests import servers
from tests.e2e.stage import OK, PATIENCE, Connection, Upstream

ROOT = Path(__file__).parents[2]
LONG = 4 * PATIENCE
"""s for what a process takes to start or to end on a busy machine."""


class Program:
    """A running `gateway serve`, with everything that it wrote."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[bytes] = []
        self.events: list[dict[str, Any]] = []
        self.port = 0
        self._news = asyncio.Condition()
        self._clients: list[Connection] = []

    def write(self, **settings: Any) -> None:
        table = {"host": "127.0.0.1", "port": 0, "drain_delay": 0.05, "drain_timeout": 5}
        self.file.write_text(yaml.safe_dump({**table, **settings}))

    async def start(self, workers: int = 1, files: int = 0, **environ: str) -> None:
        """`files` is how many descriptors the process may have."""
        end_with_us = servers.end_with(os.getpid(), signal.SIGKILL)

        def prepare() -> None:
            end_with_us()
            if files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

        kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "PYTHON"))}
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "serve", "--config", str(self.file)),
            *("--workers", str(workers)),
            cwd=self.file.parent,
            env=kept | {"PYTHONPATH": str(ROOT)} | environ,
            stdout=asyncio.subprocess.PIPE,
            preexec_fn=prepare,
        )
        self._reading = asyncio.create_task(self._read())
        for count in range(1, workers + 1):
            self.port = (await self.event("worker_started", count=count))["ports"][0]

    async def _read(self) -> None:
        assert self.process.stdout
        while line := await self.process.stdout.readline():
            async with self._news:
                self.lines.append(line)
                self.events.append(json.loads(line))
                self._news.notify_all()
        async with self._news:
            self._news.notify_all()

    def found(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """What was logged so far with this name and these fields."""
        wanted = {"event": event, **fields}
        return [line for line in self.events if wanted.items() <= line.items()]

    async def event(self, event: str, *, count: int = 1, **fields: Any) -> dict[str, Any]:
        """The `count`-th event with this name and these fields, when it comes."""
        async with asyncio.timeout(LONG), self._news:
            while len(found := self.found(event, **fields)) < count:
                if self._reading.done():
                    raise EOFError(f"it ended without {event}: {self.events}")
                await self._news.wait()
        return found[count - 1]

    async def logged(self, path: str, count: int = 1) -> dict[str, Any]:
        """The line of a request."""
        return await self.event("request", count=count, path=path)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def reload(self, **settings: Any) -> None:
        """Put other settings to work."""
        count = len(self.found("reloaded")) + 1
        self.write(**settings)
        self.signal(signal.SIGHUP)
        await self.event("reloaded", count=count)

    async def ended(self) -> int:
        """Its exit code, with its log read to the end."""
        async with asyncio.timeout(LONG):
            code = await self.process.wait()
            await self._reading
        return code

    async def kill(self) -> None:
        for client in self._clients:
            client.writer.transport.abort()
        if self.process.returncode is None:
            self.process.terminate()
            try:
                async with asyncio.timeout(PATIENCE):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        await self.ended()

    # ------------------------------------------------------------------------------- asking

    async def client(self) -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)
        connection = Connection(reader, writer)
        self._clients.append(connection)
        return connection

    async def send(self, data: bytes) -> Connection:
        client = await self.client()
        await client.send(data)
        return client

    async def get(self, path: str, *lines: str) -> tuple[int, bytes, bytes]:
        """Status, head and body of one GET on a connection of its own."""
        client = await self.send(request("GET", path, *lines))
        head, body = await client.answer()
        await client.close()
        return int(head.split()[1]), head, body

    async def json(self, path: str, *lines: str) -> Any:
        return json.loads((await self.get(path, *lines))[2])

    async def metrics(self) -> Metrics:
        return Metrics((await self.get("/metrics"))[2].decode())


class Metrics:
    """Samples by name and labels, as Prometheus reads them."""

    def __init__(self, text: str) -> None:
        self.samples = {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self.samples.get((name, *sorted(labels.items())))

    def labels(self, name: str) -> set[str]:
        """Every value that any label of this metric has."""
        return {value for key in self.samples if key[0] == name for _, value in key[1:]}


def request(method: str, path: str, *lines: str, body: bytes = b"") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: gateway.test", *lines]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


async def answer_all(upstream: Upstream, answer: bytes = OK) -> None:
    """Have an upstream give every request without a body the same answer; a task for a test."""

    async def serve(connection: Connection) -> None:
        try:
            while True:
                await connection.reader.readuntil(b"\r\n\r\n")
                await connection.send(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async with asyncio.TaskGroup() as tasks:
        while True:
            tasks.create_task(serve(await upstream._arrived.get()))


@asynccontextmanager
async def answering(answer: bytes = OK) -> AsyncIterator[Upstream]:
    """An upstream that gives every request this answer."""
    async with listening() as upstream:
        task = asyncio.create_task(answer_all(upstream, answer))
        yield upstream
        task.cancel()


@asynccontextmanager
async def listening() -> AsyncIterator[Upstream]:
    """An upstream for which the test speaks."""
    upstream = Upstream()
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()


@asynccontextmanager
async def running(
    folder: Path, *, workers: int = 1, files: int = 0, **settings: Any
) -> AsyncIterator[Program]:
    """A gateway with these settings, which is ended and waited for afterwards."""
    program = Program(folder / "gateway.yaml")
    program.write(**settings)
    await program.start(workers, files)
    try:
        yield program
    finally:
        await program.kill()


def route(upstream: Upstream, prefix: str = "/api", **more: Any) -> dict[str, Any]:
    """A route by the name of its prefix; `more` is its further settings."""
    return {"name": prefix.strip("/"), "prefix": prefix, "target_url": upstream.url, **more}


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what sets no event: the kernel's tables, another process's state."""
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
