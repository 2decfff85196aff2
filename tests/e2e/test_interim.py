"""1xx: what stands before an answer, and the permission that a client asks for."""

from __future__ import annotations

import pytest

from tests.e2e.answering import body_of, closed, request, status_of, stays_open
from tests.e2e.stage import GET, OK, field, stage

EXPECT = b"Expect: 100-continue"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def expecting(size: int, target: bytes = b"/api/x", minor: int = 1) -> bytes:
    return b"PUT %b HTTP/1.%d\r\nHost: a\r\nContent-Length: %d\r\n%b\r\n\r\n" % (
        target, minor, size, EXPECT,
    )  # fmt: skip


async def test_early_hints_pass_at_once_and_the_answer_follows() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        for _ in range(2):
            await target.send(HINTS)
            assert await client.head() == HINTS
        await target.send(OK)
        head, body = await client.answer()
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert body == b"ok"
        await client.send(GET)
        await target.head()


async def test_hints_and_answer_that_come_together_are_told_apart() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS + OK)
        assert await client.head() == b"HTTP/1.1 102 Processing\r\n\r\n"
        assert await client.head() == HINTS
        assert (await client.answer())[1] == b"ok"


async def test_a_client_of_1_0_is_spared_them() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"GET /api/x HTTP/1.0\r\n\r\n")
        target = await scene.upstream.accept()
        await target.head()
        await target.send(HINTS + OK)
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_hop_by_hop_fields_of_hints_stop_here() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(
            b"HTTP/1.1 103 Early Hints\r\nConnection: X-A\r\nX-A: 1\r\nKeep-Alive: 1\r\nB: c\r\n"
            b"Content-Length: 5\r\n\r\n"
        )
        assert await client.head() == b"HTTP/1.1 103 Early Hints\r\nB: c\r\n\r\n"


async def test_an_upstream_that_only_hints_and_hangs_up_is_a_bad_gateway() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(HINTS)
        await client.head()
        await target.close()
        assert status_of((await client.answer())[0]) == 502


async def test_hints_do_not_prolong_the_wait_for_an_answer() -> None:
    async with stage(timeout=0.2) as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(HINTS)
        await client.head()
        assert status_of((await client.answer())[0]) == 504


# -------------------------------------------------------------------------------- permission


async def test_permission_comes_from_here_and_the_question_stays_here() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(expecting(4))
        assert await client.head() == CONTINUE
        target = await scene.upstream.accept()
        assert field(await target.head(), b"expect") is None
        await client.send(b"body")
        assert await target.exactly(4) == b"body"
        await target.send(OK)
        assert (await client.answer())[0].startswith(b"HTTP/1.1 200 OK\r\n")
        await client.send(GET)
        await target.head()


async def test_permission_is_given_once_for_chunks_too() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(
            b"PUT /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + EXPECT
            + b"\r\n\r\n"
        )  # fmt: skip
        assert await client.head() == CONTINUE
        target = await scene.upstream.accept()
        head = await target.head()
        await client.send(b"4\r\nbody\r\n0\r\n\r\n")
        assert await body_of(head, target.reader) == b"body"
        await target.send(OK)
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_there_is_no_permission_before_there_is_an_upstream() -> None:
    async with stage() as scene:
        await scene.upstream.stop()
        client = await scene.client()
        await client.send(expecting(4))
        head = await client.head()
        assert status_of(head) == 503
        assert field(head, b"connection") == b"close"  # whether a body follows nobody knows


@pytest.mark.parametrize(
    ("asked", "refused"),
    [
        (expecting(11), 413),
        (expecting(4, b"/nothing"), 404),
        (expecting(4, b"/api/%2e%2e/x"), 400),
    ],
)
async def test_a_refusal_saves_the_upload(asked: bytes, refused: int) -> None:
    async with stage(max_body_size=10) as scene:
        number, data = await scene.refused(asked)
        assert number == refused
        assert b"100 Continue" not in data
        assert b"\r\nConnection: close\r\n" in data
        assert scene.upstream.idle


async def test_another_expectation_fails() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(b"/api/x", b"Expect: a-miracle"))
        head, body = await client.answer()
        assert status_of(head) == 417
        assert b'"error":"expectation_failed"' in body


async def test_a_client_that_did_not_wait_is_not_told_to_go_on() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(expecting(4) + b"body")
        target = await scene.upstream.accept()
        await target.head()
        assert await target.exactly(4) == b"body"
        await target.send(OK)
        assert status_of(await client.head()) == 200


async def test_an_expectation_in_1_0_is_ignored() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(expecting(4, minor=0))
        target = await scene.upstream.accept()
        await target.head()
        await stays_open(client)
        await client.send(b"body")
        assert await target.exactly(4) == b"body"
        await target.send(OK)
        assert (await client.head()).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_expectation_without_a_body_gets_its_answer_only() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(request(b"/api/x", EXPECT))
        target = await scene.upstream.accept()
        assert field(await target.head(), b"expect") is None
        await target.send(OK)
        assert status_of(await client.head()) == 200


async def test_an_upstream_that_refuses_before_the_body_is_heard() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(expecting(400000))
        assert await client.head() == CONTINUE
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno")
        head, body = await client.answer()
        assert status_of(head) == 401
        assert body == b"no"
        await closed(target)


async def test_a_101_that_nobody_asked_for_is_a_bad_gateway() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(GET)
        target = await scene.upstream.accept()
        await target.head()
        await target.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n")
        assert status_of((await client.answer())[0]) == 502
        await closed(target)
