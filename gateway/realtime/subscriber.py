"""Who hears updates: at its own pace, and never at the others' cost.

An update is written at once where that is within the client's rate and the client takes what it
is sent. Else it waits here, by reference: the bytes are those that all clients share. What waits
is bounded in number and in bytes, the oldest goes first, and the client is told how many went.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import Final, Protocol

from gateway.realtime import wire
from gateway.realtime.wire import Update
from gateway.units import Rate

TOLD_EVERY: Final = 1.0  # seconds between two notices of what was dropped


TEN_A_SECOND: Final = Rate(10, 1.0)


@dataclass(frozen=True, slots=True)
class Pace:
    """What one client may be sent. `rate` None is no limit; then only its own slowness counts."""

    rate: Rate | None = TEN_A_SECOND
    waiting: int = 1000  # updates
    waiting_bytes: int = 262144
    conflate: bool = False  # of what waits, keep the newest of each symbol only


class Keeper(Protocol):
    """Counts what waits, and calls `release` on those who told it to, a little later."""

    queued: int
    sent: int

    def remind(self, subscriber: Subscriber) -> None: ...

    def dropped(self, updates: int) -> None: ...


class Subscriber:
    """One client's end of the hub; how bytes reach the client is the subclass's business."""

    __slots__ = (
        "_held",
        "_held_bytes",
        "_keeper",
        "_pace",
        "_sent_at",
        "_told_at",
        "_untold",
        "conflate",
        "dropped",
        "sent",
        "symbols",
    )

    def __init__(self, keeper: Keeper, pace: Pace) -> None:
        self._keeper = keeper
        self._pace = pace
        self.conflate = pace.conflate
        self.symbols: set[str] = set()
        self.sent = 0
        self.dropped = 0
        self._untold = 0
        self._told_at = 0.0
        self._held: dict[str | int, Update] = {}
        self._held_bytes = 0
        # When the last ones of a rate's count went: none may go before the oldest is a period old.
        self._sent_at: deque[float] | None = None if pace.rate is None else deque()

    # ------------------------------------------------------------------ what a subclass knows

    @property
    def full(self) -> bool:
        """Whether the client takes no more for now."""
        raise NotImplementedError

    def write(self, update: Update) -> None:
        raise NotImplementedError

    def tell(self, message: bytes) -> None:
        """Send one of the gateway's own messages, JSON."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------- the hub's calls

    @property
    def waiting(self) -> int:
        """Updates that wait for it."""
        return len(self._held)

    def offer(self, update: Update, now: float) -> None:
        """Send it if it is its time; `now` in seconds of the monotonic clock."""
        if self._held or self.full or not self._in_time(now):
            self.hold(update)
            return
        self.sent += 1
        self._keeper.sent += 1
        self.write(update)

    def replay(self, updates: list[Update]) -> None:
        """Send what was missed; there is no hurry that a rate would have to slow down."""
        for update in updates:
            if self._held or self.full:
                self.hold(update)
            else:
                self.sent += 1
                self._keeper.sent += 1
                self.write(update)

    def release(self) -> None:
        """Send of what waits as much as may go."""
        now = monotonic()
        if not self.full:
            self._tell_dropped(now)
        while self._held and not self.full and self._in_time(now):
            update = self._held.pop(next(iter(self._held)))
            self._held_bytes -= update.size
            self._keeper.queued -= 1
            self._keeper.sent += 1
            self.sent += 1
            self.write(update)
        if not self.full and (self._held or self._untold):
            self._keeper.remind(self)

    def forget(self) -> None:
        """Let go of what waits: the client is gone."""
        self._keeper.queued -= len(self._held)
        self._held = {}
        self._held_bytes = 0
        self._untold = 0

    # ----------------------------------------------------------------------------------- its own

    def _in_time(self, now: float) -> bool:
        """Whether one may go now, within the rate; then it counts as gone."""
        times = self._sent_at
        if times is None:
            return True
        rate = self._pace.rate
        assert rate is not None
        if len(times) >= rate.count:
            if times[0] + rate.period > now:
                return False
            times.popleft()
        times.append(now)
        return True

    def hold(self, update: Update) -> None:
        pace, held = self._pace, self._held
        key = update.symbol if self.conflate else update.number
        before = held.pop(key, None)
        if before is not None:
            self._held_bytes -= before.size
            self._keeper.queued -= 1
        if not held and not self.full:
            self._keeper.remind(self)
        held[key] = update
        self._held_bytes += update.size
        self._keeper.queued += 1
        while len(held) > pace.waiting or self._held_bytes > pace.waiting_bytes:
            oldest = held.pop(next(iter(held)))
            self._held_bytes -= oldest.size
            self._keeper.queued -= 1
            self._keeper.dropped(1)
            self.dropped += 1
            self._untold += 1

    def _tell_dropped(self, now: float) -> None:
        if self._untold and now - self._told_at >= TOLD_EVERY:
            self._told_at = now
            untold, self._untold = self._untold, 0
            self.tell(wire.message(type="warning", dropped=untold))
