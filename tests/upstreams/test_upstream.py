from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

from gateway.config.upstreams import Upstream as UpstreamSettings
from gateway.upstreams.pool import Pool
from gateway.upstreams.retry import Retries
from gateway.upstreams.target import Target
from gateway.upstreams.upstream import Upstream, build

BALANCES = ["p2c", "round_robin", "least_connections", "hash"]


def make_upstream(hosts: Sequence[str] = ("a", "b"), balance: str = "round_robin") -> Upstream[Any]:
    targets: list[Target[Any]] = [Target(f"http://{h}", 1, Pool(1, 1, 1, 1)) for h in hosts]
    return Upstream("orders", targets, balance, Retries(), Random(1).random)


def test_upstream_without_targets_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        make_upstream(hosts=())


def test_unknown_balance_is_refused() -> None:
    with pytest.raises(ValueError, match="expected p2c"):
        make_upstream(balance="fastest")


def test_only_target_is_chosen_while_it_is_available() -> None:
    upstream = make_upstream(hosts="a")
    (target,) = upstream.targets
    assert upstream.choose(b"", 0) is target
    target.healthy = False
    assert upstream.choose(b"", 0) is None


@pytest.mark.parametrize("balance", BALANCES)
def test_another_attempt_goes_to_another_target(balance: str) -> None:
    upstream = make_upstream(balance=balance)
    first = upstream.choose(b"key", 0)
    assert first is not None
    second = upstream.choose(b"key", 0, exclude=[first])
    assert {first, second} == set(upstream.targets)


@pytest.mark.parametrize("hosts", ["a", "ab"])
@pytest.mark.parametrize("balance", BALANCES)
def test_another_attempt_goes_to_a_tried_target_when_no_other_is_left(
    balance: str, hosts: str
) -> None:
    upstream = make_upstream(hosts, balance)
    upstream.targets[-1].healthy = len(hosts) == 1
    assert upstream.choose(b"", 0, exclude=[upstream.targets[0]]) is upstream.targets[0]


@pytest.mark.parametrize("balance", BALANCES)
def test_no_target_is_chosen_when_all_are_down(balance: str) -> None:
    upstream = make_upstream(balance=balance)
    for target in upstream.targets:
        target.healthy = False
    assert upstream.choose(b"", 0, exclude=upstream.targets) is None


def built(**settings: Any) -> Upstream[Any]:
    table = UpstreamSettings(targets=["http://a:8001", "http://b:8002"], **settings)
    return build("orders", table, Random(1).random, now=100)


def test_upstream_is_built_as_its_settings_say() -> None:
    upstream = built(
        retries={"attempts": 3, "budget": 0.0},
        circuit_breaker={"failures": 1, "window": 5, "open_for": 7},
        pool={"connections": 4, "waiting": 0, "wait_timeout": 1, "idle_timeout": 2},
    )
    target = upstream.targets[0]
    assert target.breaker is not None
    target.breaker.failed(101, since=101, why="connect")
    assert [upstream.retries.attempts, target.pool.limit] == [3, 4]
    assert [target.available(107), target.available(108)] == [False, True]


def test_upstream_has_neither_breaker_nor_retries_unless_told() -> None:
    upstream = built()
    assert {target.breaker for target in upstream.targets} == {None}
    assert (upstream.retries.attempts, upstream.retries.budget) == (1, None)


def test_description_is_plain_json() -> None:
    upstream = built(circuit_breaker={"failures": 1})
    first = upstream.targets[0]
    first.started(101)
    assert first.breaker is not None
    first.breaker.failed(101, since=101, why="connect")
    described = json.loads(json.dumps(upstream.describe(now=103)))
    assert (described["name"], described["balance"]) == ("orders", "p2c")
    assert described["targets"][0] == {
        "url": "http://a:8001",
        "weight": 1,
        "available": False,
        "healthy": True,
        "in_flight": 1,
        "connections": {"idle": 0, "active": 0, "waiting": 0},
        "breaker": {"state": "open", "reason": "connect", "for": 2},
    }


def test_description_of_a_target_without_a_breaker_has_none() -> None:
    assert built().describe(now=103)["targets"][0]["breaker"] is None
