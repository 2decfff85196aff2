"""The layer in front: what this process used last, bounded in bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

SHARE: Final = 8  # one entry takes at most this part of the whole


class Front(Generic[T]):
    """Forgets what was not used for the longest time."""

    def __init__(self, limit: int) -> None:
        """`limit` in bytes; 0 keeps nothing."""
        self._limit = limit
        self._entries: OrderedDict[bytes, tuple[T, int]] = OrderedDict()
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: bytes) -> T | None:
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: bytes, entry: T, size: int) -> None:
        self.drop(key)
        size += len(key)
        if size > self._limit // SHARE:
            return
        self._entries[key] = entry, size
        self.size += size
        while self.size > self._limit:
            _, (_, freed) = self._entries.popitem(last=False)
            self.size -= freed

    def drop(self, key: bytes) -> None:
        found = self._entries.pop(key, None)
        if found is not None:
            self.size -= found[1]

    def matching(self, wanted: Callable[[bytes], bool]) -> list[bytes]:
        """The keys that are wanted."""
        return [key for key in self._entries if wanted(key)]
