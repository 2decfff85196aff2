"""A cache and a database that a test has in its hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import orjson

from gateway.errors import GatewayError
from gateway.predictions.loader import Answer, Loader, Results
from gateway.predictions.prediction import Kept
from gateway.telemetry.events import EventLog


def row(price: float = 1.0, at: str = "2026-03-01T12:00:00Z") -> bytes:
    return orjson.dumps({"predicted_price": price, "predicted_at": at})


class Cached:
    """A cache; `later` keeps its answers back until `answer_all`."""

    def __init__(self) -> None:
        self.kept: dict[bytes, Kept] = {}
        self.seconds: list[float] = []
        self.asked: list[Sequence[bytes]] = []
        self.later: list[Callable[[], None]] | None = None
        self.keeping = asyncio.Event()
        self.keeping.set()
        self.closed = False

    def ask(self, names: Sequence[bytes], answer: Answer) -> None:
        self.asked.append(names)
        found = {name: self.kept[name] for name in names if name in self.kept}
        if self.later is None:
            answer(found)
            found.clear()
        else:
            self.later.append(lambda: answer(found))

    def answer_all(self) -> None:
        waiting, self.later = self.later or [], None
        for answer in waiting:
            answer()

    async def keep(self, values: Mapping[bytes, bytes], seconds: float) -> None:
        await self.keeping.wait()
        self.kept |= values
        self.seconds.append(seconds)

    async def settle(self) -> None:
        assert not self.closed

    async def close(self) -> None:
        self.closed = True


class Stored:
    """A database that answers when `go` is set."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.queries: list[list[str]] = []
        self.error: Exception | None = None
        self.go = asyncio.Event()
        self.go.set()

    async def newest(self, symbols: Sequence[str]) -> Mapping[str, bytes]:
        self.queries.append(list(symbols))
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return {symbol: self.rows[symbol] for symbol in symbols if symbol in self.rows}


class Bench:
    """A loader between the two, with what it counted and logged."""

    def __init__(self) -> None:
        self.cache = Cached()
        self.database = Stored()
        self.counts: dict[str, int] = {}
        self.asked = 0
        self.lines: list[bytes] = []
        self.log = EventLog(self.lines.append)
        self.loader = Loader(
            self.cache,
            self.database,
            ttl=60,
            counts=lambda result: lambda: self._count(result),
            asked=self._asked,
            log=self.log,
        )

    def _count(self, result: str) -> None:
        self.counts[result] = self.counts.get(result, 0) + 1

    def _asked(self) -> None:
        self.asked += 1

    def begin(self, *symbols: str, features: bool = False) -> asyncio.Future[Results]:
        done: asyncio.Future[Results] = asyncio.get_running_loop().create_future()
        self.loader.load(symbols, features, done.set_result)
        return done

    async def load(self, *symbols: str, features: bool = False) -> Results:
        async with asyncio.timeout(5):
            return await self.begin(*symbols, features=features)

    async def prices(self, *symbols: str) -> dict[str, tuple[float, bytes]]:
        """Price and source by symbol."""
        found = (await self.load(*symbols)).found
        return {s: (f.prediction.fields["predicted_price"], f.source) for s, f in found.items()}


def codes(errors: Mapping[str, GatewayError]) -> dict[str, int]:
    return {symbol: error.status for symbol, error in errors.items()}
