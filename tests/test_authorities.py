"""The system's authorities: left unread by what is imported, read by whoever trusts them first."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import connector as library

from gateway import authorities
from gateway.proxy.dial import DEFAULT, Connector
from tests.e2e.answering import Answering, started
from tests.e2e.life import Program, route


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """All that the system trusts."""
    made = trustme.CA()
    made.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    return made


def known(context: ssl.SSLContext) -> int:
    return context.cert_store_stats()["x509_ca"]


def test_a_context_made_meanwhile_trusts_nobody_until_it_is_read(authority: trustme.CA) -> None:
    with authorities.unread():
        context = ssl.create_default_context()
    assert known(context) == 0
    for _ in range(2):
        authorities.read(context)
        assert known(context) == 1


def test_what_could_not_be_read_is_read_the_next_time(
    authority: trustme.CA,
) -> None:
    with authorities.unread():
        context = ssl.create_default_context()
        authorities.read(context)  # silent, as it is without a free descriptor
    assert known(context) == 0
    authorities.read(context)
    assert known(context) == 1


def test_the_environment_is_as_it_was_afterwards(authority: trustme.CA) -> None:
    before = dict(os.environ)
    with pytest.raises(ImportError), authorities.unread():
        raise ImportError
    assert dict(os.environ) == before


async def test_a_connector_reads_them_for_its_default_context_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[ssl.SSLContext] = []
    monkeypatch.setattr(authorities, "read", read.append)
    own = ssl.create_default_context()
    async with Connector() as connector, aiohttp.ClientSession(connector=connector) as session:

        def context(url: str, trust: bool | ssl.SSLContext) -> ssl.SSLContext | None:
            request = aiohttp.ClientRequest(
                "GET", aiohttp.client.URL(url), session=session, loop=connector._loop, ssl=trust
            )
            return connector._get_ssl_context(request)

        assert context("http://a/", True) is None
        assert context("https://a/", own) is own
        assert context("https://a/", False) is library._SSL_CONTEXT_UNVERIFIED
        assert read == []
        assert context("https://a/", True) is DEFAULT
        assert read == [DEFAULT]


async def test_a_process_trusts_whom_the_system_trusts(
    authority: trustme.CA, tmp_path: Path
) -> None:
    side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(side)
    async with started(Answering(b"secret", tls=side)) as [upstream]:
        for trusted, status in ((str(tmp_path / "ca.pem"), 200), (os.devnull, 502)):
            gateway = Program(tmp_path / "gateway.yaml")
            gateway.write(routes=[route(upstream)])
            await gateway.start(SSL_CERT_FILE=trusted, SSL_CERT_DIR=os.devnull)
            try:
                got, _, _ = await gateway.get("/api/x")
            finally:
                await gateway.kill()
            assert got == status
