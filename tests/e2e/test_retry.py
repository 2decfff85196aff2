"""A retry policy: which failures are tried again, where, and how often."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.e2e.answering import (
    answering,
    body,
    deaf_target,
    eventually,
    in_front,
    nothing_open,
    pools,
    request,
    scripted,
    status,
)
from tests.e2e.stage import Upstream

TWICE = {"retries": {"attempts": 2, "budget": 1}, "balance": "round_robin"}
POST = request(method=b"POST", body=b"data")


@pytest.fixture
def refusing() -> Iterator[Upstream]:
    """A target where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nobody = Upstream()
        nobody.port = taken.getsockname()[1]
        yield nobody


async def test_who_refuses_connections_is_passed_over_for_every_method(
    refusing: Upstream,
) -> None:
    async with answering(b"good") as [good], in_front([refusing, good], **TWICE) as scene:
        for asked in (request(), request(), POST, POST):
            assert await body(scene, asked) == b"good"
        assert good.bodies == [b"", b"", b"data", b"data"]


async def test_without_a_policy_who_refuses_is_the_answer(refusing: Upstream) -> None:
    async with (
        answering(b"good") as [good],
        in_front([refusing, good], balance="round_robin") as scene,
    ):
        assert sorted([await status(scene), await status(scene)]) == [200, 503]


@pytest.mark.parametrize("bad_status", [502, 503, 504])
async def test_not_now_is_asked_of_another_target(bad_status: int) -> None:
    async with answering(b"bad", b"good") as [bad, good], in_front([bad, good], **TWICE) as scene:
        bad.status = bad_status
        assert [await body(scene) for _ in range(4)] == [b"good"] * 4
        assert len(bad.heads) == 2


@pytest.mark.parametrize("bad_status", [500, 429, 404])
async def test_no_is_an_answer(bad_status: int) -> None:
    async with answering(b"bad", b"good") as [bad, good], in_front([bad, good], **TWICE) as scene:
        bad.status = bad_status
        found = {await status(scene) for _ in range(2)}
        assert found == {200, bad_status}


async def test_a_post_gets_the_answer_that_it_got() -> None:
    async with answering(b"bad", b"good") as [bad, good], in_front([bad, good], **TWICE) as scene:
        bad.status = 503
        assert {await body(scene, POST) for _ in range(2)} == {b"bad", b"good"}


async def test_a_hang_up_is_tried_again_where_that_is_safe() -> None:
    async with answering(b"bad", b"good") as [bad, good], in_front([bad, good], **TWICE) as scene:
        bad.status = 0
        put = request(method=b"PUT", body=b"data")
        for asked in (request(), request(), put, put):
            assert await body(scene, asked) == b"good"
        assert {await status(scene, POST) for _ in range(2)} == {200, 502}
        assert good.bodies.count(b"data") == 3


async def test_a_chunked_body_is_sent_again_whole() -> None:
    chunked = b"PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"2\r\nda\r\n2\r\nta\r\n0\r\n\r\n"
    async with answering(b"bad", b"good") as [bad, good], in_front([bad, good], **TWICE) as scene:
        bad.status = 503
        assert {await body(scene, chunked) for _ in range(2)} == {b"good"}
        assert good.bodies == [b"data", b"data"]


async def test_a_body_that_was_not_kept_is_not_sent_again() -> None:
    settings = {"limits": {"replay": 3}}
    async with answering(b"bad", b"good") as [bad, good]:
        bad.status = 503
        async with in_front([bad, good], settings=settings, **TWICE) as scene:
            put = request(method=b"PUT", body=b"data")
            assert {await status(scene, put) for _ in range(2)} == {200, 503}


async def test_silence_is_tried_again() -> None:
    short = {"timeout": 0.1}
    async with (
        scripted() as silent,
        answering(b"good") as [good],
        in_front([silent, good], settings=short, **TWICE) as scene,
    ):
        assert [await body(scene) for _ in range(2)] == [b"good"] * 2
        await eventually(lambda: nothing_open(scene))


@pytest.mark.parametrize("asked", [request(), POST])
async def test_a_connection_that_is_not_made_is_tried_elsewhere(asked: bytes) -> None:
    short = {"connect_timeout": 0.1}
    with deaf_target() as deaf:
        async with (
            answering(b"good") as [good],
            in_front([], targets=[deaf, good.url], settings=short, **TWICE) as scene,
        ):
            assert [await body(scene, asked) for _ in range(2)] == [b"good"] * 2


async def test_attempts_counts_all_tries_and_the_last_answer_stands() -> None:
    async with answering(b"one", b"two", b"three", b"four") as all_of_them:
        for upstream in all_of_them:
            upstream.status = 503
        retries = {"attempts": 3, "budget": 1}
        async with in_front(all_of_them, retries=retries, balance="round_robin") as scene:
            assert await status(scene) == 503
            asked = [upstream for upstream in all_of_them if upstream.heads]
            assert [len(upstream.heads) for upstream in asked] == [1, 1, 1]  # each another


async def test_a_single_target_is_asked_again() -> None:
    async with answering(b"bad") as [bad], in_front([bad], **TWICE) as scene:
        bad.status = 503
        assert await body(scene) == b"bad"
        assert len(bad.heads) == 2


async def test_retries_are_a_share_of_all_requests() -> None:
    retries = {"attempts": 2, "budget": 0.1}
    async with answering(b"bad") as [bad], in_front([bad], retries=retries) as scene:
        bad.status = 503
        for _ in range(60):
            assert await status(scene) == 503
        # A tenth of sixty, and one a second over ten seconds whatever the traffic.
        assert 60 < len(bad.heads) <= 60 + 6 + 10


async def test_no_slot_is_lost_over_attempts(refusing: Upstream) -> None:
    async with answering(b"bad", b"good") as [bad, good]:
        bad.status = 0
        retries = {"attempts": 3, "budget": 1}
        pool = {"connections": 1, "waiting": 0}
        async with in_front([refusing, bad, good], retries=retries, pool=pool) as scene:
            for _ in range(20):
                assert await status(scene) == 200
            assert all(pool.open == pool.idle for pool in pools(scene))


async def test_attempts_do_not_mix_their_answers() -> None:
    async with (
        scripted() as bad,
        answering(b"good") as [good],
        in_front([bad, good], **TWICE) as scene,
    ):
        client = await scene.client()
        await client.send(request())
        target = await bad.accept()
        await target.head()
        await target.send(b"HTTP/1.1 503 No\r\nX-Bad: 1\r\nContent-Length: 9\r\n\r\nbad")
        head, text = await client.answer()
        assert b"X-Bad" not in head
        assert text == b"good"
