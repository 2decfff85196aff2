"""Jobs as clients see them, and workers as processes, for the tests."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from tests import servers
from tests.e2e.life import LONG, ROOT, request
from tests.e2e.stage import Connection, field

SCRIPT = ROOT / "tests" / "e2e" / "job_worker.py"


class Reached(Protocol):
    async def client(self) -> Connection: ...


class Answer:
    """Status, head, and body as JSON."""

    def __init__(self, head: bytes, body: bytes) -> None:
        self.status = int(head.split()[1])
        self.head = head
        self.body: Any = json.loads(body) if body else None

    def field(self, name: bytes) -> str:
        value = field(self.head, name)
        assert value is not None, self.head
        return value.decode()


async def ask(gateway: Reached, method: str, path: str, *lines: str, body: Any = None) -> Answer:
    """One request on a connection of its own; `body` is sent as JSON, bytes as they are."""
    client = await gateway.client()
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    await client.send(request(method, path, *lines, body=data))
    answer = Answer(*await client.answer())
    await client.close()
    return answer


async def post(gateway: Reached, prompt: str = "hello", *lines: str) -> Answer:
    return await ask(gateway, "POST", "/generate", *lines, body={"prompt": prompt})


async def begin(gateway: Reached, prompt: str = "hello", *lines: str) -> str:
    """Where the job is looked up."""
    answer = await post(gateway, prompt, *lines)
    assert answer.status == 202, answer.body
    return answer.field(b"location")


async def get(gateway: Reached, path: str, *lines: str) -> Answer:
    return await ask(gateway, "GET", path, *lines)


async def over(gateway: Reached, path: str) -> Answer:
    """The answer once it is not 202, nor 503, any more."""
    return await until(lambda: get(gateway, path), lambda answer: answer.status not in (202, 503))


async def taken(gateway: Reached, prompt: str = "hello", *lines: str) -> str:
    """Where the job is looked up, once the gateway takes it."""
    answer = await until(lambda: post(gateway, prompt, *lines), lambda answer: answer.status != 503)
    assert answer.status == 202, answer.body
    return answer.field(b"location")


async def until(ask: Callable[[], Awaitable[Answer]], enough: Callable[[Answer], bool]) -> Answer:
    async with asyncio.timeout(LONG):
        while not enough(answer := await ask()):  # noqa: ASYNC110 - another process's state
            await asyncio.sleep(0.02)
    return answer


async def events(gateway: Reached, path: str, *lines: str) -> list[tuple[str, Any]]:
    """All that a stream says until it ends by itself."""
    client = await gateway.client()
    await client.send(request("GET", path, "Connection: close", *lines))
    async with asyncio.timeout(LONG):
        raw = await client.reader.read()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.split()[1] == b"200", raw
    told = []
    for block in dechunked(body).decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line[:1] != ":" and line)
        if fields:
            told.append((fields["event"], json.loads(fields["data"])))
    return told


def dechunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        whole += rest[:length]
        body = rest[length + 2 :]
    return whole


class Worker:
    """A worker's process, and the folder that it speaks through."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.folder = config.parent

    async def start(self) -> None:
        kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "PYTHON"))}
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SCRIPT), str(self.config), str(self.folder)),
            cwd=self.folder,
            env=kept | {"PYTHONPATH": str(ROOT)},
            preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
        )

    def begun(self) -> list[list[str]]:
        """Of each delivery that was begun: the job, which one, and the process."""
        file = self.folder / "begun"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    async def has_begun(self, count: int) -> list[list[str]]:
        async with asyncio.timeout(LONG):
            while len(told := self.begun()) < count:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.02)
        return told

    def let_go(self) -> None:
        """What waits goes on."""
        (self.folder / "go").touch()

    async def ended(self) -> int:
        async with asyncio.timeout(LONG):
            return await self.process.wait()

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def working(config: Path) -> AsyncIterator[Worker]:
    worker = Worker(config)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.kill()
