"""Where a worker's state is kept: the stores, opened from the settings.

The only module that imports their adapters. A client library is imported when it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from gateway.config import Settings
from gateway.config.apis import Jobs as JobSettings
from gateway.config.model import Stores as StoreSettings
from gateway.shared import Shared
from gateway.standby import Standby
from gateway.stores import Bus, Database, Limiter, Unwatched, Watch
from gateway.stores.shared import SharedLimiter
from gateway.stores.shared_bus import SharedBus
from gateway.telemetry.events import EventLog
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.standing import Standing

if TYPE_CHECKING:  # imported when a setting asks for them
    from gateway.predictions.loader import Cache

if TYPE_CHECKING:
    from gateway.jobs.job import Jobs, Queue

EMBEDDED: Final = Path("gateway.db")
"""The database where none is configured, in the working directory."""


class Storage:
    """A worker's stores: those that are configured, and those that are built in."""

    def __init__(
        self, settings: Settings, shared: Shared, slot: int, *, metrics: Metrics, log: EventLog
    ) -> None:
        self._metrics = metrics
        self._log = log
        self._shared = shared
        self._slot = slot
        self._embedded: Database | None = None
        self._bus: SharedBus | None = None
        self._standby: Standby | None = None
        self.configured = open_stores(settings, self._standing)

    def _standing(self, store: str) -> Standing:
        return Standing(store, self._metrics, self._log)

    def named(self, name: str) -> Any:
        """The one of this name, if it is configured."""
        return next((store for store in self.configured if store.name == name), None)

    def database(self) -> Database:
        """The one that is configured, PostgreSQL before SQLite, else a file of our own."""
        for name in ("postgres", "sqlite"):
            found: Database | None = self.named(name)
            if found is not None:
                return found
        if self._embedded is None:
            self._embedded = open_database(StoreSettings(), self._standing)
        return self._embedded

    def bus(self) -> Bus:
        """One that all hosts share where there is a NATS, else this host's."""
        nats: Bus | None = self.named("nats")
        if nats is not None:
            return nats
        if self._bus is None:
            self._bus = SharedBus(self._shared.events, self._slot)
        return self._bus

    def predictions(self) -> Cache:
        """Where predictions are looked for first: in Redis, else in memory of this host."""
        redis = self.named("redis")
        if redis is not None:
            from gateway.stores.redis_predictions import RedisPredictions

            return RedisPredictions(redis)
        from gateway.stores.shared_predictions import SharedPredictions

        return SharedPredictions(self._shared.answers)

    def jobs(self, settings: JobSettings) -> tuple[Jobs, Queue]:
        """Their state, in Redis before a database, and their queue, NATS before that."""
        return open_jobs(settings, self.named("redis"), self.named("nats"), self.database)

    def limiter(self) -> Limiter:
        """Counters that all hosts share where there is a Redis, else this host's."""
        host = SharedLimiter(
            self._shared.counters,
            alone=self._shared.alone,
            displaced=self._metrics.limits_displaced.child().inc,
        )
        redis = self.named("redis")
        if redis is None:
            return host
        from gateway.stores.redis import RedisLimiter

        fallback = self._metrics.limits_fallback.child().inc
        self._standby = Standby(RedisLimiter(redis), host, fallback)
        return self._standby

    def pools(self) -> dict[str, dict[str, int]]:
        """Connections to each database, by state."""
        return {store.name: store.pool() for store in self.configured if hasattr(store, "pool")}

    async def close(self) -> None:
        if self._standby is not None:
            await self._standby.close()
        for store in (*self.configured, *filter(None, (self._embedded, self._bus))):
            await store.close()


def open_database(
    settings: StoreSettings, watch: Callable[[str], Watch] = lambda store: Unwatched()
) -> Database:
    """Where keys and users are, for a command or for a gateway without stores."""
    if settings.postgres is not None:
        from gateway.stores.postgres import Postgres

        return Postgres(settings.postgres.get_secret_value(), watch("postgres"))
    from gateway.stores.sqlite import Sqlite

    return Sqlite(settings.sqlite or EMBEDDED, watch("sqlite"))


def open_jobs(
    settings: JobSettings, redis: Any, nats: Any, database: Callable[[], Database]
) -> tuple[Jobs, Queue]:
    """State and queue of jobs, for a gateway or for a worker."""
    timeout, attempts, depth = settings.timeout, settings.attempts, settings.waiting
    patience = settings.patience
    jobs: Jobs
    queue: Queue
    if redis is not None:
        from gateway.stores.redis_jobs import RedisJobs

        jobs = RedisJobs(redis)
    else:
        from gateway.stores.jobs import DatabaseJobs

        jobs = DatabaseJobs(database())
    if nats is not None:
        from gateway.stores.nats_jobs import NatsQueue

        queue = NatsQueue(nats, timeout=timeout, attempts=attempts, depth=depth, patience=patience)
    else:
        from gateway.stores.job_queue import TableQueue

        queue = TableQueue(
            database(), timeout=timeout, attempts=attempts, depth=depth, patience=patience
        )
    return jobs, queue


def open_stores(whole: Settings, watch: Callable[[str], Watch]) -> list[Any]:
    """Those that are configured, each under its `name`."""
    settings = whole.stores
    stores: list[Any] = []
    if settings.redis is not None:
        from gateway.stores.redis import Redis

        stores.append(Redis(settings.redis.get_secret_value(), watch("redis")))
    if settings.postgres is not None:
        from gateway.stores.postgres import Postgres

        stores.append(Postgres(settings.postgres.get_secret_value(), watch("postgres")))
    if settings.nats is not None:
        from gateway.stores.nats import RECENT, Nats

        live = whole.realtime
        stream, recent = ("", RECENT) if live is None else (live.jetstream or "", live.history)
        url = settings.nats.get_secret_value()
        stores.append(Nats(url, watch("nats"), stream=stream, recent=recent))
    if settings.sqlite is not None:
        from gateway.stores.sqlite import Sqlite

        stores.append(Sqlite(settings.sqlite, watch("sqlite")))
    return stores
