from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.balance import (
    Balancer,
    Consistent,
    LeastConnections,
    PowerOfTwo,
    RoundRobin,
)
from gateway.upstreams.pool import Pool
from gateway.upstreams.target import Target

Targets = list[Target[Any]]


def make_targets(*weights: int) -> Targets:
    return [
        Target(f"http://{chr(97 + index)}:80", weight, Pool(1, 1, 1, 1))
        for index, weight in enumerate(weights)
    ]


def p2c(targets: Targets) -> PowerOfTwo[Any]:
    return PowerOfTwo(targets, Random(1).random)


KINDS = [p2c, RoundRobin, LeastConnections, Consistent]


def chosen(balancer: Balancer[Any], count: int, key: bytes = b"") -> Iterator[Target[Any]]:
    for _ in range(count):
        target = balancer.choose(key, 0)
        assert target is not None
        yield target


def letters(targets: Iterator[Target[Any]]) -> str:
    return "".join(target.address.host for target in targets)


def shares(targets: Iterator[Target[Any]]) -> Counter[str]:
    return Counter(letters(targets))


@pytest.mark.parametrize("kind", KINDS)
@given(
    down=st.lists(st.booleans(), min_size=1, max_size=5),
    excluded=st.sets(st.integers(0, 4)),
    busy=st.lists(st.integers(0, 3), min_size=5, max_size=5),
    key=st.binary(max_size=8),
)
def test_any_balance_chooses_an_available_target_that_is_not_excluded_if_there_is_one(
    kind: Any, down: Sequence[bool], excluded: set[int], busy: list[int], key: bytes
) -> None:
    targets = make_targets(*range(1, len(down) + 1))
    for target, is_down, in_flight in zip(targets, down, busy, strict=False):
        target.healthy, target.in_flight = not is_down, in_flight
    exclude = [target for index, target in enumerate(targets) if index in excluded]
    possible = [target for target in targets if target.healthy and target not in exclude]
    target = kind(targets).choose(key, 0, exclude)
    assert target in possible or (target is None and not possible)


@pytest.mark.parametrize("kind", KINDS)
def test_any_balance_of_one_target_chooses_it(kind: Any) -> None:
    targets = make_targets(3)
    assert kind(targets).choose(b"key", 0) is targets[0]


def test_round_robin_spreads_the_turns_of_a_heavy_target() -> None:
    # The example of nginx's own description of the algorithm.
    assert letters(chosen(RoundRobin(make_targets(5, 1, 1)), 7)) == "aabacaa"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 3))
def test_round_robin_gives_each_target_exactly_its_weight_a_round(
    weights: list[int], rounds: int
) -> None:
    balancer = RoundRobin(make_targets(*weights))
    counts = shares(chosen(balancer, rounds * sum(weights)))
    assert list(map(counts.__getitem__, "abcdef"[: len(weights)])) == [
        rounds * weight for weight in weights
    ]


def test_round_robin_shares_the_turns_of_a_target_that_is_down() -> None:
    targets = make_targets(1, 2, 1)
    targets[0].healthy = False
    assert shares(chosen(RoundRobin(targets), 9)) == {"b": 6, "c": 3}


def test_least_connections_takes_the_idle_one() -> None:
    targets = make_targets(1, 1, 1)
    targets[0].in_flight = targets[2].in_flight = 1
    assert letters(chosen(LeastConnections(targets), 3)) == "bbb"


def test_least_connections_weighs_what_is_in_flight() -> None:
    targets = make_targets(1, 3)
    targets[0].in_flight, targets[1].in_flight = 1, 2
    assert LeastConnections(targets).choose(b"", 0) is targets[1]


def test_least_connections_takes_turns_among_equals() -> None:
    targets = make_targets(1, 1, 1)
    targets[1].in_flight = 1
    assert letters(chosen(LeastConnections(targets), 4)) == "acac"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(1, 4))
def test_least_connections_fills_targets_in_proportion(weights: list[int], rounds: int) -> None:
    targets = make_targets(*weights)
    for target in chosen(LeastConnections(targets), rounds * sum(weights)):
        target.started(0)
    assert [target.in_flight for target in targets] == [rounds * w for w in weights]


def test_p2c_takes_the_less_loaded_of_the_two_it_drew() -> None:
    targets = make_targets(1, 1, 1)
    targets[0].in_flight = 1
    draws = cycle([0.0, 0.9])  # the first target, then the last of the others
    assert letters(chosen(PowerOfTwo(targets, lambda: next(draws)), 2)) == "cc"


def test_p2c_weighs_what_is_in_flight() -> None:
    targets = make_targets(1, 3)
    targets[0].in_flight, targets[1].in_flight = 1, 2
    assert letters(chosen(p2c(targets), 5)) == "bbbbb"


def test_p2c_follows_the_weights_when_all_are_idle() -> None:
    counts = shares(chosen(p2c(make_targets(1, 3, 6)), 10_000))
    for host, share in {"a": 1000, "b": 3000, "c": 6000}.items():
        assert abs(counts[host] - share) < 200


def test_p2c_keeps_targets_nearly_even() -> None:
    targets = make_targets(*[1] * 10)
    for target in chosen(p2c(targets), 10_000):
        target.started(0)
    # One random choice would leave them about 100 apart.
    loads = [target.in_flight for target in targets]
    assert max(loads) - min(loads) < 10


@given(
    st.lists(st.integers(1, 1000), min_size=2, max_size=5),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
)
def test_p2c_draws_two_different_targets_whatever_the_dice_say(
    weights: list[int], one: float, other: float
) -> None:
    targets = make_targets(*weights)
    for target in targets:
        target.in_flight = target.weight  # all equally loaded: the first draw wins
    first = PowerOfTwo(targets, iter((one, other)).__next__).choose(b"", 0)
    assert first is not None
    first.in_flight += 1
    second = PowerOfTwo(targets, iter((one, other)).__next__).choose(b"", 0)
    assert second is not first


KEYS = [b"192.0.2.%d" % number for number in range(256)] + [
    b"user-%d" % number for number in range(5_000)
]


def placed(balancer: Balancer[Any]) -> dict[bytes, str]:
    return {key: letters(chosen(balancer, 1, key)) for key in KEYS}


def test_hash_sends_a_key_to_the_same_target_in_every_process() -> None:
    # Were these to change, a rolling restart would send every client elsewhere.
    balancer = Consistent(make_targets(1, 1, 1))
    keys = (b"one", b"two", b"three", b"")
    assert "".join(letters(chosen(balancer, 1, key)) for key in keys) == "cbac"


def test_hash_moves_only_the_keys_of_a_target_that_goes_down() -> None:
    targets = make_targets(*[1] * 10)
    balancer = Consistent(targets)
    before = placed(balancer)
    targets[3].healthy = False
    after = placed(balancer)
    moved = {key for key in KEYS if before[key] != after[key]}
    assert moved == {key for key in KEYS if before[key] == "d"}
    assert len(moved) < 1.3 * len(KEYS) / 10
    assert len({after[key] for key in moved}) == 9


def test_hash_without_a_target_is_hash_with_that_target_down() -> None:
    targets = make_targets(1, 2, 3)
    without = placed(Consistent(targets[1:]))
    targets[0].healthy = False
    assert placed(Consistent(targets)) == without


def test_hash_gives_each_target_its_share_of_the_slots() -> None:
    counts = Counter(placed(Consistent(make_targets(1, 2, 3))).values())
    for host, weight in zip("abc", (1, 2, 3), strict=True):
        assert abs(counts[host] / len(KEYS) - weight / 6) < 0.03


def test_hash_spreads_neighbouring_addresses() -> None:
    balancer = Consistent(make_targets(1, 1, 1, 1))
    counts = Counter(letters(chosen(balancer, 1, key)) for key in KEYS[:256])
    assert min(counts.values()) > 40
