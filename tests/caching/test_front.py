"""The layer in front: bounded, and it forgets the oldest."""

from __future__ import annotations

from gateway.caching.front import SHARE, Front


def full(count: int) -> Front[int]:
    front: Front[int] = Front(1000)
    for number in range(count):
        front.put(b"%02d" % number, number, 98)
    return front


def test_least_recently_used_goes_first() -> None:
    front = full(10)
    assert front.get(b"00") == 0
    front.put(b"xx", 99, 98)
    assert front.get(b"01") is None
    assert front.get(b"00") == 0
    assert len(front) == 10
    assert front.size == 1000


def test_new_entry_takes_the_place_of_the_old() -> None:
    front = full(3)
    front.put(b"01", 7, 18)
    assert front.get(b"01") == 7
    assert front.size == 220


def test_one_entry_does_not_fill_it() -> None:
    front = full(2)
    front.put(b"big", 1, 1000 // SHARE)
    assert front.get(b"big") is None
    assert len(front) == 2


def test_nothing_is_kept_in_no_room() -> None:
    front: Front[int] = Front(0)
    front.put(b"a", 1, 0)
    assert front.get(b"a") is None


def test_dropped() -> None:
    front = full(2)
    front.drop(b"00")
    front.drop(b"00")
    assert front.get(b"00") is None
    assert front.size == 100


def test_keys_that_are_wanted() -> None:
    assert full(12).matching(lambda key: key.startswith(b"0")) == [
        b"%02d" % number for number in range(2, 10)
    ]
