"""The API of predictions put together: cache, database, endpoints."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from gateway.config.apis import Predictions as Settings
from gateway.endpoints.predictions import Many, One, Predictions
from gateway.errors import StoreDown
from gateway.own import About, Own, unasked
from gateway.predictions import models
from gateway.predictions.loader import Cache, Loader
from gateway.predictions.prediction import TIMES
from gateway.stores import Database
from gateway.stores.predictions import StoredPredictions
from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import Metrics

SYMBOL: Final = "^[A-Za-z]{1,5}$"
TAG: Final = "predictions"
NAME: Final = "gateway.prediction"
MANY_NAME: Final = "gateway.predictions"
TOLD: Final = {"If-None-Match": "304 for who has it already"}


class Predicting:
    """A `gateway.apis.Service`."""

    def __init__(
        self,
        settings: Settings,
        cache: Cache,
        database: Database,
        *,
        metrics: Metrics,
        log: EventLog,
    ) -> None:
        self._settings = settings
        self._log = log
        self._stored = StoredPredictions(
            database, times=TIMES, migrate=settings.migrate, told=self._told
        )
        self._loader = Loader(
            cache,
            self._stored,
            ttl=settings.ttl,
            counts=lambda result: metrics.predictions.child(result).inc,
            asked=metrics.prediction_queries.child().inc,
            log=log,
        )
        # Not waited for: a server that is down is no reason not to start.
        self._looking = asyncio.get_running_loop().create_task(self.look())

    async def look(self) -> None:
        """See which tables there are."""
        with suppress(StoreDown):  # it is looked again when somebody asks
            await self._stored.look()

    def _told(self, event: str, error: BaseException | None) -> None:
        if error is None:
            self._log.warning(event)
            return
        self._log.error(event, exception="".join(traceback.format_exception(error)))

    def own(self) -> Sequence[Own]:
        settings = self._settings
        shared = Predictions(
            self._loader,
            ttl=settings.ttl,
            stale_after=settings.stale_after or settings.ttl,
            private=settings.way != "none",
        )
        one = About(
            "The newest prediction for a symbol",
            TAG,
            answers={200: models.Prediction, 304: None},
            query=models.OneQuery,
            errors=(400, 404, 503),
            fields=TOLD,
            pattern=SYMBOL,
        )
        many = About(
            "The newest predictions for several symbols",
            TAG,
            answers={200: models.Predictions, 304: None},
            query=models.ManyQuery,
            errors=(400, 503),
            fields=TOLD,
        )
        return [
            Own(
                name,
                "GET",
                path,
                unasked,
                scopes=frozenset(settings.scopes),
                way=settings.way,
                limit=settings.rate_limit,
                about=about,
                endpoint=endpoint,
            )
            for name, path, about, endpoint in (
                (NAME, "/api/prediction/{symbol}", one, One(shared)),
                (MANY_NAME, "/api/predictions", many, Many(shared)),
            )
        ]

    async def close(self) -> None:
        self._looking.cancel()
        await asyncio.wait([self._looking])
        await self._loader.close()
