"""Who is let in to live updates, who is not, and what each of them is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any

import pytest

from gateway.commands import keys
from gateway.config import Settings
from gateway.stores.keys import ApiKey, Keys
from tests.e2e.ears import PATH, Ear, Site, site, until
from tests.e2e.stage import PATIENCE, Connection, field
from tests.identity.keys_server import keys_server
from tests.identity.minting import AUDIENCE, ISSUER, jwk, jwks, token
from tests.websocket.frames import text
from tests.websocket.talking import upgrade

TOKEN = "a-token-of-sixteen-letters"
ONE = jwks(jwk("EdDSA", kid="1"))
STREAM = b"/api/stream/predictions"
ORIGIN = b"Origin: https://page.example"


def minted(**claims: object) -> str:
    return token("EdDSA", **{"exp": time() + 600, **claims}).decode()


@asynccontextmanager
async def guarded(folder: Path, **realtime: Any) -> AsyncIterator[tuple[Site, str, str]]:
    """A site that takes all three, a key with the scope `live`, and one with none."""
    stores = {"sqlite": str(folder / "gateway.db")}
    made = Settings.model_validate({"stores": stores})
    _, good = await asyncio.to_thread(keys.create, made, "ann", "pro", ("live",), None)
    _, poor = await asyncio.to_thread(keys.create, made, "ben", "pro", (), None)
    async with keys_server(ONE) as server:
        table = {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "algorithms": ["EdDSA"],
            "jwks_url": server.url,
        }
        async with site(
            {"auth": "any", **realtime},
            stores=stores,
            auth={"token": TOKEN, "jwt": table},
            cors={"origins": ["https://page.example"]},
        ) as one:
            yield one, good, poor


async def refused(one: Site, path: bytes, *lines: bytes) -> tuple[int, bytes, dict[str, Any]]:
    """An opening's refusal; the connection is still HTTP, and says so."""
    client = await one.scene.client()
    await client.send(upgrade(path, *lines))
    head, body = await client.answer()
    return int(head.split()[1]), head, json.loads(body)


# ---------------------------------------------------------------------------- authentication


async def test_a_revoked_key_and_an_expired_token_end_what_they_opened(tmp_path: Path) -> None:
    """Within five seconds; who came with something else stays."""
    async with guarded(tmp_path) as (one, good, _):
        brief = minted(exp=int(time()) + 2 - 30)  # it holds 30 s longer than it says
        keyed = await one.ear(lines=(f"X-API-Key: {good}".encode(),))
        signed = await one.ear(lines=(f"Authorization: Bearer {brief}".encode(),))
        stays = await one.ear(lines=(f"Authorization: Bearer {TOKEN}".encode(),))
        made = Settings.model_validate({"stores": {"sqlite": str(tmp_path / "gateway.db")}})
        (ann,) = (row[0] for row in await asyncio.to_thread(keys.listed, made) if "ann" in row)
        await asyncio.to_thread(keys.revoke, made, ann)
        async with asyncio.timeout(6):
            assert (await keyed.closed())[0] == 1008
            assert (await signed.closed())[0] == 1008
        await stays.say("ping")
        assert (await stays.next())["type"] == "pong"


async def test_each_credential_opens(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (one, good, _):
        made = minted()
        for path, line in (
            (PATH, f"X-API-Key: {good}"),
            (PATH, f"Authorization: Bearer {made}"),
            (PATH, f"Authorization: Bearer {TOKEN}"),
            (PATH + b"?token=" + made.encode(), "X-Nothing: 1"),
        ):
            client = await one.scene.client()
            await client.send(upgrade(path, line.encode()))
            assert (await client.head()).startswith(b"HTTP/1.1 101 "), line
        principals = [line["principal"] for line in one.logged("websocket_opened")]
        assert principals[1:] == ["ann", "token", "ann"]


@pytest.mark.parametrize("path", [PATH, STREAM + b"?symbols=A"])
@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"X-API-Key: gw_wrong",),
        (b"Authorization: Bearer wrong",),
        (b"Authorization: Basic YTpi",),
        (b"Authorization: Bearer " + minted(exp=1).encode(),),
        (b"Authorization: Bearer " + minted(aud="others").encode(),),
    ],
)
async def test_no_credential_or_a_wrong_one_is_401_before_any_upgrade(
    tmp_path: Path, path: bytes, lines: tuple[bytes, ...]
) -> None:
    async with guarded(tmp_path) as (one, _, _):
        status, head, body = await refused(one, path, ORIGIN, b"X-Request-ID: mine", *lines)
        assert (status, body["error"]) == (401, "unauthorized")
        assert field(head, b"x-request-id") == b"mine" == body["request_id"].encode()
        assert field(head, b"access-control-allow-origin") == b"https://page.example"
        assert b"www-authenticate:" in head.lower()
        assert b"sec-websocket-accept" not in head.lower()
        assert not one.hub.members
        assert not one.logged("websocket_opened")


@pytest.mark.parametrize("made", ["wrong", "", "a&token=b"])
async def test_a_wrong_token_in_the_query_is_401_and_in_no_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], made: str
) -> None:
    async with guarded(tmp_path) as (one, _, _):
        path = PATH + b"?x=1&token=" + (made + "-secret").encode()
        assert (await refused(one, path))[0] == 401
        await until(lambda: one.logged("auth_failed"))
    assert "-secret" not in capfd.readouterr().out
    assert all(b"-secret" not in line for line in one.lines)


async def test_the_token_is_in_no_log_of_one_who_is_let_in(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with guarded(tmp_path) as (one, _, _):
        made = minted()
        client = Ear(await one.scene.client())
        await client.connection.send(upgrade(PATH + b"?token=" + made.encode()))
        await client.connection.head()
        await client.next()
        await client.send(text("{"))
        assert made not in json.dumps(await client.next())
        client.connection.reset()
        await until(lambda: one.logged("websocket_closed"))
    written = capfd.readouterr().out.encode() + b"".join(one.lines)
    assert b'"path":"/ws/predictions"' in written
    for part in made.split("."):
        assert part.encode() not in written


async def test_a_token_in_the_query_opens_a_stream_and_is_in_no_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """An EventSource can set no header."""
    async with guarded(tmp_path) as (one, _, _):
        made = minted()
        client = await one.scene.client()
        path = STREAM + b"?symbols=A&token=" + made.encode()
        await client.send(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.until(b"welcome")
        client.reset()
        await until(lambda: one.logged("stream_closed"))
    written = capfd.readouterr().out.encode() + b"".join(one.lines)
    assert b'"path":"/api/stream/predictions"' in written
    for part in made.split("."):
        assert part.encode() not in written


@pytest.mark.parametrize("path", [PATH, STREAM + b"?symbols=A"])
async def test_without_the_scope_it_is_403(tmp_path: Path, path: bytes) -> None:
    async with guarded(tmp_path, scopes=["live"], auth="api_key") as (one, good, poor):
        line = f"X-API-Key: {poor}".encode()
        status, head, body = await refused(one, path, ORIGIN, line)
        assert (status, body["error"]) == (403, "forbidden")
        assert field(head, b"access-control-allow-origin") == b"https://page.example"
        assert not one.hub.members
        client = await one.scene.client()
        await client.send(upgrade(path, f"X-API-Key: {good}".encode()))
        assert (await client.head()).split()[1] in (b"101", b"200")


async def test_who_a_token_names_cannot_forge_a_line_of_the_log(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (one, _, _):
        bearer = b"Authorization: Bearer "
        forged = minted(sub='x"\n{"event":"forged"}').encode()
        assert (await refused(one, PATH, bearer + forged))[0] == 401
        await one.ear(lines=(bearer + minted(sub='x","event":"forged').encode(),))
        assert one.logged("websocket_opened")[0]["principal"] == 'x","event":"forged'
        assert not one.logged("forged")


async def test_frames_sent_while_keys_are_fetched_are_heard_afterwards(tmp_path: Path) -> None:
    async with guarded(tmp_path) as (one, _, _):
        line = b"Authorization: Bearer " + minted().encode()
        ear = Ear(await one.scene.client())
        frames = b"".join(text('{"action":"ping"}').wire() for _ in range(3))
        await ear.connection.send(upgrade(PATH, line) + frames)
        await ear.connection.head()
        assert [(await ear.next())["type"] for _ in range(4)] == ["welcome", *["pong"] * 3]


async def test_an_opening_that_waits_while_live_updates_go_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, find = asyncio.Event(), Keys.find

    async def held(store: Keys, digests: Sequence[str]) -> Mapping[str, ApiKey]:
        await gone.wait()
        return await find(store, digests)

    monkeypatch.setattr(Keys, "find", held)
    async with guarded(tmp_path) as (one, good, _):
        gateway = one.scene.gateway
        client = await one.scene.client()
        await client.send(upgrade(PATH, f"X-API-Key: {good}".encode()))
        await until(lambda: any(c.exchange is not None for c in gateway.front.connections))
        one.hub.going_away()
        gone.set()
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 503 ")
        assert not one.hub.members


# ----------------------------------------------------------------------------- how many


async def test_so_many_of_a_worker_and_no_more() -> None:
    async with site({"connections": 2}) as one:
        first = await one.ear()
        await one.ear()
        for path in (PATH, STREAM + b"?symbols=A"):
            status, _, body = await refused(one, path)
            assert (status, body["error"]) == (503, "service_unavailable")
        first.connection.reset()
        await until(lambda: len(one.hub.members) == 1)
        await one.ear()


async def test_so_many_of_an_address_as_a_trusted_proxy_names_it() -> None:
    async with site({"connections_per_address": 1}, trusted_proxies=["127.0.0.1"]) as one:
        await one.ear(lines=(b"X-Forwarded-For: 192.0.2.1",))
        status, _, body = await refused(one, PATH, b"X-Forwarded-For: 192.0.2.1")
        assert (status, body["error"]) == (429, "rate_limited")
        await one.ear(lines=(b"X-Forwarded-For: 192.0.2.2",))


async def test_so_many_with_one_key_over_both_ways(tmp_path: Path) -> None:
    async with guarded(tmp_path, connections_per_key=2) as (one, good, poor):
        line = f"X-API-Key: {good}".encode()
        await one.ear(lines=(line,))
        client = await one.scene.client()
        await client.send(upgrade(STREAM + b"?symbols=A", line))
        await client.head()
        assert (await refused(one, PATH, line))[0] == 429
        await one.ear(lines=(f"X-API-Key: {poor}".encode(),))
        client.reset()
        await until(lambda: len(one.hub.members) == 2)
        await one.ear(lines=(line,))


# -------------------------------------------------------------------- odd requests, odd clients


async def test_an_opening_that_trickles_has_its_time() -> None:
    async with site(limits={"head_timeout": 0.3}) as one:
        client = await one.scene.client()
        await client.send(upgrade(PATH)[:-2])
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
        assert not one.hub.members


async def stream(
    one: Site, *, version: str = "1.1", method: str = "GET", behind: bytes = b""
) -> Connection:
    client = await one.scene.client()
    line = f"{method} /api/stream/predictions?symbols=A HTTP/{version}\r\n"
    await client.send(line.encode() + b"Host: a\r\n\r\n" + behind)
    return client


async def test_a_stream_has_no_head_of_its_own() -> None:
    async with site() as one:
        client = await stream(one, method="HEAD")
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 405 ")
        assert field(head, b"allow") == b"GET"
        assert not one.hub.members


async def test_an_old_client_reads_a_stream_to_the_connections_end() -> None:
    async with site() as one:
        client = await stream(one, version="1.0")
        head = await client.head()
        assert b"transfer-encoding" not in head.lower()
        assert (await client.until(b"\n\n")).startswith(b"event: welcome\n")
        await one.publish(1)
        assert b'"predicted_price":1' in await client.until(b"\n\n")
        one.hub.going_away()
        assert await client.rest() == b""


async def test_a_request_behind_a_stream_waits_for_its_end() -> None:
    async with site() as one:
        client = await stream(one, behind=b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        await client.until(b"welcome")
        await one.publish(1)
        await client.until(b"prediction_update")
        one.hub.going_away()
        assert b"HTTP/1.1" not in await client.until(b"0\r\n\r\n")
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")


async def test_what_is_sent_behind_a_stream_is_bounded() -> None:
    async with site() as one:
        client = await stream(one)
        await client.until(b"welcome")
        client.writer.transport.set_write_buffer_limits(1 << 22)
        for _ in range(256):
            client.writer.write(b"x" * 65536)
            await asyncio.sleep(0)
        (connection,) = one.scene.gateway.front.connections
        assert len(connection._held) < 1 << 19  # type: ignore[attr-defined]
        client.reset()
        async with asyncio.timeout(PATIENCE):
            while one.hub.members:  # it is not read: that it is lost is seen when it is written to
                await one.publish(1)
                await asyncio.sleep(0.01)


async def test_a_client_that_leaves_a_stream_is_noticed() -> None:
    async with site() as one:
        client = await stream(one)
        await client.until(b"welcome")
        await client.close()
        await until(lambda: not one.hub.members)
        assert one.logged("stream_closed")[0]["reason"] == "left"
