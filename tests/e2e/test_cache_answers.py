"""What a cached route gives: stored answers, parts of them, and who may have them."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any
from uuid import uuid4

import pytest

from gateway.exchange import Exchange, Principal
from gateway.stores.redis import Redis
from gateway.stores.redis_cache import PREFIX
from tests.e2e.caching import Scene, answer, asking, cached, received
from tests.e2e.stage import field, fields

CHANGED = b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"
TAG = (b"Cache-Control: max-age=3600", b'ETag: "v1"', CHANGED)


async def twice(scene: Scene, *lines: bytes) -> tuple[int, bytes, bytes]:
    """The second of two equal requests."""
    await scene.get(*lines)
    return await scene.get(*lines)


async def test_fresh_answer_is_given_again() -> None:
    async with cached() as scene:
        _, first, body = await scene.get()
        assert field(first, b"cache-status") == b"gateway; fwd=uri-miss; fwd-status=200; stored"
        assert field(first, b"age") is None
        status, head, again = await scene.get()
        assert (status, again) == (200, body)
        assert scene.origin.asked == 1
        assert field(head, b"age") == b"0"
        assert field(head, b"cache-status") == b"gateway; hit; ttl=3599"
        assert field(head, b"date") == field(first, b"date")
        assert field(head, b"x-request-id") != field(first, b"x-request-id")
        assert field(head, b"server") == b"gateway"
        assert field(head, b"content-length") == b"4"


async def test_age_of_the_upstream_counts() -> None:
    async with cached() as scene:
        scene.origin.says(answer(b"Cache-Control: max-age=100", b"Age: 30"))
        _, head, _ = await twice(scene)
        assert field(head, b"age") == b"30"
        assert field(head, b"cache-status") == b"gateway; hit; ttl=69"


async def test_answers_on_one_connection_follow_each_other() -> None:
    async with cached() as scene:
        client = await scene.stage.client()
        await client.send(asking() * 3 + asking(b"Connection: close"))
        for _ in range(3):
            assert (await received(client))[2] == b"body"
        _, head, _ = await received(client)
        assert field(head, b"connection") == b"close"
        assert await client.rest() == b""
        assert scene.origin.asked == 1


async def test_client_of_1_0_gets_it_too() -> None:
    async with cached() as scene:
        await scene.get()
        _, head, body = await scene.get(b"Connection: keep-alive", minor=0)
        assert body == b"body"
        assert field(head, b"connection") == b"keep-alive"


async def test_chunked_answer_is_given_with_its_length() -> None:
    async with cached() as scene:
        scene.origin.says(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n"
        )
        assert (await scene.get())[2] == b"body"
        _, head, body = await scene.get()
        assert (field(head, b"content-length"), body) == (b"4", b"body")


async def test_head_is_answered_from_what_get_brought() -> None:
    async with cached() as scene:
        await scene.get()
        status, head, _ = await scene.get(method=b"HEAD")
        assert (status, field(head, b"content-length")) == (200, b"4")
        assert scene.origin.asked == 1


async def test_head_that_brings_nothing_is_not_kept() -> None:
    async with cached() as scene:
        scene.origin.says(
            b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\n"
        )
        await scene.get(method=b"HEAD")
        scene.origin.says(answer())
        assert (await scene.get())[2] == b"body"
        assert scene.origin.asked == 2


@pytest.mark.parametrize(("path", "asked"), [(b"/api/x?a=1", 2), (b"/api/X", 2), (b"/api/x", 1)])
async def test_target_is_the_key(path: bytes, asked: int) -> None:
    async with cached() as scene:
        await scene.get()
        await scene.get(path=path)
        assert scene.origin.asked == asked


async def test_host_is_part_of_the_key_whatever_its_case() -> None:
    async with cached() as scene:
        client = await scene.stage.client()
        for host, asked in ((b"a.test", 1), (b"A.TEST:80", 1), (b"b.test", 2)):
            await client.send(asking().replace(b"gateway.test", host))
            await received(client)
            assert scene.origin.asked == asked


@pytest.mark.parametrize("status", [b"404 Not Found", b"301 Moved", b"299 Odd", b"503 Busy"])
async def test_any_status_that_states_its_lifetime_is_kept(status: bytes) -> None:
    async with cached() as scene:
        scene.origin.says(answer(status=status))
        _, head, body = await twice(scene)
        assert head.startswith(b"HTTP/1.1 " + status + b"\r\n")
        assert body == b"body"
        assert scene.origin.asked == 1


async def test_204_is_kept_without_a_length() -> None:
    async with cached() as scene:
        scene.origin.says(b"HTTP/1.1 204 No Content\r\nCache-Control: max-age=60\r\n\r\n")
        status, head, _ = await twice(scene)
        assert (status, field(head, b"content-length")) == (204, None)
        assert scene.origin.asked == 1


# ----------------------------------------------------------------------------- what is not shared


@pytest.mark.parametrize(
    "lines",
    [
        (b"Cache-Control: no-store",),
        (b"Cache-Control: max-age=60, private",),
        (b"Cache-Control: max-age=60", b"Set-Cookie: a=b"),
        (b"Cache-Control: max-age=60", b"Vary: *"),
        (b"Content-Type: text/plain",),
    ],
)
async def test_this_is_not_kept(lines: tuple[bytes, ...]) -> None:
    async with cached() as scene:
        scene.origin.says(answer(*lines))
        _, head, body = await twice(scene)
        assert body == b"body"
        assert scene.origin.asked == 2
        assert field(head, b"cache-status") == b"gateway; fwd=uri-miss; fwd-status=200"


async def test_cookies_are_kept_where_the_route_says_so() -> None:
    async with cached(how={"set_cookie": True}) as scene:
        scene.origin.says(answer(b"Cache-Control: max-age=60", b"Set-Cookie: a=b"))
        _, head, _ = await twice(scene)
        assert field(head, b"set-cookie") == b"a=b"
        assert scene.origin.asked == 1


async def test_ttl_is_given_to_what_states_no_lifetime() -> None:
    async with cached(how={"ttl": "1m"}) as scene:
        scene.origin.says(answer(b"Content-Type: text/plain"))
        _, head, _ = await twice(scene)
        assert field(head, b"cache-status") == b"gateway; hit; ttl=59"
        assert scene.origin.asked == 1


@pytest.mark.parametrize(
    ("directive", "asked"), [(b"max-age=60", 2), (b"max-age=60, public", 1), (b"s-maxage=60", 1)]
)
async def test_answer_to_credentials_is_shared_only_if_it_says_so(
    directive: bytes, asked: int
) -> None:
    async with cached(how={"ttl": 60}) as scene:
        scene.origin.says(answer(b"Cache-Control: " + directive))
        await scene.get(b"Authorization: Bearer a")
        await scene.get(b"Authorization: Bearer b")
        assert scene.origin.asked == asked


class Knows:
    """A policy that knows who asks."""

    def enter(self, exchange: Exchange) -> None:
        name = exchange.head.values(b"x-user")[0].decode()
        exchange.principal = Principal("token", name)
        exchange.withheld = frozenset((b"x-user",))
        exchange.upward = (b"X-User: " + name.encode(),)


def know(scene: Scene) -> None:
    route = scene.stage.gateway.generation.table.match(b"/api/x", b"", b"GET")
    route.policies = (*route.policies, Knows())


async def test_principal_of_a_policy_counts_as_credentials() -> None:
    async with cached(how={"ttl": 60}) as scene:
        know(scene)
        scene.origin.says(answer(b"Content-Type: a"), answer(b"Content-Type: b"))
        for kind in (b"a", b"b"):
            _, head, _ = await scene.get(b"X-User: anna")
            assert field(head, b"content-type") == kind


async def test_field_that_a_policy_sends_up_chooses_what_a_client_gets() -> None:
    async with cached() as scene:
        know(scene)
        shared = b"Cache-Control: public, max-age=60"
        scene.origin.say = lambda head: answer(
            shared, b"Vary: X-User", body=dict(fields(head))[b"x-user"]
        )
        for name in (b"anna", b"bert", b"anna"):
            assert (await scene.get(b"X-User: " + name))[2] == name
        assert scene.origin.asked == 2


# ------------------------------------------------------------------------- conditions and ranges


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b'If-None-Match: "v1"', 304),
        (b'If-None-Match: "v0", W/"v1"', 304),
        (b"If-None-Match: *", 304),
        (b'If-None-Match: "v0"', 200),
        (b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 304),
        (b"If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT", 200),
    ],
)
async def test_condition_is_answered_from_the_store(line: bytes, status: int) -> None:
    async with cached() as scene:
        scene.origin.says(answer(*TAG, b"Content-Type: text/plain"))
        await scene.get()
        got, head, _ = await scene.get(line)
        assert got == status
        assert field(head, b"etag") == b'"v1"'
        assert field(head, b"age") == b"0"
        assert (field(head, b"content-type") is None) is (status == 304)
        assert scene.origin.asked == 1


async def test_condition_of_a_first_request_is_answered_too_and_the_whole_is_kept() -> None:
    async with cached() as scene:
        scene.origin.says(answer(*TAG))
        assert (await scene.get(b'If-None-Match: "v1"'))[0] == 304
        assert b"if-none-match" not in scene.origin.heads[0].lower()
        assert (await scene.get())[2] == b"body"
        assert scene.origin.asked == 1


@pytest.mark.parametrize("line", [b'If-Match: "v0"', b"If-Unmodified-Since: x"])
async def test_condition_that_is_the_origins_goes_up(line: bytes) -> None:
    async with cached() as scene:
        await scene.get()
        _, head, _ = await scene.get(line)
        assert scene.origin.asked == 2
        assert line in scene.origin.heads[1]
        assert field(head, b"cache-status") == b"gateway; fwd=bypass"


@pytest.mark.parametrize(
    ("lines", "status", "told", "part"),
    [
        ((b"Range: bytes=1-2",), 206, b"bytes 1-2/4", b"od"),
        ((b"Range: bytes=-1",), 206, b"bytes 3-3/4", b"y"),
        ((b"Range: bytes=2-",), 206, b"bytes 2-3/4", b"dy"),
        ((b"Range: bytes=9-",), 416, b"bytes */4", b""),
        ((b"Range: bytes=0-0,2-2",), 200, None, b"body"),
        ((b"Range: bytes=1-2", b'If-Range: "v1"'), 206, b"bytes 1-2/4", b"od"),
        ((b"Range: bytes=1-2", b'If-Range: "v0"'), 200, None, b"body"),
    ],
)
async def test_range_is_cut_from_the_store(
    lines: tuple[bytes, ...], status: int, told: bytes | None, part: bytes
) -> None:
    async with cached() as scene:
        scene.origin.says(answer(*TAG))
        await scene.get()
        got, head, body = await scene.get(*lines)
        assert (got, field(head, b"content-range"), body) == (status, told, part)
        assert scene.origin.asked == 1


async def test_range_of_what_is_not_stored_goes_up_and_is_not_kept() -> None:
    async with cached() as scene:
        part = (b"Cache-Control: max-age=60", b"Content-Range: bytes 0-0/4")
        scene.origin.says(answer(*part, body=b"b", status=b"206 Partial"), answer())
        assert (await scene.get(b"Range: bytes=0-0"))[0] == 206
        assert b"Range: bytes=0-0" in scene.origin.heads[0]
        assert (await scene.get())[2] == b"body"
        assert (await scene.get())[2] == b"body"
        assert scene.origin.asked == 2


# ---------------------------------------------------------------------------- what a client wants


@pytest.mark.parametrize(
    ("directive", "asked"),
    [
        (b"no-cache", 2),
        (b"max-age=0", 2),
        (b"min-fresh=4000", 2),
        (b"no-store", 2),
        (b"max-stale", 1),
        (b"only-if-cached", 1),
    ],
)
async def test_directive_of_a_request(directive: bytes, asked: int) -> None:
    async with cached() as scene:
        await scene.get()
        assert (await scene.get(b"Cache-Control: " + directive))[2] == b"body"
        assert scene.origin.asked == asked


async def test_nothing_stored_and_nothing_else_wanted_is_504() -> None:
    async with cached() as scene:
        status, _, body = await scene.get(b"Cache-Control: only-if-cached")
        assert status == 504
        assert b'"gateway_timeout"' in body
        assert scene.origin.asked == 0


async def test_no_store_of_a_request_keeps_nothing() -> None:
    async with cached() as scene:
        await scene.get(b"Cache-Control: no-store")
        await scene.get()
        assert scene.origin.asked == 2


# ------------------------------------------------------------------------------------------ Vary


async def test_variants_are_kept_apart() -> None:
    async with cached() as scene:
        scene.origin.say = lambda head: answer(
            b"Cache-Control: max-age=60", b"Vary: Foo", body=dict(fields(head)).get(b"foo", b"-")
        )
        for _ in range(2):
            for value in (b"1", b"2"):
                assert (await scene.get(b"Foo: " + value))[2] == value
            assert (await scene.get())[2] == b"-"
        assert scene.origin.asked == 3


# ------------------------------------------------------------------------- beside other policies


async def test_cors_lines_are_of_who_asks_not_of_who_asked_first() -> None:
    cors = {"origins": ["https://a.example", "https://b.example"]}
    async with cached(route={"cors": cors}) as scene:
        scene.origin.says(answer(b"Cache-Control: max-age=60", b"Access-Control-Allow-Origin: *"))
        for origin in (b"https://a.example", b"https://b.example"):
            _, head, _ = await scene.get(b"Origin: " + origin)
            assert field(head, b"access-control-allow-origin") == origin
        assert scene.origin.asked == 1


async def test_stored_answer_is_compressed_for_who_takes_it() -> None:
    text = b"the same words, again and again. " * 200
    async with cached(route={"compress": True}) as scene:
        scene.origin.says(
            answer(b"Cache-Control: max-age=60", b"Content-Type: text/plain", body=text)
        )
        for _ in range(2):
            _, head, body = await scene.get(b"Accept-Encoding: gzip")
            assert field(head, b"content-encoding") == b"gzip"
            assert len(body) < len(text)
        assert (await scene.get())[2] == text
        assert scene.origin.asked == 1


async def test_own_targeted_field_is_obeyed_and_goes_no_further() -> None:
    async with cached() as scene:
        scene.origin.says(answer(b"Cache-Control: no-store", b"Gateway-Cache-Control: max-age=60"))
        for _ in range(2):
            _, head, _ = await scene.get()
            assert field(head, b"gateway-cache-control") is None
            assert field(head, b"cache-control") == b"no-store"
        assert scene.origin.asked == 1


# ------------------------------------------------------------------------ what is not the cache's


async def test_websocket_goes_through() -> None:
    async with cached() as scene:
        scene.origin.says(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        client = await scene.stage.client()
        await client.send(asking(b"Connection: Upgrade", b"Upgrade: websocket"))
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 101 ")
        assert field(head, b"cache-status") is None


async def test_get_with_a_body_goes_through() -> None:
    async with cached() as scene:
        for _ in range(2):
            _, head, _ = await scene.get(body=b"abc")
            assert field(head, b"cache-status") == b"gateway; fwd=bypass"
        assert scene.origin.asked == 2


async def test_change_that_fails_or_streams_reaches_the_client_as_ever() -> None:
    async with cached() as scene:
        await scene.get()
        scene.origin.says(b"")
        assert (await scene.get(method=b"POST", body=b"abc"))[0] == 502
        chunks = b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        scene.origin.says(b"HTTP/1.1 400 No\r\n" + chunks)
        assert (await scene.get(method=b"POST", body=b"abc"))[2] == b"ab"
        assert (await scene.get())[2] == b"body"
        assert scene.origin.asked == 3


async def test_what_a_trusted_proxy_says_of_the_target_is_part_of_the_key() -> None:
    async with cached(trusted_proxies=["127.0.0.1"]) as scene:
        for line, asked in (
            (b"X-Forwarded-Host: a.test", 1),
            (b"X-Forwarded-Host: b.test", 2),
            (b"X-Forwarded-Proto: https", 3),
            (b"X-Forwarded-Host: a.test", 3),
        ):
            await scene.get(line)
            assert scene.origin.asked == asked


async def test_what_anybody_says_of_the_target_is_not() -> None:
    async with cached() as scene:
        for host in (b"a.test", b"b.test"):
            await scene.get(b"X-Forwarded-Host: " + host)
        assert scene.origin.asked == 1


# ------------------------------------------------------------------------------------ with Redis


async def test_answer_is_found_in_redis(redis_url: str) -> None:
    path = b"/api/" + uuid4().hex.encode()
    async with cached(stores={"redis": redis_url}, cache={"front": 0}) as scene:
        await scene.get(path=path)
        redis = Redis(redis_url)
        await kept_in(redis, path)
        await redis.close()
        _, head, body = await scene.get(path=path)
        assert body == b"body"
        assert b"; hit; " in head
        assert scene.origin.asked == 1


async def kept_in(redis: Redis, path: bytes) -> None:
    """When the answer is there; the client did not wait for that."""
    async with asyncio.timeout(5):
        while await redis.get(PREFIX + b"http://gateway.test" + path) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_nothing_stored_in_redis_and_nothing_else_wanted_is_504(redis_url: str) -> None:
    async with cached(stores={"redis": redis_url}) as scene:
        path = b"/api/" + uuid4().hex.encode()
        assert (await scene.get(b"Cache-Control: only-if-cached", path=path))[0] == 504


# ---------------------------------------------------------------------------------------- purges

ADMINISTRATION = {"auth": {"token": "t" * 32}}


def purge(body: bytes) -> dict[str, Any]:
    path = b"/api/gateway/cache/purge"
    return {"path": path, "method": b"POST", "body": body}


async def test_purge_is_for_administrators() -> None:
    async with cached(**ADMINISTRATION) as scene:
        status, _, _ = await scene.get(**purge(b'{"prefix": "/"}'))
        assert status == 401


async def test_there_is_no_purge_without_a_cache() -> None:
    async with cached(how=None) as scene:
        await scene.get(**purge(b"{}"))
        assert scene.origin.asked == 1  # the path is the route's


async def test_large_stored_answer_is_compressed_on_a_thread_for_each_who_takes_it() -> None:
    text = b"".join(b"%d words, " % number for number in range(60_000))
    async with cached(route={"compress": True}) as scene:
        scene.origin.says(
            answer(b"Cache-Control: max-age=60", b"Content-Type: text/plain", body=text)
        )
        asked = [scene.get(b"Accept-Encoding: gzip") for _ in range(3)]
        for _, head, body in await asyncio.gather(*asked):
            assert field(head, b"content-encoding") == b"gzip"
            assert zlib.decompress(body, 31) == text
        _, _, body = await scene.get(b"Accept-Encoding: gzip")
        assert zlib.decompress(body, 31) == text
        assert scene.origin.asked == 1
        client = await scene.stage.client()
        await client.send(asking(b"Accept-Encoding: gzip"))
        client.reset()
        assert (await scene.get())[2] == text
