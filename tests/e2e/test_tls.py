"""TLS on both sides: who is believed, by what name, and certificates that change."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.e2e.answering import (
    Answering,
    answering,
    body,
    in_front,
    is_cut,
    request,
    started,
    status,
)
from tests.e2e.serving import serving
from tests.e2e.stage import PATIENCE, Connection, Stage


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca(authority: trustme.CA, tmp_path: Path) -> str:
    """The authority's own certificate, as a file."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server_side(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@asynccontextmanager
async def secured(
    authority: trustme.CA, *names: str, **table: Any
) -> AsyncIterator[tuple[Stage, Answering]]:
    """A gateway before an `https://` target whose certificate has these names."""
    upstream = Answering(b"secret", tls=server_side(authority, *names))
    async with started(upstream), in_front([upstream], **table) as scene:
        yield scene, upstream


# ---------------------------------------------------------------------------------- upstreams


async def test_a_private_authority_is_believed_where_it_was_named(
    authority: trustme.CA, ca: str
) -> None:
    async with secured(authority, "127.0.0.1", tls={"ca": ca}) as (scene, upstream):
        assert [await body(scene) for _ in range(3)] == [b"secret"] * 3
        assert len(upstream.connections) == 1
        assert upstream.names_asked_for == [None]  # an address is no name (RFC 6066, 3)


async def test_a_private_authority_is_not_believed_where_it_was_not(
    authority: trustme.CA,
) -> None:
    async with secured(authority, "127.0.0.1") as (scene, upstream):
        head, text = await scene.ask(request())
        assert head.startswith(b"HTTP/1.1 502 ")
        assert b'"error":"bad_gateway"' in text
        assert b"127.0.0.1" not in text
        assert upstream.heads == []


async def test_another_authority_is_a_bad_gateway(authority: trustme.CA, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    async with secured(authority, "127.0.0.1", tls={"ca": str(other)}) as (scene, upstream):
        assert await status(scene) == 502
        assert upstream.heads == []


async def test_a_certificate_for_another_host_is_a_bad_gateway(
    authority: trustme.CA, ca: str
) -> None:
    async with secured(authority, "other.test", tls={"ca": ca}) as (scene, upstream):
        assert await status(scene) == 502
        assert upstream.heads == []


async def test_a_server_name_is_asked_for_and_looked_for(authority: trustme.CA, ca: str) -> None:
    tls = {"ca": ca, "server_name": "inner.test"}
    async with secured(authority, "inner.test", tls=tls) as (scene, upstream):
        assert await body(scene) == b"secret"
        assert upstream.names_asked_for == ["inner.test"]


async def test_a_server_name_that_is_not_found_is_a_bad_gateway(
    authority: trustme.CA, ca: str
) -> None:
    tls = {"ca": ca, "server_name": "inner.test"}
    async with secured(authority, "127.0.0.1", tls=tls) as (scene, _):
        assert await status(scene) == 502


async def test_checking_can_be_turned_off(authority: trustme.CA) -> None:
    async with secured(authority, "other.test", tls={"verify": False}) as (scene, _):
        assert await body(scene) == b"secret"


async def test_a_target_that_speaks_no_tls_is_a_bad_gateway(ca: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 What\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with in_front(url, tls={"ca": ca}) as scene:
        assert await status(scene) == 502
    server.close()


async def test_a_handshake_that_never_ends_is_a_timeout(ca: str) -> None:
    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with in_front(url, tls={"ca": ca}, settings={"connect_timeout": 0.2}) as scene:
        assert await status(scene) == 504
    server.close()


async def test_a_large_body_passes_over_tls_both_ways(authority: trustme.CA, ca: str) -> None:
    data = bytes(range(251)) * 8000
    async with secured(authority, "127.0.0.1", tls={"ca": ca}) as (scene, upstream):
        upstream.name = data
        client = await scene.client()
        client.writer.write(request(method=b"PUT", body=data))
        assert (await client.answer())[1] == data
        assert upstream.bodies == [data]


@pytest.mark.parametrize(("polite", "minor"), [(True, 0), (True, 1), (False, 0), (False, 1)])
async def test_an_end_that_was_not_said_securely_is_none(
    polite: bool, minor: int, authority: trustme.CA, ca: str
) -> None:
    """Anybody on the way can forge the end of a connection, but not its closing alert."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nsome")
        await reader.read(1)
        if not polite:
            writer.transport.abort()
        writer.close()

    tls = server_side(authority, "127.0.0.1")
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with in_front(url, tls={"ca": ca}) as scene:
        client = await scene.client()
        await client.send(b"PUT / HTTP/1.%d\r\nHost: a\r\nContent-Length: 1\r\n\r\n" % minor)
        await client.until(b"some\r\n" if minor else b"some")
        await client.send(b"x")  # the sign to end
        if polite:
            assert await client.exactly(5) == b"0\r\n\r\n" if minor else not await client.rest()
        else:
            await is_cut(client)
    server.close()


async def test_health_checks_use_the_upstreams_tls(authority: trustme.CA, ca: str) -> None:
    check = {"path": "/health", "interval": 0.05, "timeout": 0.05, "unhealthy_after": 1}
    tls = {"ca": ca, "server_name": "inner.test"}
    async with secured(authority, "inner.test", tls=tls, health_check=check) as (scene, upstream):
        async with asyncio.timeout(PATIENCE):
            while len(upstream.heads) < 2:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)
        assert await body(scene) == b"secret"


# ------------------------------------------------------------------------------ listening side


class Identity:
    """A certificate and its key in two files, which can be replaced."""

    def __init__(self, folder: Path) -> None:
        self.cert = folder / "cert.pem"
        self.key = folder / "key.pem"

    def renew(self, authority: trustme.CA) -> None:
        issued = authority.issue_cert("localhost", "127.0.0.1")
        self.key.write_bytes(issued.private_key_pem.bytes())
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    @property
    def settings(self) -> dict[str, str]:
        return {"cert": str(self.cert), "key": str(self.key)}


@pytest.fixture
def identity(authority: trustme.CA, tmp_path: Path) -> Identity:
    made = Identity(tmp_path)
    made.renew(authority)
    return made


async def secure_client(port: int, authority: trustme.CA) -> Connection:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    return Connection(reader, writer)


def serial(client: Connection) -> Any:
    return client.writer.get_extra_info("peercert")["serialNumber"]


async def test_clients_are_served_over_tls_and_the_upstream_is_told(
    authority: trustme.CA, identity: Identity, tmp_path: Path
) -> None:
    async with answering(b"ok") as [upstream]:
        routes = [{"prefix": "/", "target_url": upstream.url}]
        config = tmp_path / "g.yaml"
        async with serving(config, tls=identity.settings, routes=routes) as gateway:
            client = await secure_client(gateway.port, authority)
            for _ in range(2):
                await client.send(request())
                assert (await client.answer())[1] == b"ok"
            assert b"\r\nX-Forwarded-Proto: https\r\n" in upstream.heads[0]
            big = bytes(range(251)) * 8000
            upstream.name = big
            client.writer.write(request(method=b"PUT", body=big))
            assert (await client.answer())[1] == big
            assert upstream.bodies[-1] == big
            await client.close()


async def test_a_new_certificate_is_shown_after_a_reload_and_open_connections_stay(
    authority: trustme.CA, identity: Identity, tmp_path: Path
) -> None:
    async with answering(b"ok") as [upstream]:
        routes = [{"prefix": "/", "target_url": upstream.url}]
        config = tmp_path / "g.yaml"
        async with serving(config, tls=identity.settings, routes=routes) as gateway:
            before = await secure_client(gateway.port, authority)
            identity.renew(authority)
            gateway.reload()
            await gateway.wait_for("reloaded")
            after = await secure_client(gateway.port, authority)
            assert serial(before) != serial(after)
            for client in (before, after):
                await client.send(request())
                assert (await client.answer())[1] == b"ok"
                await client.close()


async def test_a_broken_certificate_is_refused_and_the_old_one_stays(
    authority: trustme.CA, identity: Identity, tmp_path: Path
) -> None:
    config = tmp_path / "g.yaml"
    async with serving(config, tls=identity.settings) as gateway:
        before = await secure_client(gateway.port, authority)
        identity.cert.write_text("no certificate")
        gateway.reload()
        assert "tls" in (await gateway.wait_for("reload_refused"))["problem"]
        after = await secure_client(gateway.port, authority)
        assert serial(before) == serial(after)
        await before.close()
        await after.close()


async def test_plain_http_and_a_client_that_says_nothing_do_no_harm(
    authority: trustme.CA, identity: Identity, tmp_path: Path
) -> None:
    async with serving(tmp_path / "g.yaml", tls=identity.settings) as gateway:
        silent = Connection(*await asyncio.open_connection("127.0.0.1", gateway.port))
        plain = Connection(*await asyncio.open_connection("127.0.0.1", gateway.port))
        await plain.send(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"200" not in await plain.rest()
        client = await secure_client(gateway.port, authority)
        await client.send(request(b"/health/live"))
        assert (await client.answer())[0].startswith(b"HTTP/1.1 200 ")
        for one in (silent, plain, client):
            await one.close()


async def test_a_failure_in_mid_answer_has_no_secure_end(
    authority: trustme.CA, identity: Identity, tmp_path: Path
) -> None:
    """Over TLS an end is one when the peer said so (RFC 9112, 9.8): here it must not."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    target = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    routes = [{"prefix": "/", "target_url": target, "timeout": 0.3}]
    async with serving(tmp_path / "g.yaml", tls=identity.settings, routes=routes) as gateway:
        client = await secure_client(gateway.port, authority)
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        await client.until(b"half")
        with pytest.raises((ConnectionResetError, ssl.SSLError)):
            await client.rest()
        await client.close()
    server.close()
