"""Stored answers that grow old: revalidated, used stale, forgotten."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.e2e.caching import Scene, answer, cached, not_modified
from tests.e2e.life import until
from tests.e2e.stage import field

STALE = (b"Cache-Control: max-age=10", b"Age: 20", b'ETag: "v1"', b"A: 1")
MISSING = b""
BUSY = answer(b"X: y", status=b"503 Busy", body=b"busy")


def stale(directives: bytes, *lines: bytes) -> bytes:
    """An answer that is 10 s too old when it comes."""
    return answer(b"Cache-Control: max-age=10, " + directives, b"Age: 20", b'ETag: "v1"', *lines)


# ------------------------------------------------------------------------------- revalidation


async def test_origin_confirms_and_the_fields_are_updated() -> None:
    async with cached() as scene:
        scene.origin.says(
            answer(*STALE, b"B: 1", b"Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT"),
            not_modified(b"Cache-Control: max-age=60", b'ETag: "v1"', b"A: 2"),
        )
        await scene.get()
        for result in (b"gateway; fwd=stale; fwd-status=304", None):
            status, head, body = await scene.get()
            assert (status, body) == (200, b"body")
            assert (field(head, b"a"), field(head, b"b")) == (b"2", b"1")
            assert result is None or result in head
        assert scene.origin.asked == 2
        asked = scene.origin.heads[1]
        assert b'If-None-Match: "v1"\r\n' in asked
        assert b"If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in asked


async def test_client_that_has_it_gets_304_after_the_origin_confirmed() -> None:
    async with cached() as scene:
        scene.origin.says(answer(*STALE), not_modified(b"Cache-Control: max-age=60"))
        await scene.get()
        assert (await scene.get(b'If-None-Match: "v1"'))[0] == 304
        assert scene.origin.asked == 2


async def test_other_answer_takes_the_place() -> None:
    async with cached() as scene:
        scene.origin.says(answer(*STALE), answer(body=b"new"))
        await scene.get()
        assert (await scene.get())[2] == b"new"
        assert (await scene.get())[2] == b"new"
        assert scene.origin.asked == 2


async def test_304_about_another_version_is_not_believed() -> None:
    async with cached() as scene:
        scene.origin.says(answer(*STALE), not_modified(b'ETag: "v2"'), answer(body=b"new"))
        await scene.get()
        assert (await scene.get())[2] == b"new"
        assert b"if-none-match" not in scene.origin.heads[2].lower()


async def test_304_that_takes_the_right_to_keep_it_is_obeyed() -> None:
    async with cached() as scene:
        gone = not_modified(b"Cache-Control: no-store")
        scene.origin.says(answer(*STALE), gone, answer(body=b"new"))
        await scene.get()
        assert (await scene.get())[2] == b"body"
        assert (await scene.get())[2] == b"new"


async def test_no_cache_is_asked_about_each_time() -> None:
    async with cached() as scene:
        scene.origin.says(
            answer(b"Cache-Control: no-cache, max-age=60", b'ETag: "v1"'),
            not_modified(b'ETag: "v1"'),
        )
        for asked in (1, 2, 3):
            assert (await scene.get())[2] == b"body"
            assert scene.origin.asked == asked


async def test_head_that_tells_of_another_version_forgets_the_stored_one() -> None:
    async with cached() as scene:
        told = answer(b'ETag: "v2"').removesuffix(b"body")
        fresh = answer(b"Cache-Control: max-age=60", b'ETag: "v1"')
        scene.origin.says(fresh, told, answer(body=b"new"))
        await scene.get()
        await scene.get(b"Cache-Control: no-cache", method=b"HEAD")
        assert (await scene.get())[2] == b"new"


async def test_head_that_tells_of_the_same_changes_nothing() -> None:
    async with cached() as scene:
        fresh = answer(b"Cache-Control: max-age=60", b'ETag: "v1"')
        scene.origin.says(fresh, fresh.removesuffix(b"body"))
        await scene.get()
        status, _, _ = await scene.get(b"Cache-Control: no-cache", method=b"HEAD")
        assert status == 200
        assert (await scene.get())[2] == b"body"
        assert scene.origin.asked == 2


# --------------------------------------------------------------------------------- used stale


async def test_stale_while_revalidate_answers_at_once_and_asks_behind() -> None:
    async with cached() as scene:
        gate = asyncio.Event()

        async def late() -> bytes:
            await gate.wait()
            return answer(body=b"new")

        first = stale(b"stale-while-revalidate=60")
        scene.origin.say = lambda _: first if scene.origin.asked == 1 else late()
        await scene.get()
        for _ in range(3):
            _, head, body = await scene.get()
            assert body == b"body"
            assert b"hit; ttl=-10" in head
        assert scene.origin.asked == 2
        gate.set()
        shelves = scene.stage.gateway._edge.shelves()
        key = b"http://gateway.test/api/x"
        await until(lambda: getattr(shelves.held(key), "body", b"") == b"new")
        assert (await scene.get())[2] == b"new"
        assert scene.origin.asked == 2


async def test_stale_while_revalidate_has_an_end() -> None:
    async with cached() as scene:
        scene.origin.says(stale(b"stale-while-revalidate=5"), answer(body=b"new"))
        await scene.get()
        assert (await scene.get())[2] == b"new"


async def lost(scene: Scene, first: bytes, then: bytes, *lines: bytes) -> int:
    """The status of a second request, of which the origin makes this."""
    scene.origin.says(first, then)
    await scene.get()
    return (await scene.get(*lines))[0]


@pytest.mark.parametrize(
    ("directives", "then", "status"),
    [
        (b"stale-if-error=60", BUSY, 200),
        (b"stale-if-error=5", BUSY, 503),
        (b"x", BUSY, 503),
        (b"stale-if-error=60", MISSING, 200),
        (b"x", MISSING, 200),  # disconnected: RFC 9111, 4.2.4
        (b"must-revalidate, stale-if-error=60", BUSY, 503),
        (b"must-revalidate", MISSING, 502),
        (b"proxy-revalidate", MISSING, 502),
        (b"no-cache", MISSING, 502),
        (b"s-maxage=10", MISSING, 502),
    ],
)
async def test_stale_answer_stands_in_for_a_failing_origin(
    directives: bytes, then: bytes, status: int
) -> None:
    async with cached() as scene:
        assert await lost(scene, stale(directives), then) == status


async def test_large_failure_is_not_read_to_its_end_if_nobody_gets_it() -> None:
    async with cached() as scene:
        first = stale(b"stale-if-error=60")
        head = b"HTTP/1.1 503 Busy\r\nContent-Length: 100000000\r\n\r\n"
        scene.origin.says(first, head)
        await scene.get()
        assert (await scene.get())[0] == 200
        served = scene.origin.connections[-1]
        with suppress(ConnectionResetError):
            assert await served.rest() == b""


async def test_revalidation_behind_that_brings_what_is_not_for_sharing_is_given_up() -> None:
    async with cached() as scene:
        first = stale(b"stale-while-revalidate=60")
        scene.origin.says(first, answer(b"Cache-Control: private", body=b"secret"))
        await scene.get()
        for _ in range(3):
            assert (await scene.get())[2] == b"body"


async def test_stale_answer_stands_in_no_longer_than_the_route_says() -> None:
    async with cached(how={"stale_if_lost": 5}) as scene:
        assert await lost(scene, stale(b"x"), MISSING) == 502


@pytest.mark.parametrize(
    ("line", "status"), [(b"stale-if-error=60", 200), (b"no-cache", 503), (b"max-age=5", 503)]
)
async def test_client_has_a_say_in_that(line: bytes, status: int) -> None:
    async with cached() as scene:
        answered = await lost(scene, stale(b"x"), BUSY, b"Cache-Control: " + line)
        assert answered == status


async def test_failure_is_not_kept_in_the_place_of_what_is_stored() -> None:
    async with cached() as scene:
        scene.origin.says(stale(b"x"), BUSY, not_modified(b"Cache-Control: max-age=60"))
        await scene.get()
        assert (await scene.get())[0] == 503
        assert (await scene.get())[0] == 200


# -------------------------------------------------------------------------------- invalidation


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"M-SEARCH"])
@pytest.mark.parametrize(("status", "asked"), [(b"200 OK", 3), (b"303 See", 3), (b"500 No", 2)])
async def test_unsafe_request_forgets_its_target(method: bytes, status: bytes, asked: int) -> None:
    async with cached() as scene:
        scene.origin.says(answer(), answer(b"X: y", status=status), answer())
        await scene.get()
        _, head, _ = await scene.get(method=method, body=b"abc")
        assert field(head, b"cache-status") == b"gateway; fwd=bypass"
        await scene.get()
        assert scene.origin.asked == asked


async def test_options_forgets_nothing() -> None:
    async with cached() as scene:
        await scene.get()
        await scene.get(method=b"OPTIONS")
        await scene.get()
        assert scene.origin.asked == 2


@pytest.mark.parametrize("name", [b"Location", b"Content-Location"])
@pytest.mark.parametrize(
    ("value", "asked"),
    [
        (b"/api/other", 3),
        (b"other", 3),
        (b"http://gateway.test/api/other", 3),
        (b"HTTP://GATEWAY.test:80/api/other#part", 3),
        (b"http://elsewhere.test/api/other", 2),
        (b"https://gateway.test/api/other", 2),
        (b"http://[", 2),
    ],
)
async def test_what_an_unsafe_request_names_is_forgotten_if_it_is_of_the_same_origin(
    name: bytes, value: bytes, asked: int
) -> None:
    async with cached() as scene:
        scene.origin.says(answer(), answer(name + b": " + value), answer())
        await scene.get(path=b"/api/other")
        await scene.get(method=b"POST", body=b"abc")
        await scene.get(path=b"/api/other")
        assert scene.origin.asked == asked


async def test_answer_from_before_a_change_is_not_kept() -> None:
    async with cached() as scene:
        gate = asyncio.Event()

        async def late() -> bytes:
            await gate.wait()
            return answer(body=b"old")

        scene.origin.say = lambda head: answer() if head.startswith(b"POST") else late()
        reading = asyncio.create_task(scene.get())
        await until(lambda: scene.origin.asked)
        await scene.get(method=b"POST", body=b"abc")
        gate.set()
        assert (await reading)[2] == b"old"
        scene.origin.says(answer(body=b"new"))
        assert (await scene.get())[2] == b"new"
