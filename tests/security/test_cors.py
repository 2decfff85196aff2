"""Origins that only look like one that may, and answers that pass from one origin to another."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.caching import answer, asking, received
from tests.e2e.stage import field, fields
from tests.security.fortress import APP, STATIC, Fortress, bearer, fortress, key_line, minted

ALLOWED = b"access-control-allow-origin"
MAY = APP.encode()
DEEP = b"https://a.b.wild.test"
ORIGINS = ["https://app.test", "https://*.wild.test", "http://local.test:*", "https://p.test:8443"]
KNOWN = (MAY, DEEP, b"https://a.wild.test", b"http://local.test", b"http://local.test:3000",
         b"https://p.test:8443")  # fmt: skip
STRANGERS = (
    b"null", b"NULL", b"*", b"", b"https://", b"https", b"app.test", b"//app.test", b"file://",
    # around a listed name
    b"https://app.test.evil.test", b"https://evilapp.test", b"https://app.test.", b"https://app",
    b"https://evil.test/app.test", b"https://evil.test?https://app.test", b"https://app.test/",
    b"https://evil.test#https://app.test", b"https://app.test@evil.test", b"https://x@app.test",
    b"https://app.test\\evil.test", b"https://app.test%2eevil.test", b"https://app%2etest",
    b"https://appxtest", b"https://app.test,https://evil.test", b"https://app.test https://evil",
    b"https://evil.test, https://app.test", b"https://app.test;", b"\"https://app.test\"",
    b"https://app.test%00", b"https://app.test%0d%0aSet-Cookie:a=b", b"https://app.test\t.evil",
    # case, scheme and port
    b"https://APP.test", b"HTTPS://app.test", b"Https://app.test", b"https://app.tesT",
    b"http://app.test", b"wss://app.test", b"https://app.test:443", b"https://app.test:8443",
    b"https://app.test:", b"https://app.test:0", b"ftp://app.test", b"chrome-extension://app.test",
    b"https://p.test", b"https://p.test:8444", b"https://p.test:84430", b"https://p.test:08443",
    b"https://local.test:3000", b"http://local.test:", b"http://local.test:0",
    b"http://local.test:03", b"http://local.test:123456", b"http://local.test:3000.evil.test",
    b"http://local.test:3000@evil.test", b"http://local.test:a", b"http://local.test:*",
    # around a pattern
    b"https://wild.test", b"https://.wild.test", b"https://a..wild.test", b"https://awild.test",
    b"https://a.wild.test.evil.test", b"https://a.wild.testx", b"https://a.wildxtest",
    b"https://evil.test/.wild.test", b"https://evil.test#.wild.test", b"https://*.wild.test",
    b"https://evil.test?.wild.test", b"https://evil@a.wild.test", b"https://evil.test\\.wild.test",
    b"https://a.wild.test:8080", b"https://a.wild.test/", b"http://a.wild.test",
    b"https://A.wild.test", b"https://a,b.wild.test", b"https://a b.wild.test",
    b"https://\xc3\xa4.wild.test", b"https://%61.wild.test", b"https://a(.wild.test",
    b"https://a'.wild.test", b"https://a`.wild.test", b"https://a!.wild.test",
    b"https://evil.test,.wild.test", b"https://evil.test%60.wild.test", b"https://a{.wild.test",
    b"https://" + b"a" * 64 + b".wild.test",
)  # fmt: skip


async def told(made: Fortress, *lines: bytes, **how: Any) -> tuple[int, list[tuple[bytes, bytes]]]:
    """Status and CORS fields of an answer."""
    status, head, _ = await made.get(*lines, **how)
    return status, [each for each in fields(head) if each[0].startswith(b"access-control-")]


async def test_no_origin_is_echoed_that_is_not_listed(embedded: dict[str, str]) -> None:
    async with fortress(embedded, cors={"origins": ORIGINS, "credentials": True}) as made:
        asks = b"Access-Control-Request-Method: GET"
        for origin in STRANGERS:
            line = b"Origin: " + origin
            for path in (b"/open/x", b"/api/x", b"/health", b"/nowhere", b"/auth/login"):
                _, named = await told(made, line, path=path)
                assert not named, (origin, path)
            if origin:
                status, named = await told(made, line, asks, path=b"/open/x", method=b"OPTIONS")
                assert (status, named) == (403, []), origin
        for origin in KNOWN:
            for path in (b"/open/x", b"/api/x", b"/health", b"/nowhere"):
                _, named = await told(made, b"Origin: " + origin, path=path)
                assert dict(named)[ALLOWED] == origin
                assert dict(named)[b"access-control-allow-credentials"] == b"true"
                assert len(named) == len(dict(named))


async def test_two_origins_are_none(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        evil, good = b"Origin: https://evil.test", b"Origin: " + MAY
        asks = b"Access-Control-Request-Method: GET"
        for lines in ((evil, good), (good, evil), (good, good), (good, b"oRIGIN: https://x.test")):
            assert (await told(made, *lines, path=b"/open/x"))[1] == []
            status, named = await told(made, *lines, asks, path=b"/open/x", method=b"OPTIONS")
            assert (status, named) == (403, [])
        for line in (b"X-Origin: " + MAY, b"Referer: " + MAY, b"Origin-: " + MAY):
            assert (await told(made, line, path=b"/open/x"))[1] == []


async def test_null_is_an_origin_only_where_it_is_listed(embedded: dict[str, str]) -> None:
    async with fortress(embedded, cors={"origins": ["null"]}) as made:
        _, named = await told(made, b"Origin: null", path=b"/open/x")
        assert dict(named)[ALLOWED] == b"null"
        assert (await told(made, b"Origin: https://null", path=b"/open/x"))[1] == []


async def test_everybody_gets_no_credentials(embedded: dict[str, str]) -> None:
    async with fortress(embedded, cors={"origins": ["*"]}) as made:
        for origin in (MAY, b"https://evil.test", b"null", b"https://x\xff"):
            for method, more in (
                (b"GET", ()),
                (b"OPTIONS", (b"Access-Control-Request-Method: A",)),
            ):
                _, named = await told(
                    made, b"Origin: " + origin, *more, path=b"/open/x", method=method
                )
                assert dict(named)[ALLOWED] == b"*"
                assert b"access-control-allow-credentials" not in dict(named)


REFLECTED = (
    (b"X-A, x-b", b"X-A, x-b"),
    (b"authorization", b"authorization"),
    (b"X-A\x00", None),
    (b"X-A: y", None),
    (b"a,,b", None),
    (b"a;b", None),
    (b"<script>", None),
    (b"\xc3\xa4", None),
    (b"a" * 4000, b"a" * 4000),
)


async def test_headers_that_are_asked_for_are_names_or_nothing(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        for asked, allowed in REFLECTED:
            status, named = await told(
                made,
                b"Origin: " + MAY,
                b"Access-Control-Request-Method: GET",
                b"Access-Control-Request-Headers: " + asked,
                path=b"/open/x",
                method=b"OPTIONS",
            )
            if b"\x00" in asked:
                assert status == 400
                continue
            assert dict(named).get(b"access-control-allow-headers") == allowed


ANSWERS: tuple[tuple[bytes, ...], ...] = (
    (b"Cache-Control: public, max-age=60",),
    (b"Cache-Control: public, max-age=60", b"Vary: Origin"),
    (b"Cache-Control: public, max-age=60", b"Access-Control-Allow-Origin: *"),
    (b"Cache-Control: public, max-age=60", b"access-control-allow-origin: https://evil.test",
     b"Access-Control-Allow-Credentials: true", b"Access-Control-Expose-Headers: *"),
    (b"Cache-Control: public, max-age=0", b'ETag: "1"', b"Access-Control-Allow-Origin: " + DEEP),
)  # fmt: skip


@pytest.mark.parametrize("lines", ANSWERS, ids=range(len(ANSWERS)))
async def test_stored_answer_speaks_to_who_asks(
    lines: tuple[bytes, ...], either: dict[str, str]
) -> None:
    """Whoever made the cache keep it, and from whichever layer it comes."""
    async with fortress(either) as made:
        made.origin.says(answer(*lines))
        origins = (MAY, DEEP, b"https://evil.test", b"null", b"")
        for who in (bearer(STATIC), bearer(minted()), key_line(await made.key())):
            for origin in (*origins, *reversed(origins)):
                more = (b"Origin: " + origin,) if origin else ()
                _, head, body = await made.get(who, *more)
                assert body == b"body"
                assert field(head, ALLOWED) == (origin if origin in (MAY, DEEP) else None)
                vary = b",".join(value for name, value in fields(head) if name == b"vary")
                assert b"Origin" in vary
                assert b"evil" not in head
        # All at once, so that they wait for one answer.
        clients = [await made.stage.client() for _ in origins]
        path = b"/api/together"
        requests = [
            asking(bearer(STATIC), *((b"Origin: " + origin,) if origin else ()), path=path)
            for origin in origins
        ]
        await asyncio.gather(*(c.send(data) for c, data in zip(clients, requests, strict=True)))
        for client, origin in zip(clients, origins, strict=True):
            _, head, _ = await received(client)
            assert field(head, ALLOWED) == (origin if origin in (MAY, DEEP) else None)


async def test_refusals_speak_to_who_asks(embedded: dict[str, str]) -> None:
    """A page has to be able to read why; another one must not."""
    async with fortress(embedded) as made:
        for path, lines, status in (
            (b"/api/x", (), 401),
            (b"/api/gateway/keys", (bearer(STATIC),), 403),
            (b"/api/orders/x", (bearer(STATIC),), 422),
            (b"/nowhere", (), 404),
            (b"/few/x", (), 200),
            (b"/few/x", (), 429),
        ):
            if status == 429:
                for _ in range(3):
                    await made.get(path=path)
            for origin in (MAY, b"https://evil.test"):
                found, named = await told(made, *lines, b"Origin: " + origin, path=path)
                assert found == status
                assert dict(named).get(ALLOWED) == (origin if origin == MAY else None)
