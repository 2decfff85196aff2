"""Where answers are kept: in front this process's own, behind them what is shared.

Behind is the memory of this host's workers, which answers at once, or a server, which does not.
An answer that Vary speaks of lies under a key of its own, behind a marker under the target's key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from os import urandom
from time import time
from typing import Any, Final

from gateway.caching.epochs import Epochs, Stamp
from gateway.caching.front import Front
from gateway.caching.stored import NONCE_BYTES, OVERHEAD, Marker, Stored, unpack
from gateway.caching.vary import selecting
from gateway.errors import StoreDown
from gateway.stores import Shelf

GRACE: Final = 86400
"""s that an answer is kept beyond its use, to be revalidated or to stand in for a lost origin."""

LONGEST: Final = 30 * 86400
"""s that anything is kept."""

Entry = Stored | Marker
Held = tuple[Entry, int, int, int]
"""An entry, the number of its cell, and what that and the purges said when it was taken."""


class Shelves:
    """Both layers. Never raises: a shelf that is lost is an empty one."""

    def __init__(self, front: Front[Held], behind: Shelf, epochs: Epochs) -> None:
        self._front = front
        self._behind = behind
        self._epochs = epochs
        self._tasks: set[asyncio.Task[None]] = set()
        self._dropping: dict[bytes, int] = {}  # keys that a server was told to forget, not yet sure

    def held(self, key: bytes) -> Entry | None:
        """What lies in front and is good."""
        held = self._front.get(key)
        if held is None:
            return None
        entry, cell, value, purges = held
        epochs = self._epochs
        if epochs.value(cell) == value and epochs.purges == purges:
            return entry
        self._front.drop(key)
        return None

    def look(
        self, key: bytes, lines: Sequence[bytes]
    ) -> Stored | Coroutine[Any, Any, Stored | None] | None:
        """The answer that this key and a request's header lines select, however old it is."""
        while True:
            entry = self.held(key)
            if entry is None:
                if key in self._dropping:
                    return None
                if self._behind.waits:
                    return self._look_behind(key, lines)
                stamp = self._epochs.stamp(key)
                found = self._behind.get(key)
                entry = self._take(key, found if isinstance(found, bytes) else None, stamp)
            if not isinstance(entry, Marker):
                return entry
            key = variant(key, entry, lines)

    def selected(self, key: bytes, lines: Sequence[bytes]) -> bytes:
        """The key under which this request's answer lies, or would, as far as is known here."""
        entry = self.held(key)
        return variant(key, entry, lines) if isinstance(entry, Marker) else key

    async def _look_behind(self, key: bytes, lines: Sequence[bytes]) -> Stored | None:
        entry = await self._fetch(key)
        if isinstance(entry, Marker):
            found = self.look(variant(key, entry, lines), lines)
            return found if found is None or isinstance(found, Stored) else await found
        return entry

    async def _fetch(self, key: bytes) -> Entry | None:
        stamp = self._epochs.stamp(key)
        found = self._behind.get(key)
        try:
            data = found if found is None or isinstance(found, bytes) else await found
        except StoreDown:
            return None
        return None if key in self._dropping else self._take(key, data, stamp)

    def _take(self, key: bytes, data: bytes | None, stamp: Stamp) -> Entry | None:
        """Put what came from behind in front."""
        entry = None if data is None else unpack(data)
        if entry is not None and self._epochs.stamp(key) == stamp:
            self._place(key, entry, stamp)
            return entry
        return None

    def _place(self, key: bytes, entry: Entry, stamp: Stamp) -> None:
        size = entry.size if isinstance(entry, Stored) else OVERHEAD
        self._front.put(key, (entry, self._epochs.cell(key), *stamp), size)

    # ------------------------------------------------------------------------------- keeping

    def stamp(self, key: bytes) -> Stamp:
        """To be taken before an answer is asked for, and given to `keep`."""
        return self._epochs.stamp(key)

    def keep(
        self,
        key: bytes,
        stamp: Stamp,
        stored: Stored,
        names: tuple[bytes, ...],
        lines: Sequence[bytes],
    ) -> None:
        """Keep an answer to a request with these header lines, of which those `names` chose it.

        One whose key was voided since it was asked for is not kept.
        """
        if self._epochs.stamp(key) != stamp:
            return
        seconds = lasting(stored)
        if names:
            marker = self.held(key)
            if not isinstance(marker, Marker) or marker.names != names:
                marker = Marker(names, urandom(NONCE_BYTES))
            self._put(key, marker, marker.pack(), LONGEST, stamp)
            key = variant(key, marker, lines)
            stamp = self._epochs.stamp(key)
        self._put(key, stored, stored.pack(), seconds, stamp)

    def _put(self, key: bytes, entry: Entry, data: bytes, seconds: float, stamp: Stamp) -> None:
        self._place(key, entry, stamp)
        self._spawn(self._behind.put(key, data, seconds, stamp[0]))

    def drop(self, key: bytes) -> None:
        """Forget what is kept under this key, everywhere, with all its variants."""
        self._front.drop(key)
        self._epochs.void(key)
        told = self._behind.drop(key)
        if told is not None:
            self._dropping[key] = self._dropping.get(key, 0) + 1
            self._spawn(told, lambda: self._dropped(key))

    def _dropped(self, key: bytes) -> None:
        self._dropping[key] -= 1
        if not self._dropping[key]:
            del self._dropping[key]

    async def purge(self, wanted: Callable[[bytes], bool]) -> int:
        """Forget every key that is wanted, everywhere; tells how many there were, at least."""
        keys = set(self._front.matching(wanted))
        for key in keys:
            self._front.drop(key)
            self._epochs.void(key)
        try:
            keys |= await self._behind.purge(wanted)
        finally:
            self._epochs.purged()  # other workers' copies, and answers that are on their way
        return len(keys)

    # --------------------------------------------------------------------------------- tasks

    def _spawn(
        self,
        work: Coroutine[Any, Any, None] | None,
        then: Callable[[], None] | None = None,
    ) -> None:
        if work is None:
            return
        task = asyncio.get_running_loop().create_task(self._quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if then is not None:
            task.add_done_callback(lambda _: then())

    @staticmethod
    async def _quietly(work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except StoreDown:
            return  # told by its watch, once

    async def close(self) -> None:
        """Let what is under way end: each call has its time-out."""
        if self._tasks:
            await asyncio.wait(self._tasks)


def variant(key: bytes, marker: Marker, lines: Sequence[bytes]) -> bytes:
    """The key of the answer that a request with these lines gets. No target has a line end."""
    return b"%b\n%b%b" % (key, marker.nonce, selecting(marker.names, lines))


def lasting(stored: Stored) -> float:
    """s for which an answer may be of use."""
    beyond = max(stored.while_revalidating, stored.if_error or 0, GRACE)
    return min(max(stored.until - time(), 0) + beyond, LONGEST)
