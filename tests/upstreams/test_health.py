from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.upstreams import HealthCheck
from gateway.upstreams.health import HealthState, watch
from gateway.upstreams.pool import Pool
from gateway.upstreams.target import Target

SETTINGS = HealthCheck(path="/", interval=5, timeout=2, healthy_after=2, unhealthy_after=3)


def turns(*results: bool) -> list[bool]:
    state = HealthState(healthy_after=2, unhealthy_after=3)
    return [state.record(result) for result in results]


def test_target_is_presumed_healthy() -> None:
    assert HealthState(1, 1).healthy


def test_failures_in_a_row_turn_it() -> None:
    assert turns(False, False, False) == [False, False, True]


def test_success_between_failures_starts_the_count_again() -> None:
    assert turns(False, False, True, False, False) == [False] * 5


def test_successes_in_a_row_turn_it_back() -> None:
    assert turns(False, False, False, True, True) == [False, False, True, False, True]


def test_failure_between_successes_starts_the_count_again() -> None:
    assert not any(turns(False, False, False, True, False, True)[3:])


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.booleans(), max_size=40))
def test_state_is_what_the_last_long_enough_run_said(
    up: int, down: int, results: list[bool]
) -> None:
    state, expected = HealthState(up, down), True
    for count, result in enumerate(results, start=1):
        state.record(result)
        length = up if result else down
        if count >= length and set(results[count - length : count]) == {result}:
            expected = result
        assert state.healthy is expected


class SeenEnoughError(Exception):
    """What the fake clock raises when a test has seen enough."""


class Watched:
    """A target under watch whose checks answer as scripted."""

    def __init__(self, *answers: bool | Exception) -> None:
        self.target: Target[Any] = Target("http://h", 1, Pool(1, 1, 1, 1))
        self.turns: list[tuple[bool, str]] = []
        self.pauses: list[float] = []
        self._answers = deque(answers)

    async def check(self, target: Target[Any]) -> bool:
        assert target is self.target
        answer = self._answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if not self._answers:
            raise SeenEnoughError

    def changed(self, target: Target[Any], problem: str) -> None:
        self.turns.append((target.healthy, problem))

    async def run(self, dice: float = 0.0) -> Watched:
        with pytest.raises(SeenEnoughError):
            await watch(self.target, self.check, SETTINGS, self.changed, lambda: dice, self.sleep)
        return self


async def test_failing_checks_take_the_target_out_and_say_why() -> None:
    watched = await Watched(False, False, False).run()
    assert watched.turns == [(False, "unhealthy answer")]


async def test_good_checks_bring_it_back() -> None:
    watched = await Watched(False, False, False, True, True).run()
    assert watched.turns[1:] == [(True, "")]
    assert watched.target.healthy


async def test_check_that_raises_is_a_failed_one() -> None:
    watched = await Watched(OSError("a"), ValueError("b"), ConnectionError("refused")).run()
    assert watched.turns == [(False, "ConnectionError: refused")]


async def test_checks_come_once_an_interval() -> None:
    watched = await Watched(True, True).run(dice=0.5)
    assert watched.pauses == pytest.approx([0.25, 5, 5])


async def test_intervals_vary_by_their_jitter() -> None:
    early, late = await Watched(True).run(dice=0.0), await Watched(True).run(dice=1.0)
    assert early.pauses == pytest.approx([0, 4.5])
    assert late.pauses == pytest.approx([0.5, 5.5])


async def test_check_that_does_not_answer_in_time_is_a_failed_one() -> None:
    settings = HealthCheck(path="/", interval=0.001, timeout=0.001, unhealthy_after=1)
    target: Target[Any] = Target("http://h", 1, Pool(1, 1, 1, 1))
    turned = asyncio.get_running_loop().create_future()

    async def never(_: Target[Any]) -> bool:
        return await asyncio.Event().wait()

    task = asyncio.create_task(
        watch(target, never, settings, lambda _, problem: turned.set_result(problem), lambda: 0.0)
    )
    assert await turned == "timeout"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not target.healthy
