"""Who hears what, in which order, and what becomes of those who come and go meanwhile."""

from __future__ import annotations

import pytest

from gateway.errors import RateLimited
from gateway.exchange import Principal
from gateway.realtime import hub as hub_module
from gateway.realtime import subscriber
from gateway.realtime.hub import SLICE, TOLD_EVERY, Full, Limits, Member
from gateway.realtime.subscriber import Pace
from gateway.realtime.wire import Offset
from tests.realtime.members import EPOCH, UNLIMITED, Client, Ear, Scene, exchange

KEY = Principal("api_key", "k1")
REFETCH = {"type": "refetch", "symbols": ["A"]}


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    made = Scene()
    monkeypatch.setattr(subscriber, "monotonic", made.loop.time)
    monkeypatch.setattr(hub_module, "monotonic", made.loop.time)
    return made


def crowd(scene: Scene, count: int = 2 * SLICE + 1) -> list[Ear]:
    return [scene.ear("A") for _ in range(count)]


def since(number: int, epoch: str = EPOCH) -> Offset:
    return Offset(epoch, number)


# ------------------------------------------------------------------------------ who hears what


def test_updates_reach_those_who_subscribed(scene: Scene) -> None:
    a, ab, everything, nothing = (
        scene.ear("A"),
        scene.ear("A", "B"),
        scene.ear("*", "A"),
        scene.ear(),
    )
    scene.event(1)
    scene.event(2, "B")
    scene.event(3, "C")
    assert a.numbers == [1]
    assert ab.numbers == [1, 2]
    assert everything.numbers == [1, 2, 3]
    assert nothing.numbers == []
    assert a.heard[0] is ab.heard[0]
    assert scene.meters.events == {"accepted": 3}


def test_who_unsubscribes_hears_no_more(scene: Scene) -> None:
    ear = scene.ear("A", "B")
    scene.hub.unsubscribe(ear, ("A", "C"))
    scene.events(1)
    scene.event(2, "B")
    assert ear.numbers == [2]
    assert scene.meters.subscriptions.value == 1


def test_subscribing_twice_is_hearing_once(scene: Scene) -> None:
    ear = scene.ear("A")
    assert scene.hub.subscribe(ear, ("A", "B")) == ["B"]
    scene.events(1)
    assert ear.numbers == [1]
    assert scene.meters.subscriptions.value == 2


def test_who_leaves_leaves_nothing_behind(scene: Scene) -> None:
    ear = scene.ear("A", "B", pace=Pace(), by=exchange(principal=KEY))
    scene.events(*range(1, 20))
    assert scene.hub.queued == 9
    assert scene.meters.connections.value == 1
    scene.hub.leave(ear)
    scene.hub.leave(ear)
    assert scene.meters.connections.value == scene.meters.subscriptions.value == 0
    assert scene.hub.queued == 0
    assert not scene.hub.members
    assert not scene.hub._of
    assert not scene.hub._counts
    scene.loop.advance(1000)
    assert ear.calls == []


# ---------------------------------------------------------------------------------- in slices


def test_a_crowd_is_served_in_slices_with_the_loops_turns_between(scene: Scene) -> None:
    ears = crowd(scene)
    scene.event(1)
    scene.event(2)

    def served(number: int) -> int:
        return sum(number in ear.numbers for ear in ears)

    assert (served(1), served(2)) == (SLICE, 0)
    scene.loop.turn()
    assert (served(1), served(2)) == (2 * SLICE, 0)
    scene.loop.turn()
    assert (served(1), served(2)) == (len(ears), SLICE - 1)
    scene.loop.settle()
    assert all(ear.numbers == [1, 2] for ear in ears)
    assert scene.loop.soon == []


def test_events_that_nobody_hears_do_not_hold_the_loop(scene: Scene) -> None:
    crowd(scene)
    scene.event(1)
    for number in range(2, 1000):
        scene.event(number, "Z")
    turns = 0
    while scene.loop.soon:
        scene.loop.turn()
        turns += 1
    assert turns >= 998 // SLICE


def test_who_leaves_between_slices_is_not_served(scene: Scene) -> None:
    ears = crowd(scene)
    scene.event(1)
    for ear in ears[-10:]:
        scene.hub.leave(ear)
    scene.hub.unsubscribe(ears[-11], ["A"])
    scene.loop.settle()
    assert all(ear.numbers == [1] for ear in ears[:-11])
    assert all(ear.numbers == [] for ear in ears[-11:])
    assert scene.hub.queued == 0


def test_who_goes_from_one_symbol_and_still_hears_all_is_served(scene: Scene) -> None:
    ears = crowd(scene)
    scene.hub.subscribe(ears[-1], ("*", "B"))
    scene.event(1)
    scene.hub.unsubscribe(ears[-1], ["A"])
    scene.hub.unsubscribe(ears[-2], ["B"])
    scene.loop.settle()
    assert ears[-1].numbers == ears[-2].numbers == [1]


def test_who_comes_back_between_slices_hears_it_once(scene: Scene) -> None:
    ears = crowd(scene)
    back = ears[-1]
    scene.event(1)
    scene.hub.unsubscribe(back, ["A"])
    scene.hub.recover(back, scene.hub.subscribe(back, ("A",)), since(0))
    assert back.numbers == [1]
    scene.events(2)
    assert back.numbers == [1, 2]


def test_who_subscribes_between_slices_finds_it_in_the_history(scene: Scene) -> None:
    crowd(scene)
    scene.event(1)
    scene.event(2)
    late = scene.ear()
    scene.hub.recover(late, scene.hub.subscribe(late, ("A",)), since(0))
    scene.loop.settle()
    assert late.numbers == [1, 2]


def test_nobody_is_kept_once_an_update_has_gone_round(scene: Scene) -> None:
    ears = crowd(scene)
    scene.event(1)
    scene.hub.leave(ears[-1])
    scene.loop.settle()
    assert scene.hub._hearers == []
    assert scene.hub._left == set()


def test_a_client_that_fails_is_cut_and_the_others_hear_it(scene: Scene) -> None:
    ears = crowd(scene)
    client = Client()
    bad = ears[3]
    bad.exchange = exchange(client)

    def fail(update: object) -> None:
        raise RuntimeError("broken")

    bad.on_write = fail
    scene.events(1, 2)
    assert all(ear.numbers == [1, 2] for ear in ears if ear is not bad)
    assert client.ends == ["cut", "cut"]
    assert "broken" in str(scene.loop.errors[0]["exception"])


def test_going_away_in_the_middle_of_an_update_is_the_end_for_all(scene: Scene) -> None:
    ears = crowd(scene)
    scene.event(1)
    for ear in ears:
        ear.leave = lambda ear=ear: scene.hub.leave(ear)  # type: ignore[misc]
    scene.hub.going_away()
    scene.loop.settle()
    assert sum(len(ear.heard) for ear in ears) == SLICE
    assert not scene.hub.members
    assert scene.hub.queued == 0


# ------------------------------------------------------------------------------------ recovery


def test_what_was_missed_is_sent_of_the_symbols_asked_for(scene: Scene) -> None:
    scene.events(1, 2)
    scene.event(3, "B")
    ear = scene.ear("A")
    scene.hub.recover(ear, ["A"], since(1))
    assert ear.numbers == [2]
    scene.hub.recover(ear, ["*"], since(0))
    assert ear.numbers == [2, 1, 2, 3]


@pytest.mark.parametrize("offset", [since(1, "other"), since(99)])
def test_what_cannot_be_known_has_to_be_fetched_again(scene: Scene, offset: Offset) -> None:
    scene.events(1)
    ear = scene.ear("A")
    scene.hub.recover(ear, ["A"], offset)
    assert ear.told == [REFETCH]
    assert ear.heard == []


def test_who_wants_the_newest_only_gets_the_newest_of_each_symbol(scene: Scene) -> None:
    """What it saw last says nothing of the others: conflated, they do not come in order."""
    scene.events(1, 2, 3)
    scene.event(4, "B")
    scene.event(5, "C")
    ear = scene.ear("A", "B", "Z")
    ear.conflate = True
    scene.hub.recover(ear, ["A", "B", "Z"], since(3))
    assert ear.numbers == [3, 4]
    scene.hub.recover(ear, ["*"], since(0))
    assert ear.numbers == [3, 4, 3, 4, 5]
    scene.hub.recover(ear, ["A"], since(3, "other"))
    assert ear.told == [REFETCH]


def test_more_than_the_history_never_waits_for_one_client() -> None:
    scene = Scene(Limits(history=5, pace=UNLIMITED))
    scene.events(*range(1, 6))
    ear = scene.ear("A")
    ear.block()
    scene.hub.recover(ear, ["A"], since(0))
    scene.hub.recover(ear, ["A"], since(0))
    assert ear.told == [REFETCH]
    ear.unblock()
    assert ear.numbers == [1, 2, 3, 4, 5]


# ------------------------------------------------------------------------------------ the bus


def test_a_gap_is_told_to_all_who_subscribed_and_the_history_begins_anew(scene: Scene) -> None:
    ear, silent = scene.ear("B", "A"), scene.ear()
    scene.events(1, 2)
    scene.hub.begin(EPOCH, 7)
    scene.events(8)
    assert ear.told == [{"type": "refetch", "symbols": ["A", "B"]}]
    assert ear.numbers == [1, 2, 8]
    assert silent.told == []
    late = scene.ear("A")
    scene.hub.recover(late, ["A"], since(2))
    assert late.told == [REFETCH]
    scene.hub.recover(late, ["A"], since(7))
    assert late.numbers == [8]


def test_what_waits_does_not_come_behind_the_word_to_fetch_what_is_newer(scene: Scene) -> None:
    ear, slow = scene.ear("A", pace=Pace()), scene.ear("A")
    slow.block()
    scene.events(*range(1, 15))
    assert (ear.waiting, slow.waiting) == (4, 14)
    scene.hub.begin(EPOCH, 20)
    assert ear.told == slow.told == [REFETCH]
    slow.unblock()
    scene.loop.advance(5)
    scene.events(21)
    assert ear.numbers == [*range(1, 11), 21]
    assert slow.numbers == [21]
    assert scene.hub.queued == 0


def test_a_gap_waits_for_its_turn(scene: Scene) -> None:
    ears = crowd(scene)
    scene.event(1)
    scene.hub.begin("next", 0)
    scene.event(1)
    last = ears[-1]
    scene.hub.leave(ears[-2])
    scene.loop.turn()
    assert last.told == []
    scene.loop.settle()
    assert [one.offset for one in last.heard] == ["e-1", "next-1"]
    assert last.told == [REFETCH]


def test_who_unsubscribed_before_its_slice_of_a_gap_is_told_nothing(scene: Scene) -> None:
    ears = crowd(scene)
    scene.hub.begin("next", 0)
    told = [ear for ear in ears if ear.told]
    assert len(told) == SLICE
    rest = [ear for ear in ears if not ear.told]
    scene.hub.unsubscribe(rest[0], ["A"])
    scene.loop.settle()
    assert rest[0].told == []
    assert all(ear.told == [REFETCH] for ear in rest[1:])


def test_nobody_is_told_of_the_first_beginning() -> None:
    scene = Scene(begun=False)
    ear = scene.ear("A")
    scene.hub.begin(EPOCH, 3)
    scene.events(4)
    assert ear.told == []
    assert scene.hub.status()["offset"] == "e-4"


def test_bad_events_are_counted_and_told_once_in_a_while(scene: Scene) -> None:
    for _ in range(3):
        scene.hub.event(1, b"{")
    scene.hub.event(1, b"{}")
    deep = b'{"symbol":"A","predicted_price":1,"x":' + b"[" * 300 + b"]" * 300 + b"}"
    scene.hub.event(1, deep)
    scene.event(2)
    assert scene.meters.events == {"no_json": 3, "bad_symbol": 1, "too_deep": 1, "accepted": 1}
    assert scene.log.of("bad_events") == [{"no_json": 1}]
    scene.hub.refresh()
    scene.loop.advance(TOLD_EVERY)
    scene.hub.refresh()
    scene.hub.refresh()
    rest = {"no_json": 2, "bad_symbol": 1, "too_deep": 1}
    assert scene.log.of("bad_events")[1:] == [rest]


@pytest.fixture
def short_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "PENDING", 3)


@pytest.mark.usefixtures("short_line")
def test_a_line_that_gets_too_long_loses_its_oldest_and_all_are_told(scene: Scene) -> None:
    ears = crowd(scene)
    for number in range(1, 8):
        scene.event(number)
    assert scene.hub.status()["pending"] == 3
    scene.loop.settle()
    assert all(ear.numbers == [1, 5, 6, 7] for ear in ears)
    assert all(ear.told == [REFETCH] for ear in ears)
    assert scene.log.of("events_dropped") == [{"count": 3}]
    assert scene.meters.events["overrun"] == 3
    late = scene.ear("A")  # the history has them all
    scene.hub.recover(late, ["A"], since(0))
    assert late.numbers == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.usefixtures("short_line")
def test_a_gap_that_loses_its_place_in_the_line_is_a_gap_all_the_same(scene: Scene) -> None:
    ears = crowd(scene)
    scene.event(1)
    scene.hub.begin("next", 0)
    for number in range(1, 5):
        scene.event(number)
    scene.loop.settle()
    assert all(ear.told == [REFETCH] for ear in ears)
    assert scene.hub.status()["offset"] == "next-4"


@pytest.mark.usefixtures("short_line")
def test_under_an_endless_load_those_who_miss_something_are_told_all_the_same(
    scene: Scene,
) -> None:
    ear = crowd(scene)[0]
    number = 0
    for _ in range(50):
        for _ in range(4):
            number += 1
            scene.event(number)
        scene.loop.turn()
        scene.loop.now += 1
    assert scene.hub.status()["pending"] > 0
    assert 2 <= len(ear.told) <= 6


# -------------------------------------------------------------------------------------- limits


def test_connections_of_the_worker_are_limited() -> None:
    scene = Scene(Limits(connections=2))
    first = scene.ear()
    scene.hub.admit(exchange())
    scene.ear()
    with pytest.raises(Full):
        scene.hub.admit(exchange())
    scene.hub.leave(first)
    scene.hub.admit(exchange())


def test_connections_of_an_address_are_limited() -> None:
    scene = Scene(Limits(connections_per_address=1))
    first = scene.ear(by=exchange(Client("192.0.2.1")))
    with pytest.raises(RateLimited):
        scene.hub.admit(exchange(Client("192.0.2.1")))
    scene.hub.admit(exchange(Client("192.0.2.2")))
    scene.hub.leave(first)
    scene.hub.admit(exchange(Client("192.0.2.1")))


def test_connections_with_one_key_are_limited() -> None:
    scene = Scene(Limits(connections_per_key=1))
    scene.ear(by=exchange(Client("192.0.2.1"), KEY))
    with pytest.raises(RateLimited):
        scene.hub.admit(exchange(Client("192.0.2.2"), KEY))
    scene.hub.admit(exchange(principal=Principal("api_key", "k2")))
    scene.hub.admit(exchange(principal=Principal("jwt", "k1")))
    scene.hub.admit(exchange())


def test_without_limits_all_are_let_in() -> None:
    scene = Scene(Limits(connections=0))
    for _ in range(10):
        scene.hub.admit(exchange(principal=KEY))
        scene.ear(by=exchange(principal=KEY))


def test_nobody_comes_in_after_the_hub_went_away_until_it_is_back(scene: Scene) -> None:
    scene.hub.going_away()
    with pytest.raises(Full):
        scene.hub.admit(exchange())
    scene.hub.obey(Limits())
    scene.hub.admit(exchange())


# ------------------------------------------------------------------------------------- deadlines


def test_members_are_pinged_and_the_idle_are_told(scene: Scene) -> None:
    ear = scene.ear()
    scene.hub.idles.start(ear)
    scene.hub.closing.start(ear)
    scene.loop.advance(1)
    assert ear.calls == ["overdue"]
    scene.loop.advance(29)
    assert ear.calls == ["overdue", "ping"]
    scene.loop.advance(270)
    assert ear.calls == ["overdue", "ping", "idle"]
    scene.hub.cancel()
    assert scene.loop.timers == 0


def test_a_reload_can_begin_with_pings() -> None:
    scene = Scene(Limits(ping_interval=0, idle_timeout=0))
    ear = scene.ear()
    scene.loop.advance(1000)
    scene.hub.obey(Limits(ping_interval=5, idle_timeout=7))
    scene.loop.advance(5)
    assert ear.calls == ["ping"]
    scene.hub.pings.start(ear)
    scene.hub.obey(Limits(ping_interval=6))
    scene.loop.advance(5)
    assert ear.calls == ["ping", "ping"]


def test_what_a_member_does_is_for_others_to_say(scene: Scene) -> None:
    bare = Member(scene.hub, Pace())
    for attempt in (bare.ping, bare.leave, bare.dismiss):
        with pytest.raises(NotImplementedError):
            attempt()
    bare.idle()
    bare.overdue()


# ------------------------------------------------------------------------------------ operators


def test_the_status_shows_who_is_there(scene: Scene) -> None:
    scene.ear("A", "B")
    slow = scene.ear("A", pace=Pace())
    slow.block()
    scene.events(1, 2)
    assert scene.hub.status() == {
        "connections": 2,
        "subscriptions": 3,
        "symbols": {"A": 2, "B": 1},
        "queued": 2,
        "pending": 0,
        "offset": "e-2",
    }
    scene.hub.refresh()
    scene.hub.refresh()
    assert scene.meters.queued.value == 2
    assert scene.meters.sent.value == 2


def test_of_many_symbols_the_status_shows_the_most_heard(scene: Scene) -> None:
    names = [f"{a}{b}" for a in "ABCDEFGHIJKLMN" for b in "ABCDEFGHIJKLMN"]
    scene.ear(*names)
    scene.ear("NN", "NM")
    symbols = scene.hub.status()["symbols"]
    assert len(symbols) == hub_module.SHOWN
    assert list(symbols)[:2] == ["NM", "NN"]


@pytest.mark.parametrize("most", [0, 3])
def test_the_history_is_as_long_as_it_is_told(most: int) -> None:
    scene = Scene(Limits(history=most, pace=UNLIMITED))
    scene.events(1, 2, 3, 4, 5)
    ear = scene.ear("A")
    scene.hub.recover(ear, ["A"], since(2))
    assert ear.numbers == [3, 4, 5][:most]
    assert ear.told == ([] if most else [REFETCH])
