"""deploy/examples/transparent.yaml and market.yaml at work: each sentence of their first lines."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from websockets.asyncio.client import connect

from tests.databases import new_database
from tests.e2e.life import Program, request
from tests.e2e.stage import Upstream, field
from tests.servers import end_with

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "deploy" / "examples"
MARKET = EXAMPLES / "market.yaml"
NOW = datetime.now(UTC)


def commands(file: Path) -> list[list[str]]:
    """Those that the example names, line ends taken back."""
    text = file.read_text("utf-8").replace("\\\n#", "")
    lines = [line[1:].strip() for line in text.splitlines() if line.startswith("#   ")]
    return [shlex.split(line, comments=True) for line in lines]


def path_of(command: list[str]) -> str:
    (url,) = (word for word in command if word.startswith("http://127.0.0.1:8000"))
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


@asynccontextmanager
async def served(file: Path, **environ: str) -> AsyncIterator[Program]:
    program = Program(file)
    await program.start(PORT="0", **environ)
    try:
        yield program
    finally:
        await program.kill()


# ------------------------------------------------------------------------------ transparent


async def test_prefixes_lead_to_the_services_that_variables_name() -> None:
    file = EXAMPLES / "transparent.yaml"
    serving, asking, status, health = commands(file)
    assert serving[-4:] == ["gateway", "serve", "--config", "deploy/examples/transparent.yaml"]
    one = Upstream()
    await one.start()
    async with served(file, SERVICE1=one.url) as program:
        answer = asyncio.create_task(program.get(path_of(asking)))
        service = await one.accept()
        assert (await service.head()).startswith(b"GET /api/anything?at=all HTTP/1.1\r\n")
        await service.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        assert (await answer)[::2] == (200, b"hi")
        listed = (await program.json(path_of(status)))["services"]
        assert [each["name"] for each in listed] == ["service1", "service2"]
        assert (await program.get(path_of(health)))[0] == 200
        code, head, body = await program.get("/nowhere")
        error = json.loads(body)
        assert (code, error["error"]) == (404, "not_found")
        assert field(head, b"x-request-id") == error["request_id"].encode()
        line = await program.logged("/nowhere")
        assert {"request_id", "path", "status_code", "duration_ms"} <= line.keys()
    await one.stop()


# ----------------------------------------------------------------------------------- market


@pytest.fixture(params=["embedded", "servers"])
async def environ(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Variables for stores of a kind, with a prediction in the database."""
    if request.param == "embedded":
        file = tmp_path / "market.db"
        yield {"MARKET_DB": str(file)}
        return
    url = request.getfixturevalue("postgres_url")
    async with new_database(url) as database:
        connection = await asyncpg.connect(database)
        await connection.execute(
            "CREATE TABLE predictions (symbol text, predicted_at timestamptz, predicted_price real)"
        )
        await connection.close()
        yield {
            "DATABASE_URL": database,
            "REDIS_URL": request.getfixturevalue("redis_url"),
            "NATS_URL": request.getfixturevalue("nats_url"),
            "NATS_STREAM": f"market-{uuid4().hex[:8]}",
        }


async def predict(environ: Mapping[str, str], price: float) -> None:
    """What another program does."""
    if "MARKET_DB" in environ:
        with closing(sqlite3.connect(environ["MARKET_DB"])) as connection:
            connection.execute(
                "INSERT INTO predictions (symbol, predicted_at, predicted_price) VALUES (?, ?, ?)",
                ("AAPL", NOW.isoformat(), price),
            )
            connection.commit()
        return
    connection = await asyncpg.connect(environ["DATABASE_URL"])
    await connection.execute("INSERT INTO predictions VALUES ('AAPL', $1, $2)", NOW, price)
    await connection.close()


@asynccontextmanager
async def worker(command: list[str], environ: Mapping[str, str]) -> AsyncIterator[None]:
    assert command[:3] == ["python", "-m", "gateway.worker"]
    ends = end_with(os.getpid(), signal.SIGKILL)
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command[1:]), cwd=ROOT, env=kept, preexec_fn=ends
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def create_key(command: list[str], environ: Mapping[str, str]) -> str:
    assert command[:3] == ["gateway", "keys", "create"]
    kept = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command), cwd=ROOT, env=kept, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode().split()[-1]


async def test_market_predicts_tells_and_explains(environ: dict[str, str]) -> None:
    creating, _, working, asking, telling, hearing, explaining = commands(MARKET)
    key = f"X-API-Key: {await create_key(creating, environ)}"
    async with served(MARKET, **environ) as program, worker(working, environ):
        assert (await program.get(path_of(asking)))[0] == 401
        assert (await program.get(path_of(asking), key))[0] == 404
        await predict(environ, 185.5)
        async with asyncio.timeout(20):
            while (answer := await program.get(path_of(asking), key))[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        found = json.loads(answer[2])
        assert (found["symbol"], found["predicted_price"]) == ("AAPL", 185.5)
        assert field(answer[1], b"x-ratelimit-limit") == b"1000"

        stream = await program.send(request("GET", path_of(hearing), key))
        await stream.head()
        url = f"ws://127.0.0.1:{program.port}/ws/predictions"
        name, _, value = key.partition(": ")
        async with connect(url, additional_headers={name: value}) as live:
            assert json.loads(await live.recv())["type"] == "welcome"
            await live.send(json.dumps({"action": "subscribe", "symbols": ["AAPL"]}))
            assert json.loads(await live.recv())["type"] == "subscribed"
            body = telling[telling.index("-d") + 1].encode()
            told = await program.send(request("POST", path_of(telling), key, body=body))
            assert (await told.answer())[0].split()[1] == b"202"
            update = json.loads(await live.recv())
            assert (update["type"], update["predicted_price"]) == ("prediction_update", 231.07)
        await stream.until(b'"predicted_price":231.07')

        body = explaining[explaining.index("-d") + 1].encode()
        asked = await program.send(request("POST", path_of(explaining), key, body=body))
        head, made = await asked.answer()
        assert head.split()[1] == b"202"
        job = f"/api/explanation/job/{json.loads(made)['job_id']}"
        async with asyncio.timeout(20):
            while (done := await program.get(job, key))[0] == 202:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        assert done[0] == 200
        assert (await program.get("/api/explanation/AAPL", key))[0] == 200
