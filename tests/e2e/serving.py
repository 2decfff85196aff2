"""The program itself, `python -m gateway serve`, in a process of its own."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.e2e.stage import environ

START = 20.0
"""s that a process on a busy machine may take to start, and to stop."""


class Serving:
    """A gateway's process and its log as it comes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[dict[str, Any]] = []
        self.port = 0
        self._grown = asyncio.Condition()
        self._reading = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            async with self._grown:
                self.events.append(json.loads(line))
                self._grown.notify_all()

    async def wait_for(self, event: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th such line of the log."""

        def found() -> list[dict[str, Any]]:
            return [line for line in self.events if line["event"] == event]

        async with asyncio.timeout(START), self._grown:
            await self._grown.wait_for(lambda: len(found()) >= count)
        return found()[count - 1]

    def reload(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def memory(self, field: str) -> int:
        """Bytes, by `VmRSS` (now) or `VmHWM` (the most there was)."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise LookupError(field)

    def forget_peak(self) -> None:
        """`VmHWM` begins anew (proc(5), clear_refs)."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(START):
                return await self.process.wait()
        except TimeoutError:
            self.process.kill()
            return await self.process.wait()
        finally:
            self._reading.cancel()


def write(path: Path, settings: dict[str, Any]) -> None:
    """A settings file: JSON is YAML."""
    path.write_text(json.dumps(settings))


@asynccontextmanager
async def serving(path: Path, **settings: Any) -> AsyncIterator[Serving]:
    """The gateway with these settings, which it reads from `path`."""
    table = {"host": "127.0.0.1", "port": 0, "drain_delay": 0, "drain_timeout": 1, **settings}
    write(path, table)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gateway", "serve", "--config", str(path),
        stdout=asyncio.subprocess.PIPE,
        env=environ(),
        cwd=Path(__file__).parent.parent.parent,
    )  # fmt: skip
    served = Serving(process)
    try:
        served.port = (await served.wait_for("worker_started"))["ports"][0]
        yield served
    finally:
        await served.stop()
