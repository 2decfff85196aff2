"""The bus of one host: a log in memory that its processes share.

The theory. The parent maps the log before it forks. Records lie one behind the other round a ring,
and whoever appends overwrites the oldest. `head` counts all bytes ever written, so a place in the
ring is told by that number; `tail` is the place of the oldest record that is whole. Who appends or
copies holds the log's mutex (`gateway.stores.mutexes`), copies take a piece at a time, and what is
copied is read afterwards. A writer first moves `tail` over what it will overwrite, then writes,
and moves `head` last: what a death leaves half written lies behind `head`, where nobody looks. At
worst a number stays unused.

Each slot has an eventfd that was made before the fork; who appends wakes all of them, its own
process as well. A listener keeps its own place. It may fall behind by the size of the ring: then
it goes on with the oldest record, and says so.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import weakref
from collections import deque
from contextlib import suppress
from secrets import token_hex
from struct import Struct
from typing import Final, NamedTuple

from gateway.stores import Hearer, mutexes

SIZE: Final = 8 << 20
"""Bytes of events that are kept, with 16 of each record's own and what rounds it up to 16."""

SHARE: Final = 4  # one event takes at most this part of the ring
PIECE: Final = 1 << 16  # bytes copied at once, unless one record is longer

_RECORD: Final = Struct("=QII")  # number (0: none, the ring's rest is unused), subject's, data's
_ALIGN: Final = _RECORD.size  # so that the ring's rest is nothing, or has room for a record's head
_CELLS_AT: Final = mutexes.BYTES
_HEAD, _TAIL, _LAST = range(3)
_RING_AT: Final = 4096


class Record(NamedTuple):
    """One event."""

    number: int
    subject: bytes
    data: bytes


class SharedLog:
    """The memory and what wakes its readers. Make it before forking; the eventfds are inherited.

    Appending needs nothing but this: a child that is no worker may do so, too.
    """

    def __init__(self, slots: int, size: int = SIZE) -> None:
        """For `slots` workers, `size` bytes, rounded up to a page. Raises OSError."""
        self.size = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
        self.epoch = token_hex(8)
        self._memory = mmap.mmap(-1, _RING_AT + self.size)
        (self._mutex,) = mutexes.make(self._memory)
        # Numbers that are loaded and stored whole: a death never leaves half of one.
        self._cells = memoryview(self._memory)[_CELLS_AT : _CELLS_AT + 24].cast("Q")
        self.wakes = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(slots)]
        weakref.finalize(self, _close_all, self.wakes)

    def append(self, subject: bytes, data: bytes) -> int:
        """The event's number. Raises ValueError for one that takes too much of the ring."""
        length = _aligned(_RECORD.size + len(subject) + len(data))
        if length > self.size // SHARE:
            raise ValueError(f"an event of {len(data)} bytes, more than the log can carry")
        with mutexes.held(self._mutex):
            number = self._append(subject, data, length)
        for wake in self.wakes:
            with suppress(BlockingIOError):  # it was woken 2^64 times, and nobody is there
                os.eventfd_write(wake, 1)
        return number

    def _append(self, subject: bytes, data: bytes, length: int) -> int:
        memory, cells, place = self._memory, self._cells, self._cells[_HEAD]
        rest = self.size - place % self.size
        begin = place if length <= rest else place + rest  # none goes over the ring's end
        tail = cells[_TAIL]
        while begin + length - tail > self.size:
            tail = self._behind(tail)
        cells[_TAIL] = tail
        if begin != place:
            _RECORD.pack_into(memory, self._at(place), 0, 0, 0)
        number = cells[_LAST] + 1
        at = self._at(begin)
        _RECORD.pack_into(memory, at, number, len(subject), len(data))
        at += _RECORD.size
        memory[at : at + len(subject)] = subject
        memory[at + len(subject) : at + len(subject) + len(data)] = data
        cells[_LAST] = number
        cells[_HEAD] = begin + length
        return number

    def _at(self, place: int) -> int:
        return _RING_AT + place % self.size

    def _behind(self, place: int) -> int:
        """The place of what comes after a record."""
        number, subject, data = _RECORD.unpack_from(self._memory, self._at(place))
        if not number:
            return place + self.size - place % self.size
        return place + _aligned(_RECORD.size + int(subject) + int(data))

    def oldest(self) -> tuple[int, int]:
        """The place to begin reading, and the number of the last event that is gone."""
        with mutexes.held(self._mutex):
            return self._oldest()

    def _oldest(self) -> tuple[int, int]:
        place, head = self._cells[_TAIL], self._cells[_HEAD]
        while place < head:
            number = _RECORD.unpack_from(self._memory, self._at(place))[0]
            if number:
                return place, number - 1
            place = self._behind(place)
        return place, self._cells[_LAST]

    def newest(self) -> tuple[int, int]:
        """The place behind all records, and the last number."""
        with mutexes.held(self._mutex):
            return self._cells[_HEAD], self._cells[_LAST]

    def read(self, place: int) -> tuple[int, list[Record]] | None:
        """The place to go on at, and the records up to there: some of those there are.

        None where what was at `place` is overwritten. No records and a new place are possible.
        """
        with mutexes.held(self._mutex):
            if place < self._cells[_TAIL]:
                return None
            there = min(self._cells[_HEAD] - place, self.size - place % self.size)
            if there > PIECE:
                there = min(there, max(PIECE, self._behind(place) - place))
            at = self._at(place)
            piece = self._memory[at : at + there]
        records, used = _parsed(piece)
        if used < there and not records:  # nothing but the unused rest of the ring
            used = self.size - place % self.size
        return place + used, records


def _parsed(piece: bytes) -> tuple[list[Record], int]:
    """The whole records that bytes begin with, and how many bytes these are."""
    records = []
    at = 0
    while at + _RECORD.size <= len(piece):
        number, subject, data = _RECORD.unpack_from(piece, at)
        body = at + _RECORD.size
        end = at + _aligned(_RECORD.size + subject + data)
        if not number or end > len(piece):
            break
        middle = body + subject
        records.append(Record(number, piece[body:middle], piece[middle : middle + data]))
        at = end
    return records, at


def _aligned(length: int) -> int:
    return -(-length // _ALIGN) * _ALIGN


def _close_all(files: list[int]) -> None:
    for file in files:
        os.close(file)


class _Listener:
    """One hearer, and how far it has got."""

    __slots__ = ("_hearer", "_log", "_place", "_subject")

    def __init__(self, log: SharedLog, subject: bytes, hearer: Hearer, place: int) -> None:
        self._log = log
        self._subject = subject
        self._hearer = hearer
        self._place = place

    def step(self) -> bool:
        """Tell of a piece of what is new. Says whether there may be more."""
        found = self._log.read(self._place)
        if found is None:
            self._place, floor = self._log.oldest()
            self._hearer.begin(self._log.epoch, floor)
            return True
        before, (self._place, records) = self._place, found
        for record in records:
            if record.subject == self._subject:
                self._hearer.event(record.number, record.data)
        return self._place != before


class SharedBus:
    """The `gateway.stores.Bus` of the worker in a slot. Never waits for a server."""

    name = "embedded"

    def __init__(self, log: SharedLog, slot: int) -> None:
        self._log = log
        self._wake = log.wakes[slot]
        self._listeners: list[_Listener] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stepping = False

    async def publish(self, subject: str, data: bytes) -> None:
        """Raises ValueError for more than the log can carry, and nothing else."""
        self._log.append(subject.encode(), data)

    async def listen(self, subject: str, hearer: Hearer, recent: int) -> None:
        wanted = subject.encode()
        kept, place, floor = await self._past(wanted, recent)
        hearer.begin(self._log.epoch, floor)
        for record in kept:
            hearer.event(record.number, record.data)
        self._listeners.append(_Listener(self._log, wanted, hearer, place))
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._wake, self._woken)
        self._step()  # what came in between woke nobody

    async def _past(self, subject: bytes, recent: int) -> tuple[deque[Record], int, int]:
        """The last events of a subject, where they end, and the last number before them."""
        kept: deque[Record] = deque(maxlen=recent)
        place, floor = self._log.newest()
        if not recent:
            return kept, place, floor
        place, floor = self._log.oldest()
        while (found := self._log.read(place)) is None or found[0] != place:
            if found is None:
                place, gone = self._log.oldest()
                floor = max(floor, gone)
                kept.clear()
            else:
                place, records = found
                for record in records:
                    if record.subject == subject:
                        if len(kept) == recent:
                            floor = kept[0].number
                        kept.append(record)
            await asyncio.sleep(0)
        return kept, place, floor

    def _woken(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        if not self._stepping:
            self._step()

    def _step(self) -> None:
        """A piece for each listener; others on the loop have their turn before the next one."""
        self._stepping = False
        if self._loop is None:
            return
        more = [listener.step() for listener in self._listeners]
        if any(more):
            self._stepping = True
            self._loop.call_soon(self._step)

    async def close(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._wake)
            self._loop = None
        self._listeners.clear()
