"""Predictions in the memory that the cache's answers lie in, too: this host's workers share them.

Their names, `pred:AAPL`, are no URL, as all names of the cache's own are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from gateway.stores.shared_cache import Memory, SharedCache

Kept = bytes | Mapping[bytes, bytes]


class SharedPredictions:
    """A `gateway.predictions.loader.Cache`. Answers at once.

    What was read in a turn of the event loop is not read again in it: reading takes 3 µs.
    """

    def __init__(self, memory: Memory) -> None:
        self._shelf = SharedCache(memory)
        self._epochs = memory.epochs
        self._loop = asyncio.get_running_loop()
        self._read: dict[bytes, bytes] = {}

    def ask(self, names: Sequence[bytes], answer: Callable[[Mapping[bytes, Kept]], None]) -> None:
        known = self._read
        if not known:
            self._loop.call_soon(known.clear)
        for name in names:
            if name not in known:
                data = self._shelf.get(name)
                if data is not None:
                    known[name] = data
        answer(known)

    async def keep(self, values: Mapping[bytes, bytes], seconds: float) -> None:
        for name, data in values.items():
            if self._shelf.get(name) is None:
                stamp = self._epochs.value(self._epochs.cell(name))
                self._shelf.put(name, data, seconds, stamp)

    async def settle(self) -> None:
        """Nobody ever waits."""

    async def close(self) -> None:
        """The memory is its host's."""
