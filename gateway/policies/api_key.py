"""API keys in `X-API-Key`: looked up once, then remembered.

What the store said of a good key is remembered, and costs the next request a SHA-256 and two
look-ups in memory. Every two seconds the store is asked which keys changed since it was last
asked, in one query that nearly never has a row to give, and these are forgotten: so a revocation
is effective within that time on every worker of every host. While the store is lost, what is
remembered goes on for `GOOD_FOR`; then nobody knows any more who may, and that is said (503).

Guessing is kept from the store. What cannot be a key, because its checksum is wrong, is not
looked up. A key that there is not is remembered for a while, apart from the good ones, which
guesses therefore do not push out. And however many ask, one query is under way at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from math import inf
from time import time
from typing import Any, Final, Protocol

from gateway.apikeys import is_sound
from gateway.errors import StoreDown, Unauthorized
from gateway.exchange import Exchange, Principal

log = logging.getLogger("gateway.keys")

NAME: Final = b"x-api-key"
GOOD: Final = 16384  # keys of a worker that are remembered, of about 1 KiB each in memory
BAD: Final = 4096  # and of those that there are not, or not any more
GOOD_FOR: Final = 900.0  # s for which the store may be lost
BAD_FOR: Final = 10.0  # s for which a key that there is not is remembered
LOOK_EVERY: Final = 2.0  # s between two questions for what changed
NOTE_EVERY: Final = 30.0  # s between two notes of what was used
AT_ONCE: Final = 64  # keys in one query


class StoredKey(Protocol):
    """What is stored of a key. Times are unix milliseconds."""

    @property
    def id(self) -> str: ...
    @property
    def owner(self) -> str: ...
    @property
    def tier(self) -> str: ...
    @property
    def scopes(self) -> tuple[str, ...]: ...
    @property
    def expires_at(self) -> int | None: ...

    def state(self, now: int) -> str: ...


class Store(Protocol):
    """Where keys are; raises `StoreDown`."""

    async def find(self, digests: Sequence[str]) -> Mapping[str, StoredKey]: ...

    async def newest(self) -> int: ...

    async def changed(self, since: int) -> tuple[int, list[str]] | None: ...

    async def used(self, times: Mapping[str, int]) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """A good key, until that unix second."""

    principal: Principal
    until: float


@dataclass(frozen=True, slots=True)
class Refused:
    """A key that is none, and what for; remembered until that unix second."""

    reason: str
    until: float


class ApiKeys:
    """Finds out who asks by a key; one for all routes of a worker.

    The store is left in peace until the first key comes.
    """

    challenge = b'ApiKey realm="gateway", header="X-API-Key"'

    def __init__(
        self, store: Store, *, failed: Callable[[str], None], clock: Callable[[], float] = time
    ) -> None:
        """`failed` counts why a key was refused; `clock` gives unix seconds."""
        self._store = store
        self._failed = failed
        self._clock = clock
        self._good: dict[bytes, Known] = {}
        self._bad: dict[bytes, Refused] = {}
        self._wanted: dict[bytes, asyncio.Future[Known | Refused]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._used: dict[str, float] = {}
        self._noted = clock()
        self._sure_until = -inf  # until when no change can have been missed for too long
        self._revision: int | None = None  # None: it is not known yet what there is
        self._changes = 0  # times that something was forgotten
        self._watch: asyncio.Task[None] | None = None

    async def close(self) -> None:
        tasks = [task for task in (self._watch, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.note()

    # ------------------------------------------------------------------------------- requests

    def authenticate(self, exchange: Exchange) -> Principal | Coroutine[Any, Any, Principal] | None:
        """Who asks; None for a request without a key. Raises `Unauthorized`, `StoreDown`."""
        key = exchange.head.once.get(NAME)
        if key is None:
            return None
        head = exchange.head
        digest = head.digest
        if digest is None:  # clients repeat their heads: what was worked out once is kept with it
            digest = head.digest = sha256(key).digest()
        known = self._good.get(digest)
        if known is not None:
            now = self._clock()
            if now < known.until and now < self._sure_until:
                self._used[known.principal.id] = now
                return known.principal
        return self._unusual(key, digest)

    def _unusual(self, key: bytes, digest: bytes) -> Coroutine[Any, Any, Principal]:
        if not is_sound(key):
            raise self._refusal("malformed_key")
        refused = self._bad.get(digest)
        if refused is not None and self._clock() < refused.until:
            raise self._refusal(refused.reason)
        return self._wait(digest)

    def _refusal(self, reason: str) -> Unauthorized:
        self._failed(reason)
        return Unauthorized("the API key is not valid")

    async def _wait(self, digest: bytes) -> Principal:
        answer = self._wanted.get(digest)
        if answer is None:  # however many wait for it, it is looked up once
            loop = asyncio.get_running_loop()
            answer = self._wanted[digest] = loop.create_future()
            if self._watch is None:
                self._watch = loop.create_task(self._look(), name="key changes")
            if self._asking is None:
                self._asking = loop.create_task(self._ask(), name="key look-ups")
        found = await asyncio.shield(answer)  # who leaves does not take it from the others
        if isinstance(found, Refused):
            raise self._refusal(found.reason)
        self._used[found.principal.id] = self._clock()
        return found.principal

    # ------------------------------------------------------------------------------- look-ups

    async def _ask(self) -> None:
        """Look up what is wanted, until nothing is. Those who come meanwhile share a query."""
        try:
            while self._wanted:
                digests = list(self._wanted)[:AT_ONCE]
                changes = self._changes
                try:
                    found = await self._store.find([digest.hex() for digest in digests])
                except Exception as error:  # noqa: BLE001 - whatever it is, somebody waits for it
                    for digest in digests:
                        self._wanted.pop(digest).set_exception(error)
                    continue
                for digest in digests:
                    verdict = self._judge(found.get(digest.hex()))
                    if changes == self._changes:  # else it may have changed since it was read
                        self._remember(digest, verdict)
                    self._wanted.pop(digest).set_result(verdict)
        finally:
            self._asking = None
            for answer in self._wanted.values():  # the worker ends
                answer.cancel()

    def _judge(self, key: StoredKey | None) -> Known | Refused:
        now = self._clock()
        if key is None:
            return Refused("unknown_key", now + BAD_FOR)
        state = key.state(int(now * 1000))
        if state != "active":
            return Refused(f"{state}_key", now + BAD_FOR)
        who = Principal("api_key", key.id, key.tier, frozenset(key.scopes), key.owner)
        return Known(who, inf if key.expires_at is None else key.expires_at / 1000)

    def _remember(self, digest: bytes, verdict: Known | Refused) -> None:
        """In the place of the oldest, where there is no room."""
        if isinstance(verdict, Known):
            _put(self._good, digest, verdict, GOOD)
        else:
            _put(self._bad, digest, verdict, BAD)

    # -------------------------------------------------------------------------------- changes

    async def _look(self) -> None:
        while True:
            try:
                await self.refresh()
                if self._clock() - self._noted >= NOTE_EVERY:
                    await self.note()
            except Exception:  # without these looks, no revocation would be heard of again
                log.exception("looking for changes of API keys failed")
            await asyncio.sleep(LOOK_EVERY)

    async def refresh(self) -> None:
        """Forget the keys that changed. What a lost store hides is seen when it is back."""
        asked = self._clock()
        try:
            changed = None
            if self._revision is not None:
                changed = await self._store.changed(self._revision)
            if changed is None:  # all of them may have
                self._revision = await self._store.newest()
                self._good.clear()
                self._bad.clear()
                self._changes += 1
            else:
                self._revision, digests = changed
                for digest in map(bytes.fromhex, digests):
                    self._good.pop(digest, None)
                    self._bad.pop(digest, None)
                self._changes += bool(digests)
        except StoreDown:  # told where it was noticed
            return
        self._sure_until = asked + GOOD_FOR

    async def note(self) -> None:
        """Write down which keys were used since this was last done."""
        self._noted = self._clock()
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.used({name: int(when * 1000) for name, when in used.items()})
        except StoreDown:
            self._used = used | self._used


def _put(kept: dict[bytes, Any], digest: bytes, verdict: object, limit: int) -> None:
    kept.pop(digest, None)  # so that it is the newest again
    if len(kept) >= limit:
        del kept[next(iter(kept))]
    kept[digest] = verdict
