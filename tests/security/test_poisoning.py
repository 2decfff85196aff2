"""Answers that one client would like others to get: what they are kept under says it all."""

from __future__ import annotations

from gateway.caching.vary import key_of
from tests.e2e.caching import answer
from tests.e2e.stage import field, fields
from tests.security.fortress import (
    LONG,
    bodies,
    fortress,
    numbered,
)


async def test_host_of_one_request_is_not_anothers(either: dict[str, str]) -> None:
    """What the origin hears of a host is part of what its answer is kept under."""

    def say(head: bytes) -> bytes:
        heard = b"%b %b" % (field(head, b"host") or b"", field(head, b"x-forwarded-host") or b"")
        return answer(LONG, body=heard)

    async with fortress(either) as made:
        made.origin.say = say
        for lines in (
            (b"X-Forwarded-Host: evil.test",),
            (b"X-Host: evil.test", b"X-Forwarded-Server: evil.test"),
            (b"Forwarded: host=evil.test",),
            (b"X_Forwarded_Host: evil.test",),
        ):
            assert await bodies(made, lines, ()) == [b"gateway.test gateway.test"] * 2
        for asked, heard in (
            (b"GET /open/y HTTP/1.1\r\nHost: evil.test\r\n\r\n", b"evil.test evil.test"),
            (b"GET /open/y HTTP/1.1\r\nHost: a.test:81\r\n\r\n", b"a.test:81 a.test:81"),
            (b"GET http://b.test/open/y HTTP/1.1\r\nHost: b.test\r\n\r\n", b"b.test b.test"),
            (b"GET /open/y HTTP/1.1\r\nHost: a.test\r\n\r\n", b"a.test a.test"),
        ):
            for _ in range(2):
                assert (await made.ask(asked))[2] == heard
        # A request without a Host is the target's, and one with an empty one is nobody's.
        nobody = b"GET /open/z HTTP/1.1\r\nHost:\r\n\r\n"
        old = b"GET /open/z HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
        first, second = (await made.ask(nobody))[2], (await made.ask(old))[2]
        assert first != second
    async with fortress(either, trusted_proxies=["127.0.0.0/8"]) as made:
        made.origin.say = say
        told = (b"X-Forwarded-Host: a.test",)
        evil = (b"X-Forwarded-Host: evil.test",)
        found = await bodies(made, evil, told, (), evil, told, (), path=b"/open/t")
        assert found[:3] == found[3:]
        assert len(set(found)) == 3
        # No Host looks like a host with what a proxy said of it.
        for name in (b"a.test(b.test)", b"a.test((b.test))", b"a.test,b.test", b"a.test;b.test"):
            asked = b"GET /open/u HTTP/1.1\r\nHost: " + name + b"\r\n\r\n"
            assert (await made.ask(asked))[2] == name + b" " + name
        asked = b"GET /open/u HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Host: b.test\r\n\r\n"
        assert (await made.ask(asked))[2] == b"a.test b.test"


async def test_all_that_a_trusted_proxy_says_of_the_target_counts(either: dict[str, str]) -> None:
    """Its own clients may have said it: an origin that makes links of it answers each by itself."""

    def say(head: bytes) -> bytes:
        names = (b"x-forwarded-prefix", b"x-forwarded-port", b"x-forwarded-proto", b"forwarded")
        return answer(LONG, body=b" ".join(value for name, value in fields(head) if name in names))

    async with fortress(either, trusted_proxies=["127.0.0.0/8"]) as made:
        made.origin.say = say
        for line in (
            b"X-Forwarded-Prefix: /evil", b"X-Forwarded-Port: 1", b"X-Forwarded-Proto: evil",
            b"Forwarded: host=evil.test", b"Forwarded: for=1.2.3.4;Proto=evil",
            b'Forwarded: for="[::1]", for=x;HOST="evil.test"',
        ):  # fmt: skip
            poison, clean = await bodies(made, (line,), ())
            assert b"evil" not in clean
            assert b" 1" not in clean
            assert poison != clean
        # But who asked is no part of it.
        made.origin.say = numbered(LONG)
        asked = [(b"Forwarded: for=1.2.3.%d;proto=https" % n, b"X-Real-IP: 1.2.3.%d" % n,
                  b"X-Forwarded-For: 1.2.3.%d" % n) for n in range(3)]  # fmt: skip
        assert set(await bodies(made, *asked, path=b"/open/y")) == {b"answer 1"}


async def test_vary_speaks_of_what_the_origin_got(either: dict[str, str]) -> None:
    """A field that stopped here, or looks like another one, chose no answer."""

    def say(head: bytes) -> bytes:
        # As a WSGI service reads it.
        said = {name.replace(b"_", b"-"): value for name, value in fields(head)}
        return answer(LONG, b"Vary: X-Tenant", body=said.get(b"x-tenant", b"none"))

    async with fortress(either) as made:
        made.origin.say = say
        for attack, victim, expected in (
            ((b"X-Tenant: ann", b"Connection: X-Tenant"), (b"X-Tenant: ann",), b"ann"),
            ((b"X_Tenant: evil",), (), b"none"),
            ((b"X-Tenant: ben", b"x_tenant: evil"), (b"X-Tenant: ben",), b"ben"),
        ):
            await made.get(*attack, path=b"/open/" + expected)
            assert (await made.get(*victim, path=b"/open/" + expected))[2] == expected


OVERRIDES = (
    b"X-HTTP-Method-Override: DELETE", b"X-HTTP-Method: POST", b"X-Method-Override: PUT",
    b"X_HTTP_Method_Override: POST", b"X-Original-URL: /admin", b"X-Rewrite-URL: /admin",
    b"X_Original_URL: /admin",
)  # fmt: skip


async def test_request_that_names_another_target_is_not_the_caches(either: dict[str, str]) -> None:
    """A service that heeds such a field would have its answer given to all the others."""
    async with fortress(either) as made:
        for number, line in enumerate(OVERRIDES):
            path = b"/open/%d" % number
            made.origin.say = numbered(LONG)
            found = await bodies(made, (line,), (), (line,), (), path=path)
            assert found == [b"answer 1", b"answer 2", b"answer 3", b"answer 2"], line


async def test_paths_that_differ_are_kept_apart(embedded: dict[str, str]) -> None:
    paths = (
        b"/open/a", b"/open/A", b"/open/a/", b"/open/%61", b"/open/a?", b"/open/a?b", b"/open/a?b=",
        b"/open/a?b&b", b"/open/a%3fb", b"/open/a;b", b"/open/a%0a", b"/open/a%0A", b"/open/a%09",
        b"/open//a", b"/open/a%20", b"/open/a?%0a", b"/open/a?x=http://gateway.test/open/a",
    )  # fmt: skip
    async with fortress(embedded) as made:
        made.origin.say = lambda head: answer(LONG, body=head.split(b" ")[1])
        for _ in range(2):
            for path in paths:
                assert (await made.get(path=path))[2] == path
        assert made.origin.asked == len(paths)
    assert b"\n" not in key_of(b"http", b"a", b"/x", b"?y")  # which parts a variant from its key


async def test_get_with_a_body_is_nobodys_answer(embedded: dict[str, str]) -> None:
    async with fortress(embedded) as made:
        made.origin.say = numbered(LONG)
        assert (await made.get(path=b"/open/x", body=b"fat"))[2] == b"answer 1"
        assert (await made.get(path=b"/open/x"))[2] == b"answer 2"
        assert (await made.get(path=b"/open/x", body=b"fat"))[2] == b"answer 3"
