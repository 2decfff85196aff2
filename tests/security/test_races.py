"""One connection, two requests; and what happens while one of them waits."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from tests.e2e.caching import answer, asking, received
from tests.e2e.life import Program, listening, request, route, running, until
from tests.e2e.stage import OK, PATIENCE, field
from tests.security.fortress import (
    LONG,
    PUBLIC,
    Fortress,
    bearer,
    fortress,
    key_line,
    minted,
)


def post(body: bytes, *lines: bytes, path: bytes = b"/api/orders") -> bytes:
    return asking(b"Content-Type: application/json", *lines, path=path, method=b"POST", body=body)


SMUGGLED = b"GET /plain/smuggled HTTP/1.1\r\nHost: gateway.test\r\nX-API-Key: %b\r\n\r\n"


async def test_refused_body_is_not_the_next_request(either: dict[str, str]) -> None:
    """Whoever refuses it, and whether or not that had to be waited for."""
    async with fortress(either) as made:
        key = await made.key()
        good, body = key_line(key), SMUGGLED % key.encode()
        unknown = key_line("gwk_" + "0" * 38)
        for line, path, status in (
            (unknown, b"/plain/x", 401),  # at once
            (key_line(await another(made)), b"/plain/x", 401),  # after a look-up
            (good, b"/api/orders", 422),  # after the body was read
            (good, b"/guess/x", 200),
        ):
            for chunked in (False, True) if status != 200 else (False,):
                data = post(body, line, path=path)
                if chunked:
                    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
                    length = b"Content-Length: %d" % len(body)
                    data = data.replace(length, b"Transfer-Encoding: chunked")
                    data = data.replace(body, framed)
                client = await made.stage.client()
                follow = asking(good, path=b"/plain/next", method=b"POST", body=b"second")
                await client.send(data + follow)
                first, head, _ = await received(client)
                assert first == status
                if field(head, b"connection") != b"close":
                    assert (await received(client))[0] == 200
                    assert b"POST /plain/next " in made.origin.heads[-1]
                assert not any(b"GET /plain/smuggled" in head[:30] for head in made.went_up())
                await client.close()


async def another(made: Fortress) -> str:
    """A key that looks good and is not there (any more)."""
    stored, key = await made.ring.create("eve", "free", (), None)
    await made.ring.revoke(stored.id)
    return key


async def test_pipelined_requests_are_each_their_own(either: dict[str, str]) -> None:
    """Credentials, limits and answers of one are not the next one's."""
    async with fortress(either) as made:
        made.origin.say = lambda head: answer(
            b"Cache-Control: private", body=b"for " + (field(head, b"x-user-id") or b"nobody")
        )
        ann, ben = bearer(minted()), bearer(minted(sub="ben"))
        key, none = key_line(await made.key()), key_line(await another(made))
        client = await made.stage.client()
        asked = [(ann,), (), (ben,), (none,), (key,), (), (ann,)]
        await client.send(b"".join(asking(*lines) for lines in asked))
        found = [await received(client) for _ in asked]
        assert [status for status, _, _ in found] == [200, 401, 200, 401, 200, 401, 200]
        good = [body for status, _, body in found if status == 200]
        assert good == [b"for ann", b"for ben", b"for nobody", b"for ann"]


SPLITTING = (
    b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: a\r\n Set-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 O\x01K\r\nContent-Length: 2\r\n\r\nok",
)


async def test_answer_that_two_could_read_differently_is_kept_for_nobody(
    embedded: dict[str, str],
) -> None:
    async with fortress(embedded) as made:
        for number, said in enumerate(SPLITTING):
            path = b"/open/%d" % number
            made.origin.says(said.replace(b"\r\nX", b"\r\nCache-Control: max-age=60\r\nX"))
            status, head, _ = await made.get(path=path)
            assert b"set-cookie: b=c" not in head.lower().split(b"\r\n"), said
            made.origin.says(answer(LONG, body=b"clean"))
            if status != 200:
                assert (await made.get(path=path))[2] == b"clean"
        # What comes behind an answer is no answer to the next request on that connection.
        made.origin.says(PUBLIC + answer(LONG, body=b"evil"))
        for _ in range(3):
            assert (await made.get(bearer(minted()), path=b"/plain/x"))[2] == b"body"


class Held:
    """A policy's look-up that waits until it is told to go on."""

    def __init__(self, made: Fortress) -> None:
        self.asked = asyncio.Event()
        self.go = asyncio.Event()
        self._keys = made.stage.gateway._edge._stored_keys()
        self._find = self._keys.find
        self._keys.find = self._wait  # type: ignore[method-assign]

    async def _wait(self, digests: Any) -> Any:
        self.asked.set()
        await self.go.wait()
        return await self._find(digests)

    async def reached(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.asked.wait()


async def test_client_that_leaves_during_a_look_up_spoils_nothing(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        key = key_line(await made.key())
        held = Held(made)
        leaving, staying = await made.stage.client(), await made.stage.client()
        await leaving.send(post(b'{"item": "tea", "quantity": 1}', key) + asking(key))
        await held.reached()
        await staying.send(asking(key))
        await made.get(path=b"/health/live")
        leaving.reset()
        await until(lambda: len(made.stage.gateway.front.connections) < 2)
        held.go.set()
        assert (await received(staying))[0] == 200
        assert await made.status(key) == 200
        assert not any(head.startswith(b"POST") for head in made.went_up())


async def test_reload_while_requests_wait_answers_them(either: dict[str, str]) -> None:
    """They came under the settings of before, and are answered under them."""
    async with fortress(either) as made:
        key = key_line(await made.key())
        held = Held(made)
        clients = [await made.stage.client() for _ in range(3)]
        order = post(b'{"item": "tea", "quantity": 1}', key)
        await clients[0].send(asking(key, path=b"/plain/a"))
        await clients[1].send(order + asking(key, path=b"/gone/x"))
        await clients[2].send(order[:-5])
        await held.reached()
        await made.get(path=b"/health/live")
        gateway = made.stage.gateway
        before = gateway.settings
        closed = before.routes[2].model_copy(update={"prefix": "/closed", "name": "closed"})
        table = before.model_copy(update={"routes": (closed,)})
        await gateway.apply(table)
        held.go.set()
        assert (await received(clients[0]))[0] == 200
        assert [(await received(clients[1]))[0] for _ in range(2)] == [200, 404]
        await clients[2].send(order[-5:])
        assert (await received(clients[2]))[0] == 200
        assert await made.status(key, path=b"/plain/a") == 404
        assert await made.status(path=b"/closed/a") == 401
        assert await made.status(key, path=b"/closed/a") == 200


async def test_reload_while_somebody_signs_in_is_no_error(embedded: dict[str, str]) -> None:
    """The settings of signing in change between a request's head and its body."""
    async with fortress(embedded) as made:
        body = b'{"username": "ann", "password": "sesame-open-of-the-tests"}'
        client = await made.stage.client()
        data = asking(path=b"/auth/login", method=b"POST", body=body)
        await client.send(data[:-10])
        await until(lambda: made.stage.gateway.front.connections)
        await made.get(path=b"/health/live")
        gateway = made.stage.gateway
        login = gateway.settings.auth.login
        assert login is not None
        other = gateway.settings.auth.model_copy(
            update={"login": login.model_copy(update={"access": 60})}
        )
        await gateway.apply(gateway.settings.model_copy(update={"auth": other}))
        await client.send(data[-10:])
        status, head, _ = await received(client)
        assert (status, field(head, b"retry-after")) in ((200, None), (503, b"1"))


async def test_drain_while_requests_wait_answers_them_and_closes(either: dict[str, str]) -> None:
    async with fortress(either) as made:
        key = key_line(await made.key())
        held = Held(made)
        one, two = await made.stage.client(), await made.stage.client()
        await one.send(asking(key) * 2)
        await two.send(asking(key, path=b"/plain/x"))
        await held.reached()
        await made.get(path=b"/health/live")
        made.stage.gateway.front.draining = True
        held.go.set()
        for client in (one, two):
            status, head, _ = await received(client)
            assert (status, field(head, b"connection")) == (200, b"close")
            assert await client.rest() == b""


async def test_signals_while_requests_wait(tmp_path: Path, redis_url: str) -> None:
    """SIGHUP and then SIGTERM at a real process, with a request that waits for its body."""
    async with listening() as upstream:
        document = Path(__file__).parents[2] / "deploy" / "examples" / "orders.yaml"
        settings = {
            "stores": {"sqlite": str(tmp_path / "g.db"), "redis": redis_url},
            "routes": [route(upstream, validate={"spec": str(document), "base": "/api"})],
        }
        async with running(tmp_path, **settings) as program:
            order = b'{"item": "tea", "quantity": 1}'
            data = request("POST", "/api/orders", "Content-Type: application/json", body=order)
            for number in (signal.SIGHUP, signal.SIGTERM):
                client = await program.send(data[:-3])
                await waiting(program)
                if number == signal.SIGHUP:
                    await program.reload(**settings, timeout=9)
                else:
                    program.signal(number)
                    await program.event("draining")
                await client.send(data[-3:])
                service = await upstream.accept()
                assert (await service.head()).startswith(b"POST /api/orders ")
                assert await service.exactly(len(order)) == order
                await service.send(OK)
                assert (await received(client))[0] == 200
                await service.close()
            assert await program.ended() == 0


async def waiting(program: Program) -> None:
    """Until the gateway has read what was sent: it answers another client after that."""
    assert (await program.get("/health/live"))[0] == 200
