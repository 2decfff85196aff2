"""The circuit breaker of one target: after too many failures it is left alone for a while.

Failures are counted in a sliding window whether or not successes come between them, as nginx
(`max_fails`) and Caddy do. An open breaker asks again after `open_for` seconds, always the same:
a growing pause would leave a target that has recovered unused for minutes, and one probe in
`open_for` seconds is no load.
"""

from __future__ import annotations

import enum
from collections import deque


class State(enum.StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Event(enum.Enum):
    TRIPPED = enum.auto()  # enough failures; one is enough for a probe
    PROBED = enum.auto()
    SUCCEEDED = enum.auto()


# On the path of every request: an enum's members cost a look-up each time.
CLOSED, OPEN, HALF_OPEN = State

# What is not listed changes nothing.
NEXT = {
    (CLOSED, Event.TRIPPED): OPEN,
    (OPEN, Event.PROBED): HALF_OPEN,
    (HALF_OPEN, Event.PROBED): HALF_OPEN,
    (HALF_OPEN, Event.SUCCEEDED): CLOSED,
    (HALF_OPEN, Event.TRIPPED): OPEN,
}


class Breaker:
    """`failures` within `window` seconds open it for `open_for` seconds, then one probe decides.

    An attempt calls `started`, and `succeeded`, `failed` or `abandoned` with the time at which it
    started: what began before the last change of state says nothing about the target now.
    `changed_at` is when the state last changed, `reason` why the breaker last opened.
    """

    __slots__ = ("_open_for", "_recent", "_retry_at", "_window", "changed_at", "reason", "state")

    def __init__(self, failures: int, window: float, open_for: float, now: float = 0.0) -> None:
        self.state = CLOSED
        self.changed_at = now
        self.reason = ""
        self._window = window
        self._open_for = open_for
        self._recent: deque[float] = deque(maxlen=failures)
        self._retry_at = now

    def allows(self, now: float) -> bool:
        """May an attempt be made? Asking takes nothing: the probe is taken by `started`.

        A probe that has not reported after `open_for` seconds counts as lost: the next may go.
        """
        return self.state is CLOSED or now >= self._retry_at

    def started(self, now: float) -> None:
        if self.state is not CLOSED:
            self._turn(Event.PROBED, now)

    def succeeded(self, now: float, since: float) -> None:
        if self.state is not CLOSED and since >= self.changed_at:
            self._turn(Event.SUCCEEDED, now)

    def failed(self, now: float, since: float, why: str) -> None:
        if self.state is OPEN or since < self.changed_at:
            return
        if self.state is CLOSED and not self._one_too_many(now):
            return
        self.reason = why
        self._turn(Event.TRIPPED, now)

    def abandoned(self, now: float, since: float) -> None:
        """The attempt ended without a verdict, as when the client left: the next may probe."""
        if self.state is HALF_OPEN and since >= self.changed_at:
            self._retry_at = now

    def _one_too_many(self, now: float) -> bool:
        recent = self._recent
        recent.append(now)
        return len(recent) == recent.maxlen and now - recent[0] <= self._window

    def _turn(self, event: Event, now: float) -> None:
        state = NEXT.get((self.state, event))
        if state is None:
            return
        self.state = state
        self.changed_at = now
        self._retry_at = now + self._open_for
        self._recent.clear()
