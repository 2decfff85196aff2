"""A circuit breaker: a target that fails is left alone, then asked once, then trusted again."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.answering import answering, body, eventually, in_front, request, scripted, status

BREAKER = {"circuit_breaker": {"failures": 2, "window": 10, "open_for": 0.2}}


@pytest.mark.parametrize("bad_status", [502, 503, 504, 0])
async def test_too_many_failures_open_it_and_the_target_is_not_asked(bad_status: int) -> None:
    async with answering(b"") as [upstream], in_front([upstream], **BREAKER) as scene:
        upstream.status = bad_status
        for _ in range(2):
            assert await status(scene) == (bad_status or 502)
        upstream.status = 200
        head, text = await scene.ask(request())
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b'"error":"service_unavailable"' in text
        assert len(upstream.heads) == 2


async def test_it_closes_when_a_probe_succeeds() -> None:
    async with answering(b"") as [upstream], in_front([upstream], **BREAKER) as scene:
        upstream.status = 503
        for _ in range(3):
            await status(scene)
        upstream.status = 200
        await asyncio.sleep(0.21)
        assert [await status(scene) for _ in range(3)] == [200] * 3


async def test_it_stays_open_when_the_probe_fails() -> None:
    async with answering(b"") as [upstream], in_front([upstream], **BREAKER) as scene:
        upstream.status = 503
        for _ in range(3):
            await status(scene)
        await asyncio.sleep(0.21)
        assert await status(scene) == 503  # the probe
        upstream.status = 200
        assert await status(scene) == 503
        assert len(upstream.heads) == 3


async def test_one_probe_at_a_time_is_let_through() -> None:
    async with scripted() as upstream, in_front([upstream], **BREAKER) as scene:
        for _ in range(2):
            client = await scene.client()
            await client.send(request())
            target = await upstream.accept()
            await target.head()
            target.reset()
            await client.answer()
        await asyncio.sleep(0.21)
        probing = await scene.client()
        await probing.send(request())
        probe = await upstream.accept()
        await probe.head()
        assert await status(scene) == 503
        await probe.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await probing.answer()
        another = await scene.client()
        await another.send(request())
        await probe.head()


async def test_a_probe_whose_client_left_lets_the_next_one_probe() -> None:
    slow = {"circuit_breaker": {"failures": 1, "window": 10, "open_for": 0.3}}
    async with scripted() as upstream, in_front([upstream], **slow) as scene:
        client = await scene.client()
        await client.send(request())
        target = await upstream.accept()
        await target.head()
        target.reset()
        await client.answer()
        await asyncio.sleep(0.31)
        leaving = await scene.client()
        await leaving.send(request())
        probe = await upstream.accept()
        await probe.head()
        leaving.reset()
        await eventually(lambda: len(scene.gateway.front.connections) == 1)
        await client.send(request())
        await (await upstream.accept()).head()  # at once, not after another 0.3 s


async def test_500_is_no_failure_of_the_target() -> None:
    async with answering(b"") as [upstream], in_front([upstream], **BREAKER) as scene:
        upstream.status = 500
        assert [await status(scene) for _ in range(5)] == [500] * 5


async def test_silence_counts() -> None:
    short = {"timeout": 0.05}
    async with scripted() as upstream, in_front([upstream], settings=short, **BREAKER) as scene:
        assert [await status(scene) for _ in range(3)] == [504, 504, 503]


async def test_refused_connections_count() -> None:
    async with answering(b"") as [upstream], in_front([upstream], **BREAKER) as scene:
        await upstream.stop()
        assert [await status(scene) for _ in range(2)] == [503, 503]
        await upstream.start(upstream.port)
        assert await status(scene) == 503  # nobody tried
        await asyncio.sleep(0.21)
        assert await status(scene) == 200


async def test_a_full_pool_is_no_failure_of_the_target() -> None:
    pool = {"connections": 1, "waiting": 0}
    async with scripted() as upstream, in_front([upstream], pool=pool, **BREAKER) as scene:
        client = await scene.client()
        await client.send(request())
        target = await upstream.accept()
        await target.head()
        assert [await status(scene) for _ in range(4)] == [503] * 4
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await client.answer()
        await client.send(request())
        await target.head()


async def test_a_stale_connection_is_no_failure_of_the_target() -> None:
    once = {"circuit_breaker": {"failures": 1, "window": 10, "open_for": 10}}
    async with answering(b"ok") as [upstream], in_front([upstream], **once) as scene:
        upstream.hangs_up_after = 1  # each second request on a connection meets its end
        assert [await body(scene) for _ in range(4)] == [b"ok"] * 4
        assert len(upstream.connections) == 4


async def test_of_two_targets_only_the_failing_one_is_left_alone() -> None:
    async with answering(b"bad", b"good") as [bad, good]:
        bad.status = 503
        async with in_front([bad, good], balance="round_robin", **BREAKER) as scene:
            found = [await status(scene) for _ in range(4)]
            assert sorted(found) == [200, 200, 503, 503]
            assert [await status(scene) for _ in range(6)] == [200] * 6
            assert len(bad.heads) == 2
