"""A JavaScript client at a real gateway's live updates: the WebSocket that is built into Node."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import servers
from tests.e2e.life import LONG
from tests.e2e.live import Live, live

NODE = shutil.which("node")
CLIENT = Path(__file__).with_name("live_client.mjs")
FLAGS = ("--experimental-websocket", "--no-warnings")  # Node 20 hides it behind the first

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node")


class Node:
    """The client's process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def do(self, **act: Any) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(act).encode() + b"\n")

    async def told(self) -> dict[str, Any]:
        """The next line that it wrote."""
        assert self._process.stdout
        async with asyncio.timeout(LONG):
            line = await self._process.stdout.readline()
        told: dict[str, Any] = json.loads(line)
        return told

    async def heard(self) -> dict[str, Any]:
        message: dict[str, Any] = (await self.told())["heard"]
        return message

    async def open(self, url: str) -> None:
        """Returns when it was welcomed."""
        self.do(open=url)
        assert "opened" in await self.told()
        assert (await self.heard())["type"] == "welcome"


@asynccontextmanager
async def node() -> AsyncIterator[Node]:
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        *(NODE, *FLAGS, CLIENT),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
    )
    try:
        yield Node(process)
    finally:
        process.kill()
        await process.communicate()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Live]:
    async with live(tmp_path, realtime={"message_rate": "5/minute", "deflate": True}) as one:
        yield one


async def test_a_javascript_client_hears_leaves_and_catches_up(site: Live) -> None:
    async with node() as client:
        await client.open(site.url)
        client.do(say={"action": "subscribe", "symbols": ["AAPL", "MSFT"]})
        assert (await client.heard()) == {"type": "subscribed", "symbols": ["AAPL", "MSFT"]}
        await site.publish("AAPL", 231.07, note="what is long enough is compressed " * 9)
        update = await client.heard()
        assert (update["symbol"], update["predicted_price"]) == ("AAPL", 231.07)
        client.do(say={"action": "unsubscribe", "symbols": ["AAPL"]})
        assert (await client.heard())["type"] == "unsubscribed"
        client.do(say={"action": "ping"})
        assert (await client.heard()) == {"type": "pong"}
        client.do(close=1000)
        assert (await client.told()) == {"closed": 1000, "reason": "", "clean": True}
        await site.publish("MSFT", 1)
        await client.open(site.url)
        client.do(say={"action": "subscribe", "symbols": ["MSFT"], "since": update["offset"]})
        assert (await client.heard())["type"] == "subscribed"
        assert (await client.heard())["predicted_price"] == 1


async def test_a_javascript_client_is_told_what_is_wrong(site: Live) -> None:
    async with node() as client:
        await client.open(site.url)
        client.do(text="no JSON")
        assert (await client.heard())["error"] == "bad_json"
        client.do(bytes=[1, 2, 3])
        closed = await client.told()
        assert (closed["closed"], closed["clean"]) == (1003, True)


async def test_a_javascript_client_that_talks_too_much_is_closed(site: Live) -> None:
    async with node() as client:
        await client.open(site.url)
        for _ in range(20):
            client.do(say={"action": "ping"})
        told = [await client.told() for _ in range(7)]
        assert [line["heard"]["type"] for line in told[:6]] == [*["pong"] * 5, "error"]
        assert told[6]["closed"] == 1008
