from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from bench import wsload
from bench.upstream.echo import Echo, accept_key, frame, split_frame


@pytest.fixture
async def echo_port() -> AsyncIterator[int]:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


class Silent(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")  # type: ignore[attr-defined]


async def test_load_against_the_echo_counts_answers_without_errors(echo_port: int) -> None:
    found = await wsload.run(echo_port, connections=4, seconds=0.1, size=32)

    assert found["requests"] > 4
    assert [found[name] for name in ("connect", "read", "wrong")] == [0, 0, 0]
    assert 0 < found["p50_us"] <= found["p95_us"] <= found["p99_us"] <= found["max_us"]


async def test_refused_upgrades_are_failed_connections() -> None:
    server = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        found = await wsload.run(port, connections=3, seconds=0.05, size=32)

    assert found["connect"] == 3
    assert found["requests"] == 0


def test_accept_key_is_the_one_of_the_rfc() -> None:
    # RFC 6455 section 1.3
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_masked_hello_of_the_rfc_is_read_unmasked() -> None:
    # RFC 6455 section 5.7
    masked = bytes.fromhex("818537fa213d7f9f4d5158")

    assert split_frame(masked + b"next") == (0x81, b"Hello", len(masked))


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536])
def test_frame_of_any_length_is_read_back_whole_and_never_early(size: int) -> None:
    plain = frame(0x82, b"x" * size)
    masked = bytes((plain[0], plain[1] | 0x80)) + plain[2 : len(plain) - size]
    masked += b"\0\0\0\0" + b"x" * size

    assert split_frame(masked) == (0x82, b"x" * size, len(masked))
    assert split_frame(masked[:-1]) is None


def test_percentile_of_an_ordered_list_is_the_value_at_its_share() -> None:
    assert wsload.percentile(list(range(100)), 0.95) == 95
    assert wsload.percentile([7], 0.99) == 7
    assert wsload.percentile([], 0.5) == 0
