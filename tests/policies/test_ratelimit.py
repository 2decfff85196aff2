from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import RateLimited
from gateway.exchange import Exchange, Principal
from gateway.headers import separate
from gateway.policies.ratelimit import REPLACED, By, RateLimit, network_of
from gateway.stores import Decision
from gateway.stores.shared import SharedLimiter, allocate
from gateway.units import Rate
from tests.http1.reading import exchange

TIERS = {
    "anonymous": Rate(2, 3600.0),
    "free": Rate(3, 3600.0),
    "enterprise": None,
}
# RFC 9651: a list with one string that has integers for parameters.
ITEM = re.compile(rb'"([a-z0-9-]+)"((?:;[a-z]+=[0-9]{1,15})+)')


class Count:
    def __init__(self) -> None:
        self.value = 0

    def inc(self) -> None:
        self.value += 1


class Edge:
    """A limiter that routes share, and what was counted by tier."""

    def __init__(self) -> None:
        self.limiter = SharedLimiter(allocate(), alone=True)
        self.counts: dict[str, Count] = {}

    def limit(
        self,
        rate: Rate | None = None,
        by: By = "ip",
        *,
        route: str = "api",
        enforce: bool = True,
        tiers: dict[str, Rate | None] | None = None,
    ) -> RateLimit:
        return RateLimit(
            self.limiter,
            scope=f"route {route}",
            by=by,
            rate=rate,
            tiers=TIERS if tiers is None else tiers,
            enforce=enforce,
            counter=lambda tier: self.counts.setdefault(tier, Count()),
        )


def asks(address: str = "192.0.2.1", principal: Principal | None = None) -> Exchange:
    made = exchange()
    made.client_ip = address.encode()
    made.principal = principal
    return made


def key(name: str = "k1", tier: str = "free") -> Principal:
    return Principal("api_key", name, tier)


def allowed(policy: RateLimit, *requests: Exchange) -> int:
    """How many of the requests get in."""
    count = 0
    for request in requests:
        try:
            assert policy.enter(request) is None
            count += 1
        except RateLimited:
            continue
    return count


def said(request: Exchange) -> dict[bytes, bytes]:
    pairs = [line.partition(b": ")[::2] for line in separate(request.lines)]
    assert len({name.lower() for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def parameters(item: bytes) -> tuple[bytes, dict[bytes, int]]:
    match = ITEM.fullmatch(item)
    assert match is not None, item
    pairs = (pair.partition(b"=") for pair in match[2][1:].split(b";"))
    return match[1], {name: int(value) for name, _, value in pairs}


def test_answer_says_what_is_left() -> None:
    policy = Edge().limit(Rate(60, 60.0))
    request = asks()
    policy.enter(request)
    assert said(request) == {
        b"X-RateLimit-Limit": b"60",
        b"X-RateLimit-Remaining": b"59",
        b"X-RateLimit-Reset": b"1",
        b"RateLimit-Policy": b'"default";q=60;w=60',
        b"RateLimit": b'"default";r=59;t=1',
    }
    assert {name.lower() for name in said(request)} <= REPLACED


def test_refusal_says_when_to_come_again() -> None:
    policy = Edge().limit(Rate(1, 60.0))
    policy.enter(asks())
    request = asks()
    with pytest.raises(RateLimited) as refused:
        policy.enter(request)
    assert refused.value.status == 429
    assert refused.value.fields == (b"Retry-After: 60",)
    assert said(request)[b"X-RateLimit-Remaining"] == b"0"
    assert said(request)[b"RateLimit"] == b'"default";r=0;t=60'


@given(st.integers(1, 10**6), st.sampled_from([1.0, 60.0, 3600.0, 86400.0]), st.integers(0, 10**4))
def test_fields_of_the_draft_are_structured_and_agree(
    count: int, period: float, burst: int
) -> None:
    rate = Rate(count, period, burst)
    policy = Edge().limit(rate)
    request = asks()
    policy.enter(request)
    name, quota = parameters(said(request)[b"RateLimit-Policy"])
    same, left = parameters(said(request)[b"RateLimit"])
    assert name == same == b"default"
    assert quota[b"q"] == rate.burst == left[b"r"] + 1
    assert quota[b"w"] >= 1
    # No more than the rate in the window, or the window is the shortest that can be said.
    assert quota[b"w"] == 1 or (quota[b"w"] - 1) * count < quota[b"q"] * period
    assert quota[b"q"] * period <= quota[b"w"] * count
    assert left[b"t"] <= quota[b"w"]


def test_burst_is_what_is_allowed_at_once() -> None:
    policy = Edge().limit(Rate(60, 60.0, 5))
    requests = [asks() for _ in range(10)]
    assert allowed(policy, *requests) == 5
    assert said(requests[0])[b"RateLimit-Policy"] == b'"default";q=5;w=5'
    assert said(requests[0])[b"X-RateLimit-Limit"] == b"5"


def test_observed_requests_are_counted_and_get_in() -> None:
    edge = Edge()
    policy = edge.limit(Rate(2, 60.0), enforce=False)
    assert allowed(policy, *(asks() for _ in range(5))) == 5
    assert edge.counts["anonymous"].value == 3


def test_addresses_are_counted_apart() -> None:
    policy = Edge().limit(Rate(1, 60.0))
    assert allowed(policy, asks("192.0.2.1"), asks("192.0.2.2"), asks("192.0.2.1")) == 2


def test_ipv6_addresses_of_one_network_are_one_client() -> None:
    policy = Edge().limit(Rate(1, 60.0))
    requests = [asks(f"2001:db8:0:1::{number:x}") for number in range(1, 50)]
    requests += [asks("2001:db8:0:1:ffff::"), asks("2001:0db8:0000:0001::1")]
    assert allowed(policy, *requests) == 1
    assert allowed(policy, asks("2001:db8:0:2::1")) == 1


def test_client_without_an_address_is_a_client() -> None:
    policy = Edge().limit(Rate(1, 60.0))
    assert allowed(policy, asks(""), asks(""), asks("192.0.2.1")) == 2


@pytest.mark.parametrize(
    ("address", "network"),
    [
        (b"192.0.2.1", b"192.0.2.1"),
        (b"::ffff:192.0.2.1", b"192.0.2.1"),
        (b"::ffff:c000:201", b"192.0.2.1"),
        (b"2001:db8::1", b"20010db800000000"),
        (b"fe80::1%eth0", b"fe80000000000000"),
        (b"::1", b"0000000000000000"),
        (b"", b""),
    ],
)
def test_network_that_stands_for_an_address(address: bytes, network: bytes) -> None:
    assert network_of(address) == network


def test_key_is_counted_wherever_it_comes_from() -> None:
    policy = Edge().limit(Rate(2, 60.0), "key")
    requests = [asks(f"192.0.2.{number}", key()) for number in range(5)]
    assert allowed(policy, *requests) == 2
    assert allowed(policy, asks("192.0.2.1", key("K1"))) == 1  # another key
    assert allowed(policy, asks("192.0.2.1", Principal("jwt", "k1"))) == 1  # no key at all
    assert allowed(policy, asks("192.0.2.1"), asks("192.0.2.1"), asks("192.0.2.1")) == 2


def test_route_by_address_does_not_look_at_keys() -> None:
    policy = Edge().limit(Rate(1, 60.0), "ip")
    assert allowed(policy, asks(principal=key("a")), asks(principal=key("b"))) == 1


def test_id_that_is_no_text_is_counted_like_any_other() -> None:
    policy = Edge().limit(Rate(1, 60.0), "key")
    assert allowed(policy, asks(principal=key("\ud800")), asks(principal=key("\ud800"))) == 1


def test_each_tier_has_its_rate() -> None:
    edge = Edge()
    policy = edge.limit(by="tier")
    assert allowed(policy, *(asks() for _ in range(9))) == 2
    free = [asks(principal=key()) for _ in range(9)]
    assert allowed(policy, *free) == 3
    assert said(free[0])[b"RateLimit-Policy"] == b'"free";q=3;w=3600'
    unlimited = [asks(principal=key("k2", "enterprise")) for _ in range(9)]
    assert allowed(policy, *unlimited) == 9
    assert unlimited[0].lines == ()
    assert {tier: count.value for tier, count in edge.counts.items()} == {
        "anonymous": 7,
        "free": 6,
        "enterprise": 0,
        "other": 0,
    }


def test_tier_that_is_not_named_has_the_least_or_the_routes_rate() -> None:
    edge = Edge()
    unknown = [asks(principal=key("k3", "platinum")) for _ in range(9)]
    assert allowed(edge.limit(by="tier"), *unknown) == 2
    assert edge.counts["other"].value == 7  # no label of a client's choosing
    again = [asks(principal=key("k3", "platinum")) for _ in range(9)]
    assert allowed(edge.limit(Rate(5, 60.0), "tier"), *again) == 5


def test_tier_counts_over_all_routes_and_a_routes_rate_on_it_alone() -> None:
    edge = Edge()
    one, two = edge.limit(by="tier", route="a"), edge.limit(by="tier", route="b")
    assert allowed(one, asks(principal=key()), asks(principal=key())) == 2
    assert allowed(two, asks(principal=key()), asks(principal=key())) == 1
    one, two = edge.limit(Rate(2, 60.0), route="a"), edge.limit(Rate(2, 60.0), route="b")
    assert allowed(one, asks(), asks(), asks()) == 2
    assert allowed(two, asks(), asks(), asks()) == 2


def test_other_rate_counts_anew() -> None:
    edge = Edge()
    assert allowed(edge.limit(Rate(2, 60.0)), asks(), asks(), asks()) == 2
    assert allowed(edge.limit(Rate(2, 60.0)), asks()) == 0  # a reload that changed nothing
    assert allowed(edge.limit(Rate(3, 60.0)), asks()) == 1


def test_rate_is_needed_but_for_tiers() -> None:
    with pytest.raises(ValueError, match="needs a rate"):
        Edge().limit(None, "key")


async def test_limiter_that_has_to_ask_is_waited_for() -> None:
    class Far:
        def take(self, key: bytes, rate: Rate, cost: int = 1) -> Coroutine[Any, Any, Decision]:
            return self._take()

        async def _take(self) -> Decision:
            await asyncio.sleep(0)
            return Decision(False, 1, 0, 5, 3)

    policy = RateLimit(
        Far(),
        scope="route api",
        by="ip",
        rate=Rate(1, 5.0),
        tiers=TIERS,
        enforce=True,
        counter=lambda tier: Count(),
    )
    request = asks()
    verdict = policy.enter(request)
    assert isinstance(verdict, Coroutine)
    with pytest.raises(RateLimited) as refused:
        await verdict
    assert refused.value.fields == (b"Retry-After: 3",)
    assert said(request)[b"RateLimit"] == b'"default";r=0;t=3'
