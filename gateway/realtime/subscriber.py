"""Who hears updates: at its own pace, and never at the others' cost.

An update is written at once where that is within the client's rate and the client takes what it
is sent. Else it waits here, by reference: the bytes are those that all clients share. What waits
is bounded in number and in bytes, the oldest goes first, and the client is told how many went.

Most are idle when an update comes. For them `offer` touches this object and no other: with ten
thousand of them, each object that is not in the processor's cache costs as much as a call.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Final, Protocol

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
    """Counts what waits, and calls `release` on those who told it to, a little later.

    It counts an update as `sent` to whom it was offered; who holds it back says so.
    """

    queued: int
    sent: int

    def remind(self, subscriber: Subscriber) -> None: ...

    def dropped(self, updates: int) -> None: ...


class Subscriber:
    """One client's end of the hub; how bytes reach the client is the subclass's business."""

    __slots__ = (
        "_gone",
        "_held",
        "_held_bytes",
        "_keeper",
        "_lately",
        "_missed",
        "_oldest",
        "_pace",
        "_period",
        "_ready",
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
        self._held: dict[str, Update] = {}
        self._held_bytes = 0
        self._missed: deque[Update] | None = None  # that go before what is new
        self._gone = False
        self._ready = True  # nothing waits, and the client takes what it is sent
        self._period = 0.0 if pace.rate is None else pace.rate.period
        self._sent_at = -inf  # the last one
        # When the last ones went, as many as the rate's count: a ring, and where its oldest is.
        self._lately: list[float] | None = None
        self._oldest = 0

    # ------------------------------------------------------------------ what a subclass knows

    @property
    def full(self) -> bool:
        """Whether the client takes no more for now."""
        raise NotImplementedError

    def write(self, update: Update) -> None:
        raise NotImplementedError

    def tell(self, kind: str, **fields: object) -> None:
        """Send one of the gateway's own messages."""
        raise NotImplementedError

    # ---------------------------------------------------------------------------- the hub's calls

    @property
    def waiting(self) -> int:
        """Updates that wait for it."""
        return len(self._held)

    def offer(self, update: Update, now: float) -> None:
        """Send it if it is its time; `now` in seconds of the monotonic clock."""
        if self._ready and (now - self._sent_at >= self._period or self._in_time(now)):
            self._sent_at = now
            self.sent += 1
            self.write(update)
        else:
            self._hold(update)

    def _put(self, update: Update) -> None:
        self.sent += 1
        self._keeper.sent += 1
        self.write(update)

    def replay(self, updates: Sequence[Update], most: int) -> bool:
        """Send what was missed, as fast as the client takes it; what is new waits behind it.

        Says whether that was possible: no more than `most` can wait.
        """
        waiting = self._missed or ()
        if len(waiting) + len(updates) > most:
            return False
        self._missed = deque((*waiting, *updates))
        self._catch_up()
        return True

    def _catch_up(self) -> None:
        missed = self._missed
        while missed and not self.full:
            self._put(missed.popleft())
        if not missed:
            self._missed = None
        self._settle()

    def _settle(self) -> None:
        self._ready = not (self._held or self._missed or self.full)

    def release(self) -> None:
        """Send of what waits as much as may go."""
        now = monotonic()
        self._catch_up()
        if not self.full:
            self._tell_dropped(now)
        while self._held and not self.full and self._in_time(now):
            update = self._held.pop(next(iter(self._held)))
            self._held_bytes -= update.size
            self._keeper.queued -= 1
            self._sent_at = now
            self._put(update)
        self._settle()
        if not self.full and (self._held or self._untold):
            self._keeper.remind(self)

    def supersede(self) -> None:
        """Let go of what waits: the client is told to fetch what is newer."""
        self._keeper.queued -= len(self._held)
        self._held = {}
        self._missed = None
        self._held_bytes = 0
        self._settle()

    def forget(self) -> None:
        """Let go of what waits: the client is gone."""
        self.supersede()
        self._gone = True
        self._ready = False
        self._untold = 0

    # ----------------------------------------------------------------------------------- its own

    def _in_time(self, now: float) -> bool:
        """Whether one may go now: in no period go more than the rate's count."""
        times = self._lately
        if times is None:
            rate = self._pace.rate
            if rate is None:
                return True
            times = self._lately = [-inf] * rate.count
        at, last = self._oldest, self._sent_at
        if times[at - 1] != last:  # one that came after a quiet period, alone in it: not noted yet
            times[at] = last
            at = at + 1 if at + 1 < len(times) else 0
        self._oldest = at
        if now - times[at] < self._period:
            return False
        times[at] = now
        self._oldest = at + 1 if at + 1 < len(times) else 0
        return True

    def _hold(self, update: Update) -> None:
        self._keeper.sent -= 1
        if self._gone:  # it left while others were served
            return
        self._ready = False
        pace, held = self._pace, self._held
        key = update.symbol if self.conflate else update.offset
        if not held and not self.full:
            self._keeper.remind(self)
        before = held.get(key)
        if before is not None:
            self._held_bytes -= before.size
            self._keeper.queued -= 1
        held[key] = update  # in the place of the one before: who moves all the time has a turn, too
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
            self.tell("warning", dropped=untold)
