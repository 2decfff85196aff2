"""Chromium without a screen, driven by its own DevTools protocol: opens a page, asks it things."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests import servers
from tests.e2e.life import LONG

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which it refuses to have as root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--remote-debugging-port=0",
)


class Page:
    """One page; `complaints` are its uncaught errors and what it logged as an error."""

    def __init__(self, devtools: ClientConnection) -> None:
        self._devtools = devtools
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._loaded = asyncio.Event()
        self.complaints: list[str] = []
        self.requests: list[str] = []  # URLs that it asked for, of its own or of another host
        self._logged: asyncio.Queue[str] = asyncio.Queue()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for text in self._devtools:
            message = json.loads(text)
            name, of = message.get("method"), message.get("params", {})
            if "id" in message:
                answer = self._answers.pop(message["id"])
                if "error" in message:
                    answer.set_exception(RuntimeError(message["error"]["message"]))
                else:
                    answer.set_result(message["result"])
            elif name == "Page.loadEventFired":
                self._loaded.set()
            elif name == "Runtime.consoleAPICalled":
                self._logged.put_nowait(" ".join(str(a.get("value")) for a in of["args"]))
            elif name == "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(of["exceptionDetails"]))
            elif name == "Network.requestWillBeSent":
                self.requests.append(of["request"]["url"])
            elif name == "Log.entryAdded" and of["entry"]["level"] == "error":
                self.complaints.append(of["entry"]["text"])

    async def logged(self) -> str:
        """What it says to its console, line by line."""
        async with asyncio.timeout(LONG):
            return await self._logged.get()

    async def call(self, method: str, **parameters: Any) -> Any:
        number = 1 + max(self._answers, default=0)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._devtools.send(
            json.dumps({"id": number, "method": method, "params": parameters})
        )
        async with asyncio.timeout(LONG):
            return await answer

    async def open(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.call(f"{domain}.enable")
        self._loaded.clear()
        await self.call("Page.navigate", url=url)
        async with asyncio.timeout(LONG):
            await self._loaded.wait()

    async def value(self, expression: str) -> Any:
        """What JavaScript gives; a promise is awaited."""
        said = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    async def until(self, condition: str) -> None:
        """Wait for something to become true; looked at whenever the page is drawn."""
        async with asyncio.timeout(LONG):
            while not await self.value(condition):
                await self.value("new Promise(requestAnimationFrame)")

    async def look(self, theme: str, width: int, height: int) -> None:
        """Show it in this theme ("light", "dark"), so large (CSS pixels)."""
        await self.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": theme}],
        )
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    async def picture(self) -> bytes:
        """What it looks like, as PNG."""
        shot = await self.call("Page.captureScreenshot", format="png")
        return base64.b64decode(shot["data"])

    async def close(self) -> None:
        self._reading.cancel()
        await self._devtools.close()


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """A Chromium with an empty page, its profile in `folder`."""
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        *(CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "HOME": str(folder)},
        preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
        start_new_session=True,
    )
    try:
        port = await _announced(process)
        async with connect(f"ws://127.0.0.1:{port[0]}{port[1]}", proxy=None) as whole:
            await whole.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
            targets = json.loads(await whole.recv())["result"]["targetInfos"]
        (target,) = (t["targetId"] for t in targets if t["type"] == "page")
        url = f"ws://127.0.0.1:{port[0]}/devtools/page/{target}"
        async with connect(url, proxy=None, max_size=None) as devtools:
            page = Page(devtools)
            try:
                yield page
            finally:
                await page.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its helpers, too
        await process.communicate()


async def _announced(process: asyncio.subprocess.Process) -> tuple[int, str]:
    """The port and the path of its DevTools, which it says in its log."""
    assert process.stderr
    async with asyncio.timeout(LONG):
        while line := await process.stderr.readline():
            _, found, place = line.decode("utf-8", "replace").partition("DevTools listening on ")
            if found:
                port, _, path = place.strip().removeprefix("ws://127.0.0.1:").partition("/")
                return int(port), f"/{path}"
    raise EOFError("Chromium ended before it listened")
