"""Routes that ask for a signed token: who is let in, what the service hears of it, what a log."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.life import Program, answering, listening, request, route, running, until
from tests.e2e.stage import OK, Connection, Stage, field, fields, stage
from tests.e2e.tunnels import HANDSHAKE, SWITCH
from tests.identity.keys_server import KeysServer, keys_server
from tests.identity.minting import AUDIENCE, ISSUER, hmac_with, jwk, jwks, pem, token
from tests.identity.minting import compact as made_of

CLAIMS = {"sub": "X-User-Id", "email": "X-User-Email"}
ONE = jwks(jwk("EdDSA", kid="1"))


def table(server: KeysServer, **more: Any) -> dict[str, Any]:
    return {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "algorithms": ["EdDSA", "RS256"],
        "jwks_url": server.url,
        **more,
    }


def fresh(algorithm: str = "EdDSA", **claims: object) -> str:
    return token(algorithm, **{"exp": time.time() + 600, **claims}).decode()


def bearer(made: str) -> str:
    return f"Authorization: Bearer {made}"


@asynccontextmanager
async def guarded(
    route: dict[str, Any] | None = None, **more: Any
) -> AsyncIterator[tuple[Stage, KeysServer]]:
    """A gateway whose one route asks for a token."""
    async with (
        keys_server(ONE) as server,
        stage(auth={"jwt": table(server, **more)}, route={"auth": "jwt", **(route or {})}) as scene,
    ):
        yield scene, server


async def passed(scene: Stage, *lines: str, path: str = "/api/x") -> bytes:
    """The head that the service gets."""
    client = await scene.client()
    await client.send(request("GET", path, *lines))
    pooled = scene.upstream.connections
    target = pooled[0] if pooled else await scene.upstream.accept()
    head = await target.head()
    await target.send(OK)
    assert (await client.answer())[1] == b"ok"
    return head


async def refused(scene: Stage, *lines: str, path: str = "/api/x") -> tuple[int, bytes]:
    """Status and head of an answer that no service was asked for."""
    head, body = await scene.ask(request("GET", path, *lines))
    assert json.loads(body)["status_code"] == int(head.split()[1])
    assert scene.upstream.idle
    return int(head.split()[1]), head


async def test_request_with_a_good_token_passes_token_and_all() -> None:
    async with guarded() as (scene, _):
        made = fresh()
        head = await passed(scene, bearer(made))
        assert field(head, b"authorization") == b"Bearer " + made.encode()


async def test_request_without_a_token_is_asked_for_one() -> None:
    async with guarded() as (scene, _):
        status, head = await refused(scene)
        assert status == 401
        assert (field(head, b"www-authenticate") or b"").startswith(b"Bearer")
        assert b"error=" not in (field(head, b"www-authenticate") or b"")  # RFC 6750, 3.1


@pytest.mark.parametrize(
    "made",
    [
        "x",
        fresh(exp=time.time() - 60),
        fresh(aud="other"),
        fresh(iss="other"),
        made_of({"alg": "none"}, {"sub": "ann"}, lambda m: b"x").decode(),
        made_of({"alg": "HS256", "kid": "1"}, {"sub": "ann"}, hmac_with(pem("EdDSA"))).decode(),
    ],
)
async def test_token_that_is_not_good_is_refused(made: str) -> None:
    async with guarded() as (scene, _):
        status, head = await refused(scene, bearer(made))
        assert status == 401
        assert b'error="invalid_token"' in (field(head, b"www-authenticate") or b"")


async def test_claims_go_to_the_service_and_a_clients_own_do_not() -> None:
    async with guarded({"claims": CLAIMS}) as (scene, _):
        head = await passed(
            scene,
            bearer(fresh(email="a@b\r\nX-Admin: 1")),
            "X-User-Id: root",
            "x_user_id: root",
            "X-USER_ID: root",
            "X-User-Email: root@b",
            "Connection: X-User-Id",
        )
        assert [value for name, value in fields(head) if b"user" in name] == [b"ann"]
        assert field(head, b"x-user-id") == b"ann"
        assert b"X-Admin" not in head


async def test_clients_own_are_stopped_where_nobody_has_to_sign_in() -> None:
    async with guarded({"auth": "none", "claims": CLAIMS}) as (scene, _):
        head = await passed(scene, "X-User-Id: root", "X_User_Id: root")
        assert b"root" not in head


async def test_token_of_a_websocket_may_come_in_its_query_and_goes_on_as_a_header() -> None:
    async with guarded() as (scene, _):
        made = fresh()
        client = await scene.client()
        lines = b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + HANDSHAKE
        first = f"GET /api/ws?a=b&token={made} HTTP/1.1\r\nHost: a\r\n".encode()
        await client.send(first + lines + b"\r\n")
        target: Connection = await scene.upstream.accept()
        head = await target.head()
        assert head.startswith(b"GET /api/ws?a=b HTTP/1.1\r\n")
        assert field(head, b"authorization") == b"Bearer " + made.encode()
        await target.send(SWITCH)
        assert b" 101 " in await client.head()


async def test_token_in_the_query_of_anything_else_is_none() -> None:
    async with guarded() as (scene, _):
        status, _ = await refused(scene, path=f"/api/x?token={fresh()}")
        assert status == 401


async def test_key_that_the_issuer_has_since_is_found_once_asked_for() -> None:
    async with guarded(cooldown=1e-6) as (scene, server):
        await passed(scene, bearer(fresh()))
        server.body = jwks(jwk("EdDSA", kid="1"), jwk("RS256", kid="2"))
        await until(lambda: server.asked == 1)
        await passed(scene, bearer(fresh("RS256", kid="2")))
        assert server.asked == 2


async def test_guesses_at_keys_do_not_reach_the_issuer() -> None:
    async with guarded() as (scene, server):
        await passed(scene, bearer(fresh()))
        for kid in range(5):
            assert (await refused(scene, bearer(fresh(kid=f"no {kid}"))))[0] == 401
        assert server.asked == 1


async def test_failures_are_counted_by_reason_and_no_token_is_logged(tmp_path: Path) -> None:
    async with (
        keys_server(ONE) as server,
        answering() as upstream,
        running(
            tmp_path,
            log_level="DEBUG",
            auth={"jwt": table(server)},
            routes=[route(upstream, auth="jwt", websocket=True)],
        ) as program,
    ):
        good, late, forged = fresh(), fresh(exp=time.time() - 60), fresh()[:-4] + "AAAA"
        assert (await program.get("/api/x", bearer(good)))[0] == 200
        assert (await program.get("/api/x", bearer(late)))[0] == 401
        assert (await program.get("/api/x", bearer(forged)))[0] == 401
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
        assert (await program.get(f"/api/y?token={late}", *upgrade))[0] == 401
        assert (await program.get(f"/api/z?token={good}", *upgrade))[0] == 200
        line = await program.logged("/api/z")
        assert line["target_url"].endswith("/api/z")
        counted = await program.metrics()
        failures = "gateway_auth_failures_total"
        assert counted.value(failures, reason="expired") == 2
        assert counted.value(failures, reason="signature") == 1
        log = b"".join(program.lines)
        for made in (good, late, forged):
            for part in made.split(".")[1:]:
                assert part.encode() not in log


async def test_issuer_that_is_down_when_the_gateway_starts_is_told_once(tmp_path: Path) -> None:
    server = KeysServer(ONE)
    async with (
        answering() as upstream,
        running(
            tmp_path,
            auth={"jwt": table(server, cooldown=1e-6)},
            routes=[route(upstream, auth="jwt")],
        ) as program,
    ):
        await program.event("store_lost", store="jwks")
        assert (await program.get("/api/x", bearer(fresh())))[0] == 503
        await server.start()
        try:
            await program.event("store_back", store="jwks")
            assert (await program.get("/api/x", bearer(fresh())))[0] == 200
            await server.stop()
            assert (await program.get("/api/x", bearer(fresh(jti=1))))[0] == 200
            assert (await program.get("/api/x", bearer(fresh(kid="9"))))[0] == 401
        finally:
            await server.stop()
        await program.event("store_lost", count=2, store="jwks")
        counted = await program.metrics()
        assert (counted.value("gateway_store_errors_total", store="jwks") or 0) >= 2


async def test_reload_with_the_same_issuer_keeps_its_keys_and_another_one_is_asked(
    tmp_path: Path,
) -> None:
    async with keys_server(ONE) as server, keys_server(ONE) as other, answering() as upstream:
        routes = [route(upstream, auth="jwt")]
        async with running(tmp_path, auth={"jwt": table(server)}, routes=routes) as program:
            assert (await program.get("/api/x", bearer(fresh())))[0] == 200
            await program.reload(auth={"jwt": table(server)}, routes=routes, timeout=7)
            assert (await program.get("/api/x", bearer(fresh(jti=1))))[0] == 200
            assert server.asked == 1
            await program.reload(auth={"jwt": table(other, audience="x")}, routes=routes)
            assert (await program.get("/api/x", bearer(fresh())))[0] == 401
            assert (await program.get("/api/x", bearer(fresh(aud="x"))))[0] == 200
            assert (server.asked, other.asked) == (1, 1)


async def test_gateway_that_nobody_asks_for_tokens_does_not_load_the_libraries(
    tmp_path: Path,
) -> None:
    async with listening() as upstream, running(tmp_path, routes=[route(upstream)]) as program:
        maps = loaded(program)
        assert "_rust" not in maps  # cryptography's
        assert "argon2" not in maps


def loaded(program: Program) -> str:
    return Path(f"/proc/{program.process.pid}/maps").read_text()


async def test_reload_that_fails_leaves_the_keys_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    async with keys_server(ONE) as server, keys_server(ONE) as other, answering() as upstream:
        routes = [route(upstream, auth="jwt")]
        async with running(
            tmp_path, auth={"jwt": table(server, refresh=0.05)}, routes=routes
        ) as program:
            assert (await program.get("/api/x", bearer(fresh())))[0] == 200
            broken = {"targets": ["https://127.0.0.1:1"], "tls": {"ca": str(tmp_path / "ca.pem")}}
            routes.append({"prefix": "/broken", "upstream": "broken"})
            program.write(
                auth={"jwt": table(other, audience="x")},
                routes=routes,
                upstreams={"broken": broken},
            )
            program.signal(signal.SIGHUP)
            await program.event("reload_refused")
            assert (await program.get("/api/x", bearer(fresh())))[0] == 200
            await server.heard(server.asked + 2)


async def test_scope_that_is_missing_is_403_and_named() -> None:
    async with guarded({"scopes": ["read", "write"]}) as (scene, _):
        await passed(scene, bearer(fresh(scope="write read")))
        client = await scene.client()
        await client.send(request("GET", "/api/x", bearer(fresh(scp=["read"]))))
        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 403 ")
        assert field(head, b"www-authenticate") == (
            b'Bearer error="insufficient_scope", scope="read write"'
        )


async def test_token_is_one_of_any_ways() -> None:
    async with keys_server(ONE) as server:
        auth = {"jwt": table(server), "token": "a-token-of-the-tests"}
        async with stage(auth=auth, route={"auth": "any"}) as scene:
            await passed(scene, bearer(fresh()))
            await passed(scene, bearer("a-token-of-the-tests"))
            head, _ = await scene.ask(request("GET", "/api/x", bearer(fresh(aud="other"))))
            assert head.startswith(b"HTTP/1.1 401 ")
