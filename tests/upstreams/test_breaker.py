from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.breaker import Breaker, State


def make_breaker() -> Breaker:
    return Breaker(failures=3, window=30, open_for=10)


def opened(at: float = 0) -> Breaker:
    breaker = make_breaker()
    for _ in range(3):
        breaker.failed(at, at, "connect")
    return breaker


def probing(at: float) -> Breaker:
    breaker = opened(at - 10)
    breaker.started(at)
    return breaker


def test_new_breaker_allows() -> None:
    assert make_breaker().allows(0)


def test_failures_within_the_window_open_it() -> None:
    breaker = make_breaker()
    for at in (1, 20, 31):
        breaker.failed(at, at, "timeout")
    assert (breaker.state, breaker.changed_at, breaker.reason) == (State.OPEN, 31, "timeout")


def test_failures_spread_wider_than_the_window_do_not_open_it() -> None:
    breaker = make_breaker()
    for at in (0, 20, 31, 51):
        breaker.failed(at, at, "timeout")
    assert breaker.state is State.CLOSED


def test_successes_between_failures_do_not_keep_it_closed() -> None:
    breaker = make_breaker()
    for at in (1, 2, 3):
        breaker.started(at)
        breaker.succeeded(at, at)
        breaker.failed(at, at, "timeout")
    assert breaker.state is State.OPEN


def test_open_breaker_allows_nothing_until_its_time_is_over() -> None:
    breaker = opened(at=5)
    assert (breaker.allows(14.9), breaker.allows(15)) == (False, True)


def test_asking_does_not_take_the_probe() -> None:
    breaker = opened()
    assert breaker.allows(10)
    assert (breaker.allows(10), breaker.state) == (True, State.OPEN)


def test_half_open_breaker_lets_one_probe_through() -> None:
    breaker = probing(at=10)
    assert (breaker.state, breaker.allows(10)) == (State.HALF_OPEN, False)


def test_probe_that_succeeds_closes_it() -> None:
    breaker = probing(at=10)
    breaker.succeeded(11, since=10)
    assert (breaker.state, breaker.changed_at) == (State.CLOSED, 11)


def test_probe_that_fails_opens_it_for_as_long_again() -> None:
    breaker = probing(at=10)
    breaker.failed(11, since=10, why="502")
    assert (breaker.state, breaker.reason) == (State.OPEN, "502")
    assert (breaker.allows(20.9), breaker.allows(21)) == (False, True)


def test_probe_without_a_verdict_makes_room_for_the_next() -> None:
    breaker = probing(at=10)
    breaker.abandoned(11, since=10)
    assert (breaker.state, breaker.allows(11)) == (State.HALF_OPEN, True)


def test_probe_that_never_reports_blocks_no_longer_than_an_opening() -> None:
    breaker = probing(at=10)
    assert (breaker.allows(19.9), breaker.allows(20)) == (False, True)


def test_probe_that_was_given_up_says_nothing_when_it_reports_at_last() -> None:
    breaker = probing(at=10)
    breaker.started(20)
    breaker.failed(21, since=10, why="timeout")
    breaker.succeeded(21, since=10)
    assert breaker.state is State.HALF_OPEN


def test_attempts_from_before_the_opening_do_not_close_it() -> None:
    breaker = probing(at=10)
    breaker.succeeded(11, since=-1)
    assert breaker.state is State.HALF_OPEN


def test_attempts_from_before_the_opening_do_not_free_the_probe() -> None:
    breaker = probing(at=10)
    breaker.abandoned(11, since=-1)
    assert not breaker.allows(11)


def test_attempts_from_before_the_closing_do_not_count_against_it() -> None:
    breaker = probing(at=10)
    breaker.succeeded(11, since=10)
    for _ in range(3):
        breaker.failed(12, since=9, why="timeout")
    assert breaker.state is State.CLOSED


def test_closing_forgets_the_failures_before_it() -> None:
    breaker = probing(at=10)
    breaker.succeeded(11, since=10)
    breaker.failed(12, since=12, why="timeout")
    assert breaker.state is State.CLOSED


def test_late_results_do_not_change_an_open_breaker() -> None:
    breaker = opened(at=5)
    breaker.succeeded(6, since=5)
    breaker.failed(6, since=5, why="timeout")
    breaker.abandoned(6, since=5)
    assert (breaker.state, breaker.changed_at, breaker.reason) == (State.OPEN, 5, "connect")


def test_abandoned_attempt_leaves_a_closed_breaker_alone() -> None:
    breaker = make_breaker()
    breaker.abandoned(1, since=1)
    assert breaker.state is State.CLOSED


@given(st.lists(st.tuples(st.sampled_from("sfax"), st.integers(0, 4)), max_size=60))
def test_any_history_leads_to_another_attempt_within_open_for(
    history: list[tuple[str, int]],
) -> None:
    breaker, now = make_breaker(), 0
    for what, pause in history:
        since = now
        if breaker.allows(now):
            breaker.started(now)
        now += pause
        if what == "s":
            breaker.succeeded(now, since)
        elif what == "f":
            breaker.failed(now, since, "timeout")
        elif what == "a":
            breaker.abandoned(now, since)
    assert breaker.allows(now + 10)
