"""The cache's answers in Redis: all hosts that share it share them.

What one host voids the others hear of within `POLL` seconds, from a stream that keeps the last
`REMEMBERED` of such; until then their workers may still give copies that they have in front. An
answer that was asked for before its key was voided, on whatever host, is not kept: a counter tells,
one for each cell, which is read with the key and compared when it is written. While the server is
lost each worker has its front alone, and what was voided meanwhile is told when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from gateway.caching.epochs import Epochs
from gateway.errors import StoreDown

PREFIX: Final = b"gateway:cache:"
VOIDED: Final = b"gateway:cache-voided"
COUNTER: Final = b"gateway:cache-count:"
COUNTED: Final = 86400
"""s for which a counter is remembered: no answer is on its way for so long."""

COUNTS: Final = 10_000  # keys
POLL: Final = 1.0
REMEMBERED: Final = 10_000
UNSENT: Final = 1000  # keys; beyond that, everything is voided
ALL: Final = b"*"  # no key is that
BATCH: Final = 500


class Server(Protocol):
    """What is asked of Redis."""

    async def mget(self, keys: Sequence[bytes]) -> list[bytes | None]: ...
    async def set(self, key: bytes, value: bytes, seconds: float | None = None) -> None: ...
    async def set_if(
        self, key: bytes, value: bytes, seconds: float, guard: bytes, count: bytes
    ) -> bool:
        """Set it unless the guard, a counter, says something else."""

    async def count_up(self, keys: Sequence[bytes], seconds: int) -> list[int]:
        """Each of these counters, kept for so long; tells what they are now."""

    async def delete(self, *keys: bytes) -> int: ...
    def scan(self, pattern: bytes) -> AsyncIterator[bytes]: ...
    async def append(self, stream: bytes, values: Sequence[bytes], limit: int) -> None:
        """Add entries to a stream, which keeps about `limit`."""

    async def entries(self, stream: bytes, after: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """The ids and values behind that id, oldest first."""

    async def last_entry(self, stream: bytes) -> bytes:
        """The newest id; `0-0` where there is none."""


class RedisCache:
    """A `gateway.stores.Shelf`. To be opened and closed."""

    def __init__(self, server: Server, epochs: Epochs) -> None:
        self._server = server
        self._epochs = epochs
        self._lost = False
        self._unsent: list[bytes] = []
        self._sending = asyncio.Lock()
        self._seen: bytes | None = None
        self._counts: dict[bytes, bytes] = {}  # what was read with a key
        self._poll: asyncio.Task[None] | None = None

    @property
    def waits(self) -> bool:
        return not self._lost

    def get(self, key: bytes) -> Coroutine[Any, Any, bytes | None] | None:
        return None if self._lost else self._get(key)

    async def _get(self, key: bytes) -> bytes | None:
        found: bytes | None
        found, count = await self._ask(self._server.mget([PREFIX + key, self._counter(key)]))
        if len(self._counts) >= COUNTS:
            self._counts.clear()
        self._counts[key] = count or b"0"
        return found

    def _counter(self, key: bytes) -> bytes:
        return COUNTER + b"%d" % self._epochs.cell(key)

    def put(
        self, key: bytes, data: bytes, seconds: float, stamp: int
    ) -> Coroutine[Any, Any, None] | None:
        if self._lost or seconds <= 0:
            return None
        return self._put(key, data, seconds, stamp)

    async def _put(self, key: bytes, data: bytes, seconds: float, stamp: int) -> None:
        async with self._sending:  # what was voided before is told before
            name, count = PREFIX + key, self._counts.get(key)
        if count is None:  # a variant: with its marker it is gone
            await self._ask(self._server.set(name, data, seconds))
        else:
            counter = self._counter(key)
            await self._ask(self._server.set_if(name, data, seconds, counter, count))
        if self._epochs.value(self._epochs.cell(key)) != stamp:  # voided while it was on its way
            await self._ask(self._server.delete(name))

    def drop(self, key: bytes) -> Coroutine[Any, Any, None] | None:
        self._remember(key)
        return None if self._lost else self._send()

    def _remember(self, key: bytes) -> None:
        self._unsent.append(key)
        if len(self._unsent) > UNSENT:
            self._unsent = [ALL]

    async def _send(self) -> None:
        """Tell the server what is void, and through it the other hosts."""
        async with self._sending:
            unsent, self._unsent = self._unsent, []
            try:
                await self._void(unsent)
            except StoreDown:
                self._lost = True
                for key in unsent:
                    self._remember(key)
                raise

    async def _void(self, unsent: Sequence[bytes]) -> None:
        if not unsent:
            return
        keys = unsent
        if ALL in unsent:
            names = [name async for name in self._server.scan(PREFIX + b"*")]
            keys = [name.removeprefix(PREFIX) for name in names]
        await self._delete(keys)
        await self._server.append(VOIDED, unsent, REMEMBERED)

    async def purge(self, wanted: Callable[[bytes], bool]) -> set[bytes]:
        found: set[bytes] = set()
        async for name in self._server.scan(PREFIX + b"*"):
            key = name.removeprefix(PREFIX)
            if wanted(key):
                found.add(key)
        for key in found:
            self._epochs.void(key)
        await self._delete(sorted(found))
        # The others' copies need not be in here any more: they look all of theirs up again.
        await self._server.append(VOIDED, [ALL], REMEMBERED)
        return found

    async def _delete(self, keys: Sequence[bytes]) -> None:
        for at in range(0, len(keys), BATCH):
            batch = keys[at : at + BATCH]
            counters = [self._counter(key) for key in batch]
            # First: what comes from now on is too late.
            counts = await self._server.count_up(counters, COUNTED)
            # Here, what was asked for before is told by its stamp.
            self._counts.update((k, b"%d" % n) for k, n in zip(batch, counts, strict=True))
            await self._server.delete(*(PREFIX + key for key in batch))

    async def _ask(self, call: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await call
        except StoreDown:
            self._lost = True
            raise

    # ---------------------------------------------------------------------------- other hosts

    def open(self) -> None:
        """Begin to listen. A server that is down is waited for."""
        self._poll = asyncio.get_running_loop().create_task(self._listen())

    async def close(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.wait([self._poll])

    async def _listen(self) -> None:
        while True:
            try:
                await self._hear()
            except StoreDown:
                self._lost = True
            await asyncio.sleep(POLL)

    async def _hear(self) -> None:
        """What other hosts have voided since; after a loss, what this one has."""
        if self._seen is None:
            self._seen = await self._server.last_entry(VOIDED)
        while True:
            heard = await self._server.entries(VOIDED, self._seen, BATCH)
            for identity, key in heard:
                self._seen = identity
                if key == ALL:
                    self._epochs.purged()
                else:
                    self._epochs.void(key)
            if len(heard) < BATCH:
                break
        if self._lost:
            self._lost = False
            self._epochs.purged()
            await self._send()
