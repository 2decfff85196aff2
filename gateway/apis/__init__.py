"""The gateway's own APIs put together: those that the settings name, each with its store.

What an API needs is imported and opened when it is first named, so that a gateway without it pays
nothing. It lives as long as its settings do: a reload that changes them makes it anew.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, runtime_checkable

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


@runtime_checkable
class Looking(Protocol):
    """One that read something at its start which changes without the settings."""

    async def look(self) -> None: ...


class Services:
    """All APIs of a worker."""

    def __init__(
        self,
        storage: Storage,
        *,
        exchange_of: Callable[[web.Request], Exchange],
        pools: Callable[[], Mapping[str, Mapping[str, int]]],
        metrics: Metrics,
        log: EventLog,
    ) -> None:
        """`pools` tells of connections to upstreams, by name and state."""
        self._pools = pools
        self._storage = storage
        self._exchange_of = exchange_of
        self._metrics = metrics
        self._log = log
        self._open: dict[str, tuple[Api, Service]] = {}

    async def obey(self, settings: Settings) -> None:
        """Serve what is named, as it is told; what did not change goes on."""
        self._local = settings.environment == "local"
        makers: dict[str, Callable[[Settings], Awaitable[Service]]] = {
            "predictions": self._predictions,
            "jobs": self._jobs,
            "pages": self._pages,
        }
        for name in type(settings.apis).model_fields:
            table: Api | None = getattr(settings.apis, name)
            before = self._open.get(name)
            if before is not None and before[0] == table:
                await self._again(before[1])
                continue
            if before is not None:
                del self._open[name]
                await before[1].close()
            if table is not None and name in makers:
                self._open[name] = table, await makers[name](settings)

    async def _again(self, service: Service) -> None:
        """The settings were read again, and it is to go on: somebody may have migrated tables."""
        if isinstance(service, Looking):
            await service.look()

    async def _predictions(self, settings: Settings) -> Service:
        from gateway.apis.predictions import Predicting

        assert settings.apis.predictions is not None
        return Predicting(
            settings.apis.predictions,
            self._storage.predictions(),
            self._storage.database(),
            metrics=self._metrics,
            log=self._log,
        )

    async def _jobs(self, settings: Settings) -> Service:
        from gateway.apis.jobs import Jobbing

        table = settings.apis.jobs
        assert table is not None
        stores = self._storage.jobs(table)
        return Jobbing(table, *stores, exchange_of=self._exchange_of, metrics=self._metrics)

    async def _pages(self, settings: Settings) -> Service:
        from gateway.apis.pages import Paging

        table = settings.apis.pages
        assert table is not None
        paging = Paging(
            table,
            self._storage.database(),
            local=lambda: self._local,
            pools=lambda: {**self._storage.pools(), **self._pools()},
            exchange_of=self._exchange_of,
            log=self._log,
        )
        await paging.look()
        return paging

    def table(self) -> list[Own]:
        """The endpoints of all."""
        return [own for _, service in self._open.values() for own in service.own()]

    async def close(self) -> None:
        for _, service in self._open.values():
            await service.close()
