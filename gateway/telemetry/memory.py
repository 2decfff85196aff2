"""Memory that all workers share: numbers that cost an addition to write and that all can read.

The parent allocates one anonymous mapping before it forks and cuts it into regions, one for
each worker slot and one for itself. A region has one writer, the process in its slot, and any
number of readers. It is an array of float64 cells and a directory, which says what each run of
cells counts. The directory only grows: a line of JSON for each run, valid once the length in
the region's head covers it. So readers need no lock, and a process that is started again in a
slot finds the directory and goes on where the last one died.

A cell is eight aligned bytes, which x86-64 and ARM64 store and load whole: a reader sees the
old number or the new one, never half of each. Order between cells is not promised.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Final

import orjson

CELLS: Final = 65_536
"""Cells of a region. Untouched pages take no memory, so the bound is generous: about a
thousand routes, each with several methods and statuses and their histograms."""

DIRECTORY_BYTES: Final = 2 * 1024 * 1024

_CELL_BYTES: Final = 8
_REGION_BYTES: Final = CELLS * _CELL_BYTES + DIRECTORY_BYTES

_HEARTBEAT: Final = 0
_CELLS_USED: Final = 1
_DIRECTORY_USED: Final = 2
_FIRST_CELL: Final = 8  # the head has a cache line of its own

ABSENT: Final = float("nan")
"""A gauge that says nothing at present."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A run of `width` cells from `index` on, which belongs to one label combination."""

    kind: str
    name: str
    labels: tuple[str, ...]
    index: int
    width: int


class Region:
    """The cells and the directory of one slot."""

    __slots__ = ("_directory", "_entries", "_read_up_to", "cells")

    def __init__(self, memory: memoryview) -> None:
        """`memory` holds zeros, or what another process in this slot left."""
        self.cells = memory[: CELLS * _CELL_BYTES].cast("d")
        self._directory = memory[CELLS * _CELL_BYTES :]
        self._entries: list[Entry] = []
        self._read_up_to = 0

    @property
    def heartbeat(self) -> float:
        """`time.monotonic()` of the slot's last sign of life; 0 before the first one."""
        return self.cells[_HEARTBEAT]

    @heartbeat.setter
    def heartbeat(self, now: float) -> None:
        self.cells[_HEARTBEAT] = now

    def entries(self) -> list[Entry]:
        """All runs so far, in the order they were made. The list is the region's: do not change it.

        Only lines that came since the last call are parsed. One thread at a time may call.
        """
        end = int(self.cells[_DIRECTORY_USED])
        for line in bytes(self._directory[self._read_up_to : end]).splitlines(keepends=True):
            try:
                kind, name, labels, index, width = orjson.loads(line)
            except orjson.JSONDecodeError:
                # ARM64 may show the length before the line: it is there at the next call.
                break
            self._entries.append(Entry(kind, name, tuple(labels), index, width))
            self._read_up_to += len(line)
        return self._entries

    def allocate(self, kind: str, name: str, labels: tuple[str, ...], width: int) -> Entry | None:
        """Makes a run of zeros (a gauge's says nothing yet); None when the region is full.

        Only the slot's process may call.
        """
        index = max(int(self.cells[_CELLS_USED]), _FIRST_CELL)
        start = int(self.cells[_DIRECTORY_USED])
        line = orjson.dumps((kind, name, labels, index, width)) + b"\n"
        if index + width > CELLS or start + len(line) > DIRECTORY_BYTES:
            return None
        self._directory[start : start + len(line)] = line
        if kind == "gauge":
            self.cells[index] = ABSENT
        # In this order, so that a death between the two loses the run and never gives it twice.
        self.cells[_CELLS_USED] = index + width
        self.cells[_DIRECTORY_USED] = start + len(line)
        return Entry(kind, name, labels, index, width)

    def clear_gauges(self) -> None:
        """Forgets the gauges, which say what a process that is gone had open; counters stay."""
        for entry in self.entries():
            if entry.kind == "gauge":
                self.cells[entry.index] = ABSENT


def allocate(slots: int) -> list[Region]:
    """Regions for `slots` workers and, last, one for the parent. Call it before forking.

    Raises OSError when the memory is not to be had.
    """
    memory = memoryview(mmap.mmap(-1, (slots + 1) * _REGION_BYTES))
    return [
        Region(memory[start : start + _REGION_BYTES])
        for start in range(0, len(memory), _REGION_BYTES)
    ]
