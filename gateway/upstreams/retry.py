"""When a request may be tried again: only where that is safe, and only so often.

Safe is a question of RFC 9110 9.2.2: a method that is idempotent, or a request of which the
upstream has seen nothing. How often is a matter of load: an upstream in trouble must not get
twice the requests because of it, so retries draw on a budget that requests fill (as in Finagle
and Linkerd).
"""

from __future__ import annotations

import enum

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))

# Statuses that say "not now" rather than "no".
RETRYABLE_STATUS = frozenset((502, 503, 504))

# Seconds over which requests and retries are weighed against each other.
WINDOW = 10

# Retries a second that are allowed whatever the traffic: a share of very little is nothing.
RESERVE = 1.0


class Reach(enum.Enum):
    """How far an attempt that failed had come."""

    UNSENT = enum.auto()  # nothing of the request was written
    SENT = enum.auto()  # something of it was written, no byte of an answer came
    ANSWERED = enum.auto()  # a byte of an answer came


class RetryBudget:
    """At most `ratio` retries a request over the last WINDOW seconds, and RESERVE a second more.

    Counted in buckets of one second, so that the window slides in steps of one.
    """

    __slots__ = ("_allowance", "_ratio", "_requests", "_retries", "_second")

    def __init__(self, ratio: float, reserve: float = RESERVE) -> None:
        self._ratio = ratio
        self._allowance = reserve * WINDOW
        self._second = 0
        self._requests = [0] * WINDOW
        self._retries = [0] * WINDOW

    def deposit(self, now: float) -> None:
        """Count a request; its retries are not counted again."""
        second = int(now)
        if second != self._second:
            self._slide(second)
        self._requests[second % WINDOW] += 1

    def withdraw(self, now: float) -> bool:
        """Take one retry out; False, and nothing is taken, when too little is left."""
        second = int(now)
        if second != self._second:
            self._slide(second)
        if sum(self._retries) + 1 > self._allowance + self._ratio * sum(self._requests):
            return False
        self._retries[second % WINDOW] += 1
        return True

    def _slide(self, second: int) -> None:
        for passed in range(max(self._second + 1, second - WINDOW + 1), second + 1):
            self._requests[passed % WINDOW] = 0
            self._retries[passed % WINDOW] = 0
        self._second = second


class Retries:
    """An upstream's retry policy: `attempts` tries in all, the first included; 1 is none."""

    __slots__ = ("attempts", "budget")

    def __init__(self, attempts: int = 1, budget: RetryBudget | None = None) -> None:
        self.attempts = attempts
        self.budget = budget

    def may_retry(
        self,
        result: Reach | int,
        method: bytes,
        attempt: int,
        replayable: bool,
        stale: bool = False,
    ) -> bool:
        """May attempt number `attempt` (from 1), which came to `result`, be followed by another?

        `result` is how far a failed attempt came, or the status that it was answered with.
        `replayable` says that the request's body can be sent again from its first byte. `stale`
        says that it failed on a pooled connection that the upstream had closed: that is no sign
        of trouble, and one more try, on a fresh connection, needs no policy.
        """
        if attempt >= (max(self.attempts, 2) if stale else self.attempts) or not replayable:
            return False
        if isinstance(result, int):
            return result in RETRYABLE_STATUS and method in IDEMPOTENT
        if result is Reach.UNSENT:
            return True
        return result is Reach.SENT and method in IDEMPOTENT

    def affordable(self, now: float) -> bool:
        """Take one retry out of the budget. Ask last, and not for a stale connection."""
        return self.budget is None or self.budget.withdraw(now)
