"""A loop whose clock moves only when it is told to."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import Any


class StillLoop(asyncio.AbstractEventLoop):
    """What timers need of a loop. Calls that are due are made by `advance`, in their order."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.errors: list[dict[str, Any]] = []
        self._calls: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._number = count()

    def time(self) -> float:
        return self.now

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.now + delay, callback, *args)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self)
        heapq.heappush(self._calls, (when, next(self._number), handle))
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None: ...

    @property
    def timers(self) -> int:
        """How many calls are to be made yet."""
        return sum(not handle.cancelled() for _, _, handle in self._calls)

    def advance(self, seconds: float, early: float = 0.0) -> None:
        """Let time pass. Calls are made so much `early`, as by a loop with a coarse clock."""
        until = self.now + seconds
        while self._calls and self._calls[0][0] - early <= until:
            when, _, handle = heapq.heappop(self._calls)
            if not handle.cancelled():
                self.now = max(self.now, when - early)
                early = 0.0  # who was called too early asks again, and is called in time
                handle._run()
        self.now = until
