"""Questions to the database: those of one turn of the loop together, none twice at a time.

A symbol is on its way from the question until its answer is kept for others, and `LINGER` longer:
who saw nothing in the cache just before that gets the same answer. So a crowd that asks for one
symbol makes one query.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from gateway.errors import GatewayError, StoreDown
from gateway.telemetry.events import EventLog

LINGER: Final = 0.1  # s
BATCH: Final = 500  # symbols in a query

Row = bytes | GatewayError | None
"""JSON, nothing, or why that cannot be said."""


class Newest(Protocol):
    """The database with the predictions."""

    async def newest(self, symbols: Sequence[str]) -> Mapping[str, bytes]:
        """The newest prediction of each, as JSON, of those that have one. Raises StoreDown."""


class Lookups:
    """Never raises: what went wrong is the answer."""

    def __init__(
        self,
        database: Newest,
        keep: Callable[[Mapping[str, bytes]], Awaitable[None]],
        *,
        asked: Callable[[], None],
        log: EventLog,
    ) -> None:
        """`keep` puts what was found where it is looked for first; `asked` counts queries."""
        self._database = database
        self._keep = keep
        self._asked = asked
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[str, asyncio.Future[Row]] = {}
        self._next: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, symbol: str) -> asyncio.Future[Row]:
        """Not to be cancelled: others wait for it, too."""
        found = self._under_way.get(symbol)
        if found is None:
            if not self._next:
                self._loop.call_soon(self._send)
            self._next.append(symbol)
            found = self._under_way[symbol] = self._loop.create_future()
        return found

    def _send(self) -> None:
        symbols, self._next = self._next, []
        for at in range(0, len(symbols), BATCH):
            task = self._loop.create_task(self._ask(symbols[at : at + BATCH]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask(self, symbols: Sequence[str]) -> None:
        rows: Mapping[str, bytes] = {}
        error: GatewayError | None = GatewayError()  # also if this is cancelled
        try:
            self._asked()
            rows = await self._database.newest(symbols)
            error = None
        except StoreDown as lost:
            error = lost
        except Exception as mistake:  # noqa: BLE001 - the client is told no more than that
            trace = "".join(traceback.format_exception(mistake))
            self._log.error("prediction_query_failed", exception=trace)
        finally:
            for symbol in symbols:
                self._under_way[symbol].set_result(error or rows.get(symbol))
                if symbol not in rows:
                    del self._under_way[symbol]
        if not rows:
            return
        try:
            await self._keep(rows)
        finally:
            self._loop.call_later(LINGER, self._forget, list(rows))

    def _forget(self, symbols: Sequence[str]) -> None:
        for symbol in symbols:
            del self._under_way[symbol]

    async def settle(self) -> None:
        """Return when what was found is kept."""
        if self._tasks:
            await asyncio.wait(self._tasks)
