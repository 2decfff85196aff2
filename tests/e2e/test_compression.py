"""Compressed answers on real sockets: what arrives, when it arrives, and what it costs others."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import threading
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import brotli
import pytest
from backports import zstd

from tests.e2e.life import Metrics
from tests.e2e.serving import serving
from tests.e2e.stage import PATIENCE, Connection, Stage, field, stage

MIB = 1 << 20
DECODE = {
    b"zstd": zstd.decompress,
    b"br": brotli.decompress,
    b"gzip": lambda data: zlib.decompress(data, 31),
}
ROWS = [{"id": number, "name": f"item {number}", "price": number * 1.25} for number in range(2000)]
BODY = json.dumps(ROWS).encode()
TEXT = b"Content-Type: text/plain"


def get(accept: bytes = b"gzip", *lines: bytes, minor: int = 1, method: bytes = b"GET") -> bytes:
    first = method + b" /api/x HTTP/1.%d" % minor
    return b"\r\n".join((first, b"Host: a", b"Accept-Encoding: " + accept, *lines, b"", b""))


def answer(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> bytes:
    length = b"Content-Length: %d" % len(body)
    return b"\r\n".join((b"HTTP/1.1 " + status, TEXT, length, *lines, b"", b"")) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def asked(scene: Stage, request: bytes) -> tuple[Connection, Connection]:
    """A client that has asked, and the upstream's end."""
    client = await scene.client()
    await client.send(request)
    target = await scene.upstream.accept()
    await target.head()
    return client, target


async def body_of(client: Connection, head: bytes) -> bytes:
    """An answer's body, by length or in chunks."""
    if field(head, b"transfer-encoding") is None:
        return await client.exactly(int(field(head, b"content-length") or 0))
    body = b""
    while size := int(await client.until(b"\r\n"), 16):
        body += await client.exactly(size)
        await client.until(b"\r\n")
    await client.until(b"\r\n")
    return body


@pytest.mark.parametrize("coding", DECODE)
@pytest.mark.parametrize("size", [2000, len(BODY)])
async def test_answer_is_what_the_upstream_sent(coding: bytes, size: int) -> None:
    async with stage(route={"compress": True}) as scene:
        client, target = await asked(scene, get(coding))
        await target.send(answer(BODY[:size], b'ETag: "1"', b"Accept-Ranges: bytes"))
        head = await client.head()
        body = await body_of(client, head)
        assert DECODE[coding](body) == BODY[:size]
        assert len(body) < size / 2
        assert field(head, b"content-encoding") == coding
        assert field(head, b"etag") == b'W/"1"'
        assert field(head, b"vary") == b"Accept-Encoding"
        assert field(head, b"accept-ranges") is None
        saved = scene.gateway.metrics.compression_saved.child("api")._cell[0]
        assert saved == size - len(body)


async def test_connection_is_kept_between_answers_of_all_kinds() -> None:
    async with stage(route={"compress": True}) as scene:
        client, target = await asked(scene, get())
        for size in (len(BODY), 10, 5000, len(BODY)):
            await target.send(answer(BODY[:size]))
            head = await client.head()
            body = await body_of(client, head)
            coded = field(head, b"content-encoding") == b"gzip"
            assert coded is (size > 1024)
            assert (DECODE[b"gzip"](body) if coded else body) == BODY[:size]
            await client.send(get())
            await target.head()


async def test_answer_to_http_1_0_ends_with_the_connection_or_its_length() -> None:
    async with stage(route={"compress": True}) as scene:
        client, target = await asked(scene, get(minor=0))
        await target.send(b"HTTP/1.1 200 OK\r\n" + TEXT + b"\r\n\r\n")
        head = await client.head()
        await target.send(BODY)
        await target.close()
        assert field(head, b"transfer-encoding") is None
        assert DECODE[b"gzip"](await client.rest()) == BODY


@pytest.mark.parametrize("coding", DECODE)
async def test_first_bytes_of_a_slow_source_are_not_withheld(coding: bytes) -> None:
    """Each part is read, and can be decoded, before the next one is sent."""
    decoders: dict[bytes, Any] = {
        b"zstd": lambda: zstd.ZstdDecompressor().decompress,
        b"br": lambda: brotli.Decompressor().process,
        b"gzip": lambda: zlib.decompressobj(31).decompress,
    }
    decode = decoders[coding]()
    async with stage(route={"compress": True}) as scene:
        client, target = await asked(scene, get(coding))
        await target.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + TEXT + b"\r\n\r\n")
        assert field(await client.head(), b"content-encoding") == coding
        for part in (b"one", b"two", b"three" * 4000):
            await target.send(chunk(part))
            seen = b""
            while len(seen) < len(part):
                size = int(await client.until(b"\r\n"), 16)
                seen += decode(await client.exactly(size))
                await client.until(b"\r\n")
            assert seen == part
        await target.send(b"0\r\n\r\n")
        assert await client.until(b"0\r\n\r\n")


async def test_events_pass_as_they_are() -> None:
    async with stage(route={"compress": True}) as scene:
        client, target = await asked(scene, get())
        await target.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        assert field(await client.head(), b"content-encoding") is None
        await target.send(b"data: 1\n\n")
        assert await client.until(b"data: 1\n\n")


async def test_part_of_a_body_passes_as_it_is() -> None:
    async with stage(route={"compress": True}) as scene:
        client, target = await asked(scene, get(b"gzip", b"Range: bytes=0-2999"))
        part = b"Content-Range: bytes 0-2999/9000"
        await target.send(answer(BODY[:3000], part, b'ETag: "1"', status=b"206 Partial Content"))
        head, body = await client.answer()
        assert body == BODY[:3000]
        assert field(head, b"content-range") == b"bytes 0-2999/9000"
        assert field(head, b"etag") == b'"1"'


async def test_client_revalidates_with_the_etag_it_was_given() -> None:
    async with stage(route={"compress": True}) as scene:
        client = await scene.client()
        await client.send(get(b"gzip", b'If-None-Match: W/"1"'))
        target = await scene.upstream.accept()
        assert b'If-None-Match: W/"1"\r\n' in await target.head()
        await target.send(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n')
        head = await client.head()
        assert field(head, b"etag") == b'W/"1"'
        assert field(head, b"vary") == b"Accept-Encoding"


async def test_head_request_passes_as_it_is() -> None:
    async with stage(route={"compress": True}) as scene:
        client, target = await asked(scene, get(method=b"HEAD"))
        await target.send(answer(BODY)[: -len(BODY)])
        head = await client.head()
        assert field(head, b"content-length") == b"%d" % len(BODY)
        assert field(head, b"content-encoding") is None


async def test_upstream_that_dies_behind_the_head_of_a_coded_answer_cuts_it() -> None:
    async with stage(route={"compress": True}) as scene:
        client, target = await asked(scene, get())
        await target.send(answer(BODY)[:-10])
        head = await client.head()
        assert field(head, b"content-encoding") == b"gzip"
        target.reset()
        with pytest.raises(ConnectionError):
            await client.rest()


async def test_route_without_it_passes_all_as_it_is() -> None:
    async with stage() as scene:
        client, target = await asked(scene, get())
        await target.send(answer(BODY))
        head, body = await client.answer()
        assert body == BODY
        assert field(head, b"vary") is None


# ------------------------------------------------------------------------------------- at large


DIGITS = random.Random(7).randbytes(MIB).hex().encode()  # half of it can be saved


def large(pieces: int) -> Iterable[bytes]:
    """So many pieces of 1 MiB, each another one."""
    for number in range(pieces):
        at = number * 4099 % MIB
        yield DIGITS[at : at + MIB]


class Source:
    """An upstream in a thread that sends a body of so many MiB to whoever asks."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces
        self.sent = 0
        self.broken = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client,), daemon=True).start()

    def _answer(self, client: socket.socket) -> None:
        with client:
            small = b"/small" in client.recv(65536)
            pieces = [b"small"] if small else large(self.pieces)
            size = 5 if small else self.pieces * MIB
            try:
                client.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n"
                    b"Content-Length: %d\r\n\r\n" % size
                )
                for piece in pieces:
                    client.sendall(piece)
                    self.sent += len(piece)
            except OSError:
                self.broken.set()

    def close(self) -> None:
        self._server.close()


def fetched(port: int, coding: bytes, expected: int) -> int:
    """Bytes of a large answer, which is compared with what it has to be as it is decoded."""
    decode: Any = zlib.decompressobj(31).decompress
    if coding == b"zstd":
        decode = zstd.ZstdDecompressor().decompress
    wanted, want, coded = large(expected), b"", 0
    pieces = iter(wanted)
    with socket.create_connection(("127.0.0.1", port), PATIENCE * 4) as client:
        client.sendall(get(coding, b"Connection: close", minor=0).replace(b"/api/x", b"/"))
        reader = client.makefile("rb")
        while reader.readline() != b"\r\n":
            pass
        while data := reader.read1(65536):
            coded += len(data)
            plain = decode(data)
            while plain:
                want = want or next(pieces)
                size = min(len(plain), len(want))
                assert plain[:size] == want[:size]
                plain, want = plain[size:], want[size:]
    assert not want
    assert next(pieces, None) is None
    return coded


@pytest.mark.parametrize("coding", [b"gzip", b"zstd"])
async def test_large_body_is_coded_whole_in_flat_memory_while_others_are_served(
    tmp_path: Path, coding: bytes
) -> None:
    source = Source(48)
    routes = [{"name": "all", "prefix": "/", "target_url": source.url, "compress": True}]
    async with serving(tmp_path / "g.yaml", routes=routes) as gateway:
        await asyncio.to_thread(small_answer, gateway.port)
        before = gateway.memory("VmRSS")
        gateway.forget_peak()
        fetching = asyncio.create_task(asyncio.to_thread(fetched, gateway.port, coding, 48))
        others = 0
        while not fetching.done():
            await asyncio.to_thread(small_answer, gateway.port)
            others += 1
        coded = await fetching
        assert coded < 30 * MIB
        assert gateway.memory("VmHWM") - before < 8 * MIB
        assert others > 3
        text = await asyncio.to_thread(metrics, gateway.port)
        saved = Metrics(text).value("gateway_compression_saved_bytes_total", route="all")
        assert saved == 48 * MIB - coded
    source.close()


def small_answer(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), PATIENCE * 4) as client:
        client.sendall(b"GET /small HTTP/1.0\r\n\r\n")
        assert client.makefile("rb").read().endswith(b"\r\n\r\nsmall")


def metrics(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), PATIENCE * 4) as client:
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        return client.makefile("rb").read().partition(b"\r\n\r\n")[2].decode()


async def test_slow_reader_of_a_coded_body_keeps_its_source_waiting(tmp_path: Path) -> None:
    source = Source(4096)
    routes = [{"prefix": "/", "target_url": source.url, "compress": {"codings": ["zstd"]}}]
    async with serving(tmp_path / "g.yaml", routes=routes) as gateway:
        await asyncio.to_thread(small_answer, gateway.port)
        before = gateway.memory("VmRSS")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", gateway.port))
            client.sendall(get(b"zstd").replace(b"/api/x", b"/"))
            sent = -1
            async with asyncio.timeout(PATIENCE * 8):
                while sent != source.sent or not sent:
                    sent = source.sent
                    await asyncio.sleep(0.3)
            assert source.sent < 64 * MIB  # what fills the buffers on both hops, twice
            assert gateway.memory("VmRSS") - before < 8 * MIB
        assert await asyncio.to_thread(source.broken.wait, PATIENCE)  # who leaves ends it
        await asyncio.to_thread(small_answer, gateway.port)
    source.close()


async def test_client_that_leaves_while_it_is_coded_leaves_nothing_behind(tmp_path: Path) -> None:
    source = Source(1024)
    routes = [{"prefix": "/", "target_url": source.url, "compress": {"codings": ["gzip"]}}]
    async with serving(tmp_path / "g.yaml", routes=routes) as gateway:
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", gateway.port)) as client:
                client.sendall(get(b"gzip").replace(b"/api/x", b"/"))
                await asyncio.to_thread(client.recv, 1)
            assert await asyncio.to_thread(source.broken.wait, PATIENCE)
            source.broken.clear()
        await gateway.wait_for("request", 5)
        assert [line["event"] for line in gateway.events if line["level"] == "ERROR"] == []
        text = await asyncio.to_thread(metrics, gateway.port)
        assert Metrics(text).value("gateway_open_connections") == 1
    source.close()
