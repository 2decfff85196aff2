"""CORS, access lists and sunset, as clients meet them: on answers, errors and own endpoints."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.life import answering, request, running
from tests.e2e.stage import OK, Stage, Upstream, field, fields, stage

APP = b"https://app.example.com"
SHOP = b"https://eu.shop.example.com"
EVIL = b"https://evil-example.com"
CORS = {"origins": ["https://app.example.com", "https://*.shop.example.com"]}


def asking(
    origin: bytes | None, *lines: bytes, method: bytes = b"GET", path: bytes = b"/api/x"
) -> bytes:
    named = () if origin is None else (b"Origin: " + origin,)
    first = method + b" " + path + b" HTTP/1.1"
    return b"\r\n".join((first, b"Host: gateway.test", *named, *lines, b"", b""))


def preflight(origin: bytes, method: bytes = b"PUT", path: bytes = b"/api/x") -> bytes:
    asked = b"Access-Control-Request-Method: " + method
    return asking(origin, asked, method=b"OPTIONS", path=path)


def readable(head: bytes, origin: bytes) -> bool:
    """Whether a page of this origin may read the answer; it varies by origin in any case."""
    assert fields(head).count((b"vary", b"Origin")) == 1
    return field(head, b"access-control-allow-origin") == origin


async def relayed(scene: Stage, asked: bytes, answer: bytes) -> bytes:
    """The head that a client gets when the upstream answers so, on its one connection."""
    client = await scene.client()
    await client.send(asked)
    pooled = scene.upstream.connections
    target = pooled[0] if pooled else await scene.upstream.accept()
    await target.head()
    await target.send(answer)
    return (await client.answer())[0]


# ---------------------------------------------------------------------------------------- CORS


@pytest.mark.parametrize(
    ("origin", "may"), [(APP, True), (SHOP, True), (EVIL, False), (b"null", False)]
)
async def test_answer_is_for_listed_origins(origin: bytes, may: bool) -> None:
    async with stage(cors=CORS) as scene:
        assert readable(await relayed(scene, asking(origin), OK), origin) is may


async def test_answer_without_an_origin_varies() -> None:
    async with stage(cors=CORS) as scene:
        head = await relayed(scene, asking(None), OK)
        assert field(head, b"vary") == b"Origin"
        assert field(head, b"access-control-allow-origin") is None


async def test_what_an_upstream_says_of_cors_is_replaced() -> None:
    theirs = (
        b"HTTP/1.1 200 OK\r\naccess-control-allow-origin: *\r\nContent-Length: 2\r\n"
        b"Access-Control-Allow-Credentials: true\r\nAccess-Control-Expose-Headers: X\r\n"
        b"Vary: Accept\r\n\r\nok"
    )
    async with stage(cors=CORS) as scene:
        head = await relayed(scene, asking(APP), theirs)
        assert field(head, b"access-control-allow-origin") == APP
        assert field(head, b"access-control-allow-credentials") is None
        assert b"X-Request-ID" in (field(head, b"access-control-expose-headers") or b"")
        assert [v for name, v in fields(head) if name == b"vary"] == [b"Accept", b"Origin"]
        refused = await relayed(scene, asking(EVIL), theirs)
        assert not [name for name, _ in fields(refused) if name.startswith(b"access-control-")]


async def test_what_an_upstream_says_of_cors_passes_where_it_is_off() -> None:
    theirs = OK.replace(b"\r\n\r\n", b"\r\nAccess-Control-Allow-Origin: *\r\n\r\n")
    async with stage(cors=CORS, route={"cors": {"origins": []}}) as scene:
        head = await relayed(scene, asking(APP), theirs)
        assert field(head, b"access-control-allow-origin") == b"*"
        assert field(head, b"vary") is None


async def test_route_may_have_a_rule_of_its_own() -> None:
    own = {"origins": ["https://one.example"], "credentials": True}
    async with stage(cors=CORS, route={"cors": own}) as scene:
        assert not readable(await relayed(scene, asking(APP), OK), APP)
        head = await relayed(scene, asking(b"https://one.example"), OK)
        assert readable(head, b"https://one.example")
        assert field(head, b"access-control-allow-credentials") == b"true"


@pytest.mark.parametrize(
    ("path", "status"),
    [(b"/api/x", 503), (b"/nowhere", 404), (b"/api/..%2fy", 400), (b"/health", 200)],
)
async def test_whatever_is_answered_can_be_read(path: bytes, status: int) -> None:
    async with stage(cors=CORS) as scene:
        await scene.upstream.stop()
        head, body = await scene.ask(asking(APP, path=path))
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert readable(head, APP)
        assert field(head, b"x-request-id")
        assert json.loads(body)


async def test_upload_that_is_too_large_is_refused_readably() -> None:
    async with stage(cors=CORS, max_body_size=10) as scene:
        client = await scene.client()
        await client.send(asking(APP, b"Content-Length: 11", method=b"POST"))
        head, _ = await client.answer()
        assert head.startswith(b"HTTP/1.1 413 ")
        assert readable(head, APP)


@pytest.mark.parametrize("path", [b"/api/x", b"/health", b"/metrics"])
async def test_preflight_is_answered_here(path: bytes) -> None:
    async with stage(cors=CORS) as scene:
        head, body = await scene.ask(preflight(SHOP, b"GET", path))
        assert head.startswith(b"HTTP/1.1 204 ")
        assert field(head, b"content-length") is None
        assert body == b""
        assert readable(head, SHOP)
        assert b"GET" in (field(head, b"access-control-allow-methods") or b"").split(b", ")
        assert field(head, b"access-control-max-age") == b"600"
        refused, _ = await scene.ask(preflight(EVIL, b"GET", path))
        assert refused.startswith(b"HTTP/1.1 403 ")
        assert not readable(refused, EVIL)
        assert scene.upstream.idle


async def test_preflight_is_answered_for_a_route_that_takes_no_options() -> None:
    async with stage(cors=CORS, route={"methods": ["PUT"]}) as scene:
        head, _ = await scene.ask(preflight(APP, b"PUT"))
        assert field(head, b"access-control-allow-methods") == b"PUT"
        assert (await scene.ask(preflight(APP, b"DELETE")))[0].startswith(b"HTTP/1.1 405 ")


async def test_options_that_is_no_preflight_goes_to_the_upstream() -> None:
    async with stage(cors=CORS) as scene:
        head = await relayed(scene, asking(APP, method=b"OPTIONS"), OK)
        assert readable(head, APP)


async def test_preflight_goes_to_the_upstream_where_cors_is_off() -> None:
    async with stage() as scene:
        assert field(await relayed(scene, preflight(APP), OK), b"vary") is None


async def test_connection_goes_on_behind_preflights() -> None:
    async with stage(cors=CORS) as scene:
        client = await scene.client()
        for origin in (APP, EVIL, SHOP):
            await client.send(preflight(origin))
            await client.answer()
        await client.send(asking(APP))
        target = await scene.upstream.accept()
        await target.head()
        await target.send(OK)
        assert (await client.answer())[1] == b"ok"


# -------------------------------------------------------------------------------------- access


async def test_address_that_is_not_let_in_is_refused_readably() -> None:
    async with stage(cors=CORS, route={"access": {"deny": ["127.0.0.0/8"]}}) as scene:
        head, body = await scene.ask(asking(APP))
        assert head.startswith(b"HTTP/1.1 403 ")
        assert readable(head, APP)
        assert json.loads(body)["error"] == "forbidden"
        assert (await scene.ask(preflight(APP)))[0].startswith(b"HTTP/1.1 204 ")
        assert scene.upstream.idle


@pytest.mark.parametrize(
    ("trusted", "forwarded", "status"),
    [
        (["127.0.0.1"], b"198.51.100.7", 200),
        (["127.0.0.1"], b"::ffff:198.51.100.7", 200),
        (["127.0.0.1"], b"192.0.2.7", 403),
        (["127.0.0.1"], b"198.51.100.7, 192.0.2.7", 403),
        ([], b"198.51.100.7", 403),
    ],
)
async def test_address_is_what_trusted_proxies_say(
    trusted: list[str], forwarded: bytes, status: int
) -> None:
    access = {"access": {"allow": ["198.51.100.0/24"]}}
    async with stage(trusted_proxies=trusted, route=access) as scene:
        asked = asking(None, b"X-Forwarded-For: " + forwarded)
        if status == 200:
            head = await relayed(scene, asked, OK)
        else:
            head, _ = await scene.ask(asked)
        assert head.startswith(b"HTTP/1.1 %d " % status)


# -------------------------------------------------------------------------------------- sunset

LEAVING = {"since": "2026-01-01", "sunset": "2099-01-01", "successor": "/v1"}


async def test_deprecated_route_says_so_in_place_of_its_upstream() -> None:
    theirs = OK.replace(
        b"\r\n\r\n", b"\r\nDeprecation: @1\r\nSunset: never\r\nLink: </x>; rel=next\r\n\r\n"
    )
    async with stage(route={"deprecated": LEAVING}) as scene:
        head = await relayed(scene, asking(None), theirs)
        assert field(head, b"deprecation") == b"@1767225600"
        assert field(head, b"sunset") == b"Thu, 01 Jan 2099 00:00:00 GMT"
        assert [value for name, value in fields(head) if name == b"link"] == [
            b"</x>; rel=next",
            b'</v1>; rel="successor-version"',
        ]


async def test_route_behind_its_end_is_gone_readably() -> None:
    gone = {**LEAVING, "sunset": "30d"}
    async with stage(cors=CORS, route={"deprecated": gone}) as scene:
        head, body = await scene.ask(asking(APP))
        assert head.startswith(b"HTTP/1.1 410 Gone\r\n")
        assert json.loads(body)["error"] == "gone"
        assert readable(head, APP)
        assert field(head, b"deprecation") == b"@1767225600"
        assert field(head, b"sunset") == b"Sat, 31 Jan 2026 00:00:00 GMT"
        assert field(head, b"link") == b'</v1>; rel="successor-version"'
        assert scene.upstream.idle


# -------------------------------------------------------------------------------------- reload


async def test_reload_changes_who_may(tmp_path: Path) -> None:
    def table(upstream: Upstream, origin: str, **more: Any) -> dict[str, Any]:
        route = {"name": "api", "prefix": "/api", "target_url": upstream.url, **more}
        return {"cors": {"origins": [origin]}, "routes": [route]}

    async def seen(path: str) -> tuple[int, bool]:
        client = await gateway.send(request("GET", path, f"Origin: {APP.decode()}"))
        head, _ = await client.answer()
        await client.close()
        return int(head.split()[1]), readable(head, APP)

    async with (
        answering() as upstream,
        running(tmp_path, **table(upstream, "https://other.example")) as gateway,
    ):
        assert [await seen(path) for path in ("/api", "/health")] == [(200, False)] * 2
        ended = {"since": "2026-01-01", "sunset": time.strftime("%Y-%m-%d", time.gmtime())}
        await gateway.reload(**table(upstream, APP.decode(), deprecated=ended))
        assert [await seen(path) for path in ("/api", "/health")] == [(410, True), (200, True)]
