"""A client's pace: what goes at once, what waits, what is dropped and what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.realtime import subscriber
from gateway.realtime.hub import Limits
from gateway.realtime.subscriber import Pace, Subscriber
from gateway.realtime.wire import Update
from gateway.units import Rate
from tests.realtime.members import EPOCH, UNLIMITED, Ear, Scene, update

THREE = Rate(3, 1.0)


class Stage(Scene):
    """A scene whose clock is the subscribers' clock, too."""

    def paced(self, **pace: Any) -> Ear:
        return self.ear("A", pace=Pace(**{"rate": THREE, **pace}))

    def offer(self, ear: Ear, *updates: Update) -> None:
        for one in updates:
            ear.offer(one, self.loop.now)


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Stage:
    made = Stage()
    monkeypatch.setattr(subscriber, "monotonic", made.loop.time)
    return made


@pytest.fixture(scope="module")
def shared() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def updates(*numbers: int, symbol: str = "A", **more: object) -> list[Update]:
    return [update(number, symbol, **more) for number in numbers]


# ------------------------------------------------------------------------------------ the rate


def test_without_a_rate_all_go_at_once(scene: Stage) -> None:
    ear = scene.ear("A", pace=UNLIMITED)
    scene.offer(ear, *updates(*range(1, 1001)))
    assert ear.numbers == list(range(1, 1001))
    assert (ear.sent, ear.waiting, scene.hub.queued) == (1000, 0, 0)


def test_beyond_the_rate_updates_wait_in_order_and_none_is_lost(scene: Stage) -> None:
    ear = scene.paced()
    scene.offer(ear, *updates(*range(1, 9)))
    assert ear.numbers == [1, 2, 3]
    assert (ear.waiting, scene.hub.queued) == (5, 5)
    scene.loop.advance(0.99)
    assert ear.numbers == [1, 2, 3]
    scene.loop.advance(0.07)
    assert ear.numbers == [1, 2, 3, 4, 5, 6]
    scene.loop.advance(1.06)
    assert ear.numbers == list(range(1, 9))
    assert (ear.sent, ear.waiting, scene.hub.queued, ear.dropped) == (8, 0, 0, 0)
    scene.loop.advance(10)
    assert not len(scene.hub._late)


def test_what_is_new_waits_behind_what_is_old(scene: Stage) -> None:
    ear = scene.paced()
    scene.offer(ear, *updates(1, 2, 3, 4))
    scene.loop.advance(0.97)
    scene.loop.now += 0.04  # a period is over, and the reminder has not come yet
    scene.offer(ear, *updates(5))
    assert ear.numbers == [1, 2, 3]
    scene.loop.advance(0.1)
    assert ear.numbers == [1, 2, 3, 4, 5]


@given(st.integers(1, 5), st.lists(st.floats(0, 0.7), min_size=1, max_size=60))
def test_of_any_second_no_more_than_the_rate_goes(
    shared: pytest.MonkeyPatch, count: int, gaps: list[float]
) -> None:
    scene = Stage()
    shared.setattr(subscriber, "monotonic", scene.loop.time)
    ear = scene.paced(rate=Rate(count, 1.0))
    times: list[float] = []
    ear.on_write = lambda update: times.append(scene.loop.now)
    for number, gap in enumerate(gaps, 1):
        scene.loop.advance(gap)
        scene.offer(ear, update(number))
    scene.loop.advance(len(gaps) / count + 2)
    assert ear.numbers == list(range(1, len(gaps) + 1))
    for first, later in zip(times, times[count:], strict=False):
        assert later - first >= 1.0
    assert (scene.hub.queued, ear.waiting) == (0, 0)


def test_a_quiet_client_may_have_a_whole_count_at_once_again(scene: Stage) -> None:
    ear = scene.paced()
    for start in (1, 4, 7):
        scene.offer(ear, *updates(start, start + 1, start + 2))
        assert ear.waiting == 0
        scene.loop.advance(1.0)
    assert len(ear.heard) == 9


# ----------------------------------------------------------------------------- a client is full


def test_a_client_that_takes_nothing_has_its_updates_wait(scene: Stage) -> None:
    ear = scene.ear("A", pace=UNLIMITED)
    ear.block()
    scene.offer(ear, *updates(1, 2, 3))
    scene.loop.advance(60)
    assert ear.heard == []
    assert not len(scene.hub._late)  # it says itself when it takes again
    ear.unblock()
    assert ear.numbers == [1, 2, 3]
    scene.offer(ear, *updates(4))
    assert ear.numbers == [1, 2, 3, 4]


def test_a_client_that_gets_full_in_between_keeps_the_order(scene: Stage) -> None:
    ear = scene.ear("A", pace=UNLIMITED)
    ear.block()
    scene.offer(ear, *updates(*range(1, 7)))
    ear.on_write = lambda update: ear.block() if update.number in (2, 4) else None
    ear.unblock()
    assert ear.numbers == [1, 2]
    scene.offer(ear, *updates(7))
    ear.unblock()
    assert ear.numbers == [1, 2, 3, 4]
    ear.unblock()
    assert ear.numbers == [1, 2, 3, 4, 5, 6, 7]
    assert scene.hub.queued == 0


def test_a_client_that_is_full_again_when_its_time_comes_waits_on(scene: Stage) -> None:
    ear = scene.paced()
    scene.offer(ear, *updates(1, 2, 3, 4))
    ear.block()
    scene.loop.advance(5)
    assert ear.numbers == [1, 2, 3]
    ear.unblock()
    assert ear.numbers == [1, 2, 3, 4]


# ------------------------------------------------------------------------------- what is dropped


def test_the_oldest_are_dropped_and_the_client_is_told_how_many(scene: Stage) -> None:
    ear = scene.ear("A", pace=Pace(rate=None, waiting=3))
    ear.block()
    scene.offer(ear, *updates(*range(1, 9)))
    assert (ear.waiting, scene.hub.queued, ear.dropped) == (3, 3, 5)
    ear.unblock()
    assert ear.told == [{"type": "warning", "dropped": 5}]
    assert ear.numbers == [6, 7, 8]
    assert scene.meters.dropped.value == 5


def test_what_waits_is_bounded_in_bytes(scene: Stage) -> None:
    size = update(1, note="x" * 1000).size
    ear = scene.ear("A", pace=Pace(rate=None, waiting_bytes=3 * size))
    ear.block()
    scene.offer(ear, *updates(*range(1, 9), note="x" * 1000))
    assert ear.waiting == 3
    scene.offer(ear, *updates(9, note="x" * 2500))
    assert ear.waiting == 1
    ear.unblock()
    assert ear.numbers == [9]
    assert ear.told == [{"type": "warning", "dropped": 8}]


def test_one_that_is_larger_than_all_room_is_dropped_itself(scene: Stage) -> None:
    ear = scene.ear("A", pace=Pace(rate=None, waiting_bytes=100))
    ear.block()
    scene.offer(ear, *updates(1, note="x" * 1000))
    assert (ear.waiting, scene.hub.queued) == (0, 0)
    ear.unblock()
    assert ear.told == [{"type": "warning", "dropped": 1}]


def test_warnings_come_once_a_second_and_count_all(scene: Stage) -> None:
    ear = scene.paced(waiting=2)
    scene.offer(ear, *updates(*range(1, 9)))  # 3 go, 2 wait, 3 are dropped
    scene.loop.advance(0.05)
    assert ear.told == [{"type": "warning", "dropped": 3}]
    scene.offer(ear, *updates(9, 10))
    scene.loop.advance(0.5)
    scene.offer(ear, *updates(11))
    assert len(ear.told) == 1
    scene.loop.advance(0.6)
    assert ear.told[1:] == [{"type": "warning", "dropped": 3}]
    scene.loop.advance(5)
    assert ear.numbers == [1, 2, 3, 10, 11]
    assert sum(one["dropped"] for one in ear.told) == ear.dropped == 6


@given(
    st.lists(st.sampled_from(["offer", "block", "unblock", "wait"]), max_size=80),
    st.integers(1, 4),
)
def test_every_update_is_sent_or_told_of_and_order_is_kept(
    shared: pytest.MonkeyPatch, steps: list[str], waiting: int
) -> None:
    scene = Stage()
    shared.setattr(subscriber, "monotonic", scene.loop.time)
    ear = scene.paced(waiting=waiting)
    number = 0
    for step in steps:
        if step == "offer":
            number += 1
            scene.offer(ear, update(number))
        elif step == "wait":
            scene.loop.advance(0.3)
        elif step == "block":
            ear.block()
        elif ear.full:
            ear.unblock()
        assert ear.waiting <= waiting
        assert ear._held_bytes == sum(one.size for one in ear._held.values())
        assert scene.hub.queued == ear.waiting
    if ear.full:
        ear.unblock()
    scene.loop.advance(waiting + 3)
    assert ear.numbers == sorted(set(ear.numbers))
    assert len(ear.numbers) + sum(one["dropped"] for one in ear.told) == number
    assert (ear.waiting, ear._held_bytes, scene.hub.queued) == (0, 0, 0)


# ------------------------------------------------------------------------------------- conflate


def test_conflated_of_what_waits_the_newest_of_each_symbol_is_left(scene: Stage) -> None:
    ear = scene.paced(conflate=True)
    scene.offer(ear, *updates(1, 2, 3))
    scene.offer(ear, *updates(4, 5), *updates(6, symbol="B"), *updates(7))
    assert ear.waiting == 2
    scene.loop.advance(1.1)
    assert ear.numbers == [1, 2, 3, 7, 6]  # in the place of the one before
    assert (ear.dropped, ear.told) == (0, [])
    assert ear._held_bytes == scene.hub.queued == 0


def test_conflated_a_symbol_that_moves_all_the_time_has_its_turn(scene: Stage) -> None:
    """Though the others move more often, too, than all of them may be sent."""
    ear = scene.paced(conflate=True, rate=Rate(1, 1.0))
    number = 0
    for turn in range(100):
        for symbol in ("A", "A", "A", "BCDEFGH"[turn % 7]):
            number += 1
            scene.offer(ear, update(number, symbol))
        scene.loop.advance(0.5)
    sent = [one.symbol for one in ear.heard[5:]]
    assert len(sent) >= 40
    assert sent.count("A") >= len(sent) // 9


def test_conflated_symbols_are_bounded_like_all_else(scene: Stage) -> None:
    ear = scene.paced(conflate=True, waiting=2)
    ear.block()
    for number, symbol in enumerate("ABCB", 1):
        scene.offer(ear, update(number, symbol))
    ear.unblock()
    assert ear.numbers == [4, 3]
    assert ear.told == [{"type": "warning", "dropped": 1}]


def test_conflation_may_begin_while_something_waits(scene: Stage) -> None:
    ear = scene.paced()
    scene.offer(ear, *updates(1, 2, 3, 4, 5))
    ear.conflate = True
    scene.offer(ear, *updates(6, 7))
    scene.loop.advance(5)
    assert ear.numbers == [1, 2, 3, 4, 5, 7]


def test_the_same_number_of_two_epochs_are_two_updates(scene: Stage) -> None:
    ear = scene.ear("A", pace=UNLIMITED)
    ear.block()
    scene.offer(ear, update(5), update(5, epoch="next"))
    ear.unblock()
    assert [one.offset for one in ear.heard] == [f"{EPOCH}-5", "next-5"]


# ------------------------------------------------------------------------------------- recovery


def test_what_was_missed_goes_at_once_whatever_the_rate(scene: Stage) -> None:
    ear = scene.paced()
    assert ear.replay(updates(*range(1, 101)), 1000)
    assert ear.numbers == list(range(1, 101))


def test_what_is_new_waits_behind_what_was_missed(scene: Stage) -> None:
    ear = scene.paced()
    ear.on_write = lambda update: ear.block() if update.number % 50 == 0 else None
    ear.replay(updates(*range(1, 121)), 1000)
    assert ear.numbers == list(range(1, 51))
    scene.offer(ear, update(121))
    ear.unblock()
    scene.offer(ear, update(122))
    ear.unblock()
    scene.loop.advance(2)
    assert ear.numbers == list(range(1, 123))
    assert ear.dropped == scene.hub.queued == 0


def test_two_recoveries_follow_each_other(scene: Stage) -> None:
    ear = scene.ear("A", "B", pace=UNLIMITED)
    ear.block()
    assert ear.replay(updates(1, 3), 10)
    assert ear.replay(updates(2, 4, symbol="B"), 10)
    ear.unblock()
    assert ear.numbers == [1, 3, 2, 4]


def test_a_client_that_asks_again_and_again_does_not_fill_the_memory(scene: Stage) -> None:
    ear = scene.ear("A", pace=UNLIMITED)
    ear.block()
    assert ear.replay(updates(*range(1, 8)), 10)
    assert not ear.replay(updates(*range(1, 8)), 10)
    assert not ear.replay(updates(*range(1, 100)), 10)
    ear.unblock()
    assert ear.numbers == list(range(1, 8))


def test_nothing_missed_is_no_hindrance(scene: Stage) -> None:
    ear = scene.paced()
    assert ear.replay([], 0)
    scene.offer(ear, update(1))
    assert ear.numbers == [1]


# ------------------------------------------------------------------------------------- its end


def test_who_is_gone_leaves_nothing_waiting(scene: Stage) -> None:
    ear = scene.paced()
    scene.offer(ear, *updates(1, 2, 3, 4, 5))
    assert scene.hub.queued == 2
    scene.hub.leave(ear)
    assert (ear.waiting, ear._held_bytes, scene.hub.queued) == (0, 0, 0)
    scene.offer(ear, *updates(6, 7))  # it was among the hearers of an update under way
    scene.loop.advance(10)
    assert ear.numbers == [1, 2, 3]
    assert (ear.waiting, scene.hub.queued) == (0, 0)


def test_what_is_superseded_is_not_sent_and_what_is_new_is(scene: Stage) -> None:
    ear = scene.paced()
    scene.offer(ear, *updates(1, 2, 3, 4, 5))
    ear.supersede()
    assert (ear.waiting, ear._held_bytes, scene.hub.queued) == (0, 0, 0)
    scene.loop.advance(2)
    scene.offer(ear, *updates(6))
    assert ear.numbers == [1, 2, 3, 6]


def test_how_bytes_get_out_is_for_others_to_say(scene: Stage) -> None:
    bare = Subscriber(scene.hub, Pace())
    for attempt in (lambda: bare.full, lambda: bare.write(update(1)), lambda: bare.tell("pong")):
        with pytest.raises(NotImplementedError):
            attempt()
    assert Limits().pace == Pace()
