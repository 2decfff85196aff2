"""What the processes of one host share: allocated by the parent, before it forks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.stores import shared as counting
from gateway.stores import shared_cache as caching
from gateway.stores.shared import Counters
from gateway.stores.shared_bus import SharedLog
from gateway.telemetry import memory
from gateway.telemetry.memory import Region


@dataclass(frozen=True, slots=True)
class Shared:
    """`regions` holds a region for each worker slot and, last, one for the parent.

    `counters` are what rate limits count with, `answers` is what the cache keeps, `events` is the
    log of the bus that is built in.
    """

    regions: Sequence[Region]
    counters: Counters
    answers: caching.Memory
    events: SharedLog

    @property
    def alone(self) -> bool:
        """Whether one process is the whole gateway."""
        return len(self.regions) == 2


def allocate(slots: int, counters: int = counting.ENTRIES, answers: int = caching.SIZE) -> Shared:
    """For `slots` workers, `counters` keys and `answers` bytes of what the cache keeps.

    Raises OSError when there is no memory for it.
    """
    return Shared(
        memory.allocate(slots),
        counting.allocate(counters),
        caching.Memory(answers),
        SharedLog(slots),
    )
