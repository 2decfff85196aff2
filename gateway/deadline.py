"""Timeouts that cost a request next to nothing.

All that waits the same length of time expires in the order in which it began to wait, so one
dictionary, which keeps that order, and one timer serve all of it: starting and stopping are a
dictionary's insert and delete, and the timer is set anew only when it fires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Deadline(Generic[T]):
    """Calls `expired(owner)` for each owner that was started `seconds` ago and not stopped.

    Never early; late by no more than the loop itself is. Zero seconds means no deadline.
    """

    __slots__ = ("_due", "_expired", "_loop", "_timer", "seconds")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, expired: Callable[[T], None]
    ) -> None:
        self.seconds = seconds
        self._loop = loop
        self._expired = expired
        self._due: dict[T, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, owner: T) -> bool:
        return owner in self._due

    def start(self, owner: T) -> None:
        """Begin to wait, from now, whether or not `owner` was waiting already."""
        if not self.seconds:
            return
        due = self._due
        due.pop(owner, None)
        due[owner] = self._loop.time() + self.seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self.seconds, self._fire)

    def stop(self, owner: T) -> None:
        self._due.pop(owner, None)

    def cancel(self) -> None:
        """Forget everything: nothing expires any more."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        now = self._loop.time()
        late = []
        for owner, due in self._due.items():
            if due > now:
                self._timer = self._loop.call_at(due, self._fire)
                break
            late.append(owner)
        for owner in late:
            # One that expired before it may have stopped this one, or started it again.
            if self._due.get(owner, now + 1) <= now:
                del self._due[owner]
                try:
                    self._expired(owner)
                except Exception as error:  # noqa: BLE001 - the others' time is up as well
                    self._loop.call_exception_handler(
                        {"message": "an expired deadline's owner failed", "exception": error}
                    )
