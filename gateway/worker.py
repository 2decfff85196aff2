"""A worker as a process of its own, over the stores that the gateway's settings name.

`run` is what a worker's module calls. This one does the samples of `gateway.jobs.samples`:
`python -m gateway.worker --config gateway.yaml`.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from gateway.config import Settings, load
from gateway.config.apis import Jobs as JobSettings
from gateway.jobs.worker import Handler, Worker
from gateway.storage import open_database, open_jobs, open_stores

log = logging.getLogger("gateway.worker")

GRACE: Final = 20.0
"""s that a job may go on after the worker was told to stop; then another worker gets it."""


def run(
    handlers: Mapping[str, Handler],
    *,
    config: Path | None = None,
    at_once: int = 1,
    grace: float = GRACE,
) -> None:
    """Do jobs until SIGTERM or SIGINT; `handlers` by kind, `at_once` jobs of each.

    Reads the settings where the gateway does, and has to be told of the same stores. Raises
    ConfigError.
    """
    settings = load(config, os.environ, {}, Path.cwd())
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(settings, handlers, at_once, grace))


async def _run(
    settings: Settings, handlers: Mapping[str, Handler], at_once: int, grace: float
) -> None:
    async with made(settings, handlers, at_once=at_once) as worker:
        running = asyncio.create_task(worker.run())
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)
        stopping = asyncio.create_task(told.wait())
        await asyncio.wait((running, stopping), return_when=asyncio.FIRST_COMPLETED)
        worker.stop()
        await asyncio.wait((running,), timeout=grace)
        stopping.cancel()
        if not running.done():
            running.cancel()
            await asyncio.wait((running,))
        elif not running.cancelled():
            running.result()


@asynccontextmanager
async def made(
    settings: Settings, handlers: Mapping[str, Handler], *, at_once: int = 1
) -> AsyncIterator[Worker]:
    """A worker over the stores of these settings, which are closed afterwards."""
    table = settings.apis.jobs or JobSettings()
    stores = open_stores(settings, Standing)
    named = {store.name: store for store in stores}
    database = named.get("postgres") or named.get("sqlite")
    if database is None:
        database = open_database(settings.stores)  # opens no file until it is asked
        stores.append(database)
    jobs, queue = open_jobs(table, named.get("redis"), named.get("nats"), lambda: database)
    try:
        yield Worker(
            jobs,
            queue,
            handlers,
            timeout=table.timeout,
            attempts=table.attempts,
            keep=table.keep,
            at_once=at_once,
        )
    finally:
        for store in stores:
            await store.close()


class Standing:
    """A `gateway.stores.Watch` that tells once when a server is lost, and once when it is back."""

    def __init__(self, store: str) -> None:
        self._store = store
        self._lost = False

    def worked(self) -> None:
        if self._lost:
            self._lost = False
            log.warning("%s is back", self._store)

    def failed(self, error: BaseException) -> None:
        if not self._lost:
            self._lost = True
            log.warning("%s is lost: %s", self._store, type(error).__name__)


def main() -> None:
    from gateway.jobs.samples import handlers

    parser = argparse.ArgumentParser(prog="python -m gateway.worker", description=__doc__)
    parser.add_argument("--config", type=Path)
    run(handlers(), config=parser.parse_args().config)


if __name__ == "__main__":
    main()
