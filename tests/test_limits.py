"""GCRA against what it promises, and against a slow account of every request."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import limits
from gateway.stores import Decision
from gateway.units import Rate

SECOND = limits.NANOSECONDS
MINUTE = 60 * SECOND

rates = st.builds(
    Rate,
    st.integers(1, 2000),
    st.sampled_from([1.0, 60.0, 3600.0, 86400.0, 0.007]),
    st.integers(0, 50),
)
# Pauses around what matters: nothing, about an interval, about a period, and anything.
pauses = st.lists(
    st.one_of(
        st.just(0),
        st.integers(0, 20),
        st.integers(0, 2 * SECOND),
        st.integers(0, 2 * MINUTE),
    ),
    min_size=1,
    max_size=60,
)


class Key:
    """One key on a clock that the test turns."""

    def __init__(self, rate: Rate, now: int = 10**15) -> None:
        self.rate = rate
        self.now = now
        self._due = now * rate.count  # in nanoseconds times count: exact

    def take(self, cost: int = 1) -> Decision:
        now = self.now * self.rate.count
        ahead, decision = limits.take(self._due - now, self.rate, cost)
        self._due = now + ahead
        return decision


class Bucket:
    """The same limit told differently: tokens that drip into a bucket, as fractions."""

    def __init__(self, rate: Rate, now: int) -> None:
        self._rate = rate
        self._tokens = Fraction(rate.burst)
        self._then = now

    def take(self, now: int, cost: int) -> tuple[bool, Fraction]:
        dripped = Fraction(now - self._then) * self._rate.count / self._rate.nanoseconds
        self._tokens = min(Fraction(self._rate.burst), self._tokens + dripped)
        self._then = now
        allowed = self._tokens >= cost
        if allowed:
            self._tokens -= cost
        return allowed, self._tokens


def allowed_at(rate: Rate, times: Sequence[int]) -> list[int]:
    key = Key(rate)
    begin = key.now
    let_in = []
    for time in times:
        key.now = begin + time
        if key.take().allowed:
            let_in.append(time)
    return let_in


def running(steps: Sequence[int]) -> list[int]:
    times, now = [], 0
    for step in steps:
        now += step
        times.append(now)
    return times


@given(rates, pauses)
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate(
    rate: Rate, steps: list[int]
) -> None:
    let_in = allowed_at(rate, running(steps))
    for first, begin in enumerate(let_in):
        for last in range(first, len(let_in)):
            most = rate.burst + Fraction(let_in[last] - begin) * rate.count / rate.nanoseconds
            assert last - first + 1 <= most


@given(rates, st.lists(st.tuples(st.integers(0, 3 * SECOND), st.integers(0, 5)), max_size=80))
def test_every_decision_is_that_of_a_bucket_of_fractions(
    rate: Rate, steps: list[tuple[int, int]]
) -> None:
    key = Key(rate)
    bucket = Bucket(rate, key.now)
    for pause, cost in steps:
        key.now += pause
        decision = key.take(cost)
        allowed, tokens = bucket.take(key.now, cost)
        assert (decision.allowed, decision.remaining) == (allowed, int(tokens))
        assert decision.limit == rate.burst
        empty = (rate.burst - tokens) * rate.nanoseconds / (rate.count * SECOND)
        assert decision.reset == -(-empty // 1)
        if cost <= rate.burst:
            missing = max(Fraction(0), cost - tokens) * rate.nanoseconds / (rate.count * SECOND)
            assert decision.retry_after == (0 if allowed else -(-missing // 1))


@given(rates, pauses)
def test_client_that_waits_as_told_is_let_in(rate: Rate, steps: list[int]) -> None:
    key = Key(rate)
    for pause in steps:
        key.now += pause
        decision = key.take()
        if not decision.allowed:
            assert decision.retry_after >= 1
            key.now += decision.retry_after * SECOND
            assert key.take().allowed


@given(rates)
def test_client_that_keeps_to_the_rate_is_never_refused(rate: Rate) -> None:
    interval = -(-rate.nanoseconds // rate.count)
    assert len(allowed_at(rate, [number * interval for number in range(200)])) == 200


@given(rates, st.integers(0, 10**6))
def test_rate_without_a_whole_interval_does_not_drift(rate: Rate, number: int) -> None:
    """The last of so many comes when that many intervals have passed, to the nanosecond."""
    key = Key(Rate(rate.count, rate.period, number + 1))
    begin = key.now
    assert key.take(number + 1).allowed
    key.now = begin - (-number * rate.nanoseconds // rate.count) - 1
    assert not key.take(number + 1).allowed
    if number:
        assert not key.take(number).allowed
        key.now += 1
        assert key.take(number).allowed


def test_sixty_a_minute_are_sixty_at_once_after_a_quiet_minute() -> None:
    rate = Rate(60, 60.0)
    assert allowed_at(rate, [0] * 61) == [0] * 60
    assert len(allowed_at(rate, [0] * 61 + [MINUTE] * 61)) == 120
    assert len(allowed_at(rate, [0] * 61 + [MINUTE - 1] * 61)) == 119


def test_edge_of_a_minute_gives_nothing_twice() -> None:
    """A fixed window would let 60 in at its end and 60 at the next one's beginning."""
    rate = Rate(60, 60.0)
    end, begin = [MINUTE - 1] * 60, [MINUTE + 1] * 60
    assert len(allowed_at(rate, [*end, *begin])) == 60


def test_refusal_takes_nothing() -> None:
    key = Key(Rate(1, 60.0))
    assert key.take().allowed
    for _ in range(10):
        assert key.take() == Decision(False, 1, 0, 60, 60)
    key.now += MINUTE
    assert key.take().allowed


def test_cost_is_taken_whole_or_not_at_all() -> None:
    key = Key(Rate(10, 60.0))
    assert key.take(7) == Decision(True, 10, 3, 42, 0)
    assert key.take(4) == Decision(False, 10, 3, 42, 6)
    assert key.take(3) == Decision(True, 10, 0, 60, 0)


def test_cost_of_nothing_tells_how_things_are() -> None:
    key = Key(Rate(10, 60.0))
    key.take(10)
    assert key.take(0) == Decision(True, 10, 0, 60, 0)


@pytest.mark.parametrize("ahead", [10**30, 61 * 60 * SECOND + 1])
def test_time_further_ahead_than_any_request_brought_it_is_a_used_up_limit(ahead: int) -> None:
    rate = Rate(60, 60.0)
    after, decision = limits.take(ahead, rate, 1)
    assert decision == Decision(False, 60, 0, 60, 1)
    assert after == rate.burst * rate.nanoseconds
