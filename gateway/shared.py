"""What the processes of one host share: allocated by the parent, before it forks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.telemetry import memory
from gateway.telemetry.memory import Region


@dataclass(frozen=True, slots=True)
class Shared:
    """`regions` holds a region for each worker slot and, last, one for the parent."""

    regions: Sequence[Region]

    @property
    def alone(self) -> bool:
        """Whether one process is the whole gateway."""
        return len(self.regions) == 2


def allocate(slots: int) -> Shared:
    """For `slots` workers. Raises OSError when the memory is not to be had."""
    return Shared(memory.allocate(slots))
