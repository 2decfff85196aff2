"""Request lines, methods, versions, hosts and targets that are not what they should be."""

from __future__ import annotations

import pytest

from tests.e2e.policy import (
    CONTROL,
    check_error,
    end,
    own,
    reaches,
    refused,
    sent_up,
    told,
    turned_down,
    untouched,
    values,
)
from tests.e2e.stage import OK, field, stage

HOST = b"\r\nHost: a\r\n\r\n"


# ------------------------------------------------------------------------------------- versions


@pytest.mark.parametrize(
    "version",
    [b"HTTP/2.0", b"HTTP/2", b"HTTP/3", b"HTTP/3.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/9.9"],
)
async def test_an_unknown_version_is_not_supported(version: bytes) -> None:
    async with stage() as scene:
        await refused(scene, b"GET /api/x " + version + HOST, 505)


async def test_the_preface_of_http_2_is_not_supported() -> None:
    async with stage() as scene:
        await refused(scene, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 505, then=b"")


@pytest.mark.parametrize(
    "line",
    [
        b"GET /api/x HTTP/0.9", b"GET /api/x", b"GET /api/x ", b"GET /api/x http/1.1",
        b"GET /api/x HTTP/1.1 ", b"GET /api/x HTTP/1.1\t", b"GET /api/x HTTP/1.10",
        b"GET /api/x HTTP/01.1", b"GET /api/x HTTP/1.", b"GET /api/x HTTP/.1",
        b"GET /api/x HTTP/1,1", b"GET /api/x HTTP/ 1.1", b"GET /api/x HTTP 1.1",
        b"GET /api/x HTTP/+1.1", b"GET /api/x HTTP/1.1x", b"GET /api/x HTTPS/1.1",
        b"GET /api/x ICAP/1.1", b"GET /api/x HTTP/1.1 HTTP/1.1", b"GET  /api/x HTTP/1.1",
        b"GET\t/api/x HTTP/1.1", b"GET /api/x\tHTTP/1.1", b"GET /api/x  HTTP/1.1",
        b" GET /api/x HTTP/1.1", b"GET /api/x y HTTP/1.1", b"GET\x0b/api/x\x0bHTTP/1.1",
        b"GET", b"GET ", b" ", b"HTTP/1.1 200 OK", b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"GET HTTP/1.1", b"/api/x HTTP/1.1", b"GET /api/x HTTP/1.1\r", b"GET /api/x\rHTTP/1.1",
    ],
)  # fmt: skip
async def test_a_malformed_request_line_is_refused(line: bytes) -> None:
    async with stage() as scene:
        await refused(scene, line + HOST, 400)


async def test_http_0_9_is_refused_before_any_head_is_whole() -> None:
    async with stage() as scene:
        await refused(scene, b"GET /api/x\r\n", 400, then=b"")


# -------------------------------------------------------------------------------------- methods


@pytest.mark.parametrize(
    "method",
    [
        b"get", b"Get", b"gET", b"post", b"pUT", b"delete", b"options", b"head", b"patch", b"trace",
        b"connect", b"", b"A" * 33, b"A" * 4000, b"GE\x00T", b"GE\x01T", b"G\x7fT", b"G\xe9T",
        b"GET:", b"G(T", b'"GET"', b"GET/", b"G,T", b"G@T", b"{GET}", b"GET\\",
    ],
)  # fmt: skip
async def test_a_method_that_is_none_is_refused(method: bytes) -> None:
    async with stage() as scene:
        await refused(scene, method + b" /api/x HTTP/1.1" + HOST, 400)


@pytest.mark.parametrize(
    "method",
    [
        b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"PROPFIND", b"M-SEARCH",
        b"PURGE", b"QUERY", b"purge", b"Foo", b"!#$%&'*+-.^_`|~", b"1", b"A" * 32,
    ],
)  # fmt: skip
async def test_any_other_token_is_a_method(method: bytes) -> None:
    async with stage() as scene:
        line = method + b" /api/x HTTP/1.1\r\nHost: a\r\n"
        assert own((await sent_up(scene, line + b"\r\n"))[2]) == line


@pytest.mark.parametrize(
    "line",
    [b"TRACE /api/x", b"TRACE *", b"TRACE http://a/api/x", b"CONNECT a:443", b"CONNECT /api/x",
     b"CONNECT 10.0.0.1:22"],
)  # fmt: skip
async def test_trace_and_connect_are_never_forwarded(line: bytes) -> None:
    async with stage() as scene:
        secret = b"Authorization: Bearer secret\r\nCookie: a=secret\r\n\r\n"
        answer = await turned_down(scene, line + b" HTTP/1.1\r\nHost: a\r\n" + secret, 405)
        allowed = field(answer.head, b"allow") or b""
        assert b"GET" in allowed
        assert b"TRACE" not in allowed
        assert b"CONNECT" not in allowed
        assert b"secret" not in answer.head + answer.body


async def test_options_for_everything_is_answered_here() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"OPTIONS * HTTP/1.1" + HOST)
        answer = await told(client)
        assert answer.status == 200
        assert answer.body == b""
        assert b"GET" in (field(answer.head, b"allow") or b"").split(b", ")
        assert len(values(answer.head, b"x-request-id")) == 1
        await untouched(scene)


@pytest.mark.parametrize("method", [b"GET", b"POST", b"HEADS"])
async def test_everything_is_a_target_of_options_only(method: bytes) -> None:
    async with stage() as scene:
        await turned_down(scene, method + b" * HTTP/1.1" + HOST, 400)


# ---------------------------------------------------------------------------------------- hosts


@pytest.mark.parametrize(
    "host",
    [
        b"user@a", b"user:pass@a", b"@a", b"a@", b"a@b:80", b"a b", b"a\tb", b"a/", b"/", b"a/b",
        b"//a", b"http://a", b"a?b", b"a#b", b"a\\b", b"a:b", b"a:80:81", b"a:-1", b"a:+80",
        b"a:0x50", b"a :80", b"a:8 0", b"a:80a", b"a:999999", b"::1", b"[::1", b"::1]",
        b"[]", b"[::1]x", b"[::1]:a", b"[g]", b"[::1%eth0]", b"[::1]]", b"[[::1]]", b"[::1 ]",
        b"a\x00", b"a\x01b", b"a\x7f", b"\xc3\xa4", b"a\xff", b"a, b", b"<a>", b'"a"', b"{a}",
        b"a|b", b"a^b", b"`a`",
    ],
)  # fmt: skip
async def test_a_malformed_host_is_refused(host: bytes) -> None:
    async with stage() as scene:
        await refused(scene, b"GET /api/x HTTP/1.1\r\nHost: " + host + b"\r\n\r\n", 400)


@pytest.mark.parametrize(
    "host",
    [b"a", b"A.Example.ORG", b"a:80", b"a:65535", b"127.0.0.1:8080", b"[::1]", b"[2001:db8::1]:443",
     b"[::ffff:192.0.2.1]:80", b"a.", b"xn--bcher-kva.example", b"a_b", b"a-b.c:1"],
)  # fmt: skip
async def test_a_host_goes_up_as_it_was_written(host: bytes) -> None:
    async with stage() as scene:
        _, _, head = await sent_up(scene, b"GET /api/x HTTP/1.1\r\nhOST:  " + host + b"\t\r\n\r\n")
        assert own(head) == b"GET /api/x HTTP/1.1\r\nHost: " + host + b"\r\n"
        assert field(head, b"x-forwarded-host") == host


@pytest.mark.parametrize(
    "lines",
    [
        b"", b"A: b\r\n", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhost: b\r\n",
        b"Host: a\r\nB: c\r\nHOST: a\r\n", b"Host:\r\nHost: a\r\n", b"Host : a\r\n", b"Hos: a\r\n",
        b"X-Host: a\r\n", b"Host: a\r\n b\r\n", b" Host: a\r\n",
    ],
)  # fmt: skip
async def test_no_host_or_two_are_refused(lines: bytes) -> None:
    async with stage() as scene:
        await refused(scene, b"GET /api/x HTTP/1.1\r\n" + lines + b"\r\n", 400)


async def test_two_hosts_are_refused_in_1_0_too() -> None:
    async with stage() as scene:
        data = b"GET /api/x HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"
        await refused(scene, data, 400)


async def test_1_0_needs_no_host_and_the_target_gets_its_own() -> None:
    async with stage() as scene:
        _, _, head = await sent_up(scene, b"GET /api/x HTTP/1.0\r\n\r\n")
        assert own(head) == b"GET /api/x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % scene.upstream.port


# -------------------------------------------------------------------------------- absolute form


@pytest.mark.parametrize(
    ("target", "sent"),
    [
        (b"http://a/api/x", b"/api/x"),
        (b"HTTP://a/api/x?y=//z", b"/api/x?y=//z"),
        (b"https://a/api/x", b"/api/x"),
        (b"http://a/api/%2Fx;y//?", b"/api/%2Fx;y//?"),
        (b"http://a/api", b"/api"),
    ],
)
async def test_an_absolute_target_is_taken_for_its_path(target: bytes, sent: bytes) -> None:
    async with stage() as scene:
        _, _, head = await sent_up(scene, b"GET " + target + b" HTTP/1.1" + HOST)
        assert own(head) == b"GET " + sent + b" HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(("target", "sent"), [(b"http://a", b"/"), (b"http://a?b", b"/?b")])
async def test_an_absolute_target_without_a_path_is_the_root(target: bytes, sent: bytes) -> None:
    async with stage(route={"prefix": "/"}) as scene:
        _, _, head = await sent_up(scene, b"GET " + target + b" HTTP/1.1" + HOST)
        assert own(head) == b"GET " + sent + b" HTTP/1.1\r\nHost: a\r\n"


async def test_an_absolute_target_in_1_0_names_the_host() -> None:
    async with stage() as scene:
        _, _, head = await sent_up(scene, b"GET http://b:81/api/x HTTP/1.0\r\n\r\n")
        assert own(head) == b"GET /api/x HTTP/1.1\r\nHost: b:81\r\n"


async def test_the_authority_chooses_the_route() -> None:
    routes = [
        {"prefix": "/", "hosts": ["b"], "target_url": "http://127.0.0.1:1"},
        {"prefix": "/api", "hosts": ["c"], "target_url": "http://127.0.0.1:1"},
    ]
    async with stage(routes=routes) as scene:
        client = await scene.client()
        await client.send(b"GET http://a/api HTTP/1.1" + HOST)
        check_error(await told(client), 404)


@pytest.mark.parametrize(
    "target",
    [
        b"http://b/api/x", b"http://a.b/api/x", b"http://a:81/api/x", b"http://user@a/api/x",
        b"http://user:pass@a/api/x", b"http://a@b/api/x", b"http:///api/x", b"http://:80/api/x",
        b"http:/api/x", b"http:api/x", b"//", b"ftp://a/api/x", b"file:///etc/passwd",
        b"javascript:alert(1)", b"ws://a/api/x", b"httpx://a/api/x", b"a/api/x", b"api/x",
        b"a", b"a:80", b".", b"..", b"../api/x", b";/api/x", b"%2fapi/x", b"*/api/x", b"?x",
        b"http://[::1/api/x", b"http://::1/api/x", b"http://a%2f@b/api/x", b"http://a b/api/x",
    ],
)  # fmt: skip
async def test_a_target_that_is_no_path_of_this_host_is_refused(target: bytes) -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(b"GET " + target + b" HTTP/1.1" + HOST)
        answer = await told(client)
        check_error(answer, 404 if target == b"//" else 400)
        if answer.closes:
            await end(client)
        await untouched(scene)


# -------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize(
    "target",
    [
        b"/api/x#y", b"/api/#", b"/api/x?y#z", b"#", b"/api\\x", b"/api/..\\x", b"\\api\\x",
        b"/api/x?y\\z", b"/api/\xc3\xa4", b"/api/x?\xff", b"/api/\x80", b"/api/\x00", b"/api/\x01",
        b"/api/\x7f", b"/api/x\x0by", b"/api/x\x1f", b"/api/x?\x00", b"/api/x\ty", b"/api/x\ny",
        b"/api/x\ry", b"/api/\xef\xbc\x8fx", b"/api/\xc0\xaf",
    ],
)  # fmt: skip
async def test_a_target_with_other_bytes_is_refused(target: bytes) -> None:
    async with stage() as scene:
        await refused(scene, b"GET " + target + b" HTTP/1.1" + HOST, 400)


# --------------------------------------------------------------- fields that may stand once only


@pytest.mark.parametrize(
    "name",
    [
        b"Authorization", b"Range", b"Expect", b"If-Match", b"If-None-Match",
        b"If-Modified-Since", b"If-Unmodified-Since", b"If-Range", b"If-Something-New",
    ],
)  # fmt: skip
@pytest.mark.parametrize("other", [b"same", b"different"])
async def test_a_field_that_may_stand_once_stands_twice_and_is_refused(
    name: bytes, other: bytes
) -> None:
    async with stage() as scene:
        first = b"100-continue" if name == b"Expect" else b"same"
        second = first if other == b"same" else other
        lines = name + b": " + first + b"\r\nA: b\r\n" + name.upper() + b": " + second + b"\r\n\r\n"
        head = b"POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n" + lines
        await refused(scene, head + b"hello", 400)


@pytest.mark.parametrize("value", [b"100-continue, 100-continue", b"y 100-continue", b"a", b""])
async def test_another_expectation_cannot_be_met(value: bytes) -> None:
    async with stage() as scene:
        data = b"POST /api/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: " + value
        client = await scene.client()
        await client.send(data + b"\r\n\r\nhello")
        answer = await told(client)
        check_error(answer, 417)
        await end(client)
        await untouched(scene)


async def test_a_request_behind_a_refused_one_is_not_served() -> None:
    async with stage() as scene:
        client = await scene.client()
        await client.send(CONTROL + b"GET /api/x HTTP/2.0\r\n\r\n" + CONTROL)
        target = await reaches(scene, b"GET /api/control ")
        await target.send(OK)
        assert (await told(client)).status == 200
        check_error(await told(client), 505)
        await end(client)
        await (await scene.client()).send(b"GET /api/x HTTP/1.1" + HOST)
        assert (await target.head()).startswith(b"GET /api/x ")
