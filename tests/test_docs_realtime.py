"""What docs/REALTIME.md says is so: its settings load, its messages are valid, its programs run."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import pytest

from gateway.config import load
from gateway.config.realtime import Realtime
from gateway.realtime.asyncapi import CLOSES, AsyncApi, name_of
from gateway.realtime.messages import FROM_CLIENTS, TO_CLIENTS, ErrorCode
from tests import servers
from tests.e2e.browser import CHROMIUM, browser
from tests.e2e.life import LONG
from tests.e2e.live import Live, live, wire
from tests.e2e.stage import environ
from tests.realtime.described import payloads
from tests.test_docs import agrees, blocks, calls, text_of

PAGE = "docs/REALTIME.md"
# How soon `websockets` tries again, in seconds: the first pause is drawn from up to this.
SOON = {"WEBSOCKETS_BACKOFF_INITIAL_DELAY": "0.2", "WEBSOCKETS_BACKOFF_MIN_DELAY": "0.2"}


def block(language: str, holds: str) -> str:
    """The one block of this language that holds these words."""
    (found,) = (text for text in blocks(PAGE, language) if holds in text)
    return found


def test_settings_are_valid(tmp_path: Path) -> None:
    (text,) = blocks(PAGE, "yaml")
    (tmp_path / "gateway.yaml").write_text(text, "utf-8")
    settings = load(None, {}, {}, tmp_path)
    assert settings.realtime is not None
    assert settings.realtime.way == "any"


def test_messages_are_as_described() -> None:
    described = payloads(AsyncApi(Realtime(), "1").at("gateway.test", False))
    lines = [json.loads(line) for text in blocks(PAGE, "json") for line in text.splitlines()]
    for message in lines:
        described[message.get("action") or message["type"]].validate(message)
    shown = {message.get("action") or message["type"] for message in lines}
    assert shown == {name_of(model) for model in (*FROM_CLIENTS, *TO_CLIENTS)}


def test_every_error_and_every_close_code_is_told_of() -> None:
    told = re.findall(r"^\| ([^|]+) \|", text_of(PAGE), re.MULTILINE)
    words = {word.strip("`") for cell in told for word in cell.split(", ")}
    assert set(get_args(ErrorCode)) <= words
    assert set(map(str, CLOSES)) <= words


@asynccontextmanager
async def started(*command: str, **more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environ(**more),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()


async def lines_of(process: asyncio.subprocess.Process, count: int) -> list[str]:
    """The next lines that it prints."""
    assert process.stdout
    async with asyncio.timeout(LONG):
        return [(await process.stdout.readline()).decode().rstrip("\n") for _ in range(count)]


@pytest.fixture
async def site(tmp_path: Path, nats_url: str) -> AsyncIterator[Live]:
    async with live(tmp_path, stores={"nats": nats_url}) as one:
        yield one


async def publish(nats_url: str) -> None:
    """As the page does it."""
    code = block("python", "nats.connect").replace("nats://127.0.0.1:4222", nats_url)
    async with started(sys.executable, "-c", code) as process, asyncio.timeout(LONG):
        assert await process.wait() == 0


async def subscriptions(site: Live, count: int) -> None:
    """Wait until there are so many; nothing tells of it."""
    async with asyncio.timeout(LONG):
        while True:
            status = await site.program.json("/api/gateway/status")
            if status["realtime"]["subscriptions"] == count:
                return


async def test_client_in_python_hears_what_is_published_and_catches_up(
    site: Live, nats_url: str
) -> None:
    heard = ["('AAPL', 231.07)", "('MSFT', 428.5)"]
    async with wire(site.program.port) as line:
        code = block("python", "/ws/predictions").replace(":8000", f":{line.port}")
        async with started(sys.executable, "-c", code, **SOON) as client:
            await subscriptions(site, 2)
            await publish(nats_url)
            assert await lines_of(client, 2) == heard
            line.cut()
            await subscriptions(site, 0)
            await publish(nats_url)
            line.mend()
            assert await lines_of(client, 2) == heard


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
async def test_client_in_a_browser_hears_what_is_published_and_catches_up(
    site: Live, nats_url: str, tmp_path: Path
) -> None:
    heard = ["AAPL 231.07", "MSFT 428.5"]
    async with wire(site.program.port) as line, browser(tmp_path / "chromium") as page:
        await page.open(f"http://127.0.0.1:{line.port}/health")
        code = block("js", "/ws/predictions").replace(":8000", f":{line.port}")
        await page.value(f"{code}; 0")
        await subscriptions(site, 2)
        await publish(nats_url)
        assert [await page.logged() for _ in heard] == heard
        line.cut()
        await subscriptions(site, 0)
        await publish(nats_url)
        line.mend()
        assert [await page.logged() for _ in heard] == heard
        line.cut()
        await page.value("stop(); 0")


async def test_event_stream_is_read_by_curl(site: Live) -> None:
    command = block("sh", "/api/stream/").replace(":8000", f":{site.program.port}")
    async with started("sh", "-c", command) as curl:
        event, data, _, more, refetch = await lines_of(curl, 5)
        assert (event, more) == ("event: welcome", "event: refetch")
        assert data.startswith('data: {"type":"welcome"')
        assert refetch == 'data: {"type":"refetch","symbols":["AAPL","MSFT"]}'


async def test_administrator_publishes_by_curl(site: Live) -> None:
    ((command, said),) = calls(block("sh", "/api/gateway/events"))
    command = command.replace(":8000", f":{site.program.port}").replace("gwk_…", site.key)
    async with site.socket() as socket:
        await socket.subscribe("AAPL")
        async with started("sh", "-c", command) as curl:
            printed, _ = await curl.communicate()
        assert agrees("\n".join(said), printed.decode())
        assert (await socket.next("prediction_update"))["predicted_price"] == 231.07
