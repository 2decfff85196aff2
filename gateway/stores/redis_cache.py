"""The cache's answers in Redis: all hosts that share it share them.

What one host voids the others hear of within `POLL` seconds, from a stream that keeps the last
`REMEMBERED` of such; until then their workers may still give copies that they have in front. While
the server is lost each worker has its front alone, and what was voided meanwhile is told when it
is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from time import monotonic
from typing import Any, Final, Protocol

from gateway.caching.epochs import HOST_BYTES, Epochs
from gateway.errors import StoreDown

PREFIX: Final = b"gateway:cache:"
VOIDED: Final = b"gateway:cache-voided"
POLL: Final = 1.0
REMEMBERED: Final = 10_000
RECENT: Final = 5.0
"""s for which a put is remembered, in case another host voids its key before it can be heard of."""

UNSENT: Final = 1000  # keys; beyond that, everything is voided
ALL: Final = b"*"  # no key is that
BATCH: Final = 500


class Server(Protocol):
    """What is asked of Redis."""

    async def get(self, key: bytes) -> bytes | None: ...
    async def set(self, key: bytes, value: bytes, seconds: float | None = None) -> None: ...
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
        self._seen: bytes | None = None
        self._recent: dict[bytes, float] = {}  # what was put, and when
        self._poll: asyncio.Task[None] | None = None

    @property
    def waits(self) -> bool:
        return not self._lost

    def get(self, key: bytes) -> Coroutine[Any, Any, bytes | None] | None:
        return None if self._lost else self._get(key)

    async def _get(self, key: bytes) -> bytes | None:
        found: bytes | None = await self._ask(self._server.get(PREFIX + key))
        return found

    def put(
        self, key: bytes, data: bytes, seconds: float, stamp: int
    ) -> Coroutine[Any, Any, None] | None:
        if self._lost or seconds <= 0:
            return None
        return self._put(key, data, seconds, stamp)

    async def _put(self, key: bytes, data: bytes, seconds: float, stamp: int) -> None:
        self._recent.pop(key, None)
        self._recent[key] = monotonic()
        await self._ask(self._server.set(PREFIX + key, data, seconds))
        if self._epochs.value(self._epochs.cell(key)) != stamp:  # voided while it was on its way
            await self._ask(self._server.delete(PREFIX + key))

    def drop(self, key: bytes) -> Coroutine[Any, Any, None] | None:
        self._remember(key)
        return None if self._lost else self._send()

    def _remember(self, key: bytes) -> None:
        self._unsent.append(key)
        if len(self._unsent) > UNSENT:
            self._unsent = [ALL]

    async def _send(self) -> None:
        """Tell the server what is void, and through it the other hosts."""
        unsent, self._unsent = self._unsent, []
        if not unsent:
            return
        try:
            if ALL in unsent:
                async for key in self._server.scan(PREFIX + b"*"):
                    await self._server.delete(key)
            else:
                await self._server.delete(*(PREFIX + key for key in unsent))
            await self._tell(unsent)
        except StoreDown:
            self._lost = True
            for key in unsent:
                self._remember(key)
            raise

    async def purge(self, wanted: Callable[[bytes], bool]) -> set[bytes]:
        found: set[bytes] = set()
        async for name in self._server.scan(PREFIX + b"*"):
            key = name.removeprefix(PREFIX)
            if wanted(key):
                found.add(key)
        keys = sorted(found)
        for at in range(0, len(keys), BATCH):
            for key in keys[at : at + BATCH]:
                self._epochs.void(key)
            await self._server.delete(*(PREFIX + key for key in keys[at : at + BATCH]))
        # The others' copies need not be in here any more: they look all of theirs up again.
        await self._tell([ALL])
        return found

    async def _tell(self, keys: Sequence[bytes]) -> None:
        host = self._epochs.host
        await self._server.append(VOIDED, [host + key for key in keys], REMEMBERED)

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
            for identity, value in heard:
                self._seen = identity
                who, key = value[:HOST_BYTES], value[HOST_BYTES:]
                if key == ALL:
                    self._epochs.purged()
                else:
                    self._epochs.void(key)
                    if who != self._epochs.host and self._recent.pop(key, None) is not None:
                        # It may have been asked for before that; here, its stamp would tell.
                        await self._server.delete(PREFIX + key)
            if len(heard) < BATCH:
                break
        self._forget_puts(monotonic() - RECENT)
        if self._lost:
            self._lost = False
            self._epochs.purged()
            await self._send()

    def _forget_puts(self, before: float) -> None:
        while self._recent:
            key = next(iter(self._recent))
            if self._recent[key] > before:
                return
            del self._recent[key]
