"""Counters in memory that all workers of this host share, so that limits hold across them.

The theory. The parent maps the memory before it forks. It is a table of a fixed size: a slot holds
the 128-bit hash of a key and the key's arrival time (`gateway.limits`), in nanoseconds of
CLOCK_MONOTONIC, which is the same for all processes and takes no part in steps of the clock. A
slot whose time is past says what an empty one says, so nothing has to be cleaned up: it is used
again by whichever key comes along.

A key lies in one of the `PROBES` slots from where its hash points. If other keys have all of them
and none is past, the one that is past soonest makes room: memory stays bounded, nobody is refused
for what others did, and who was forgotten, one who had asked for little, may begin anew.
`displaced` hears of it: the table is too small then, or somebody is making up keys.

Slots are reached by their hash alone, and Python's hash of bytes is keyed by a secret that is drawn
when the parent starts and that forking hands on: nobody can choose keys that crowd one place.

The table is cut into stripes with a lock each, which outlives who holds it (`stores.mutexes`).
What a death leaves half written is a time of another key at worst. One that is stopped in that
microsecond holds up the others until it goes on, or is killed for its silence (`worker_timeout`).
A process that is alone locks nothing.
"""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable
from struct import Struct
from time import monotonic_ns
from typing import Final

from gateway import limits
from gateway.stores import Decision, mutexes
from gateway.units import Rate

ENTRIES: Final = 1 << 18
"""Keys that are counted at once, unless the settings say otherwise; 8 MiB when all are in use."""

PROBES: Final = 16
STRIPES: Final = 64

_ENTRY: Final = Struct("=qqQQ")  # hash, hash; time: whole nanoseconds, and parts of one by `count`
_ENTRY_BYTES: Final = 32
_HEAD: Final = STRIPES * mutexes.BYTES
_SECOND: Final = b"\x00second"  # makes another hash of the same key

_lock: Final = mutexes.lock
_unlock: Final = mutexes.unlock


class Counters:
    """The memory: mutexes, then slots."""

    __slots__ = ("entries", "memory", "mutexes")

    def __init__(self, memory: mmap.mmap, entries: int) -> None:
        self.memory = memory
        self.entries = entries
        self.mutexes = mutexes.make(memory, STRIPES)


def allocate(entries: int = ENTRIES) -> Counters:
    """Room for `entries` keys, rounded up to a power of two. Call it before forking.

    Raises OSError when it is not to be had. Pages that were never touched take no memory.
    """
    entries = 1 << max(entries - 1, STRIPES * PROBES - 1).bit_length()
    return Counters(mmap.mmap(-1, _HEAD + entries * _ENTRY_BYTES), entries)


def _ignore() -> None:
    """Nobody wants to know."""


class SharedLimiter:
    """A `Limiter` of one process over the host's counters. Never waits for input or output."""

    def __init__(
        self,
        counters: Counters,
        *,
        alone: bool,
        displaced: Callable[[], None] = _ignore,
        clock: Callable[[], int] = monotonic_ns,
    ) -> None:
        """`alone` says that no other process uses the memory; `clock` counts nanoseconds."""
        self._memory = counters.memory
        self._mutexes = counters.mutexes
        self._within = counters.entries // STRIPES - 1
        self._stripe_bytes = counters.entries // STRIPES * _ENTRY_BYTES
        self._alone = alone
        self._displaced = displaced
        self._clock = clock

    def take(self, key: bytes, rate: Rate, cost: int = 1) -> Decision:
        """Count `cost` requests of the key, if they are within the rate."""
        first = hash(key)
        second = hash(key + _SECOND)
        stripe = second % STRIPES
        if not self._alone and _lock(self._mutexes[stripe]) == errno.EOWNERDEAD:
            mutexes.restore(self._mutexes[stripe])
        try:
            now = self._clock()
            base = _HEAD + stripe * self._stripe_bytes
            at = base + (first & self._within) * _ENTRY_BYTES
            one, two, whole, part = _ENTRY.unpack_from(self._memory, at)
            if one != first or two != second:
                at, whole, part = self._find(base, first, second, now)
            count = rate.count
            ahead, decision = limits.take((whole - now) * count + part, rate, cost)
            if decision.allowed and cost:
                whole, part = divmod(ahead, count)
                _ENTRY.pack_into(self._memory, at, first, second, now + whole, part)
            return decision
        finally:
            if not self._alone:
                _unlock(self._mutexes[stripe])

    def _find(self, base: int, first: int, second: int, now: int) -> tuple[int, int, int]:
        """Where the key lies, or may lie; and its time, which is none if it is new."""
        free, soonest = 0, 0
        earliest = 1 << 64
        for step in range(PROBES):
            at = base + ((first + step) & self._within) * _ENTRY_BYTES
            one, two, whole, part = _ENTRY.unpack_from(self._memory, at)
            if one == first and two == second:
                return at, whole, part
            if whole < now and not free:
                free = at
            if not whole:  # never used: no key lies behind it that would have fitted here
                break
            if whole < earliest:
                soonest, earliest = at, whole
        if not free:
            self._displaced()
        return free or soonest, 0, 0
