"""Ways of choosing among targets, seen at the targets."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.e2e.answering import answering, body, eventually, in_front, pools, request, started
from tests.e2e.stage import Upstream


async def test_round_robin_gives_each_its_turn_by_weight() -> None:
    async with answering(b"a", b"b") as [a, b], in_front([a, b], balance="round_robin") as scene:
        found = [await body(scene) for _ in range(6)]
        assert found in ([b"a", b"b"] * 3, [b"b", b"a"] * 3)


async def test_weights_share_the_requests_out() -> None:
    async with (
        answering(b"a", b"b") as [a, b],
        in_front([a], targets=[{"url": a.url, "weight": 3}, b.url], balance="round_robin") as scene,
    ):
        assert Counter([await body(scene) for _ in range(8)]) == {b"a": 6, b"b": 2}


@pytest.mark.parametrize("balance", ["least_connections", "p2c"])
async def test_a_busy_target_gets_no_more_than_its_share(balance: str) -> None:
    targets = [Upstream(), Upstream()]
    async with started(*targets), in_front(targets, balance=balance) as scene:
        for number in range(1, 7):  # none is answered
            await (await scene.client()).send(request())
            await eventually(lambda number=number: sum(p.open for p in pools(scene)) == number)
        assert [pool.active for pool in pools(scene)] == [3, 3]


async def test_hash_sends_the_same_key_to_the_same_target() -> None:
    async with (
        answering(b"a", b"b", b"c") as targets,
        in_front(targets, balance="hash", hash_on="header:X-User") as scene,
    ):
        by_user = {}
        for user in range(20):
            asked = request(b"/", b"x-user: %d" % user)
            by_user[user] = await body(scene, asked)
            assert await body(scene, asked) == by_user[user]
        assert set(by_user.values()) == {b"a", b"b", b"c"}


async def test_hash_takes_the_clients_address_unless_told_otherwise() -> None:
    async with answering(b"a", b"b", b"c") as targets, in_front(targets, balance="hash") as scene:
        assert len({await body(scene) for _ in range(10)}) == 1


async def test_hash_follows_a_trusted_proxys_word_for_the_address() -> None:
    settings = {"trusted_proxies": ["127.0.0.0/8"]}
    async with (
        answering(b"a", b"b", b"c") as targets,
        in_front(targets, balance="hash", settings=settings) as scene,
    ):
        found = {
            await body(scene, request(b"/", b"X-Forwarded-For: 192.0.2.%d" % number))
            for number in range(20)
        }
        assert found == {b"a", b"b", b"c"}


async def test_a_cookie_keeps_a_session_at_its_target() -> None:
    async with (
        answering(b"a", b"b", b"c") as targets,
        in_front(targets, balance="hash", hash_on="cookie:sid") as scene,
    ):
        by_session = {}
        for session in range(20):
            asked = request(b"/", b"Cookie: x=%d; sid=%d" % (session * 7, session))
            other = request(b"/", b"Cookie: sid=%d" % session)
            by_session[session] = await body(scene, asked)
            assert await body(scene, other) == by_session[session]
        assert set(by_session.values()) == {b"a", b"b", b"c"}


async def test_a_key_whose_target_is_gone_goes_to_another() -> None:
    retries = {"attempts": 2, "budget": 1}
    async with (
        answering(b"a", b"b") as targets,
        in_front(targets, balance="hash", retries=retries) as scene,
    ):
        gone = targets[0] if await body(scene) == b"a" else targets[1]
        await gone.stop()
        assert await body(scene) != gone.name
