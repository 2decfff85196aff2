"""Limits in bytes, fields and seconds: what is within them passes, what is over is refused."""

from __future__ import annotations

import asyncio

import pytest

from gateway.front import Front
from tests.e2e.answering import body_of, stays_open
from tests.e2e.policy import (
    CONTROL,
    SMUGGLED,
    check_error,
    end,
    own,
    reaches,
    refused,
    sent_up,
    told,
    turned_down,
    until_gone,
    untouched,
)
from tests.e2e.stage import GET, OK, stage

KIB = 1024
SOON = 0.15  # s for a time-out that a test waits for


def line_of(size: int) -> bytes:
    """A request line of so many bytes."""
    line = b"GET /api/%b HTTP/1.1"
    return line % (b"x" * (size - len(line) + 2))


def head_of(lines: list[bytes]) -> bytes:
    return b"\r\n".join((b"GET /api/x HTTP/1.1", *lines, b"", b""))


def field_of(size: int, name: bytes = b"A") -> bytes:
    """A field line of so many bytes."""
    return name + b": " + b"b" * (size - len(name) - 2)


# ---------------------------------------------------------------------------------------- heads


async def test_a_request_line_of_8_kib_passes() -> None:
    async with stage() as scene:
        line = line_of(8 * KIB)
        _, _, head = await sent_up(scene, line + b"\r\nHost: a\r\n\r\n")
        assert own(head) == line + b"\r\nHost: a\r\n"


@pytest.mark.parametrize("size", [8 * KIB + 1, 20 * KIB, 200 * KIB])
async def test_a_longer_request_line_is_too_long(size: int) -> None:
    async with stage() as scene:
        await refused(scene, line_of(size) + b"\r\nHost: a\r\n\r\n", 414)


async def test_a_request_line_without_an_end_is_too_long() -> None:
    async with stage() as scene:
        await refused(scene, b"GET /api/" + b"x" * 9 * KIB, 414, then=b"")


async def test_the_longest_request_line_is_a_setting() -> None:
    async with stage(limits={"request_line": 40}) as scene:
        await refused(scene, line_of(41) + b"\r\nHost: a\r\n\r\n", 414)


async def test_a_header_of_8_kib_passes() -> None:
    async with stage() as scene:
        lines = [b"Host: a", field_of(8 * KIB)]
        _, _, head = await sent_up(scene, head_of(lines))
        assert own(head) == head_of(lines)[:-2]


@pytest.mark.parametrize("name", [b"A", b"Cookie", b"Host", b"Content-Length", b"X-Request-ID"])
async def test_a_longer_header_is_too_large(name: bytes) -> None:
    async with stage() as scene:
        await refused(scene, head_of([b"Host: a", field_of(8 * KIB + 1, name)]), 431)


async def test_a_header_without_an_end_is_too_large() -> None:
    async with stage() as scene:
        await refused(scene, head_of([b"Host: a", field_of(9 * KIB)])[:-4], 431, then=b"")


async def test_headers_of_32_kib_pass() -> None:
    async with stage() as scene:
        lines = [b"Host: a", *[field_of(8 * KIB)] * 3, field_of(8 * KIB - len(b"Host: a"))]
        _, _, head = await sent_up(scene, head_of(lines))
        assert own(head) == head_of(lines)[:-2]


async def test_more_bytes_of_headers_are_too_large() -> None:
    async with stage() as scene:
        lines = [b"Host: a", *[field_of(8 * KIB)] * 3, field_of(8 * KIB - len(b"Host: a") + 1)]
        await refused(scene, head_of(lines), 431)


async def test_100_headers_pass() -> None:
    async with stage() as scene:
        lines = [b"Host: a", *[b"A: b"] * 99]
        _, _, head = await sent_up(scene, head_of(lines))
        assert own(head) == head_of(lines)[:-2]


@pytest.mark.parametrize("line", [b"A: b", b"Cookie: a=b", b"Connection: close", b"TE: trailers"])
async def test_more_headers_are_too_many(line: bytes) -> None:
    async with stage() as scene:
        await refused(scene, head_of([b"Host: a", *[line] * 100]), 431)


@pytest.mark.parametrize(
    "limits", [{"header_field": 19}, {"header_bytes": 40}, {"header_count": 2}]
)
async def test_the_limits_of_headers_are_settings(limits: dict[str, int]) -> None:
    async with stage(limits=limits) as scene:
        lines = [b"Host: a", b"Abcdefgh: ijklmnop", b"Qrstuvwx: yzabcdefgh"]
        control = b"GET /api/c HTTP/1.1\r\nHost: b\r\n\r\n"
        await refused(scene, head_of(lines), 431, control=control)


async def test_a_flood_of_headers_hears_its_refusal_to_the_end() -> None:
    async with stage() as scene:
        client = await scene.client()
        client.writer.write(head_of([b"Host: a"])[:-2] + b"A: b\r\n" * 200_000)
        answer = await told(client)
        check_error(answer, 431)
        await end(client)
        await untouched(scene)


async def test_a_refused_head_with_a_long_body_is_answered_not_reset() -> None:
    async with stage() as scene:
        client = await scene.client()
        head = b"POST /api/x HTTP/1.1\r\nHost: a b\r\nContent-Length: 900000\r\n\r\n"
        client.writer.write(head + b"x" * 900_000)
        check_error(await told(client), 400)
        await end(client)  # a reset on the way would lose the answer for some clients


# --------------------------------------------------------------------------------------- bodies


def post(size: int, *lines: bytes) -> bytes:
    length = b"Content-Length: %d" % size
    return b"\r\n".join((b"POST /api/x HTTP/1.1", b"Host: a", length, *lines, b"", b""))


POST_CHUNKS = b"POST /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("where", ["gateway", "route"])
async def test_a_body_over_its_length_is_refused_before_a_byte_of_it_is_read(where: str) -> None:
    limit = {"max_body_size": 10}
    changes = limit if where == "gateway" else {"route": limit}
    async with stage(**changes) as scene:
        client = await scene.client()
        await client.send(post(11))
        check_error(await told(client), 413)
        await client.send(b"x" * 11 + CONTROL)
        await reaches(scene, b"GET /api/control ")  # it was small: it is read, and forgotten


async def test_a_body_of_the_limit_passes() -> None:
    async with stage(max_body_size=10) as scene:
        _, target, head = await sent_up(scene, post(10) + b"0123456789")
        assert own(head) == post(10)[:-2]
        assert await target.exactly(10) == b"0123456789"


async def test_a_limit_of_0_is_none() -> None:
    async with stage(max_body_size=0) as scene:
        _, _, head = await sent_up(scene, post(10**17))
        assert own(head) == post(10**17)[:-2]


@pytest.mark.parametrize("size", [64 * KIB + 1, 10**7 + 10**6, 10**17])
async def test_the_connection_of_a_body_over_64_kib_is_closed(size: int) -> None:
    async with stage(max_body_size=10) as scene:
        client = await scene.client()
        await client.send(post(size) + SMUGGLED)
        answer = await told(client)
        check_error(answer, 413)
        assert answer.closes
        await end(client)
        await untouched(scene)


async def test_the_connection_of_a_body_of_64_kib_goes_on() -> None:
    async with stage(max_body_size=10) as scene:
        await turned_down(scene, post(64 * KIB) + b"x" * 64 * KIB, 413)


@pytest.mark.parametrize("status", [404, 405, 400])
async def test_other_refusals_close_behind_long_bodies_too(status: int) -> None:
    line = {404: b"POST /nothing", 405: b"TRACE /api/x", 400: b"POST /api/.."}[status]
    async with stage() as scene:
        body = b"\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
        client = await scene.client()
        await client.send(line + b" HTTP/1.1" + body % (64 * KIB + 1) + SMUGGLED)
        answer = await told(client)
        check_error(answer, status)
        assert answer.closes
        await end(client)
        await turned_down(scene, line + b" HTTP/1.1" + body % (64 * KIB) + b"x" * 64 * KIB, status)


async def test_a_refused_body_of_chunks_is_never_served_as_requests() -> None:
    async with stage() as scene:
        client = await scene.client()
        chunk = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
        await client.send(POST_CHUNKS.replace(b"/api/x", b"/nothing") + chunk)
        check_error(await told(client), 404)
        await untouched(scene)


@pytest.mark.parametrize(
    "chunks",
    [
        [b"6\r\nsecond\r\n"],
        [b"6\r\nsecond\r\n0\r\n\r\n" + SMUGGLED],
        [b"1\r\na\r\n"] * 6,
        [b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)],
        [b"ffffffffffff\r\nsecond"],
    ],
)
async def test_a_body_that_grows_over_the_limit_is_refused_and_its_request_aborted(
    chunks: list[bytes],
) -> None:
    async with stage(max_body_size=10) as scene:
        client, target, _ = await sent_up(scene, POST_CHUNKS + b"5\r\nfirst\r\n")
        assert await target.exactly(10) == b"5\r\nfirst\r\n"
        for chunk in chunks:
            await client.send(chunk)
        answer = await told(client)
        check_error(answer, 413)
        assert answer.closes
        await end(client)
        gone_up = await until_gone(target)
        assert b"0\r\n\r\n" not in gone_up
        assert b"second" not in gone_up
        assert len(scene.upstream.connections) == 1


async def test_a_body_that_grows_to_the_limit_passes() -> None:
    async with stage(max_body_size=10) as scene:
        client, target, head = await sent_up(scene, POST_CHUNKS)
        await client.send(b"5;x=0123456789\r\nfirst\r\n5\r\nlater\r\n0\r\nA: bcdefghijkl\r\n\r\n")
        assert await body_of(head, target.reader) == b"firstlater"


# ----------------------------------------------------------------------------------------- time


@pytest.mark.parametrize(
    "part", [b"G", b"GET /api/x HTTP/1.1\r\n", b"GET /api/x HTTP/1.1\r\nHost: a\r\n", GET[:-1]]
)
async def test_a_head_that_does_not_end_in_time_is_timed_out(part: bytes) -> None:
    async with stage(limits={"head_timeout": SOON}) as scene:
        await refused(scene, part, 408, then=b"")


async def test_a_head_that_comes_drop_by_drop_is_timed_out() -> None:
    async with stage(limits={"head_timeout": SOON}) as scene:
        client = await scene.client()

        async def drip() -> None:
            await client.send(b"GET /api/x HTTP/1.1\r\nHost: a\r\n")
            while True:
                await client.send(b"A: b\r\n")
                await asyncio.sleep(SOON / 10)

        task = asyncio.create_task(drip())
        check_error(await told(client), 408)
        task.cancel()
        await until_gone(client)
        await untouched(scene)


@pytest.mark.parametrize("nothing", [b"", b"\r\n", b"\r\n\r\n"])
async def test_a_connection_that_asks_nothing_is_closed_without_a_word(nothing: bytes) -> None:
    async with stage(limits={"head_timeout": SOON}) as scene:
        client = await scene.client()
        await client.send(nothing)
        await end(client)


async def test_a_second_head_has_the_same_time() -> None:
    async with stage(limits={"head_timeout": SOON}) as scene:
        client, target, _ = await sent_up(scene, GET)
        await target.send(OK)
        assert (await told(client)).status == 200
        await client.send(b"GET /api/x HT")
        check_error(await told(client), 408)
        await end(client)


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    limits = {"keepalive_timeout": SOON}
    async with stage(limits=limits) as scene:
        client, target, _ = await sent_up(scene, GET)
        await stays_open(client, SOON * 2)  # a request that is being answered is not idle
        await target.send(OK)
        assert (await told(client)).status == 200
        await end(client)


@pytest.mark.parametrize("framed", [post(1000), POST_CHUNKS])
async def test_a_body_that_comes_too_slowly_is_timed_out_and_aborted(
    framed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Front, "BODY_WINDOW", SOON)
    async with stage() as scene:
        client, target, _ = await sent_up(scene, framed + b"5\r\nfirst\r\n")
        answer = await told(client)
        check_error(answer, 408)
        assert answer.closes
        await end(client)
        assert b"0\r\n\r\n" not in await until_gone(target)


async def test_a_body_that_comes_fast_enough_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Front, "BODY_WINDOW", SOON)
    async with stage(limits={"body_min_rate": 100}) as scene:
        client, target, _ = await sent_up(scene, post(1000))
        for _ in range(20):
            await client.send(b"x" * 50)
            await asyncio.sleep(SOON / 10)
        assert await target.exactly(1000) == b"x" * 1000


async def test_any_rate_will_do_when_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Front, "BODY_WINDOW", SOON / 5)
    async with stage(limits={"body_min_rate": 0}) as scene:
        client, target, _ = await sent_up(scene, post(2) + b"a")
        await stays_open(client, SOON)
        await client.send(b"b")
        assert await target.exactly(2) == b"ab"
