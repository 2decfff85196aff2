"""Which upstream a request goes to, and with what path: byte by byte as the client wrote it."""

from __future__ import annotations

import pytest

from gateway.config import Settings
from tests.e2e.answering import answering, in_front, request, status
from tests.e2e.stage import Stage, Upstream, gateway_on


async def answers(routes: list[dict[str, object]], *requests: bytes) -> list[bytes]:
    """Who answers, by name; each route's `to` is the name of an upstream of its own."""
    names = [str(route.pop("to")).encode() for route in routes]
    async with answering(*names) as upstreams:
        for route, upstream in zip(routes, upstreams, strict=True):
            route["target_url"] = upstream.url
        made = Settings.model_validate({"host": "127.0.0.1", "routes": routes})
        async with gateway_on(made) as (gateway, port):
            scene = Stage(gateway, Upstream(), port, -1)
            found = [await scene.ask(asked) for asked in requests]
            scene.close_clients()
    return [text if head.startswith(b"HTTP/1.1 200") else head[9:12] for head, text in found]


async def sent_up(target: bytes, **route: object) -> bytes:
    """What the upstream is asked for."""
    place = {"prefix": "/api/service1", **route}
    async with answering(b"") as [upstream], in_front([upstream], route=place) as scene:
        assert await status(scene, request(target)) == 200
        return upstream.targets[0]


async def test_the_longest_prefix_wins_wherever_it_stands() -> None:
    routes = [
        {"prefix": "/api", "to": "short"},
        {"prefix": "/api/orders", "to": "long"},
        {"prefix": "/", "to": "all"},
    ]
    asked = [request(b"/api/orders/7"), request(b"/api/other"), request(b"/else")]
    assert await answers(routes, *asked) == [b"long", b"short", b"all"]


async def test_a_prefix_matches_on_the_boundary_of_a_segment_only() -> None:
    routes = [{"prefix": "/api/service1", "to": "one"}]
    asked = [
        request(b"/api/service1"),
        request(b"/api/service1/"),
        request(b"/api/service1?q"),
        request(b"/api/service10"),
        request(b"/api/service1.bak"),
    ]
    assert await answers(routes, *asked) == [b"one", b"one", b"one", b"404", b"404"]


async def test_an_exact_path_goes_before_a_prefix_and_takes_nothing_below_it() -> None:
    routes = [{"prefix": "/a", "to": "prefix"}, {"path": "/a/b", "to": "exact"}]
    asked = [request(b"/a/b"), request(b"/a/b?c=/d"), request(b"/a/b/c")]
    assert await answers(routes, *asked) == [b"exact", b"exact", b"prefix"]


async def test_an_exact_host_goes_before_a_wildcard_and_that_before_all_others() -> None:
    routes = [
        {"prefix": "/", "to": "any"},
        {"prefix": "/", "hosts": ["*.example.com"], "to": "wild"},
        {"prefix": "/", "hosts": ["a.example.com"], "to": "exact"},
    ]

    def at(host: bytes) -> bytes:
        return b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"

    asked = [
        at(b"a.example.com"),
        at(b"A.EXAMPLE.COM:8000"),
        at(b"b.example.com"),
        at(b"c.b.example.com"),
        at(b"example.com"),
    ]
    assert await answers(routes, *asked) == [b"exact", b"exact", b"wild", b"wild", b"any"]


async def test_methods_choose_and_those_that_no_route_takes_are_405() -> None:
    routes = [
        {"prefix": "/", "methods": ["GET"], "to": "reads"},
        {"prefix": "/", "methods": ["POST"], "to": "writes"},
    ]
    asked = [request(b"/"), request(b"/", method=b"POST"), request(b"/", method=b"DELETE")]
    assert await answers(routes, *asked) == [b"reads", b"writes", b"405"]


async def test_what_405_allows_is_said() -> None:
    route = {"methods": ["GET", "PUT"]}
    async with answering(b"") as [upstream], in_front([upstream], route=route) as scene:
        head, _ = await scene.ask(request(b"/", method=b"DELETE"))
        assert b"\r\nAllow: GET, PUT\r\n" in head


async def test_the_gateways_own_paths_win_over_every_route() -> None:
    [found] = await answers([{"path": "/health/live", "to": "route"}], request(b"/health/live"))
    assert found != b"route"


@pytest.mark.parametrize(
    "rest",
    [
        b"/a%2Fb", b"/%41", b"/%c3%A4", b"//", b"/a//b/", b"/./a", b"/a/../b", b"/a;v=1;w", b"/a+b",
        b"/a?", b"/a?b=%20+&&=?c/..%00", b"?", b"/!$&'()*,=:@|^`{}\"<>", b"",
    ],
)  # fmt: skip
async def test_a_target_goes_up_as_it_was_sent(rest: bytes) -> None:
    assert await sent_up(b"/api/service1" + rest) == b"/api/service1" + rest


@pytest.mark.parametrize(
    ("rest", "sent"),
    [
        (b"/a%2Fb/%7E?x=%2f", b"/api/a%2Fb/%7E?x=%2f"),
        (b"//a", b"/api//a"),
        (b"/a/../b;c=+?", b"/api/a/../b;c=+?"),
        (b"", b"/api"),
        (b"?q", b"/api?q"),
    ],
)
async def test_a_rewrite_takes_the_prefix_and_nothing_else(rest: bytes, sent: bytes) -> None:
    assert await sent_up(b"/api/service1" + rest, strip_prefix=True, rewrite="/api") == sent


async def test_a_stripped_prefix_leaves_at_least_a_slash() -> None:
    assert await sent_up(b"/api/service1", strip_prefix=True) == b"/"


@pytest.mark.parametrize(
    ("preserve", "host"), [(True, b"Gateway.Test:81"), (False, b"127.0.0.1:%d")]
)
async def test_the_host_that_goes_up_is_the_clients_or_the_targets(
    preserve: bool, host: bytes
) -> None:
    route = {"preserve_host": preserve}
    async with answering(b"") as [upstream], in_front([upstream], route=route) as scene:
        await scene.ask(b"GET / HTTP/1.1\r\nHost: Gateway.Test:81\r\n\r\n")
        expected = host % upstream.port if b"%d" in host else host
        assert b"\r\nHost: " + expected + b"\r\n" in upstream.heads[0]
