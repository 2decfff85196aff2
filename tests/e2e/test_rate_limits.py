"""Limits as clients meet them: whatever they say of themselves, and whoever counts."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.keyring import Keyring
from gateway.stores.keys import Keys
from gateway.stores.redis import LIMIT_TIMEOUT
from gateway.stores.sqlite import Sqlite
from tests import servers
from tests.e2e.life import Program, answering, request, route, running, until
from tests.e2e.stage import GET, Stage, field, fields, stage
from tests.e2e.test_life_workers import workers_of
from tests.e2e.tunnels import SWITCH, UPGRADE
from tests.servers import Server

ANSWER = (
    b"HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 7\r\nRatelimit-Remaining: 1\r\nRateLimit: x\r\n"
    b"RateLimit-Policy: y\r\nRetry-After: 9\r\nContent-Length: 2\r\n\r\nok"
)


@asynccontextmanager
async def limited(rate_limit: Any, **more: Any) -> AsyncIterator[Stage]:
    async with (
        answering(ANSWER) as upstream,
        stage(upstream, route={"rate_limit": rate_limit}, **more) as scene,
    ):
        yield scene


@pytest.fixture
def redis() -> Iterator[Server]:
    with servers.valkey() as server:
        yield server


def get(path: str = "/api/x", *lines: str) -> bytes:
    return request("GET", path, *lines)


async def statuses(scene: Stage, *requests: bytes) -> list[int]:
    """Of requests at the same time, each on a connection of its own."""
    answers = await asyncio.gather(*(scene.ask(each) for each in requests))
    return sorted(int(head.split()[1]) for head, _ in answers)


# --------------------------------------------------------------------------- what clients see


async def test_answers_carry_our_limits_and_not_the_upstreams() -> None:
    async with limited("3/hour") as scene:
        head, _ = await scene.ask(GET)
    assert field(head, b"x-ratelimit-limit") == b"3"
    assert field(head, b"x-ratelimit-remaining") == b"2"
    assert field(head, b"x-ratelimit-reset") == b"1200"
    assert field(head, b"ratelimit-policy") == b'"default";q=3;w=3600'
    assert field(head, b"ratelimit") == b'"default";r=2;t=1200'
    assert field(head, b"ratelimit-remaining") is None
    assert field(head, b"retry-after") == b"9"  # when the upstream is ready is its to say


async def test_refusal_is_ours_with_everything_that_answers_carry() -> None:
    cors = {"origins": ["https://app.example"]}
    async with limited("1/hour", cors=cors) as scene:
        asked = get("/api/x", "Origin: https://app.example")
        await scene.ask(asked)
        head, body = await scene.ask(asked)
        assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        assert b'"error":"rate_limited"' in body
        assert field(head, b"retry-after") == b"3600"
        assert field(head, b"x-ratelimit-remaining") == b"0"
        assert field(head, b"ratelimit") == b'"default";r=0;t=3600'
        assert field(head, b"access-control-allow-origin") == b"https://app.example"
        assert field(head, b"x-request-id")


async def test_errors_behind_the_limit_carry_it_too() -> None:
    async with limited("5/hour", max_body_size=3) as scene:
        head, _ = await scene.ask(request("POST", "/api/x", body=b"long"))
    assert head.startswith(b"HTTP/1.1 413 ")
    assert field(head, b"x-ratelimit-remaining") == b"4"


async def test_refused_upload_is_not_asked_for() -> None:
    async with limited("1/hour") as scene:
        await scene.ask(GET)
        client = await scene.client()
        lines = ("Expect: 100-continue", "Content-Length: 1000000")
        await client.send(request("POST", "/api/x", *lines))
        assert (await client.head()).startswith(b"HTTP/1.1 429 ")


async def test_observed_limit_refuses_nobody() -> None:
    async with limited({"rate": "1/hour", "mode": "observe"}) as scene:
        assert await statuses(scene, *[GET] * 5) == [200] * 5
        _, text = await scene.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b'gateway_rate_limited_total{route="api",tier="anonymous"} 4.0' in text


async def test_route_without_a_limit_says_nothing_of_one() -> None:
    async with answering(ANSWER) as upstream, stage(upstream) as scene:
        head, _ = await scene.ask(GET)
    assert field(head, b"x-ratelimit-limit") == b"7"  # the upstream's own


async def test_websockets_are_limited_when_they_are_opened() -> None:
    async with answering(SWITCH) as upstream:
        route = {"rate_limit": "1/hour", "websocket": True}
        async with stage(upstream, route=route) as scene:
            client = await scene.client()
            await client.send(UPGRADE)
            head = await client.head()
            assert head.startswith(b"HTTP/1.1 101 ")
            assert field(head, b"x-ratelimit-remaining") == b"0"
            assert (await scene.ask(UPGRADE))[0].startswith(b"HTTP/1.1 429 ")


async def test_tiers_limit_who_is_nobody_by_address() -> None:
    async with limited({"by": "tier"}) as scene:
        assert await statuses(scene, *[GET] * 13) == [200] * 10 + [429] * 3
    async with limited({"by": "tier"}, tiers={"anonymous": "2/hour"}) as scene:
        assert await statuses(scene, *[GET] * 3) == [200] * 2 + [429]


# ------------------------------------------------------------------------------- ways around it


SPOOFS = [
    "X-Forwarded-For: 203.0.113.{}",
    "x-forwarded-for: 203.0.113.{}",
    "X_Forwarded_For: 203.0.113.{}",
    "Forwarded: for=203.0.113.{}",
    "X-Real-IP: 203.0.113.{}",
    "X-Client-IP: 203.0.113.{}",
    "True-Client-IP: 203.0.113.{}",
    "CF-Connecting-IP: 203.0.113.{}",
    "X-API-Key: {}",
    "Authorization: Bearer {}",
]


@pytest.mark.parametrize("spoof", SPOOFS)
@pytest.mark.parametrize("by", ["ip", "key"])
async def test_nothing_that_a_client_says_makes_it_another(spoof: str, by: str) -> None:
    async with limited({"rate": "2/hour", "by": by}) as scene:
        asked = [get("/api/x", spoof.format(number)) for number in range(6)]
        assert await statuses(scene, *asked) == [200] * 2 + [429] * 4


async def test_behind_a_trusted_proxy_only_its_word_counts() -> None:
    """Its client can write what it likes to the left of what the proxy appends."""
    async with limited("2/hour", trusted_proxies=["127.0.0.0/8"]) as scene:
        spoofed = [
            get("/api/x", f"X-Forwarded-For: 198.51.100.{number}, 203.0.113.9")
            for number in range(6)
        ]
        assert await statuses(scene, *spoofed) == [200] * 2 + [429] * 4
        honest = [get("/api/x", f"X-Forwarded-For: 203.0.113.{n}") for n in range(1, 6)]
        assert await statuses(scene, *honest) == [200] * 5
        network = [get("/api/x", f"X-Forwarded-For: 2001:db8::{n}") for n in range(1, 6)]
        assert await statuses(scene, *network) == [200] * 2 + [429] * 3
        mapped = [get("/api/x", f"X-Forwarded-For: ::ffff:203.0.113.{n}") for n in (9, 9, 1)]
        assert await statuses(scene, *mapped) == [200, 429, 429]


async def test_many_connections_and_pipelining_get_no_more() -> None:
    async with limited("10/hour") as scene:
        client = await scene.client()
        await client.send(GET * 8)
        assert [(await client.answer())[0].split()[1] for _ in range(8)] == [b"200"] * 8
        assert await statuses(scene, *[GET] * 100) == [200] * 2 + [429] * 98


@pytest.mark.parametrize(
    "path", ["/api/x", "/api/X", "/api/", "/api/x?y", "/api/%78", "/api/./x", "/api//x", "/api;v/x"]
)
async def test_spelling_of_a_path_does_not_reset_its_routes_limit(path: str) -> None:
    async with limited("1/hour") as scene:
        await scene.ask(GET)
        head, _ = await scene.ask(get(path))
        assert int(head.split()[1]) in (429, 404, 400)
        for method in ("HEAD", "POST", "OPTIONS", "PURGE"):
            client = await scene.client()
            await client.send(request(method, "/api/x"))
            assert (await client.head()).startswith(b"HTTP/1.1 429 ")


# -------------------------------------------------------------------------- workers and reloads


async def burst(*gateways: Program, count: int) -> int:
    """How many of `count` requests to each at the same time got in."""
    answers = await asyncio.gather(
        *(gateway.get("/api/x") for gateway in gateways for _ in range(count))
    )
    assert {status for status, _, _ in answers} <= {200, 429}
    return sum(status == 200 for status, _, _ in answers)


async def test_workers_count_together_and_count_on_for_each_other(tmp_path: Path) -> None:
    async with answering() as upstream:
        routes = [route(upstream, rate_limit="60/hour")]
        async with running(tmp_path, workers=2, routes=routes) as gateway:
            assert await burst(gateway, count=40) == 40
            before = workers_of(gateway)
            os.kill(before[0], signal.SIGKILL)
            await gateway.event("worker_started", count=3)
            assert await burst(gateway, count=50) == 20
            await gateway.reload(routes=routes, timeout=29)
            assert await burst(gateway, count=10) == 0
            samples = await gateway.metrics()
            limited = "gateway_rate_limited_total"
            assert samples.value(limited, route="api", tier="anonymous") == 40


async def test_reload_changes_a_limit(tmp_path: Path) -> None:
    async with answering() as upstream:
        table = route(upstream, rate_limit="2/hour")
        async with running(tmp_path, routes=[table]) as gateway:
            assert await burst(gateway, count=3) == 2
            await gateway.reload(routes=[table | {"rate_limit": "3/hour"}])
            assert await burst(gateway, count=4) == 3
            await gateway.reload(routes=[route(upstream)])
            assert await burst(gateway, count=4) == 4


# ---------------------------------------------------------------------------------------- Redis


@asynccontextmanager
async def two(folder: Path, redis: Server, **limit: Any) -> AsyncIterator[tuple[Program, Program]]:
    """Two gateways as on two hosts, which share a Redis."""
    async with answering() as upstream:
        settings = {"stores": {"redis": redis.url}, "routes": [route(upstream, **limit)]}
        folders = folder / "one", folder / "two"
        for each in folders:
            each.mkdir()
        async with running(folders[0], **settings) as one, running(folders[1], **settings) as other:
            yield one, other


async def test_gateways_that_share_a_redis_count_together(tmp_path: Path, redis: Server) -> None:
    async with two(tmp_path, redis, rate_limit="100/day") as gateways:
        assert await burst(*gateways, count=120) == 100
        _, head, _ = await gateways[0].get("/api/x")
        assert field(head, b"x-ratelimit-remaining") == b"0"
        assert int(field(head, b"retry-after") or 0) in (863, 864)


async def test_request_with_a_body_waits_for_redis_and_goes_on(
    tmp_path: Path, redis: Server
) -> None:
    async with answering() as upstream:
        settings = {"stores": {"redis": redis.url}, "routes": [route(upstream, rate_limit="2/day")]}
        async with running(tmp_path, **settings) as gateway:
            client = await gateway.client()
            for status in (b"200", b"200", b"429"):
                # The upstream reads heads only: an empty body, in chunks.
                await client.send(
                    request("POST", "/api/x", "Transfer-Encoding: chunked") + b"0\r\n\r\n"
                )
                head, _ = await client.answer()
                assert head.split()[1] == status
                assert len([name for name, _ in fields(head) if name == b"ratelimit"]) == 1


async def test_lost_redis_is_survived_and_found_again(tmp_path: Path, redis: Server) -> None:
    async with two(tmp_path, redis, rate_limit="20/day") as (one, other):
        assert await burst(one, other, count=15) == 20
        redis.stop()
        # Each host counts for itself: a limit of its own, and not a moment without one.
        assert await burst(one, count=30) == 20
        assert await burst(other, count=30) == 20
        lost = await one.event("store_lost", store="redis")
        assert lost["level"] == "WARNING"
        samples = await one.metrics()
        assert samples.value("gateway_rate_limit_fallback_total") == 30
        errors = samples.value("gateway_store_errors_total", store="redis") or 0
        assert errors >= 1
        redis.start()
        await one.event("store_back", store="redis")
        await other.event("store_back", store="redis")
        assert await burst(one, other, count=30) == 20  # its counters went with it
        assert len(one.found("store_lost")) == len(one.found("store_back")) == 1


async def test_silent_redis_keeps_one_request_waiting_and_not_for_long(
    tmp_path: Path, redis: Server
) -> None:
    async with two(tmp_path, redis, rate_limit="20/day") as (gateway, _):
        assert (await gateway.get("/api/x"))[0] == 200
        os.kill(redis.pid, signal.SIGSTOP)
        try:
            begin = time.monotonic()
            assert (await gateway.get("/api/x"))[0] == 200
            assert LIMIT_TIMEOUT * 0.9 < time.monotonic() - begin < 2
            durations = []
            for _ in range(20):
                begin = time.monotonic()
                await gateway.get("/api/x")
                durations.append(time.monotonic() - begin)
            assert sorted(durations)[10] < LIMIT_TIMEOUT / 5
        finally:
            os.kill(redis.pid, signal.SIGCONT)
        await gateway.event("store_back")
        remaining = field((await gateway.get("/api/x"))[1], b"x-ratelimit-remaining")
        assert remaining is not None
        assert int(remaining) < 19


async def test_gateway_starts_without_its_redis(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{servers.free_port()}/0"
    async with answering() as upstream:
        settings = {"stores": {"redis": url}, "routes": [route(upstream, rate_limit="5/day")]}
        async with running(tmp_path, **settings) as gateway:
            assert await burst(gateway, count=10) == 5
            await until(lambda: gateway.found("store_lost"))


# ---------------------------------------------------------------------------------- keys and tiers


async def keys_in(file: Path, *tiers: str) -> list[str]:
    """New keys of these tiers, in a database of their own."""
    database = Sqlite(file)
    keyring = Keyring(Keys(database))
    made = [(await keyring.create("ann", tier, [], None))[1] for tier in tiers]
    await database.close()
    return made


@asynccontextmanager
async def keyed(folder: Path, *tiers: str, **more: Any) -> AsyncIterator[tuple[Stage, list[str]]]:
    file = folder / "gateway.db"
    made = await keys_in(file, *tiers)
    own = {"anonymous": "1/hour", "free": "3/hour"}
    async with (
        answering(ANSWER) as upstream,
        stage(
            upstream,
            stores={"sqlite": str(file)},
            tiers=own,
            route={"auth": "api_key", "rate_limit": {"by": "tier"}, **more},
        ) as scene,
    ):
        yield scene, made


async def test_keys_have_the_rate_of_their_tier(tmp_path: Path) -> None:
    async with keyed(tmp_path, "free", "free", "enterprise") as (scene, (one, two, big)):
        for key, allowed in ((one, 3), (two, 3), (big, 8)):
            asked = [get("/api/x", f"X-API-Key: {key}")] * 8
            assert await statuses(scene, *asked) == [200] * allowed + [429] * (8 - allowed)
        head, _ = await scene.ask(get("/api/x", f"X-API-Key: {two}"))
        assert field(head, b"ratelimit-policy") == b'"free";q=3;w=3600'
        head, _ = await scene.ask(get("/api/x", f"X-API-Key: {big}"))
        assert field(head, b"ratelimit-policy") is None
        _, text = await scene.ask(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b'gateway_rate_limited_total{route="api",tier="free"} 11.0' in text


async def test_no_spelling_of_a_key_or_of_its_field_gives_more(tmp_path: Path) -> None:
    async with keyed(tmp_path, "free") as (scene, (key,)):
        spellings = ["X-API-Key: ", "x-api-key:", "X-Api-KEY:\t", "X-API-Key:    "]
        asked = [get("/api/x", spelling + key) for spelling in spellings * 2]
        asked += [
            get("/api/x", f"X-API-Key: {key}", f"X-Forwarded-For: 203.0.113.{number}")
            for number in range(4)
        ]
        assert await statuses(scene, *asked) == [200] * 3 + [429] * 9
        others = (key.upper(), key.lower(), key.swapcase(), key + " x", f'"{key}"', key + "%20")
        asked = [get("/api/x", f"X-API-Key: {other}") for other in others]
        found = await statuses(scene, *asked)
        assert set(found) <= {400, 401, 429}  # strangers are counted by address
        assert found[-1] == 429
