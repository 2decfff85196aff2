"""Where a prediction is: in the cache, else in the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from gateway.errors import GatewayError
from gateway.predictions.lookups import Lookups, Newest
from gateway.predictions.prediction import Found, Kept, Malformed, Prediction, json_of, read
from gateway.telemetry.events import EventLog

PREDICTION: Final = b"pred:"
FEATURES: Final = b"features:"
REMEMBERED: Final = 5_000  # predictions that were read, for when they are found again unchanged

Answer = Callable[[Mapping[bytes, Kept]], None]


class Cache(Protocol):
    """Keeps predictions and features by name. Never raises: one that is lost is empty."""

    def ask(self, names: Sequence[bytes], answer: Answer) -> None:
        """Give `answer` what is kept under these names, now or later; once.

        It may be given more than that, and only for as long as it runs.
        """

    async def keep(self, values: Mapping[bytes, bytes], seconds: float) -> None:
        """Keep JSON for so long, where nothing is kept by now."""

    async def settle(self) -> None:
        """Return when nobody waits for an answer."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class Results:
    """What was found; `errors` tells of those of which that cannot be said."""

    found: dict[str, Found] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    errors: dict[str, GatewayError] = field(default_factory=dict)


Done = Callable[[Results], None]


class Loader:
    """Finds predictions, for one worker."""

    def __init__(
        self,
        cache: Cache,
        database: Newest,
        *,
        ttl: float,
        counts: Callable[[str], Callable[[], None]],
        asked: Callable[[], None],
        log: EventLog,
    ) -> None:
        """`ttl`, in s, is for how long the cache keeps what was in the database.

        `counts` gives what counts an outcome: cache, database, missing or unavailable; `asked`
        counts queries.
        """
        self._cache = cache
        self._ttl = ttl
        self._log = log
        self._lookups = Lookups(database, self._keep, asked=asked, log=log)
        self._hit, self._read, self._missing, self._unavailable = (
            counts(outcome) for outcome in ("cache", "database", "missing", "unavailable")
        )
        self._known: dict[str, tuple[Kept, Prediction | None]] = {}
        self._told: set[str] = set()  # symbols of which the log knows that theirs was none
        self._tasks: set[asyncio.Task[None]] = set()

    def load(self, symbols: Sequence[str], features: bool, done: Done) -> None:
        """Have `done` called with what there is of these symbols, now or later; once."""
        names = [PREDICTION + symbol.encode() for symbol in symbols]
        if features:
            names += [FEATURES + symbol.encode() for symbol in symbols]
        self._cache.ask(names, partial(self._cached, symbols, features, done))

    def _cached(
        self, symbols: Sequence[str], features: bool, done: Done, kept: Mapping[bytes, Kept]
    ) -> None:
        results, missed = Results(), []
        for symbol in symbols:
            held = kept.get(PREDICTION + symbol.encode())
            prediction = None if held is None else self._prediction(symbol, held)
            if prediction is None:
                missed.append(symbol)
                continue
            self._hit()
            results.found[symbol] = Found(
                prediction, b"cache", _features(kept, symbol) if features else b""
            )
        if not missed:
            done(results)
            return
        rows = [(symbol, self._lookups.find(symbol)) for symbol in missed]
        aside = {symbol: _features(kept, symbol) for symbol in missed} if features else {}
        task = asyncio.get_running_loop().create_task(self._wait(rows, results, aside, done))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wait(
        self,
        rows: Sequence[tuple[str, asyncio.Future[bytes | GatewayError | None]]],
        results: Results,
        features: Mapping[str, bytes],
        done: Done,
    ) -> None:
        for symbol, waiting in rows:
            row = await waiting
            if isinstance(row, GatewayError):
                self._unavailable()
                results.errors[symbol] = row
                continue
            prediction = None if row is None else self._prediction(symbol, row)
            if prediction is None:
                self._missing()
                results.missing.append(symbol)
                continue
            self._read()
            results.found[symbol] = Found(prediction, b"database", features.get(symbol, b""))
        done(results)

    def _prediction(self, symbol: str, kept: Kept) -> Prediction | None:
        """What is kept, read once for as long as it stays the same; None if it is none."""
        known = self._known.get(symbol)
        if known is not None and known[0] == kept:
            return known[1]
        try:
            found = read(symbol, kept)
        except Malformed:
            found = None
            if symbol not in self._told and len(self._told) < REMEMBERED:
                self._told.add(symbol)
                self._log.warning("prediction_malformed", symbol=symbol)
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[symbol] = kept, found
        return found

    async def _keep(self, rows: Mapping[str, bytes]) -> None:
        names = {PREDICTION + symbol.encode(): row for symbol, row in rows.items()}
        await self._cache.keep(names, self._ttl)

    async def close(self) -> None:
        """Let what is under way end; what is asked after that is answered as before."""
        await self._cache.settle()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._lookups.settle()
        await self._cache.close()


def _features(kept: Mapping[bytes, Kept], symbol: str) -> bytes:
    """The symbol's features as JSON; nothing where there are none."""
    return json_of(kept.get(FEATURES + symbol.encode()))
