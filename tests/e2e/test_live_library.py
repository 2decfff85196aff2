"""Clients of other people's making, at a real gateway's live updates: `websockets` and aiohttp."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import time
from typing import Any

import aiohttp
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from gateway.realtime.asyncapi import name_of
from gateway.realtime.messages import TO_CLIENTS
from tests.e2e.life import LONG
from tests.e2e.live import Live, Socket, live
from tests.identity.keys_server import keys_server
from tests.identity.minting import AUDIENCE, ISSUER, jwk, jwks, token

TOKEN = "a-token-of-sixteen-letters"


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Live]:
    async with live(tmp_path) as one:
        yield one


# ------------------------------------------------------------------------------- websockets


async def test_a_client_is_welcomed_by_the_name_that_the_log_has(site: Live) -> None:
    async with site.socket() as socket:
        name = (await socket.next("welcome"))["connection_id"]
        await site.program.event("websocket_opened", connection_id=name)
    closed = await site.program.event("websocket_closed", connection_id=name)
    assert closed["code"] == 1000


async def test_a_subscriber_hears_its_symbols_and_no_others(site: Live) -> None:
    async with site.socket() as socket:
        await socket.subscribe("AAPL", "MSFT")
        await site.publish("GOOG", 1)
        await site.publish("AAPL", 231.07, confidence=0.9)
        await site.publish("MSFT", 2)
        update = await socket.next("prediction_update")
        assert (update["symbol"], update["predicted_price"]) == ("AAPL", 231.07)
        assert update["confidence"] == 0.9
        assert (await socket.recv())["symbol"] == "MSFT"


async def test_who_unsubscribed_hears_no_more(site: Live) -> None:
    async with site.socket() as socket:
        await socket.subscribe("AAPL", "MSFT")
        await socket.say(action="unsubscribe", symbols=["AAPL"])
        assert (await socket.next("unsubscribed"))["symbols"] == ["AAPL"]
        await site.publish("AAPL", 1)
        await site.publish("MSFT", 2)
        assert (await socket.next("prediction_update"))["symbol"] == "MSFT"


async def test_pings_of_both_kinds_are_answered(site: Live) -> None:
    async with site.socket() as socket:
        await socket.say(action="ping")
        await socket.next("pong")
        async with asyncio.timeout(LONG):
            await (await socket.connection.ping())


ERRORS = [
    ("no JSON", "bad_json"),
    ("[]", "bad_json"),
    ('{"action": "shout"}', "unknown_action"),
    ('{"action": "subscribe", "symbols": ["aapl"]}', "bad_symbol"),
    ('{"action": "subscribe", "symbols": ["*"]}', "bad_symbol"),
    ('{"action": "subscribe", "symbols": ["A"], "since": "x"}', "bad_offset"),
]


async def test_what_cannot_be_done_is_answered_and_nothing_is_lost_by_it(site: Live) -> None:
    async with site.socket() as socket:
        for text, code in ERRORS:
            await socket.connection.send(text)
            error = await socket.next("error")
            assert error["error"] == code
            assert error["message"]
        await socket.subscribe("AAPL")
        await site.publish("AAPL", 1)
        await socket.next("prediction_update")


async def test_more_symbols_than_allowed_are_too_many(tmp_path: Path) -> None:
    async with live(tmp_path, realtime={"max_symbols": 2}) as site, site.socket() as socket:
        await socket.subscribe("A", "B")
        await socket.say(action="subscribe", symbols=["C"])
        assert (await socket.next("error"))["error"] == "too_many_symbols"


async def test_who_comes_back_hears_what_was_missed_and_then_what_is_new(site: Live) -> None:
    async with site.socket() as socket:
        await socket.subscribe("AAPL")
        await site.publish("AAPL", 1)
        last = (await socket.next("prediction_update"))["offset"]
        socket.connection.transport.abort()
    await site.publish("AAPL", 2)
    await site.publish("MSFT", 3)
    await site.publish("AAPL", 4)
    async with site.socket() as socket:
        await socket.subscribe("AAPL", since=last)
        await site.publish("AAPL", 5)
        prices = [(await socket.recv())["predicted_price"] for _ in range(3)]
        assert prices == [2, 4, 5]


async def test_who_comes_back_too_late_is_told_to_fetch(tmp_path: Path) -> None:
    async with live(tmp_path, realtime={"history": 2}) as site:
        async with site.socket() as socket:
            await socket.subscribe("AAPL")
            await site.publish("AAPL", 1)
            last = (await socket.next("prediction_update"))["offset"]
            for price in (2, 3, 4):
                await site.publish("AAPL", price)
                await socket.next("prediction_update")
        async with site.socket() as socket:
            await socket.subscribe("AAPL", since=last)
            assert (await socket.recv()) == {"type": "refetch", "symbols": ["AAPL"]}
            await site.publish("AAPL", 5)
            assert (await socket.recv())["predicted_price"] == 5


async def test_who_talks_too_much_is_warned_and_then_closed(tmp_path: Path) -> None:
    async with (
        live(tmp_path, realtime={"message_rate": "3/minute"}) as site,
        site.socket() as socket,
    ):
        for _ in range(12):
            await socket.say(action="ping")
        assert (await socket.next("error"))["error"] == "too_many_messages"
        with pytest.raises(ConnectionClosed):
            await socket.next("error")
        assert (await socket.closed()) == (1008, "too many messages")
        assert [m["type"] for m in socket.heard] == ["welcome", *["pong"] * 3, "error"]


async def test_a_message_that_is_too_long_closes(tmp_path: Path) -> None:
    async with live(tmp_path, realtime={"max_message": 100}) as site, site.socket() as socket:
        await socket.connection.send("x" * 101)
        assert (await socket.closed())[0] == 1009


async def test_bytes_are_no_message(site: Live) -> None:
    async with site.socket() as socket:
        await socket.connection.send(b"{}")
        assert (await socket.closed())[0] == 1003


async def test_who_wants_nothing_is_closed_with_the_reason(tmp_path: Path) -> None:
    async with (
        live(tmp_path, realtime={"idle_timeout": 1}) as site,
        site.socket() as busy,
        site.socket() as socket,
    ):
        await busy.subscribe("AAPL")
        code, reason = await socket.closed()
        assert code == 1000
        assert reason
        await site.publish("AAPL", 1)
        await busy.next("prediction_update")


async def test_a_gateway_that_stops_says_goodbye(tmp_path: Path) -> None:
    async with live(tmp_path) as site, site.socket() as socket:
        await socket.subscribe("AAPL")
        site.program.process.terminate()
        assert (await socket.closed())[0] == 1001
        assert await site.program.ended() == 0


async def test_updates_reach_clients_of_every_worker(tmp_path: Path) -> None:
    async with live(tmp_path, workers=2) as site:
        sockets: list[Socket] = []

        async def hear() -> None:
            async with site.socket() as socket:
                await socket.subscribe("AAPL")
                sockets.append(socket)
                ready.release()
                update = await socket.next("prediction_update")
                assert update["predicted_price"] == 7

        ready = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(12):  # each worker has one, all but surely
                tasks.create_task(hear())
            for _ in range(12):
                await ready.acquire()
            await site.publish("AAPL", 7)
        offsets = {socket.heard[-1]["offset"] for socket in sockets}
        assert len(offsets) == 1


async def test_every_message_is_sent_as_it_is_described(tmp_path: Path) -> None:
    settings = {"update_rate": "1/second", "buffer": 1, "history": 1}
    async with live(tmp_path, realtime=settings) as site, site.socket() as socket:
        await socket.subscribe("AAPL", since="0123456789abcdef-1")
        await socket.next("refetch")
        for price in range(4):
            await site.publish("AAPL", price)
        await socket.next("warning")
        await socket.say(action="ping")
        await socket.say(action="shout")
        await socket.say(action="unsubscribe", symbols=["AAPL"])
        await socket.next("unsubscribed")
        assert {m["type"] for m in socket.heard} == {name_of(model) for model in TO_CLIENTS}


# --------------------------------------------------------------------------------- who may


@pytest.fixture
async def closed_site(tmp_path: Path) -> AsyncIterator[Live]:
    async with live(tmp_path, realtime={"auth": "any"}, auth={"token": TOKEN}) as one:
        yield one


async def test_strangers_get_an_error_and_no_websocket(closed_site: Live) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with closed_site.socket():
            pass
    assert refused.value.response.status_code == 401
    assert b'"unauthorized"' in refused.value.response.body


@pytest.mark.parametrize("way", ["X-API-Key", "Authorization"])
async def test_who_has_a_credential_is_welcome(closed_site: Live, way: str) -> None:
    value = closed_site.key if way == "X-API-Key" else f"Bearer {TOKEN}"
    async with closed_site.socket(additional_headers={way: value}) as socket:
        await socket.next("welcome")


async def test_a_browser_brings_its_token_in_the_query_and_no_log_has_it(tmp_path: Path) -> None:
    async with keys_server(jwks(jwk("EdDSA", kid="1"))) as server:
        issuer = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"]}
        auth = {"jwt": {**issuer, "jwks_url": server.url}}
        made = token("EdDSA", exp=time() + 600, sub="ann").decode()
        async with live(tmp_path, realtime={"auth": "jwt"}, auth=auth) as site:
            async with site.socket(f"?token={made}") as socket:
                await socket.next("welcome")
            await site.program.event("websocket_closed")
            with pytest.raises(InvalidStatus):
                async with site.socket(f"?token={made[:-4]}AAAA"):
                    pass
            (opened,) = site.program.found("websocket_opened")
            assert opened["principal"] == "ann"
            assert made.encode() not in b"".join(site.program.lines)


async def test_the_document_says_how_to_authenticate(closed_site: Live) -> None:
    document = await closed_site.document()
    assert set(document["components"]["securitySchemes"]) == {"apiKey", "bearer", "query"}
    assert document["servers"]["websocket"]["host"] == "gateway.test"


async def test_the_document_names_where_a_trusted_proxy_was_asked(tmp_path: Path) -> None:
    lines = ("X-Forwarded-Proto: https", "X-Forwarded-Host: live.example.com, inner")
    async with live(tmp_path, trusted_proxies=["127.0.0.1"]) as site:
        document = await site.program.json("/api/asyncapi.json", *lines)
        server = document["servers"]["websocket"]
        assert (server["host"], server["protocol"]) == ("live.example.com", "wss")
        await site.program.reload(realtime={}, trusted_proxies=[])
        document = await site.program.json("/api/asyncapi.json", *lines)
        server = document["servers"]["websocket"]
        assert (server["host"], server["protocol"]) == ("gateway.test", "ws")


async def test_where_there_are_no_live_updates_there_is_no_document(tmp_path: Path) -> None:
    async with live(tmp_path, realtime=None) as site:
        assert (await site.program.get("/api/asyncapi.json"))[0] == 404
    async with live(tmp_path) as site:
        assert (await site.program.get("/api/asyncapi.json"))[0] == 200
        await site.program.reload(realtime=None)
        assert (await site.program.get("/api/asyncapi.json"))[0] == 404


# ---------------------------------------------------------------------- Server-Sent Events


class Events:
    """The events of an answer, as the HTML standard reads them."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._lines = answer.content

    async def next(self) -> dict[str, str]:
        fields: dict[str, str] = {}
        async with asyncio.timeout(LONG):
            while line := (await self._lines.readline()).decode().rstrip("\n"):
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
        return fields


async def test_events_are_streamed_and_recovered(site: Live) -> None:
    query: dict[str, Any] = {"params": {"symbols": "AAPL,MSFT"}}
    async with aiohttp.ClientSession() as session:
        async with session.get(site.stream, **query) as answer:
            assert answer.content_type == "text/event-stream"
            events = Events(answer)
            assert (await events.next())["event"] == "welcome"
            await site.publish("MSFT", 1)
            first = await events.next()
            assert first["event"] == "prediction_update"
            assert first["id"] in first["data"]
        await site.publish("GOOG", 2)
        await site.publish("AAPL", 3)
        query["headers"] = {"Last-Event-ID": first["id"]}
        async with session.get(site.stream, **query) as answer:
            events = Events(answer)
            assert (await events.next())["event"] == "welcome"
            missed = await events.next()
            assert '"symbol":"AAPL","predicted_price":3' in missed["data"]


async def test_a_stream_without_symbols_is_refused(site: Live) -> None:
    async with aiohttp.ClientSession() as session, session.get(site.stream) as answer:
        assert answer.status == 400
        assert (await answer.json())["error"] == "bad_request"


async def test_an_offset_of_the_stream_is_good_for_the_websocket(site: Live) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(site.stream, params={"symbols": "AAPL"}) as answer,
    ):
        events = Events(answer)
        await events.next()
        await site.publish("AAPL", 1)
        offset = (await events.next())["id"]
        await site.publish("AAPL", 2)
        await events.next()
        async with site.socket() as socket:
            await socket.subscribe("AAPL", since=offset)
            assert (await socket.recv())["predicted_price"] == 2
