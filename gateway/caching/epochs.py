"""What tells all processes of a host that an answer is no longer to be used.

Each key has one of a few thousand cells in shared memory. What is kept remembers what its cell
said when it was asked for; when the cell says something else, it is void. Voiding writes a random
number: whoever writes, readers see a change, and no lock is needed. Keys that share a cell are
voided together, which costs a request upstream and nothing else.
"""

from __future__ import annotations

from os import urandom
from typing import Final
from zlib import crc32

CELLS: Final = 8192
BYTES: Final = 8 * (CELLS + 1)

Stamp = tuple[int, int]
"""What a key's cell and the cell of all keys said."""


class Epochs:
    """The cells."""

    def __init__(self, memory: memoryview) -> None:
        """`memory`: `BYTES` bytes, zeros at first, which all processes of the host share."""
        self._cells = memory.cast("Q")

    def cell(self, key: bytes) -> int:
        """The number of a key's cell."""
        return crc32(key) % CELLS

    def value(self, cell: int) -> int:
        return self._cells[cell]

    def stamp(self, key: bytes) -> Stamp:
        """To be taken before an answer is asked for."""
        return self._cells[crc32(key) % CELLS], self._cells[CELLS]

    def void(self, key: bytes) -> None:
        """What is kept under this key is void."""
        self._cells[crc32(key) % CELLS] = int.from_bytes(urandom(8))

    @property
    def purges(self) -> int:
        """Changes with each purge of many keys: copies have to be looked up again."""
        return self._cells[CELLS]

    def purged(self) -> None:
        """Many keys were voided, and not all of them may be known."""
        self._cells[CELLS] = int.from_bytes(urandom(8))
