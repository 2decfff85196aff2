"""The example clients ask a gateway: what they print, what they do when it refuses or is away."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest

from tests.e2e.life import LONG, ROOT, listening, request
from tests.e2e.live import wire
from tests.e2e.stage import OK, Upstream
from tests.e2e.usage import PRICES, ran, started, used

FOLDER = ROOT / "deploy" / "examples" / "clients"
PYTHON = (sys.executable, str(FOLDER / "client.py"))
NODE = ("node", str(FOLDER / "client.mjs"))
LIVE = (sys.executable, str(FOLDER / "live.py"))
WITHOUT_NODE = pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
CLIENTS = [pytest.param(PYTHON, id="python"), pytest.param(NODE, id="node", marks=WITHOUT_NODE)]

both = pytest.mark.parametrize("client", CLIENTS)


def busy(seconds: int) -> bytes:
    body = json.dumps({"error": "rate_limited", "message": "too many", "request_id": "r"}).encode()
    head = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nContent-Length: %d\r\n\r\n"
    return head % (seconds, len(body)) + body


GOOD = json.dumps(
    {"predictions": {"AAPL": {"symbol": "AAPL", "predicted_price": 231.07}}, "missing": []}
).encode()
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD


async def answered(upstream: Upstream, *answers: bytes | None) -> int:
    """Give each request that comes the next answer, None by hanging up; how many came."""
    for answer in answers:
        connection = await upstream._arrived.get()
        await connection.head()
        if answer is None:
            connection.reset()
        else:
            await connection.send(answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
            await connection.close()
    return len(answers)


@both
async def test_client_prints_what_it_asked_for(tmp_path: Path, client: tuple[str, str]) -> None:
    async with used(tmp_path) as (program, key):
        url = f"http://127.0.0.1:{program.port}"
        said = await ran(*client, url, "AAPL", "MSFT", "NONE", GATEWAY_KEY=key)
    lines = [f"{symbol} {price}" for symbol, price in PRICES.items()]
    assert said == (0, "\n".join([*lines, "NONE is not known", ""]), "")


@both
async def test_client_says_why_it_was_refused(tmp_path: Path, client: tuple[str, str]) -> None:
    async with used(tmp_path) as (program, key):
        url = f"http://127.0.0.1:{program.port}"
        code, out, err = await ran(*client, url, "AAPL", GATEWAY_KEY="gwk_no")
        assert (code, out) == (1, "")
        assert re.fullmatch(r"401 unauthorized: .+ \(request [0-9a-f]{32}\)\n", err)
        code, out, err = await ran(*client, url, "what?", GATEWAY_KEY=key)
        assert (code, out) == (1, "")
        assert err.startswith("400 bad_request: ")


@both
async def test_client_waits_as_long_as_it_is_told(client: tuple[str, str]) -> None:
    async with listening() as upstream:
        answers = asyncio.create_task(answered(upstream, busy(1), GOOD))
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert await ran(*client, upstream.url, "AAPL") == (0, "AAPL 231.07\n", "")
        assert loop.time() - begun >= 1
        assert await answers == 2


@both
async def test_client_does_not_wait_for_ever(client: tuple[str, str]) -> None:
    async with listening() as upstream:
        answers = asyncio.create_task(answered(upstream, busy(3600)))
        code, _, err = await ran(*client, upstream.url, "AAPL")
        assert (code, err) == (1, "429 rate_limited: too many (request r)\n")
        assert await answers == 1


@both
async def test_client_asks_again_where_its_connection_was_lost(client: tuple[str, str]) -> None:
    async with listening() as upstream:
        answers = asyncio.create_task(answered(upstream, None, None, GOOD))
        assert await ran(*client, upstream.url, "AAPL") == (0, "AAPL 231.07\n", "")
        assert await answers == 3


@both
async def test_client_gives_up_where_nobody_is(client: tuple[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        code, out, err = await ran(*client, f"http://127.0.0.1:{taken.getsockname()[1]}", "AAPL")
    assert (code, out) == (1, "")
    assert err.startswith("0 no_answer: ")


@both
async def test_client_takes_a_service_that_answers_no_json(client: tuple[str, str]) -> None:
    refusal = OK.replace(b"200 OK", b"404 Not Found")
    async with listening() as upstream:
        answers = asyncio.create_task(answered(upstream, refusal))
        code, _, err = await ran(*client, upstream.url, "AAPL")
        assert (code, err) == (1, "404 : Not Found (request )\n")
        assert await answers == 1


# ---------------------------------------------------------------------------------- the WebSocket


async def line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout
    async with asyncio.timeout(LONG):
        return (await process.stdout.readline()).decode().rstrip("\n")


async def test_live_client_comes_back_and_misses_nothing(tmp_path: Path) -> None:
    async with used(tmp_path) as (program, key), wire(program.port) as line:
        url = f"ws://127.0.0.1:{line.port}/ws/predictions"

        async def publish(price: float) -> None:
            body = json.dumps({"symbol": "AAPL", "predicted_price": price}).encode()
            lines = (f"X-API-Key: {key}", "Content-Type: application/json")
            client = await program.send(request("POST", "/api/gateway/events", *lines, body=body))
            assert (await client.head()).startswith(b"HTTP/1.1 202 ")
            await client.close()

        async def listeners(count: int) -> None:
            async with asyncio.timeout(LONG):
                while True:
                    status = await program.json("/api/gateway/status")
                    if status["realtime"]["subscriptions"] == count:
                        return

        async with started(*LIVE, url, "AAPL", GATEWAY_KEY=key) as client:
            await listeners(1)
            await publish(1.5)
            assert await line_of(client) == "AAPL 1.5"
            line.cut()
            await listeners(0)
            await publish(2.5)
            line.mend()
            assert await line_of(client) == "AAPL 2.5"
            await publish(3.5)
            assert await line_of(client) == "AAPL 3.5"


@pytest.mark.parametrize(
    ("key", "symbol", "why"), [("gwk_no", "AAPL", "401 "), (None, "what?", "bad_symbol: ")]
)
async def test_live_client_says_why_it_was_refused(
    tmp_path: Path, key: str | None, symbol: str, why: str
) -> None:
    async with used(tmp_path) as (program, good):
        url = f"ws://127.0.0.1:{program.port}/ws/predictions"
        code, out, err = await ran(*LIVE, url, symbol, GATEWAY_KEY=key or good)
    assert (code, out) == (1, "")
    assert err.startswith(why)
