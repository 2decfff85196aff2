"""The gateway's own APIs put together: those that the settings name, each with its store.

What an API needs is imported and opened when it is first named, so that a gateway without it pays
nothing. It lives as long as its settings do: a reload that changes them makes it anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from aiohttp import web

from gateway.config import Settings
from gateway.config.apis import Api
from gateway.exchange import Exchange
from gateway.own import Own
from gateway.storage import Storage
from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import Metrics


class Service(Protocol):
    """One API at work."""

    def own(self) -> Sequence[Own]:
        """Its endpoints."""

    async def close(self) -> None: ...


class Services:
    """All APIs of a worker."""

    def __init__(
        self,
        storage: Storage,
        *,
        exchange_of: Callable[[web.Request], Exchange],
        metrics: Metrics,
        log: EventLog,
    ) -> None:
        self._storage = storage
        self._exchange_of = exchange_of
        self._metrics = metrics
        self._log = log
        self._open: dict[str, tuple[Api, Service]] = {}

    async def obey(self, settings: Settings) -> None:
        """Serve what is named, as it is told; what did not change goes on."""
        makers: dict[str, Callable[[Settings], Awaitable[Service]]] = {}
        for name in type(settings.apis).model_fields:
            table: Api | None = getattr(settings.apis, name)
            before = self._open.get(name)
            if before is not None and before[0] == table:
                continue
            if before is not None:
                del self._open[name]
                await before[1].close()
            if table is not None and name in makers:
                self._open[name] = table, await makers[name](settings)

    def table(self) -> list[Own]:
        """The endpoints of all."""
        return [own for _, service in self._open.values() for own in service.own()]

    async def close(self) -> None:
        for _, service in self._open.values():
            await service.close()
