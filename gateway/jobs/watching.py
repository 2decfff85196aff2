"""Jobs as they change, for those who watch: one question to the store for all of them.

The store is asked again and again, as it alone is told by any worker on any host. What is asked
grows with the jobs that are watched, not with those who watch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from gateway.errors import GatewayError, StoreDown
from gateway.jobs.job import Intake, Job

POLL: Final = 0.25
"""s between two questions."""

AT_ONCE: Final = 100  # jobs of one question


class TooMany(GatewayError):
    """So many watch already."""

    status, code, blame = 503, "service_unavailable", "client"
    message = "too many clients watch jobs"


class Watched:
    """One job, watched by somebody."""

    __slots__ = ("_news", "job")

    def __init__(self, job: Job) -> None:
        self.job: Job | None = job
        self._news = asyncio.Event()

    def tell(self, job: Job | None) -> None:
        if job != self.job:
            self.job = job
            self._news.set()

    async def changed(self, seconds: float) -> bool:
        """Wait for a change, so long at most. Says whether there was one; `job` is what it is."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True


class Watching:
    """All jobs that are watched here."""

    def __init__(self, jobs: Intake, most: int) -> None:
        """`most` may watch at once."""
        self._jobs = jobs
        self._most = most
        self._watched: dict[str, set[Watched]] = {}
        self._count = 0
        self._polling: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def watch(self, job: Job) -> AsyncIterator[Watched]:
        """Raises `TooMany`."""
        if self._count >= self._most:
            raise TooMany(fields=(b"Retry-After: 5",))
        watched = Watched(job)
        self._count += 1
        self._watched.setdefault(job.id, set()).add(watched)
        if self._polling is None or self._polling.done():
            self._polling = asyncio.get_running_loop().create_task(self._poll())
        try:
            yield watched
        finally:
            self._count -= 1
            others = self._watched[job.id]
            others.discard(watched)
            if not others:
                del self._watched[job.id]

    async def close(self) -> None:
        """All who watch see that there is nothing more."""
        for several in self._watched.values():
            for watched in several:
                watched.tell(None)
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait((self._polling,))

    async def _poll(self) -> None:
        """For as long as anybody watches."""
        while self._watched:
            names = list(self._watched)
            for at in range(0, len(names), AT_ONCE):
                try:
                    await self._ask(names[at : at + AT_ONCE])
                except StoreDown:
                    break
            await asyncio.sleep(POLL)

    async def _ask(self, names: list[str]) -> None:
        found = await self._jobs.find(names)
        for name in names:
            for watched in self._watched.get(name, ()):
                watched.tell(found.get(name))
