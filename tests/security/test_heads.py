"""Tricks with methods and header fields: what names another path, method or person."""

from __future__ import annotations

import pytest

from tests.security.attacking import AUTHORISED, TOKEN, attacked, request

BEARER = f"Bearer {TOKEN}".encode()
OTHER_PATHS = (
    b"X-Original-URL", b"X-Rewrite-URL", b"X-Original-URI", b"X-Forwarded-Uri",
    b"X-Forwarded-Path", b"X-Forwarded-Prefix", b"X-Envoy-Original-Path", b"X-Accel-Redirect",
    b"X-Sendfile", b"X-Override-URL", b"X-HTTP-DestinationURL", b"Destination", b"Referer",
    b"Request-Uri", b"X-Proxy-URL", b"Content-Location",
)  # fmt: skip


async def test_path_is_the_request_lines_whatever_fields_say() -> None:
    async with attacked() as target:
        for name in OTHER_PATHS:
            assert await target.get(b"/api/admin", name + b": /api/service1/x") == 401, name
            assert target.service.paths() == []
            assert await target.get(b"/api/service1/x", name + b": /api/admin") == 200, name
            assert target.service.paths() == [b"/api/service1/x"]
            assert await target.get(b"/nowhere", name + b": /api/service1/x") == 404, name


OVERRIDES = (
    b"X-HTTP-Method-Override", b"X-HTTP-Method", b"X-Method-Override", b"X_HTTP_Method_Override",
)  # fmt: skip


async def test_method_is_the_request_lines_whatever_fields_say() -> None:
    async with attacked() as target:
        for name in OVERRIDES:
            line = name + b": GET"
            assert await target.get(b"/mixed", line, method=b"POST") == 401
            assert await target.get(b"/mixed", line, method=b"DELETE") == 401
            assert await target.get(b"/mixed?_method=GET", line, method=b"POST") == 401
            assert await target.get(b"/mixed", line, method=b"PUT") == 405
            assert target.service.paths() == []
            assert await target.get(b"/mixed", name + b": POST") == 200
            (head,) = target.service.heads
            assert head.startswith(b"GET /mixed ")
            target.service.paths()


@pytest.mark.parametrize(
    "method", [b"GET", b"HEAD", b"POST", b"OPTIONS", b"PROPFIND", b"Get", b"X"]
)
async def test_closed_path_is_closed_to_every_method(method: bytes) -> None:
    async with attacked() as target:
        client = await target.scene.client()
        await client.send(request(b"/api/admin", method=method))
        assert int((await client.head()).split()[1]) in ((400, 401) if method == b"Get" else (401,))
        assert target.service.paths() == []


@pytest.mark.parametrize(
    ("method", "status"), [(b"TRACE", 405), (b"CONNECT", 405), (b"get", 400), (b"GET\t", 400)]
)
async def test_method_that_is_never_forwarded(method: bytes, status: int) -> None:
    async with attacked() as target:
        assert await target.get(b"/api/service1/x", AUTHORISED, method=method) == status
        assert target.service.paths() == []


NO_CREDENTIALS = (
    (b"authorization_: " + BEARER,),
    (b"X-Authorization: " + BEARER,),
    (b"Proxy-Authorization: " + BEARER,),
    (b"Authorization-: " + BEARER,),
    (b"X-API-Key: " + TOKEN.encode(),),
    (b"Cookie: Authorization=" + BEARER,),
    (b"Cookie: token=" + TOKEN.encode(),),
    (b"X-Forwarded-User: admin", b"X-User-Id: 1", b"X-Remote-User: admin"),
    (b"X-Forwarded-For: 127.0.0.1", b"X-Real-IP: 127.0.0.1", b"Forwarded: for=127.0.0.1"),
    (b"X-Custom-IP-Authorization: 127.0.0.1",),
    (b"Authorization:",),
    (b"Authorization: Bearer",),
    (b"Authorization: Bearer ",),
    (b"Authorization: " + TOKEN.encode(),),
    (b"Authorization: Basic " + TOKEN.encode(),),
    (b"Authorization: Bearer" + TOKEN.encode(),),
    (b"Authorization: Bearer:" + TOKEN.encode(),),
    (b"Authorization: Bearer\t" + TOKEN.encode(),),
    (b"Authorization: Token " + TOKEN.encode(),),
    (b"Authorization: " + BEARER[:-1],),
    (b"Authorization: " + BEARER + b"x",),
    (b"Authorization: " + BEARER + b",",),
    (b"Authorization: " + BEARER + b", " + BEARER,),
    (b'Authorization: Bearer "' + TOKEN.encode() + b'"',),
    (b"Authorization: Bearer " + TOKEN.encode().upper(),),
    (b"Authorization: Bearer " + TOKEN.encode() + b"\xa0",),
    (b"Authorization: Bearer \xe2\x80\x8b" + TOKEN.encode(),),
    (b"Authorization: Bearer %61" + TOKEN.encode()[1:],),
    (b"Authorization: Bearer null",),
    (b"Authorization: Bearer *",),
    (b"Authorization: Bearer ' OR '1'='1",),
)


@pytest.mark.parametrize("lines", NO_CREDENTIALS, ids=lambda lines: repr(lines[0][:45]))
async def test_what_only_looks_like_a_credential_is_none(lines: tuple[bytes, ...]) -> None:
    async with attacked() as target:
        assert await target.get(b"/api/admin", *lines) == 401
        assert target.service.paths() == []


@pytest.mark.parametrize(
    "lines",
    [
        (AUTHORISED, AUTHORISED),
        (b"Authorization: Bearer wrong-but-long-enough", AUTHORISED),
        (AUTHORISED, b"authorization: Bearer wrong-but-long-enough"),
        (b"Authorization : " + BEARER,),
        (b" Authorization: " + BEARER,),
        (b"Authorization: Bearer\x00 " + TOKEN.encode(),),
        (b"X-A: 1\n" + AUTHORISED,),
        (b"X-A: 1\r" + AUTHORISED,),
        (b"X-A: 1\r\n " + AUTHORISED,),
        (b"Content-Length: 0", b"Content-Length: 0"),
        (b"Host: b.test",),
    ],
)
async def test_head_that_two_could_read_differently_is_refused(lines: tuple[bytes, ...]) -> None:
    async with attacked() as target:
        assert await target.get(b"/api/admin", *lines) == 400
        assert target.service.paths() == []


@pytest.mark.parametrize(
    "line",
    [
        AUTHORISED,
        b"authorization:" + BEARER,
        b"AUTHORIZATION: " + BEARER + b" \t",
        b"Authorization: bearer " + TOKEN.encode(),
        b"Authorization: BEARER " + TOKEN.encode(),
    ],
)
async def test_credential_in_any_lawful_spelling_is_one(line: bytes) -> None:
    async with attacked() as target:
        assert await target.get(b"/api/admin", line) == 200


@pytest.mark.parametrize("name", [b"token", b"access_token", b"api_key", b"Authorization"])
async def test_token_in_the_query_is_none(name: bytes) -> None:
    async with attacked() as target:
        for value in (TOKEN.encode(), BEARER.replace(b" ", b"+")):
            assert await target.get(b"/api/admin?" + name + b"=" + value) == 401
        assert target.service.paths() == []


async def test_connection_cannot_name_a_credential_away() -> None:
    async with attacked() as target:
        assert await target.get(b"/api/admin", b"Connection: authorization") == 401
        assert await target.get(b"/api/admin", b"Connection: authorization", AUTHORISED) == 200
        assert AUTHORISED in target.service.heads[0]


async def test_trailer_is_no_credential() -> None:
    lines = b"Transfer-Encoding: chunked\r\nTrailer: Authorization"
    async with attacked() as target:
        data = request(b"/api/admin", lines, method=b"POST") + b"0\r\n" + AUTHORISED + b"\r\n\r\n"
        assert await target.ask(data) == 401
        assert target.service.paths() == []
        data = request(b"/api/service1/x", lines, method=b"POST") + b"0\r\n" + AUTHORISED
        assert await target.ask(data + b"\r\n\r\n") == 200
        assert TOKEN.encode() not in target.service.heads[0]


async def test_upgrade_and_expectation_and_old_http_get_nobody_in() -> None:
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13",
               b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")  # fmt: skip
    async with attacked() as target:
        assert await target.get(b"/api/admin", *upgrade) == 401
        h2c = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAA")
        assert await target.get(b"/api/admin", *h2c) == 401
        waiting = (b"Content-Length: 5", b"Expect: 100-continue")
        assert await target.get(b"/api/admin", *waiting, method=b"POST") == 401
        assert await target.ask(b"GET /api/admin HTTP/1.0\r\n\r\n") == 401
        assert target.service.paths() == []


async def test_preflight_gets_nobody_in() -> None:
    lines = (b"Origin: https://evil.test", b"Access-Control-Request-Method: GET")
    async with attacked() as target:
        assert await target.get(b"/api/admin", *lines, method=b"OPTIONS") == 401
    async with attacked(cors={"origins": ["https://app.test"]}) as target:
        for origin in (b"https://evil.test", b"https://app.test"):
            lines = (b"Origin: " + origin, b"Access-Control-Request-Method: GET")
            status = await target.get(b"/api/admin", *lines, method=b"OPTIONS")
            assert status == (204 if origin == b"https://app.test" else 403)
        lines = (b"Origin: https://app.test",)
        assert await target.get(b"/api/admin", *lines, method=b"OPTIONS") == 401
        assert target.service.paths() == []


async def test_host_that_is_not_the_targets_gets_nobody_in() -> None:
    async with attacked() as target:
        for asked in (
            b"GET http://other.test/api/admin HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"GET http://a.test@b.test/api/admin HTTP/1.1\r\nHost: a.test\r\n\r\n",
            b"GET /api/admin HTTP/1.1\r\nHost: a.test/api/service1\r\n\r\n",
            b"GET /api/admin HTTP/1.1\r\nHost: user@a.test\r\n\r\n",
        ):
            assert await target.ask(asked) == 400
        assert target.service.paths() == []


async def test_refusal_tells_nothing_of_what_is_behind_it() -> None:
    """A path that exists and one that does not are refused alike, but for its name."""
    async with attacked() as target:
        client = await target.scene.client()
        told = []
        for path in (b"/api/admin/a", b"/api/admin/b"):
            await client.send(request(path, b"X-Request-ID: same"))
            head, body = await client.answer()
            told.append((head.split(b"\r\nDate: ")[0], body.split(b'"timestamp"')[0]))
        assert told[0][0] == told[1][0]
        assert told[0][1].replace(b"admin/a", b"admin/b") == told[1][1]
        assert TOKEN.encode() not in b"".join(told[0])
