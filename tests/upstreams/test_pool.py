from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from gateway.errors import UpstreamBusy
from gateway.upstreams.pool import Pool, PoolFull, PoolTimeout


class Conn:
    idle_since = 0.0


def make_pool(limit: int = 2, waiting: int = 8) -> Pool[Conn]:
    return Pool(limit, waiting, wait_timeout=60.0, idle_timeout=10.0)


def opened(pool: Pool[Conn]) -> Conn:
    assert pool.reserve()
    return Conn()


async def in_line(pool: Pool[Conn]) -> asyncio.Task[Conn | None]:
    """A task that waits; it is in the line when this returns."""
    task = asyncio.create_task(pool.wait())
    await asyncio.sleep(0)
    return task


def test_empty_pool_has_nothing_to_take() -> None:
    assert make_pool().take() is None


def test_take_prefers_the_connection_used_last() -> None:
    pool = make_pool()
    early, late = opened(pool), opened(pool)
    pool.put(early, 1)
    pool.put(late, 2)
    assert [pool.take(), pool.take()] == [late, early]


def test_reserve_stops_at_the_limit() -> None:
    pool = make_pool(limit=2)
    assert [pool.reserve() for _ in range(3)] == [True, True, False]


def test_released_slot_can_be_reserved_again() -> None:
    pool = make_pool(limit=1)
    pool.reserve()
    pool.release_slot()
    assert pool.reserve()


def test_counts_tell_idle_from_active() -> None:
    pool = make_pool()
    opened(pool)
    pool.put(opened(pool), 1)
    assert (pool.idle, pool.active, pool.waiting) == (1, 1, 0)


def test_expire_gives_the_old_ones_oldest_first() -> None:
    pool = make_pool(limit=3)
    conns = [opened(pool) for _ in range(3)]
    for now, conn in enumerate(conns):
        pool.put(conn, now)
    assert pool.expire(11) == conns[:2]
    assert (pool.idle, pool.open) == (1, 1)


def test_expire_leaves_fresh_ones() -> None:
    pool = make_pool()
    pool.put(opened(pool), 1)
    assert pool.expire(10.9) == []


def test_forgotten_idle_connection_frees_its_slot() -> None:
    pool = make_pool(limit=1)
    conn = opened(pool)
    pool.put(conn, 1)
    assert pool.forget(conn)
    assert pool.take() is None
    assert pool.reserve()


def test_forget_leaves_an_active_connection_to_its_user() -> None:
    pool = make_pool()
    assert not pool.forget(opened(pool))
    assert pool.open == 1


def test_closed_pool_gives_out_what_was_idle_once() -> None:
    pool = make_pool()
    conn = opened(pool)
    pool.put(conn, 1)
    assert (pool.close(), pool.close()) == ([conn], [])


def test_closed_pool_keeps_nothing_that_comes_back() -> None:
    pool = make_pool()
    conn = opened(pool)
    pool.close()
    assert not pool.put(conn, 1)
    assert pool.open == 0


async def test_closed_pool_still_serves_who_waits() -> None:
    pool = make_pool(limit=1)
    conn = opened(pool)
    task = await in_line(pool)
    pool.close()
    assert pool.put(conn, 1)
    assert await task is conn


async def test_closed_pool_expires_what_a_cancelled_waiter_left() -> None:
    pool = make_pool(limit=1)
    conn = opened(pool)
    task = await in_line(pool)
    pool.close()
    pool.put(conn, 1)
    await cancelled(task)
    assert pool.expire(1) == [conn]
    assert pool.open == 0


async def test_wait_takes_an_idle_connection_at_once() -> None:
    pool = make_pool()
    conn = opened(pool)
    pool.put(conn, 1)
    assert await pool.wait() is conn


async def test_wait_takes_a_free_slot_at_once() -> None:
    pool = make_pool()
    assert await pool.wait() is None
    assert pool.active == 1


async def test_longest_waiter_is_served_first() -> None:
    pool = make_pool(limit=1)
    conn = opened(pool)
    first, second = await in_line(pool), await in_line(pool)
    pool.put(conn, 1)
    assert await first is conn
    assert (second.done(), pool.waiting) == (False, 1)
    pool.release_slot()
    assert await second is None


async def test_newcomer_cannot_jump_the_line() -> None:
    pool = make_pool(limit=1)
    conn = opened(pool)
    task = await in_line(pool)
    pool.put(conn, 1)
    assert (pool.take(), pool.reserve()) == (None, False)
    await task


async def test_full_line_refuses_the_next() -> None:
    pool = make_pool(limit=1, waiting=1)
    opened(pool)
    task = await in_line(pool)
    with pytest.raises(PoolFull):
        await pool.wait()
    await cancelled(task)


async def test_wait_ends_after_its_timeout() -> None:
    pool: Pool[Conn] = Pool(1, 1, wait_timeout=0.001, idle_timeout=1)
    opened(pool)
    with pytest.raises(PoolTimeout):
        await pool.wait()
    assert (pool.waiting, pool.open) == (0, 1)


def test_refusal_is_an_answer_of_its_own() -> None:
    assert issubclass(PoolTimeout, PoolFull)
    assert issubclass(PoolFull, UpstreamBusy)


async def test_cancelled_waiter_leaves_the_line() -> None:
    pool = make_pool(limit=1)
    opened(pool)
    await cancelled(await in_line(pool))
    assert pool.waiting == 0


async def test_waiter_cancelled_after_it_was_served_passes_the_connection_on() -> None:
    pool = make_pool(limit=1)
    conn = opened(pool)
    first, second = await in_line(pool), await in_line(pool)
    pool.put(conn, 1)
    await cancelled(first)
    assert await second is conn


async def test_last_waiter_cancelled_after_it_was_served_leaves_the_connection_idle() -> None:
    pool = make_pool(limit=1)
    conn = opened(pool)
    task = await in_line(pool)
    pool.put(conn, 1)
    await cancelled(task)
    assert pool.take() is conn


async def test_waiter_cancelled_after_it_got_a_slot_gives_it_back() -> None:
    pool = make_pool(limit=1)
    pool.reserve()
    task = await in_line(pool)
    pool.release_slot()
    await cancelled(task)
    assert pool.reserve()


async def test_waiter_cancelled_before_it_could_run_is_passed_over() -> None:
    pool = make_pool(limit=1)
    conn = opened(pool)
    first, second = await in_line(pool), await in_line(pool)
    first.cancel()
    pool.put(conn, 1)
    assert await second is conn
    assert first.cancelled()


async def cancelled(task: asyncio.Task[Conn | None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class ClockLoop(asyncio.SelectorEventLoop):
    """A loop whose time stands still until it is told."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            self.call_soon(self.stop)
            self.run_forever()


@contextmanager
def clock_loop() -> Iterator[ClockLoop]:
    loop = ClockLoop()
    yield loop
    loop.close()


def test_waiter_cancelled_in_the_moment_of_its_timeout_loses_nothing() -> None:
    with clock_loop() as loop:
        pool = make_pool(limit=1)
        pool.reserve()
        task = loop.create_task(pool.wait())
        loop.turn()
        loop.call_at(60.0, task.cancel)
        loop.now = 60.0
        loop.turn(3)
        assert task.cancelled()
        assert (pool.waiting, pool.open) == (0, 1)


def test_waiter_served_in_the_moment_of_its_timeout_is_served() -> None:
    with clock_loop() as loop:
        pool = make_pool(limit=1)
        pool.reserve()
        loop.call_at(60.0, pool.release_slot)
        task = loop.create_task(pool.wait())
        loop.turn()
        loop.now = 60.0
        loop.turn(3)
        assert task.result() is None


class PoolMachine(RuleBasedStateMachine):
    """Any interleaving of everything that can be done to a pool, turns of the loop included."""

    @initialize(limit=st.integers(1, 3), waiting=st.integers(0, 3))
    def start(self, limit: int, waiting: int) -> None:
        self.loop = ClockLoop()
        self.pool: Pool[Conn] = Pool(limit, waiting, wait_timeout=5, idle_timeout=7)
        self.held: list[Conn] = []
        self.line: list[asyncio.Task[None]] = []
        self.settled = True

    async def _wait(self) -> None:
        try:
            conn = await self.pool.wait()
        except PoolFull:
            return
        self._hold(conn)

    def _hold(self, conn: Conn | None) -> None:
        assert conn not in self.held
        self.held.append(conn or Conn())

    @rule()
    def ask(self) -> None:
        conn = self.pool.take()
        if conn is not None or self.pool.reserve():
            self._hold(conn)
            return
        self.line.append(self.loop.create_task(self._wait()))
        self.settled = False

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        assert self.pool.put(self._drawn(data), self.loop.now)
        self.settled = False

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        assert not self.pool.forget(self._drawn(data))
        self.pool.release_slot()
        self.settled = False

    def _drawn(self, data: st.DataObject) -> Conn:
        return self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))

    @precondition(lambda self: self.pool.idle)
    @rule()
    def die(self) -> None:
        conn = self.pool.take()
        assert conn is not None
        self.pool.put(conn, self.loop.now)
        assert self.pool.forget(conn)

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.line)).cancel()
        self.settled = False

    @rule(seconds=st.integers(1, 8))
    def pass_time(self, seconds: int) -> None:
        self.loop.now += seconds
        for conn in self.pool.expire(self.loop.now):
            assert conn not in self.held
        self.settled = False

    @rule()
    def turn(self) -> None:
        self.loop.turn()

    @rule()
    def settle(self) -> None:
        self.loop.turn(4)
        for task in self.line:
            if task.done() and not task.cancelled():
                task.result()
        self.line = [task for task in self.line if not task.done()]
        self.settled = True

    @invariant()
    def is_within_its_limit(self) -> None:
        assert self.pool.active + self.pool.idle == self.pool.open <= self.pool.limit

    @invariant()
    def has_nothing_free_while_somebody_waits(self) -> None:
        if self.settled and self.pool.waiting:
            assert (self.pool.idle, self.pool.open) == (0, self.pool.limit)

    @invariant()
    def lost_nothing(self) -> None:
        if self.settled:
            assert (self.pool.active, self.pool.waiting) == (len(self.held), len(self.line))

    def teardown(self) -> None:
        for task in self.line:
            task.cancel()
        self.settle()
        while self.held:
            self.pool.put(self.held.pop(), self.loop.now)
        self.pool.close()
        assert self.pool.open == 0
        self.loop.close()


PoolMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestPoolUnderAnyInterleaving = PoolMachine.TestCase
