"""The cache's answers in memory that all workers of this host share.

The theory. The memory is an index and a ring. Answers are written one behind the other round the
ring; whoever writes overwrites the oldest. `head` counts all bytes ever written, so a place in the
ring is told by that number, and what was written longer ago than the ring is large is gone. The
index is a table of slots (hash, place, length, end) in which a key has a few neighbouring slots
to lie in.

Writers take turns by a lock on a byte of the memory's file, which the kernel takes back from a
process that dies. Before it writes, a writer moves `head`, which takes away what lay there; the
slot comes last, so that a death in the middle leaves nothing half. Readers lock nothing: they
copy, then look whether `head` has reached what they copied meanwhile, and compare a checksum.

What is read often is written anew before it is overwritten. What was voided (`Epochs`) is known by
its stamp, so that dropping takes no lock at all.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from struct import Struct
from time import time
from typing import Final
from zlib import crc32

from gateway.caching import epochs
from gateway.caching.epochs import Epochs

SIZE: Final = 64 << 20
"""Bytes of answers, unless the settings say otherwise."""

PROBES: Final = 8
PER_SLOT: Final = 2048  # bytes of the ring for each slot: answers are seldom smaller
SHARE: Final = 4  # one answer takes at most this part of the ring
AGING: Final = 4  # what is read in the oldest of so many parts is written anew
TRIES: Final = 64  # to get the lock; whoever does not get it keeps nothing
SLICE: Final = 512  # slots that a purge looks at before others have their turn

_HEAD: Final = Struct("=Q")
_SLOT: Final = Struct("=QQII")  # hash, place + 1 (0: empty), length, end of its use (unix s)
_RECORD: Final = Struct("=QQIII")  # place, stamp, key's length, data's length, checksum
_PAGE: Final = 4096
_SLOTS_AT: Final = _PAGE + -(-epochs.BYTES // _PAGE) * _PAGE


class Memory:
    """The memory, to be made before forking. Pages that were never touched take none."""

    def __init__(self, size: int) -> None:
        """`size` in bytes, of the ring. Raises OSError when it is not to be had."""
        self.slots = 1 << max(8, (size // PER_SLOT).bit_length() - 1)
        self.ring_at = _SLOTS_AT + self.slots * _SLOT.size
        self.size = size
        total = self.ring_at + size
        if hasattr(os, "memfd_create"):
            self.file = os.memfd_create("gateway-cache")
        else:  # pragma: no cover - not on Linux
            with tempfile.TemporaryFile() as file:
                self.file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.file)
        os.ftruncate(self.file, total)
        self.map = mmap.mmap(self.file, total)
        self.epochs = Epochs(memoryview(self.map)[_PAGE : _PAGE + epochs.BYTES])


class SharedCache:
    """A `gateway.stores.Shelf` of one process. Never waits for input or output."""

    waits = False

    def __init__(self, memory: Memory, *, clock: Callable[[], float] = time) -> None:
        self._memory = memory
        self._map = memory.map
        self._epochs = memory.epochs
        self._clock = clock

    def get(self, key: bytes) -> bytes | None:
        name = _hash(key)
        for at in self._window(name):
            held, place, length, end = _SLOT.unpack_from(self._map, at)
            if held == name and place and end > self._clock():
                found = self._read(place - 1, length, key)
                if found is None:
                    continue
                data, stamp = found
                if self._head() - (place - 1) > self._memory.size * (AGING - 1) // AGING:
                    self.put(key, data, end - self._clock(), stamp)
                return data
        return None

    def _read(self, place: int, length: int, key: bytes) -> tuple[bytes, int] | None:
        """A record's data and stamp, if it is this key's, whole and not void."""
        start = self._memory.ring_at + place % self._memory.size
        record = bytes(self._map[start : start + length])
        if len(record) < _RECORD.size or self._gone(place):
            return None
        at, stamp, keys, size, check = _RECORD.unpack_from(record)
        body = _RECORD.size + keys
        if (
            at != place
            or body + size != length
            or record[_RECORD.size : body] != key
            or crc32(memoryview(record)[_RECORD.size :]) != check
            or self._epochs.value(self._epochs.cell(key)) != stamp
        ):
            return None
        return record[body:], stamp

    def put(self, key: bytes, data: bytes, seconds: float, stamp: int) -> None:
        memory = self._memory
        length = _RECORD.size + len(key) + len(data)
        if length > memory.size // SHARE or seconds <= 0:
            return
        check = crc32(data, crc32(key))
        name = _hash(key)
        end = min(int(self._clock() + seconds) + 1, 2**32 - 1)
        with self._lock() as locked:
            if not locked or self._epochs.value(self._epochs.cell(key)) != stamp:
                return
            place = self._head()
            left = memory.size - place % memory.size
            if left < length:
                place += left  # a record never goes over the ring's end
            _HEAD.pack_into(self._map, 0, place + length)
            start = memory.ring_at + place % memory.size
            body = start + _RECORD.size + len(key)
            _RECORD.pack_into(self._map, start, place, stamp, len(key), len(data), check)
            self._map[start + _RECORD.size : body] = key
            self._map[body : start + length] = data
            _SLOT.pack_into(self._map, self._slot(name), name, place + 1, length, end)

    def _slot(self, name: int) -> int:
        """Where to write: over the same key's, or over the oldest."""
        oldest, chosen = 2**64, 0
        for at in self._window(name):
            held, place, _, _ = _SLOT.unpack_from(self._map, at)
            if held == name:
                return at
            if place < oldest:
                oldest, chosen = place, at
        return chosen

    def drop(self, key: bytes) -> None:
        self._epochs.void(key)

    async def purge(self, wanted: Callable[[bytes], bool]) -> set[bytes]:
        found = set()
        for first in range(0, self._memory.slots, SLICE):
            for key in self._keys(first):
                if wanted(key):
                    found.add(key)
                    self._epochs.void(key)
            await asyncio.sleep(0)
        return found

    def _keys(self, first: int) -> Iterator[bytes]:
        """The keys in a slice of the index."""
        for number in range(first, min(first + SLICE, self._memory.slots)):
            _, place, length, _ = _SLOT.unpack_from(self._map, _SLOTS_AT + number * _SLOT.size)
            if not place or self._gone(place - 1):
                continue
            start = self._memory.ring_at + (place - 1) % self._memory.size
            record = bytes(self._map[start : start + length])
            if len(record) < _RECORD.size:
                continue
            at, _, keys, _, _ = _RECORD.unpack_from(record)
            if at == place - 1 and not self._gone(at):
                yield record[_RECORD.size : _RECORD.size + keys]

    def _gone(self, place: int) -> bool:
        return self._head() - place > self._memory.size

    def _head(self) -> int:
        head: int = _HEAD.unpack_from(self._map)[0]
        return head

    def _window(self, name: int) -> Iterator[int]:
        slots = self._memory.slots
        for number in range(name, name + PROBES):
            yield _SLOTS_AT + number % slots * _SLOT.size

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        """The writers' lock, unless others keep it."""
        file = self._memory.file
        for _ in range(TRIES):
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
                break
            except OSError:  # another process has it, for some microseconds
                os.sched_yield()
        else:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN, 1)


def _hash(key: bytes) -> int:
    return int.from_bytes(blake2b(key, digest_size=8).digest())
