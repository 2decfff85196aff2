"""The last updates, for clients that were away for a while."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import takewhile
from typing import Final

from gateway.realtime.wire import EVERYTHING, Offset, Update

LARGEST: Final = 1 << 26  # bytes of updates, whatever their number


class History:
    """Keeps `most` updates of one numbering.

    Kept by symbol as well, so that a client that comes back costs what it missed and not what
    all others missed, too.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: deque[Update] = deque()
        self._of: dict[str, deque[Update]] = {}
        self._bytes = 0
        self.epoch = ""
        self._floor = 0

    def begin(self, epoch: str, floor: int) -> None:
        """What comes is numbered in `epoch`; what has a number up to `floor` is not known."""
        self.epoch = epoch
        self._floor = floor
        self._all.clear()
        self._of.clear()
        self._bytes = 0

    def add(self, update: Update) -> None:
        if not self._most:
            self._floor = update.number
            return
        self._all.append(update)
        self._bytes += update.size
        self._of.setdefault(update.symbol, deque()).append(update)
        while len(self._all) > self._most or self._bytes > LARGEST:
            self._forget()

    def newest(self, symbols: Iterable[str]) -> list[Update]:
        """The last update of each symbol, oldest first."""
        symbols = set(symbols)
        every = self._of if EVERYTHING in symbols else symbols & self._of.keys()
        return sorted((self._of[s][-1] for s in every), key=lambda update: update.number)

    def _forget(self) -> None:
        oldest = self._all.popleft()
        self._bytes -= oldest.size
        of = self._of[oldest.symbol]
        of.popleft()
        if not of:
            del self._of[oldest.symbol]
        self._floor = oldest.number

    @property
    def last(self) -> Offset:
        """The newest one's offset, or where it all began."""
        return Offset(self.epoch, self._all[-1].number if self._all else self._floor)

    def since(self, offset: Offset, symbols: Iterable[str]) -> list[Update] | None:
        """Updates of these symbols behind that offset, oldest first; None if some are forgotten."""
        epoch, number = offset
        if epoch != self.epoch or not self._floor <= number <= self.last.number:
            return None
        symbols = set(symbols)
        kept = [self._all] if EVERYTHING in symbols else [self._of.get(s, ()) for s in symbols]
        found = [u for one in kept for u in takewhile(lambda u: u.number > number, reversed(one))]
        return sorted(found, key=lambda update: update.number)
