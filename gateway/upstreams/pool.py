"""The connections to one target: who may take, open or wait for one.

The pool opens and closes nothing. It counts slots: one for each connection that is open or being
opened, `limit` of them at most. Whoever has a connection or a slot gives it back exactly once,
with `put` (it can serve again) or `release_slot` (it is gone). What is given back goes to whoever
waits longest. So while anybody waits nothing is idle and no slot is free, and `take` and
`reserve` need not look at the line: nobody can jump it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from gateway.errors import UpstreamBusy


class Pooled(Protocol):
    """What the pool wants of a connection: room for the moment it became idle."""

    idle_since: float


C = TypeVar("C", bound=Pooled)


class PoolFull(UpstreamBusy):
    """Every connection is in use and so is every place in the line."""


class PoolTimeout(PoolFull):
    """No connection came free within the pool's `wait_timeout`."""


class Pool(Generic[C]):
    """One target's connections. Times are seconds on the clock that the caller passes as `now`.

    `limit` bounds the open connections, `waiting_limit` the line, `wait_timeout` the time in it.
    `idle_timeout` should be shorter than the target's own, which would close a connection just
    as it is used.
    """

    __slots__ = (
        "_idle",
        "_idle_timeout",
        "_line",
        "_wait_timeout",
        "_waiting_limit",
        "closed",
        "limit",
        "open",
    )

    def __init__(
        self, limit: int, waiting_limit: int, wait_timeout: float, idle_timeout: float
    ) -> None:
        self.limit = limit
        self.open = 0
        self.closed = False
        self._waiting_limit = waiting_limit
        self._wait_timeout = wait_timeout
        self._idle_timeout = idle_timeout
        # The most recently used on top: the warm ones stay warm and the rest can expire.
        self._idle: list[C] = []
        self._line: deque[asyncio.Future[C | None]] = deque()

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def active(self) -> int:
        """Connections in use or being opened."""
        return self.open - len(self._idle)

    @property
    def waiting(self) -> int:
        return len(self._line)

    def take(self) -> C | None:
        """The idle connection used last, or None. Its peer may have closed it meanwhile."""
        idle = self._idle
        return idle.pop() if idle else None

    def reserve(self) -> bool:
        """Take the slot for one more connection; False when there is none.

        Who finds a taken connection dead has its slot already and may open another in it.
        """
        if self.open >= self.limit:
            return False
        self.open += 1
        return True

    def put(self, conn: C, now: float) -> bool:
        """Give back a connection that can serve again; False when the caller is to close it."""
        conn.idle_since = now
        if self._line and self._hand_on(conn):
            return True
        if self.closed:
            self.open -= 1
            return False
        self._idle.append(conn)
        return True

    def release_slot(self) -> None:
        """Give back the slot of a connection that is gone or was never made."""
        if not self._hand_on(None):
            self.open -= 1

    def forget(self, conn: C) -> bool:
        """Drop a connection that died; False when it is not idle: its user gives the slot back."""
        try:
            self._idle.remove(conn)
        except ValueError:
            return False
        self.open -= 1
        return True

    async def wait(self) -> C | None:
        """A connection, or None with a slot to open one in, as soon as this is the longest waiter.

        Raises PoolFull when the line is full, PoolTimeout after `wait_timeout` seconds. A waiter
        that is cancelled just when it was served passes on what it got.
        """
        if self._idle or self.reserve():
            return self.take()
        if len(self._line) >= self._waiting_limit:
            raise PoolFull
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[C | None] = loop.create_future()
        self._line.append(waiter)
        timer = loop.call_later(self._wait_timeout, self._give_up, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._withdraw(waiter)
            raise
        finally:
            timer.cancel()

    def expire(self, now: float) -> list[C]:
        """Let go of what was idle for `idle_timeout` or longer, oldest first, to be closed."""
        if self.closed:
            return self.close()
        idle = self._idle
        expired = 0
        while expired < len(idle) and now - idle[expired].idle_since >= self._idle_timeout:
            expired += 1
        return self._let_go(expired)

    def close(self) -> list[C]:
        """Keep nothing idle from now on; what was idle is the caller's to close.

        What is in use or waited for goes on. `open` is 0 when the last has ended, and another
        call collects what a cancelled waiter may have left behind.
        """
        self.closed = True
        return self._let_go(len(self._idle))

    def _let_go(self, count: int) -> list[C]:
        gone = self._idle[:count]
        del self._idle[:count]
        self.open -= count
        return gone

    def _hand_on(self, gift: C | None) -> bool:
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done():  # cancelled ones stand here until their task runs
                waiter.set_result(gift)
                return True
        return False

    def _give_up(self, waiter: asyncio.Future[C | None]) -> None:
        if not waiter.done():
            self._line.remove(waiter)
            waiter.set_exception(PoolTimeout())

    def _withdraw(self, waiter: asyncio.Future[C | None]) -> None:
        """Undo the wait of a cancelled task, which may have been served or timed out before."""
        if waiter.cancelled():
            with suppress(ValueError):  # `_hand_on` may have passed over it
                self._line.remove(waiter)
            return
        if waiter.exception() is not None:
            return
        conn = waiter.result()
        if conn is None:
            self.release_slot()
        elif not self._hand_on(conn):
            self._idle.append(conn)
