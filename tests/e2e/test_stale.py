"""A connection that its upstream closes just as it is used: sent again only where that is safe."""

from __future__ import annotations

import pytest

from tests.e2e.answering import body_of, eventually, pools, request, status_of
from tests.e2e.stage import GET, OK, Connection, Stage, stage


async def asked(scene: Stage) -> tuple[Connection, Connection]:
    """A client with a request on its way, and the new connection that it came by."""
    client = await scene.client()
    await client.send(GET)
    target = await scene.upstream.accept()
    await target.head()
    return client, target


async def warm(scene: Stage) -> tuple[Connection, Connection]:
    """A client and a target's connection that has served it once."""
    client, target = await asked(scene)
    await target.send(OK)
    await client.answer()
    return client, target


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"])
async def test_a_request_that_met_a_closing_connection_goes_by_another(method: bytes) -> None:
    async with stage() as scene:
        client, target = await warm(scene)
        await client.send(request(b"/api/again", method=method))
        await target.head()
        await target.close()  # as an upstream does whose own idle time ends just now
        fresh = await scene.upstream.accept()
        assert (await fresh.head()).startswith(method + b" /api/again ")
        await fresh.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert status_of((await client.answer())[0]) == 200


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_put_brings_its_body_again(how: str) -> None:
    async with stage() as scene:
        client, target = await warm(scene)
        await client.send(request(method=b"PUT", body=b"the body"))
        await target.head()
        await target.exactly(8)
        if how == "close":
            await target.close()
        else:
            target.reset()
        fresh = await scene.upstream.accept()
        await fresh.head()
        assert await fresh.exactly(8) == b"the body"
        await fresh.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_a_put_that_is_still_coming_goes_by_another_from_its_first_byte() -> None:
    async with stage() as scene:
        client, target = await warm(scene)
        await client.send(b"PUT /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf")
        await target.head()
        await target.exactly(4)
        await target.close()
        fresh = await scene.upstream.accept()
        await fresh.head()
        assert await fresh.exactly(4) == b"half"
        await client.send(b"rest")
        assert await fresh.exactly(4) == b"rest"
        await fresh.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_chunks_that_are_still_coming_go_by_another_from_the_first() -> None:
    async with stage() as scene:
        client, target = await warm(scene)
        await client.send(
            b"PUT /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"
        )
        head = await target.head()
        await target.until(b"half\r\n")
        await target.close()
        fresh = await scene.upstream.accept()
        assert await fresh.head() == head
        await client.send(b"4\r\nrest\r\n0\r\n\r\n")
        assert await body_of(head, fresh.reader) == b"halfrest"
        await fresh.send(OK)
        assert (await client.answer())[1] == b"ok"


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
async def test_what_may_have_had_an_effect_is_not_sent_again(method: bytes) -> None:
    async with stage() as scene:
        client, target = await warm(scene)
        await client.send(request(method=method))
        await target.head()
        await target.close()
        assert status_of((await client.answer())[0]) == 502
        assert scene.upstream.idle


async def test_a_body_too_long_to_be_kept_is_not_sent_again() -> None:
    async with stage(limits={"replay": 4}) as scene:
        client, target = await warm(scene)
        await client.send(request(method=b"PUT", body=b"longer"))
        await target.head()
        await target.exactly(6)
        await target.close()
        assert status_of((await client.answer())[0]) == 502
        assert scene.upstream.idle


async def test_a_byte_of_an_answer_forbids_another_try() -> None:
    async with stage() as scene:
        client, target = await warm(scene)
        await client.send(GET)
        await target.head()
        await target.send(b"HTTP")
        await target.close()
        assert status_of((await client.answer())[0]) == 502
        assert scene.upstream.idle


async def test_the_other_try_is_the_last() -> None:
    async with stage() as scene:
        client, target = await warm(scene)
        await client.send(GET)
        await target.head()
        await target.close()
        fresh = await scene.upstream.accept()
        await fresh.head()
        await fresh.close()
        assert status_of((await client.answer())[0]) == 502
        assert scene.upstream.idle


async def test_the_other_try_goes_by_a_new_connection_though_others_are_idle() -> None:
    async with stage() as scene:
        pairs = [await asked(scene) for _ in range(3)]
        for client, target in pairs:
            await target.send(OK)
            await client.answer()
        client, stale = pairs[2]
        await client.send(GET)
        await stale.head()
        await stale.close()
        fresh = await scene.upstream.accept()
        await fresh.head()
        await fresh.send(OK)
        assert (await client.answer())[1] == b"ok"


async def test_nothing_is_tried_again_on_a_first_connection() -> None:
    async with stage() as scene:
        client, target = await asked(scene)
        target.reset()
        assert status_of((await client.answer())[0]) == 502
        assert scene.upstream.idle


async def test_a_connection_closed_while_idle_is_not_used() -> None:
    async with stage() as scene:
        client, target = await warm(scene)
        await target.close()
        await eventually(lambda: pools(scene)[0].idle == 0)
        await client.send(request(method=b"POST"))
        fresh = await scene.upstream.accept()
        await fresh.head()
        await fresh.send(OK)
        assert (await client.answer())[1] == b"ok"
