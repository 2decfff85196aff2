"""Paths: sent on byte for byte, unless they mean another route to whoever decodes and resolves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.answering import Answering
from tests.e2e.policy import CONTROL, check_error, own, reaches, sent_up, told, turned_down
from tests.e2e.stage import Stage, stage

HOST = b"\r\nHost: a\r\n\r\n"


async def target_sent(scene: Stage, target: bytes) -> bytes:
    """What the upstream was asked for."""
    _, _, head = await sent_up(scene, b"GET " + target + b" HTTP/1.1" + HOST)
    line, host, rest = own(head).split(b"\r\n")
    assert (host, rest) == (b"Host: a", b"")
    return line.removeprefix(b"GET ").removesuffix(b" HTTP/1.1")


@pytest.mark.parametrize(
    "target",
    [
        b"/api", b"/api/", b"/api//", b"/api//x", b"/api/x//y///z", b"/api/./x", b"/api/x/.",
        b"/api/x/../y", b"/api/x/..", b"/api/x/y/../../z", b"/api/...", b"/api/.x", b"/api/x..",
        b"/api/..x", b"/api/x%2Fy", b"/api/x%2fy", b"/api/%41", b"/api/%61", b"/api/%7E",
        b"/api/%2e", b"/api/%2E/x", b"/api/x/%2e%2e/y", b"/api/x%2f..%2fy", b"/api/x%5cy",
        b"/api/x%5C..%5Cy", b"/api/%252e%252e/x", b"/api/%25%32%65", b"/api/%2500", b"/api/%",
        b"/api/%2", b"/api/%zz", b"/api/%u002e", b"/api/x;y=z", b"/api/;", b"/api/x;a/y;b",
        b"/api/x/..;/y", b"/api/+", b"/api/a+b", b"/api/%20", b"/api/%0d%0aSet-Cookie:x",
        b"/api/%0a",
        b"/api/%7f", b"/api/%c3%a4", b"/api/%ff", b"/api/%C0%AF", b"/api/!$&'()*,=:@~",
        b"/api/\"<>",
        b"/api/[x]", b"/api/{x}|^`", b"/api/x:80", b"/api/http://b/", b"/api/*", b"/api/~x",
    ],
)  # fmt: skip
async def test_a_path_goes_up_as_it_was_sent(target: bytes) -> None:
    async with stage() as scene:
        assert await target_sent(scene, target) == target


@pytest.mark.parametrize(
    "query",
    [
        b"?", b"??", b"?&", b"?&&a", b"?a", b"?a=", b"?=", b"?a=b&a=c", b"?a=b+c", b"?a=b%20c",
        b"?a=%2F", b"?a=%2f", b"?a=/../..", b"?..", b"?%2e%2e%2f", b"?%00", b"?a=%00b", b"?a;b",
        b"?a=//b", b"?http://b/", b"?%", b"?%zz", b"?[]={}|^`\"<>", b"?a=%23", b"?a?b", b"?*",
        b"?%5c..%5c", b"?+", b"?%0d%0aA:%20b",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [b"/api/x", b"/api/x%2Fy/../z"])
async def test_a_query_goes_up_as_it_was_sent(path: bytes, query: bytes) -> None:
    async with stage() as scene:
        assert await target_sent(scene, path + query) == path + query


@pytest.mark.parametrize(
    "path",
    [
        b"/api/..", b"/api/../", b"/api/../x", b"/api/../api2/x", b"/api/x/../../y", b"/api/./../x",
        b"/api//../x", b"/api/x/../../../etc/passwd", b"/api/" + b"../" * 50 + b"etc/passwd",
        b"/api/%2e%2e", b"/api/%2e%2e/x", b"/api/%2E%2E/x", b"/api/.%2e/x", b"/api/%2e./x",
        b"/api/..%2fx", b"/api/..%2Fx", b"/api/%2e%2e%2fx", b"/api/x%2f..%2f..%2fy",
        b"/api/%2e%2e%5cx", b"/api/..%5cx", b"/api/..%5Cx", b"/api/x%5c..%5c..%5cy",
        b"/api/%5c..%5c..%5cx", b"/api/..;/x", b"/api/..;a=b/x", b"/api/%2e%2e;/x",
        b"/api/..%3b/x", b"/api/.%2e;/x", b"/api/..;x", b"/api/x/..;/..;/y", b"/api/;/../x",
        b"/api/;/..;/x", b"/api/.;/..;/x", b"/api/x/%2e%2e/%2e%2e/y", b"/api/..//x",
        b"/api/..//../x",
    ],
)  # fmt: skip
async def test_a_path_that_leaves_its_route_is_refused(path: bytes) -> None:
    async with stage() as scene:
        await turned_down(scene, b"GET " + path + b" HTTP/1.1" + HOST, 400)


@pytest.mark.parametrize(
    "path",
    [b"/api/%00", b"/api/x%00", b"/api/x%00.png", b"/api/%00/x", b"/api/..%00/x", b"/api/%2e%2e%00",
     b"/api/x/%2e%00%2e/y", b"/api/x%00?y"],
)  # fmt: skip
@pytest.mark.parametrize("prefix", ["/api", "/"])
async def test_a_path_with_nul_is_refused(path: bytes, prefix: str) -> None:
    async with stage(route={"prefix": prefix}) as scene:
        answer = await turned_down(scene, b"GET " + path + b" HTTP/1.1" + HOST, 400)
        assert answer.error["path"].encode() == path.partition(b"?")[0]


@pytest.mark.parametrize(
    "path",
    [b"/..", b"/../x", b"/%2e%2e/x", b"/../../etc/passwd", b"//x", b"/./x", b"//", b"/..;/x"],
)
async def test_nothing_leaves_a_route_that_takes_all(path: bytes) -> None:
    async with stage(route={"prefix": "/"}) as scene:
        assert await target_sent(scene, path) == path


# ------------------------------------------------------------------- routes behind other routes


async def answered_by(target: bytes, routes: list[dict[str, Any]], host: bytes = b"a") -> bytes:
    """The route's name that answered, or the status of a refusal."""
    served: list[Answering] = []
    table = []
    for route in routes:
        upstream = Answering(route["name"].encode())
        await upstream.start()
        served.append(upstream)
        table.append({**route, "target_url": upstream.url})
    try:
        async with stage(served[0], routes=table) as scene:
            client = await scene.client()
            await client.send(b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
            answer = await told(client)
            asked = [head for upstream in served for head in upstream.heads]
            if answer.status != 200:
                check_error(answer, answer.status)
                assert not asked
                return b"%d" % answer.status
            assert [head.split(b" ")[1] for head in asked] == [target]
            return answer.body
    finally:
        for upstream in served:
            await upstream.stop()


SHADOWED: list[dict[str, Any]] = [
    {"name": "all", "prefix": "/"},
    {"name": "admin", "prefix": "/admin"},
    {"name": "public", "prefix": "/admin/public"},
    {"name": "exact", "path": "/exact"},
    {"name": "slash", "path": "/slash/"},
]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"/", b"all"),
        (b"/x", b"all"),
        (b"/admin", b"admin"),
        (b"/admin/", b"admin"),
        (b"/admin/x/../y", b"admin"),
        (b"/admin2", b"all"),
        (b"/administration/x", b"all"),
        (b"/ADMIN", b"all"),
        (b"/admin/public", b"public"),
        (b"/admin/public/%2e/x", b"public"),
        (b"/admin/publicly", b"admin"),
        (b"/exact", b"exact"),
        (b"/exact?x", b"exact"),
        (b"/exact/", b"all"),
        (b"/exact/x", b"all"),
        (b"/slash/", b"slash"),
        (b"/slash", b"all"),
        (b"/x%2Fy", b"all"),
    ],
)
async def test_the_closest_route_answers(path: bytes, name: bytes) -> None:
    assert await answered_by(path, SHADOWED) == name


@pytest.mark.parametrize(
    "path",
    [
        b"//admin", b"//admin/x", b"///admin", b"/./admin", b"/.//admin/x", b"/x/../admin",
        b"/x/../admin/y", b"/%61dmin", b"/%61%64%6d%69%6e/x", b"/admi%6E", b"/%2fadmin",
        b"/%2Fadmin/x", b"/%2e/admin", b"/x/%2e%2e/admin", b"/x%2f..%2fadmin", b"/%5cadmin",
        b"/.%5cadmin", b"/x%5c..%5cadmin", b"/x/..;/admin", b"/;/admin", b"/;x/admin",
        b"/.;/admin", b"/admin%2fx", b"/admin%5cx", b"/admin%2Fpublic", b"/..//admin",
        b"/admin/public/..", b"/admin/public/../x", b"/admin/public/..;/x", b"/admin/public%2fx",
        b"/admin/public/%2e%2e/x", b"/admin/public/../../x", b"/admin/..", b"/admin/../x",
        b"/admin//public", b"/admin/./public/x", b"/admin/x/../public", b"/admin/%70ublic",
        b"/%65xact", b"/x/../exact", b"//exact", b"/./exact", b"/%73lash/", b"/slash%2f",
        b"//slash/",
        b"/health/../admin", b"/%68ealth", b"//health", b"/./metrics", b"/admin/../health",
    ],
)  # fmt: skip
async def test_no_spelling_passes_a_closer_route_by(path: bytes) -> None:
    assert await answered_by(path, SHADOWED) == b"400"


@pytest.mark.parametrize("host", [b"inner.example", b"INNER.example", b"inner.example.:80"])
async def test_no_spelling_passes_the_route_of_a_host_by(host: bytes) -> None:
    routes: list[dict[str, Any]] = [
        {"name": "all", "prefix": "/"},
        {"name": "inner", "prefix": "/admin", "hosts": ["inner.example"]},
    ]
    assert await answered_by(b"/admin", routes, host) == b"inner"
    assert await answered_by(b"/%61dmin", routes, host) == b"400"
    assert await answered_by(b"/%61dmin", routes, b"other.example") == b"all"


@pytest.mark.parametrize(
    "path", [b"/%61pi/x", b"/x/../api/x", b"//api/x", b"/%2e/api/x", b"/api%2f..%2fx", b"/api%5cx"]
)
async def test_a_path_that_only_means_a_route_is_not_found(path: bytes) -> None:
    async with stage() as scene:
        await turned_down(scene, b"GET " + path + b" HTTP/1.1" + HOST, 404)


async def test_a_prefix_is_taken_off_the_bytes_that_were_sent() -> None:
    route = {"prefix": "/api", "strip_prefix": True, "rewrite": "/inner/v2"}
    async with stage(route=route) as scene:
        sent = await target_sent(scene, b"/api/x%2Fy//../%41;z?/api/x")
        assert sent == b"/inner/v2/x%2Fy//../%41;z?/api/x"


@pytest.mark.parametrize("path", [b"/api/../admin", b"/api/..%2fadmin", b"/api/%2e%2e/admin"])
async def test_nothing_leaves_a_rewritten_route(path: bytes) -> None:
    route = {"prefix": "/api", "strip_prefix": True, "rewrite": "/inner/v2"}
    async with stage(route=route) as scene:
        client = await scene.client()
        await client.send(b"GET " + path + b" HTTP/1.1" + HOST + CONTROL)
        check_error(await told(client), 400)
        await reaches(scene, b"GET /inner/v2/control ")
