from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.errors import StoreDown
from gateway.identity import jwks as module
from gateway.identity.jwks import KeySet
from tests.identity.keys_server import KeysServer, keys_server
from tests.identity.minting import jwk, jwks

ONE = jwks(jwk("EdDSA", kid="1"))
TWO = jwks(jwk("EdDSA", kid="1"), jwk("ES256", kid="2"))


class Scene:
    """A set of keys, and what it told."""

    def __init__(self, keys: KeySet, told: asyncio.Queue[str], failures: list[int]) -> None:
        self.keys = keys
        self.failures = failures
        self._told = told

    async def told(self) -> str:
        async with asyncio.timeout(10):
            return await self._told.get()

    @property
    def silent(self) -> bool:
        return self._told.empty()

    def names(self) -> list[str | None]:
        return [
            key.kid for algorithm in ("EdDSA", "ES256") for key in self.keys.find(None, algorithm)
        ]


@asynccontextmanager
async def scene(url: str, *, begin: bool = True, **more: Any) -> AsyncIterator[Scene]:
    told: asyncio.Queue[str] = asyncio.Queue()
    failures: list[int] = []
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        keys = KeySet(
            url,
            session,
            **{
                "refresh": 3600,
                "cooldown": 3600,
                "lost": told.put_nowait,
                "back": lambda: told.put_nowait("back"),
                "failed": lambda: failures.append(1),
                "changed": lambda: told.put_nowait("changed"),
                **more,
            },
        )
        if begin:
            keys.open()
        try:
            yield Scene(keys, told, failures)
        finally:
            await keys.close()


async def test_keys_are_there_by_name_and_algorithm_soon_after_the_start() -> None:
    async with keys_server(TWO) as server, scene(server.url) as made:
        assert await made.told() == "changed"
        assert [key.kid for key in made.keys.find("1", "EdDSA")] == ["1"]
        assert made.keys.find("1", "ES256") == ()
        assert made.keys.find("3", "EdDSA") == ()
        assert made.names() == ["1", "2"]


async def test_keys_without_a_name_fit_any() -> None:
    body = jwks(jwk("EdDSA"), jwk("EdDSA", kid="1"))
    async with keys_server(body) as server, scene(server.url) as made:
        await made.told()
        assert [key.kid for key in made.keys.find("1", "EdDSA")] == ["1"]
        assert [key.kid for key in made.keys.find("2", "EdDSA")] == [None]
        assert [key.kid for key in made.keys.find(None, "EdDSA")] == [None, "1"]


async def test_token_that_comes_before_the_first_keys_waits_for_them() -> None:
    async with keys_server(ONE) as server, scene(server.url) as made:
        await made.keys.renew()
        assert made.names() == ["1"]
        assert server.asked == 1


async def test_many_unknown_names_ask_once() -> None:
    async with keys_server(ONE) as server, scene(server.url, cooldown=0.0) as made:
        await made.told()
        release = asyncio.Event()

        async def slow(request: web.Request) -> web.Response:
            await release.wait()
            return web.Response(body=TWO)

        server.answer = slow
        waiting = [asyncio.create_task(made.keys.renew()) for _ in range(50)]
        await server.heard(2)
        release.set()
        await asyncio.gather(*waiting)
        assert server.asked == 2
        assert made.names() == ["1", "2"]


async def test_unknown_names_are_not_asked_for_again_within_the_cool_down() -> None:
    async with keys_server(ONE) as server, scene(server.url) as made:
        await made.told()
        for _ in range(5):
            await made.keys.renew()
        assert server.asked == 1


async def test_one_who_leaves_does_not_stop_the_question_of_the_others() -> None:
    async with keys_server(ONE) as server, scene(server.url, cooldown=0.0) as made:
        await made.told()
        release = asyncio.Event()

        async def slow(request: web.Request) -> web.Response:
            await release.wait()
            return web.Response(body=TWO)

        server.answer = slow
        first, second = (asyncio.create_task(made.keys.renew()) for _ in range(2))
        await server.heard(2)
        first.cancel()
        release.set()
        await second
        assert made.names() == ["1", "2"]


async def test_keys_are_looked_at_again_in_the_background() -> None:
    async with keys_server(ONE) as server, scene(server.url, refresh=0.02) as made:
        assert await made.told() == "changed"
        await server.heard(3)
        assert made.silent  # what is the same as before is no news
        server.body = TWO
        assert await made.told() == "changed"
        assert made.names() == ["1", "2"]


async def test_last_good_keys_serve_while_the_source_is_down_and_newer_ones_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    async with keys_server(ONE) as server, scene(server.url, refresh=0.02, cooldown=0.0) as made:
        assert await made.told() == "changed"
        await server.stop()
        assert await made.told() == "ClientConnectorError"
        for _ in range(3):
            await made.keys.renew()
        assert made.names() == ["1"]
        assert made.silent  # it is told once
        assert len(made.failures) >= 3
        server.body = TWO
        await server.start()
        assert await made.told() == "changed"
        assert await made.told() == "back"
        assert made.names() == ["1", "2"]


async def test_without_any_keys_nothing_can_be_decided() -> None:
    server = KeysServer(ONE)
    async with scene(server.url) as made:
        with pytest.raises(StoreDown):
            await made.keys.renew()
        with pytest.raises(StoreDown):
            await made.keys.renew()


async def says(answer: web.Response) -> web.Response:
    return answer


BAD = {
    "an error": (lambda: web.Response(status=500, body=TWO), "answered 500"),
    "a redirect": (
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
        "answered 302",
    ),
    "no set": (lambda: web.Response(body=b"<html>"), "not JSON"),
    "no key": (lambda: web.Response(body=jwks()), "no key in it can be used"),
    "too much": (lambda: web.Response(body=b" " * (module.SET_BYTES + 1)), "too large"),
}


@pytest.mark.parametrize(("answer", "why"), BAD.values(), ids=BAD)
async def test_bad_answer_leaves_the_keys_as_they_are(answer: Any, why: str) -> None:
    async with keys_server(ONE) as server, scene(server.url, cooldown=0.0) as made:
        await made.told()
        server.answer = lambda request: says(answer())
        await made.keys.renew()
        assert await made.told() == why
        assert made.names() == ["1"]


async def test_source_that_does_not_answer_is_given_up() -> None:
    async def silent(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with keys_server(ONE) as server, scene(server.url, cooldown=0.0, patience=0.05) as made:
        await made.told()
        server.answer = silent
        await made.keys.renew()
        assert await made.told() == "no answer in time"


async def test_compressed_answers_are_not_asked_for() -> None:
    async with keys_server(ONE) as server, scene(server.url) as made:
        fields: list[str | None] = []

        async def look(request: web.Request) -> web.Response:
            fields.append(request.headers.get("Accept-Encoding"))
            return web.Response(body=ONE)

        server.answer = look
        await made.keys.renew()
        assert fields == ["identity"]


async def test_set_that_was_never_opened_is_closed_in_peace() -> None:
    async with scene("http://127.0.0.1:1/", begin=False) as made:
        assert made.names() == []
