"""What was missed: all of it, nothing else, or the plain word that it is gone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.realtime import history as history_module
from gateway.realtime.history import History
from gateway.realtime.wire import Offset
from tests.realtime.members import EPOCH, update


def history(most: int, *numbers: int, floor: int = 0) -> History:
    made = History(most)
    made.begin(EPOCH, floor)
    for number in numbers:
        made.add(update(number))
    return made


def numbers(made: History, since: int, *symbols: str, epoch: str = EPOCH) -> list[int] | None:
    found = made.since(Offset(epoch, since), symbols or ("A",))
    return None if found is None else [one.number for one in found]


def test_what_came_behind_an_offset_is_found() -> None:
    made = history(10, 1, 2, 5, 9)
    assert numbers(made, 0) == [1, 2, 5, 9]
    assert numbers(made, 2) == [5, 9]
    assert numbers(made, 3) == [5, 9]  # between two, which are others' numbers
    assert numbers(made, 9) == []


def test_an_offset_of_the_future_or_of_another_epoch_is_not_known() -> None:
    made = history(10, 1, 2)
    assert numbers(made, 3) is None
    assert numbers(made, 1, epoch="other") is None


def test_what_is_forgotten_is_said_to_be() -> None:
    made = history(2, 1, 4, 6)
    assert numbers(made, 0) is None
    assert numbers(made, 1) == [4, 6]
    made.add(update(7))
    assert numbers(made, 1) is None
    assert numbers(made, 4) == [6, 7]


def test_what_was_before_the_beginning_is_forgotten() -> None:
    made = history(10, floor=5)
    assert made.last == Offset(EPOCH, 5)
    assert numbers(made, 4) is None
    assert numbers(made, 5) == []


def test_a_new_numbering_forgets_the_old_one() -> None:
    made = history(10, 1, 2)
    made.begin("next", 7)
    assert made.last == Offset("next", 7)
    assert numbers(made, 1) is None
    assert numbers(made, 7, epoch="next") == []


def test_without_a_history_only_the_newest_offset_misses_nothing() -> None:
    made = history(0, 1, 2)
    assert made.last == Offset(EPOCH, 2)
    assert numbers(made, 2) == []
    assert numbers(made, 1) is None


def test_a_symbol_whose_updates_are_all_forgotten_takes_no_room() -> None:
    made = history(2)
    for number, symbol in enumerate("ABCDEFGH", 1):
        made.add(update(number, symbol))
    assert set(made._of) == {"G", "H"}


@given(
    st.integers(0, 6),
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(1, 3)), max_size=20),
    st.integers(0, 30),
    st.sets(st.sampled_from(["A", "B", "C", "D", "*"]), min_size=1),
)
def test_it_is_right_or_says_that_it_does_not_know(
    most: int, steps: list[tuple[str, int]], since: int, symbols: set[str]
) -> None:
    made = history(most)
    sent = []
    number = 0
    for symbol, step in steps:
        number += step
        made.add(update(number, symbol))
        sent.append((number, symbol))
    missed = [n for n, s in sent if n > since and (s in symbols or "*" in symbols)]
    lost = since < sent[-most - 1][0] if len(sent) > most else False
    if lost or since > number:
        assert numbers(made, since, *symbols) is None
    else:
        assert numbers(made, since, *symbols) == missed


@pytest.mark.parametrize("most", [1, 3])
def test_it_keeps_no_more_than_it_is_told(most: int) -> None:
    made = history(most, *range(1, 100))
    assert len(made._all) == most
    assert sum(map(len, made._of.values())) == most


def test_it_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    one = update(1, note="x" * 1000)
    monkeypatch.setattr(history_module, "LARGEST", 3 * one.size + 10)
    made = history(100)
    for number in range(1, 10):
        made.add(update(number, note="x" * 1000))
    assert numbers(made, 6) == [7, 8, 9]
    assert numbers(made, 5) is None
    made.begin("next", 0)
    assert made._bytes == 0
