from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.deadline import Deadline
from tests.still_loop import StillLoop


def make(seconds: float = 10) -> tuple[StillLoop, Deadline[str], list[tuple[str, float]]]:
    """A deadline, and who expired on it when, counted from the beginning."""
    loop = StillLoop()
    begun = loop.now
    expired: list[tuple[str, float]] = []
    deadline = Deadline[str](loop, seconds, lambda who: expired.append((who, loop.now - begun)))
    return loop, deadline, expired


def test_owner_expires_once_its_time_is_up() -> None:
    loop, deadline, expired = make()
    deadline.start("a")
    assert "a" in deadline
    loop.advance(9.999)
    assert expired == []
    loop.advance(100)
    assert expired == [("a", 10)]
    assert "a" not in deadline


def test_owner_that_is_stopped_does_not_expire() -> None:
    loop, deadline, expired = make()
    deadline.start("a")
    deadline.stop("a")
    loop.advance(100)
    assert expired == []


def test_owner_that_was_never_started_may_be_stopped() -> None:
    _, deadline, _ = make()
    deadline.stop("a")
    assert len(deadline) == 0


def test_owner_that_is_started_again_waits_from_then_on() -> None:
    loop, deadline, expired = make()
    deadline.start("a")
    loop.advance(6)
    deadline.start("a")
    loop.advance(6)
    assert expired == []
    loop.advance(6)
    assert expired == [("a", 16)]


def test_owners_expire_each_at_their_time() -> None:
    loop, deadline, expired = make()
    for who in "abc":
        deadline.start(who)
        loop.advance(3)
    loop.advance(100)
    assert expired == [("a", 10), ("b", 13), ("c", 16)]


def test_timer_that_comes_early_expires_nobody_early() -> None:
    loop, deadline, expired = make()
    deadline.start("a")
    loop.advance(9.5, early=0.5)
    assert expired == []
    loop.advance(0.5)
    assert expired == [("a", 10)]


def test_deadline_of_no_seconds_is_none() -> None:
    loop, deadline, expired = make(0)
    deadline.start("a")
    assert len(deadline) == 0
    assert loop.timers == 0
    loop.advance(100)
    assert expired == []


def test_many_owners_share_one_timer() -> None:
    loop, deadline, _ = make()
    for number in range(100):
        deadline.start(str(number))
        deadline.start(str(number))
    assert len(deadline) == 100
    assert loop.timers == 1


def test_cancel_forgets_everybody() -> None:
    loop, deadline, expired = make()
    deadline.cancel()
    deadline.start("a")
    deadline.cancel()
    assert (len(deadline), loop.timers) == (0, 0)
    loop.advance(100)
    assert expired == []


def test_deadline_serves_again_after_cancel() -> None:
    loop, deadline, expired = make()
    deadline.start("a")
    deadline.cancel()
    deadline.start("b")
    loop.advance(100)
    assert expired == [("b", 10)]


def test_owner_that_another_stops_while_both_expire_does_not() -> None:
    loop = StillLoop()
    expired: list[str] = []

    def on_expiry(who: str) -> None:
        expired.append(who)
        deadline.stop("b")

    deadline = Deadline[str](loop, 10, on_expiry)
    deadline.start("a")
    deadline.start("b")
    loop.advance(10)
    assert expired == ["a"]


def test_owner_that_another_starts_again_while_both_expire_waits_anew() -> None:
    loop = StillLoop()
    expired: list[tuple[str, float]] = []

    def on_expiry(who: str) -> None:
        expired.append((who, loop.now))
        if len(expired) == 1:
            deadline.start("b")

    deadline = Deadline[str](loop, 10, on_expiry)
    deadline.start("a")
    deadline.start("b")
    loop.advance(100)
    assert expired == [("a", 1010), ("b", 1020)]


def test_owner_that_starts_itself_again_expires_again() -> None:
    loop = StillLoop()
    expired: list[float] = []

    def on_expiry(who: str) -> None:
        expired.append(loop.now)
        if len(expired) < 3:
            deadline.start(who)

    deadline = Deadline[str](loop, 10, on_expiry)
    deadline.start("a")
    loop.advance(100)
    assert expired == [1010, 1020, 1030]


def test_expiry_that_fails_is_told_and_keeps_nobody_from_expiring() -> None:
    loop = StillLoop()
    expired: list[str] = []

    def on_expiry(who: str) -> None:
        expired.append(who)
        if who == "a":
            raise RuntimeError

    deadline = Deadline[str](loop, 10, on_expiry)
    for who in "ab":
        deadline.start(who)
    loop.advance(100)
    assert expired == ["a", "b"]
    assert [type(told["exception"]) for told in loop.errors] == [RuntimeError]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["start", "start", "stop", "advance"]),
        st.sampled_from("abcd"),
        st.floats(0, 12),
        st.sampled_from(["", "", "", "start", "stop"]),
        st.sampled_from("abcd"),
    ),
    max_size=30,
)


@given(STEPS)
def test_whatever_happens_owners_expire_in_time_or_not_at_all(
    steps: list[tuple[str, str, float, str, str]],
) -> None:
    """Against a table that is looked through at every step, callbacks that meddle included."""
    loop = StillLoop()
    due: dict[str, float] = {}
    meddling = [("", "")]

    def do(what: str, who: str) -> None:
        if what == "start":
            deadline.start(who)
            due[who] = loop.now + 10
        elif what == "stop":
            deadline.stop(who)
            due.pop(who, None)

    def on_expiry(who: str) -> None:
        assert due.pop(who) <= loop.now < due.get(who, loop.now + 1)
        do(*meddling[0])

    deadline = Deadline[str](loop, 10, on_expiry)
    for what, who, seconds, then, whom in steps:
        meddling[0] = then, whom
        if what == "advance":
            loop.advance(seconds)
        else:
            do(what, who)
        assert all(when > loop.now for when in due.values())
        assert all(who in deadline for who in due)
        assert len(deadline) == len(due)
    assert loop.timers <= 1
    assert loop.errors == []
