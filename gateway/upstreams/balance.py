"""Which target of an upstream gets the next request.

`PowerOfTwo`: two drawn at random, the less loaded one wins (Mitzenmacher, "The Power of Two
Choices in Randomized Load Balancing", 2001): nearly as even as asking all, without the herd that
runs to whichever target was least loaded a moment ago.
`RoundRobin`: smooth weighted, as nginx does it: over any round each target gets exactly its
weight, and a heavy one's turns are spread out.
`LeastConnections`: fewest requests in flight for the weight; equals take turns.
`Consistent`: the same key goes to the same target. Keys fall into slots, and each slot ranks the
targets by weighted rendezvous hashing (Thaler and Ravishankar, "Using Name-Based Mappings to
Increase Hit Rates", 1998). A target that goes moves only its own slots, spread over all others.
"""

from __future__ import annotations

import hashlib
import math
import struct
from array import array
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from itertools import accumulate
from typing import Generic, Protocol
from zlib import crc32

from gateway.upstreams.pool import C
from gateway.upstreams.target import Target

# With n equal targets shares differ by about sqrt(n / SLOTS): 5 % for ten. Each target costs
# 32 KiB and 2 ms at start-up.
SLOTS = 4096


class Balancer(Protocol[C]):
    def choose(
        self, key: bytes, now: float, exclude: Collection[Target[C]] = ()
    ) -> Target[C] | None:
        """An available target that is not among `exclude`, or None."""


def usable(
    targets: Sequence[Target[C]], now: float, exclude: Collection[Target[C]]
) -> list[Target[C]]:
    return [target for target in targets if target.available(now) and target not in exclude]


def next_in_turn(targets: Sequence[Target[C]]) -> Target[C]:
    """Every target earns its weight; the richest is chosen and pays what all have earned."""
    earned = 0
    for target in targets:
        target.turn += target.weight
        earned += target.weight
    chosen = max(targets, key=_turn)
    chosen.turn -= earned
    return chosen


def _turn(target: Target[C]) -> int:
    return target.turn


class PowerOfTwo(Generic[C]):
    """`random` returns numbers in [0, 1). Both draws follow the weights, and so do ties."""

    __slots__ = ("_ends", "_random", "_targets")

    def __init__(self, targets: Sequence[Target[C]], random: Callable[[], float]) -> None:
        self._targets = targets
        self._ends = _ends(targets)
        self._random = random

    def choose(
        self, key: bytes, now: float, exclude: Collection[Target[C]] = ()
    ) -> Target[C] | None:
        one, other = self._draw(self._targets, self._ends)
        if exclude or not (one.available(now) and other.available(now)):
            left = usable(self._targets, now, exclude)
            if not left:
                return None
            one, other = self._draw(left, _ends(left))
        return one if one.in_flight * other.weight <= other.in_flight * one.weight else other

    def _draw(
        self, targets: Sequence[Target[C]], ends: Sequence[int]
    ) -> tuple[Target[C], Target[C]]:
        """Two different targets (the same twice when there is but one).

        Each owns a stretch of a line as long as its weight, ending at its `ends`. The second
        draw is on the line without the first one's stretch.
        """
        first = bisect_right(ends, self._random() * ends[-1])
        weight = targets[first].weight
        point = self._random() * (ends[-1] - weight)
        if point >= ends[first] - weight:
            point += weight  # rounding may carry it to the line's very end
        return targets[first], targets[bisect_right(ends, point, 0, len(targets) - 1)]


def _ends(targets: Sequence[Target[C]]) -> list[int]:
    return list(accumulate(target.weight for target in targets))


class RoundRobin(Generic[C]):
    __slots__ = ("_targets",)

    def __init__(self, targets: Sequence[Target[C]]) -> None:
        self._targets = targets

    def choose(
        self, key: bytes, now: float, exclude: Collection[Target[C]] = ()
    ) -> Target[C] | None:
        left = usable(self._targets, now, exclude)
        return next_in_turn(left) if left else None


class LeastConnections(Generic[C]):
    __slots__ = ("_targets",)

    def __init__(self, targets: Sequence[Target[C]]) -> None:
        self._targets = targets

    def choose(
        self, key: bytes, now: float, exclude: Collection[Target[C]] = ()
    ) -> Target[C] | None:
        left = usable(self._targets, now, exclude)
        if not left:
            return None
        # Equal fractions of whole numbers are equal floats: division rounds correctly.
        least = min(target.in_flight / target.weight for target in left)
        return next_in_turn([t for t in left if t.in_flight / t.weight == least])


class Consistent(Generic[C]):
    """Same key, same target, in every worker and on every host, while the targets stay."""

    __slots__ = ("_costs", "_first", "_targets")

    def __init__(self, targets: Sequence[Target[C]]) -> None:
        self._targets = targets
        self._costs = {target: _costs(target) for target in targets}
        self._first = [self._cheapest(targets, slot) for slot in range(SLOTS)]

    def choose(
        self, key: bytes, now: float, exclude: Collection[Target[C]] = ()
    ) -> Target[C] | None:
        slot = crc32(key) % SLOTS
        target = self._first[slot]
        if target.available(now) and target not in exclude:
            return target
        left = usable(self._targets, now, exclude)
        return self._cheapest(left, slot) if left else None

    def _cheapest(self, targets: Sequence[Target[C]], slot: int) -> Target[C]:
        return min(targets, key=lambda target: self._costs[target][slot])


def _costs(target: Target[C]) -> array[float]:
    """A cost for each slot, exponentially distributed with the weight as its rate.

    The least of such costs is a target's with a probability proportional to its weight.
    """
    noise = hashlib.shake_256(target.name.encode()).digest(8 * SLOTS)
    numbers = struct.unpack(f"<{SLOTS}Q", noise)
    return array("d", (-math.log((number + 1) / 2**64) / target.weight for number in numbers))
