from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.retry import (
    IDEMPOTENT,
    RESERVE,
    RETRYABLE_STATUS,
    WINDOW,
    Reach,
    Retries,
    RetryBudget,
)

POLICY = Retries(attempts=3)
NO_POLICY = Retries()


@pytest.mark.parametrize("method", sorted(IDEMPOTENT))
def test_idempotent_request_may_be_sent_again_before_a_byte_of_an_answer(method: bytes) -> None:
    assert POLICY.may_retry(Reach.SENT, method, 1, replayable=True)


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"get", b"PURGE"])
def test_other_request_may_not_be_sent_again_once_it_was_written(method: bytes) -> None:
    assert not POLICY.may_retry(Reach.SENT, method, 1, replayable=True)


def test_request_that_was_not_written_may_be_sent_again_whatever_its_method() -> None:
    assert POLICY.may_retry(Reach.UNSENT, b"POST", 1, replayable=True)


def test_begun_answer_forbids_another_attempt() -> None:
    assert not POLICY.may_retry(Reach.ANSWERED, b"GET", 1, replayable=True)


@pytest.mark.parametrize("result", [Reach.UNSENT, Reach.SENT, 503])
def test_body_that_is_gone_forbids_another_attempt(result: Reach | int) -> None:
    assert not POLICY.may_retry(result, b"PUT", 1, replayable=False)


@pytest.mark.parametrize("status", sorted(RETRYABLE_STATUS))
def test_status_of_a_moment_may_be_retried_for_idempotent_methods_only(status: int) -> None:
    assert POLICY.may_retry(status, b"GET", 1, replayable=True)
    assert not POLICY.may_retry(status, b"POST", 1, replayable=True)


@pytest.mark.parametrize("status", [200, 404, 429, 500, 501])
def test_other_status_is_final(status: int) -> None:
    assert not POLICY.may_retry(status, b"GET", 1, replayable=True)


@pytest.mark.parametrize("stale", [True, False])
def test_attempts_count_all_tries(stale: bool) -> None:
    allowed = [POLICY.may_retry(Reach.SENT, b"GET", n, True, stale) for n in (1, 2, 3)]
    assert allowed == [True, True, False]


@pytest.mark.parametrize("result", [Reach.UNSENT, Reach.SENT, 503])
def test_without_a_policy_nothing_is_retried(result: Reach | int) -> None:
    assert not NO_POLICY.may_retry(result, b"GET", 1, replayable=True)


def test_without_a_policy_a_stale_connection_is_replaced_once() -> None:
    allowed = [NO_POLICY.may_retry(Reach.SENT, b"GET", n, True, stale=True) for n in (1, 2)]
    assert allowed == [True, False]


def test_stale_connection_does_not_make_an_unsafe_retry_safe() -> None:
    assert not NO_POLICY.may_retry(Reach.SENT, b"POST", 1, True, stale=True)


def test_policy_without_a_budget_can_always_afford_it() -> None:
    assert POLICY.affordable(0)


def test_policy_asks_its_budget() -> None:
    policy = Retries(2, RetryBudget(0, reserve=1 / WINDOW))
    assert [policy.affordable(0), policy.affordable(0)] == [True, False]


def test_requests_pay_for_their_share_of_retries() -> None:
    budget = RetryBudget(0.2, reserve=0)
    for _ in range(10):
        budget.deposit(5)
    assert [budget.withdraw(5) for _ in range(3)] == [True, True, False]


def test_budget_without_requests_has_its_reserve() -> None:
    budget = RetryBudget(0.2)
    assert [budget.withdraw(5) for _ in range(11)] == [True] * round(RESERVE * WINDOW) + [False]


def test_requests_older_than_the_window_pay_for_nothing() -> None:
    budget = RetryBudget(1, reserve=0)
    for second in range(WINDOW):
        budget.deposit(second)
    assert not budget.withdraw(2 * WINDOW - 1)


def test_retries_older_than_the_window_are_forgotten() -> None:
    budget = RetryBudget(0, reserve=1 / WINDOW)
    budget.withdraw(5)
    assert [budget.withdraw(4 + WINDOW), budget.withdraw(5 + WINDOW)] == [False, True]


def test_long_silence_empties_the_window() -> None:
    budget = RetryBudget(1, reserve=0)
    budget.deposit(5)
    budget.deposit(1e9)
    assert [budget.withdraw(1e9), budget.withdraw(1e9)] == [True, False]


@given(
    ratio=st.floats(0, 1),
    events=st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=200),
)
def test_retry_is_granted_exactly_when_its_window_can_afford_it(
    ratio: float, events: list[tuple[int, bool]]
) -> None:
    budget = RetryBudget(ratio, reserve=0.3)
    now = 0
    requests: list[int] = []
    retries: list[int] = []
    for pause, is_request in events:
        now += pause
        if is_request:
            budget.deposit(now)
            requests.append(now)
            continue
        paid = 0.3 * WINDOW + ratio * sum(at > now - WINDOW for at in requests)
        spent = sum(at > now - WINDOW for at in retries)
        granted = budget.withdraw(now)
        assert granted is (spent + 1 <= paid)
        if granted:
            retries.append(now)
