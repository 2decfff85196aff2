"""Is it well, does it live, will it take traffic: three questions, three answers.

An upstream never counts: a gateway that is taken out because a service behind it is down takes
all the others out with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Final, Protocol

import orjson
from aiohttp import web

PATIENCE: Final = 2.0  # seconds for a store to answer
FRESH: Final = 1.0  # seconds for which an answer of the stores is good


class Store(Protocol):
    """A server that the gateway depends on."""

    name: str

    async def ping(self) -> None:
        """Return when it answers; raise when it does not."""


class Health:
    """Answers for one worker. `taking` says whether it takes traffic now."""

    def __init__(
        self, version: str, stores: Callable[[], Sequence[Store]], taking: Callable[[], bool]
    ) -> None:
        self._version = version
        self._stores = stores
        self._taking = taking
        self._lock = asyncio.Lock()
        self._states: Mapping[str, str] = {}
        self._asked = float("-inf")

    async def answer(self, request: web.Request) -> web.Response:
        states = await self._dependencies()
        well = all(state == "up" for state in states.values())
        return _json(
            {
                "status": "healthy" if well else "unhealthy",
                "service": "api-gateway",
                "version": self._version,
                "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "dependencies": states,
            },
            200 if well else 503,
        )

    async def live(self, request: web.Request) -> web.Response:
        return _json({"status": "alive"}, 200)

    async def ready(self, request: web.Request) -> web.Response:
        if self._taking():
            return _json({"status": "ready"}, 200)
        return _json({"status": "draining"}, 503)

    async def _dependencies(self) -> Mapping[str, str]:
        async with self._lock:  # one question at a time, however many ask
            if monotonic() - self._asked >= FRESH:
                stores = self._stores()
                states = await asyncio.gather(*map(_state, stores))
                self._states = {s.name: state for s, state in zip(stores, states, strict=True)}
                self._asked = monotonic()
        return self._states


async def _state(store: Store) -> str:
    try:
        async with asyncio.timeout(PATIENCE):
            await store.ping()
    except Exception:  # noqa: BLE001 - whatever its client raises, it did not answer
        return "down"
    return "up"


def _json(value: object, status: int) -> web.Response:
    return web.Response(
        body=orjson.dumps(value),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
