"""The PROXY protocol on real sockets: who is believed to be behind whom, with TLS and without."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway import acceptor
from gateway.proxyprotocol import SIGNATURE
from tests.e2e.answering import Answering, closed, started
from tests.e2e.serving import serving
from tests.e2e.stage import GET, Stage, field, fields, stage

LOOPBACK = ["127.0.0.0/8"]
LINE = b"PROXY TCP4 203.0.113.7 198.51.100.1 56324 443\r\n"
BINARY = SIGNATURE + b"\x21\x11\x00\x0f\xcb\x00\x71\x07\xc6\x33\x64\x01\xdc\x04\x01\xbb\x04\x00\x00"
LOCAL = SIGNATURE + b"\x20\x00\x00\x00"


@asynccontextmanager
async def behind_balancer(**more: Any) -> AsyncIterator[tuple[Stage, Answering]]:
    more = {"proxy_protocol": LOOPBACK, **more}
    async with started(Answering()) as [upstream], stage(upstream, **more) as scene:
        yield scene, upstream


def forwarded_for(upstream: Answering) -> bytes | None:
    return field(upstream.heads[-1], b"x-forwarded-for")


def logged(capfd: pytest.CaptureFixture[str], event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.mark.parametrize("header", [LINE, BINARY])
async def test_address_of_the_header_is_the_clients(header: bytes) -> None:
    async with behind_balancer() as (scene, upstream):
        client = await scene.client()
        await client.send(header + GET)
        await client.answer()
        assert forwarded_for(upstream) == b"203.0.113.7"
        await client.send(GET)  # for as long as the connection lasts
        await client.answer()
        assert forwarded_for(upstream) == b"203.0.113.7"


@pytest.mark.parametrize("header", [LOCAL, b"PROXY UNKNOWN\r\n"])
async def test_balancer_that_speaks_for_itself_is_the_client(header: bytes) -> None:
    async with behind_balancer() as (scene, upstream):
        await scene.ask(header + GET)
        assert forwarded_for(upstream) == b"127.0.0.1"


@pytest.mark.parametrize("header", [LINE, BINARY])
async def test_header_may_come_byte_by_byte(header: bytes) -> None:
    async with behind_balancer() as (scene, upstream):
        client = await scene.client()
        client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in header + GET:
            await client.send(bytes((byte,)))
            await asyncio.sleep(0)
        await client.answer()
        assert forwarded_for(upstream) == b"203.0.113.7"


async def test_longest_header_goes_before_a_request_with_a_body() -> None:
    more = bytes((0x04, 0x0F, 0xE1)) + bytes(0x0FE1)
    header = SIGNATURE + b"\x21\x11" + (12 + len(more)).to_bytes(2, "big") + BINARY[16:28] + more
    async with behind_balancer() as (scene, upstream):
        body = b"POST /api/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
        await scene.ask(header + body)
        assert forwarded_for(upstream) == b"203.0.113.7"
        assert upstream.bodies == [b"hello"]


@pytest.mark.parametrize(
    "data", [GET, b"PROXY TCP4 nonsense\r\n" + GET, b"\x16\x03\x01\x02\x00", LINE[:-2] + b"\n"]
)
async def test_balancer_that_sends_no_header_is_closed(
    data: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    async with behind_balancer() as (scene, upstream):
        for _ in range(2):
            client = await scene.client()
            await client.send(data)
            assert await closed(client) == b""
        await scene.ask(LINE + GET)
        assert len(upstream.heads) == 1
    (told,) = logged(capfd, "proxy_header_refused")  # once, until it is well
    assert told["balancer"] == "127.0.0.1"
    assert told["level"] == "WARNING"


async def test_balancer_that_says_nothing_is_closed_in_time(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(acceptor, "ANNOUNCE", 0.05)
    async with behind_balancer() as (scene, _):
        for begin in (b"", LINE[:20], BINARY[:-1]):
            client = await scene.client()
            await client.send(begin)
            assert await closed(client) == b""
        assert not scene.gateway.front.connections
    assert len(logged(capfd, "proxy_header_refused")) == 1


async def test_balancer_that_only_looks_whether_we_are_there_is_no_news(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with behind_balancer() as (scene, _):
        client = await scene.client()
        client.writer.write_eof()
        assert await closed(client) == b""
        (await scene.client()).reset()
        await scene.ask(LOCAL + GET)
    assert logged(capfd, "proxy_header_refused") == []


@pytest.mark.parametrize("header", [LINE, BINARY, LOCAL])
async def test_stranger_that_sends_a_header_is_refused(header: bytes) -> None:
    for networks in ([], ["10.0.0.0/8"]):
        async with behind_balancer(proxy_protocol=networks) as (scene, upstream):
            code, answer = await scene.refused(header + GET)
            assert code == 400
            assert b"200 OK" not in answer
            assert upstream.heads == []


async def test_stranger_needs_no_header() -> None:
    async with behind_balancer(proxy_protocol=["10.0.0.0/8"]) as (scene, upstream):
        await scene.ask(GET)
        assert forwarded_for(upstream) == b"127.0.0.1"


async def test_announced_client_is_trusted_by_its_own_address_only() -> None:
    """That the balancer is trusted makes nobody behind it a proxy."""
    asked = GET.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.99\r\n\r\n")
    async with behind_balancer(trusted_proxies=LOOPBACK) as (scene, upstream):
        await scene.ask(LINE + asked)
        assert forwarded_for(upstream) == b"203.0.113.7"
    async with behind_balancer(trusted_proxies=["203.0.113.0/24"]) as (scene, upstream):
        await scene.ask(LINE + asked)
        assert forwarded_for(upstream) == b"192.0.2.99, 203.0.113.7"


async def test_limits_count_the_announced_address() -> None:
    limit = {"route": {"rate_limit": "1/hour"}}
    async with behind_balancer(**limit) as (scene, _):
        codes = [
            int((await scene.ask(header + GET))[0].split()[1])
            for header in (LINE, BINARY, LINE.replace(b".7 ", b".8 "), LOCAL, LOCAL)
        ]
    assert codes == [200, 429, 200, 200, 429]


async def test_connections_are_counted_by_the_announced_address() -> None:
    limits = {"limits": {"connections_per_address": 1}}
    async with behind_balancer(**limits) as (scene, _):
        first = await scene.client()
        await first.send(LINE + GET)
        await first.answer()
        second = await scene.client()
        await second.send(LINE + GET)
        assert await closed(second) == b""
        other = await scene.client()
        await other.send(LINE.replace(b".7 ", b".8 ") + GET)
        await other.answer()
        await first.close()
        while len(scene.gateway.front.connections) > 1:  # noqa: ASYNC110 - it sets no event
            await asyncio.sleep(0)
        third = await scene.client()
        await third.send(LINE + GET)
        assert (await third.answer())[1] == b"ok"


@pytest.mark.parametrize("header", [LINE, BINARY])
async def test_header_comes_before_tls(header: bytes, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("gateway.test")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(cert)
    issued.private_key_pem.write_to_path(key)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with started(Answering()) as [upstream]:
        settings = {
            "routes": [{"prefix": "/api", "target_url": upstream.url}],
            "tls": {"cert": str(cert), "key": str(key)},
            "proxy_protocol": LOOPBACK,
        }
        async with serving(tmp_path / "gateway.yaml", **settings) as gateway:
            raw = socket.create_connection(("127.0.0.1", gateway.port))
            raw.sendall(header)
            raw.setblocking(False)
            reader, writer = await asyncio.open_connection(
                sock=raw, ssl=context, server_hostname="gateway.test"
            )
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            assert forwarded_for(upstream) == b"203.0.113.7"
            assert (b"x-forwarded-proto", b"https") in fields(upstream.heads[-1])
            line = await gateway.wait_for("request")
            assert line["client_ip"] == "203.0.113.7"
            writer.close()


async def test_reload_changes_who_announces(tmp_path: Path) -> None:
    async with started(Answering()) as [upstream]:
        settings: dict[str, Any] = {"routes": [{"prefix": "/", "target_url": upstream.url}]}
        path = tmp_path / "gateway.yaml"
        async with serving(path, proxy_protocol=LOOPBACK, **settings) as gateway:
            table = {"host": "127.0.0.1", "port": 0, "drain_delay": 0, **settings}
            path.write_text(json.dumps(table))
            gateway.reload()
            await gateway.wait_for("reloaded")
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(GET)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.close()
