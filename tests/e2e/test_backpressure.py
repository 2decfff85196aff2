"""Large bodies past slow readers: the sender stops, and the gateway's memory stays as it was.

The gateway runs in a process of its own, and its memory is read from /proc; sources and sinks are
threads with blocking sockets, which make up what they send. A sink that does not read fills the
kernel's buffers on both hops and the gateway's own, and no more.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
import trustme

from tests.e2e.serving import Serving, serving
from tests.e2e.stage import PATIENCE

MIB = 1 << 20
GIB = 1 << 30
FLAT = 8 * MIB  # what the process may grow by
IN_BUFFERS = 32 * MIB  # what two connections may hold (net.ipv4.tcp_rmem, tcp_wmem: 6 and 4 MiB)
STALLED = 0.3  # s in which nothing was sent
BLOCK = bytes(range(256)) * 4096


class Counted:
    """Bytes so far, and whether they still flow."""

    def __init__(self) -> None:
        self.bytes = 0

    async def stalls(self) -> int:
        """Wait until nothing has flowed for a while; how much it was."""
        async with asyncio.timeout(4 * PATIENCE):
            before = -1
            while before != self.bytes or not before:
                before = self.bytes
                await asyncio.sleep(STALLED)
        return before

    def send(self, to: socket.socket, size: int, chunks: bool) -> None:
        """`size` bytes, a block at a time, by length or in chunks."""
        block = memoryview(b"%x\r\n%b\r\n" % (MIB, BLOCK) if chunks else BLOCK)
        while self.bytes < size:
            left = block
            while left:
                left = left[to.send(left) :]
            self.bytes += MIB
        if chunks:
            to.sendall(b"0\r\n\r\n")

    def read(self, source: socket.socket, size: int) -> None:
        """At least `size` bytes (chunks bring more), to be thrown away."""
        room = bytearray(MIB)
        while self.bytes < size:
            count = source.recv_into(room)
            assert count, f"it ended at {self.bytes} of {size}"
            self.bytes += count


def head_of(source: socket.socket) -> bytes:
    """A head, byte by byte, so that nothing behind it is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = source.recv(1)
        assert byte, head
        head += byte
    return head


def framing(size: int, chunks: bool) -> bytes:
    return b"Transfer-Encoding: chunked" if chunks else b"Content-Length: %d" % size


@contextmanager
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(4 * PATIENCE)
        yield server


class Hops:
    """Which hop is secured, by whose word."""

    def __init__(self, secure: str, path: Path) -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        self._client = self._server = None
        self.path = path
        self.scheme = "http"
        self.upstream: dict[str, object] = {}
        self.settings: dict[str, object] = {}
        if secure == "client":
            issued.private_key_pem.write_to_path(path / "key.pem")
            issued.cert_chain_pems[0].write_to_path(path / "cert.pem")
            self.settings = {"tls": {"cert": f"{path}/cert.pem", "key": f"{path}/key.pem"}}
            self._client = ssl.create_default_context()
            authority.configure_trust(self._client)
        if secure == "upstream":
            authority.cert_pem.write_to_path(path / "ca.pem")
            self.scheme = "https"
            self.upstream = {"tls": {"ca": f"{path}/ca.pem"}}
            self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            issued.configure_cert(self._server)

    def accepted(self, server: socket.socket) -> socket.socket:
        plain, _ = server.accept()
        plain.settimeout(4 * PATIENCE)
        return plain if self._server is None else self._server.wrap_socket(plain, server_side=True)

    def connected(self, gateway: Serving) -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", gateway.port), 4 * PATIENCE)
        if self._client is None:
            return plain
        return self._client.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.fixture
def hops(request: pytest.FixtureRequest, tmp_path: Path) -> Hops:
    return Hops(getattr(request, "param", ""), tmp_path)


@asynccontextmanager
async def gateway_before(server: socket.socket, hops: Hops) -> AsyncIterator[Serving]:
    target = f"{hops.scheme}://127.0.0.1:{server.getsockname()[1]}"
    upstreams = {"slow": {"targets": [target], **hops.upstream}}
    routes = [{"prefix": "/", "upstream": "slow", "max_body_size": 0}]
    table = {"upstreams": upstreams, "routes": routes, **hops.settings}
    async with serving(hops.path / "g.yaml", **table) as gateway:
        # What is made on first use is made now.
        with await asyncio.to_thread(hops.connected, gateway) as client:
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.to_thread(head_of, client)
        yield gateway


SHAPES = pytest.mark.parametrize(
    ("size", "chunks", "hops"),
    [
        pytest.param(GIB, False, "", id="length"),
        pytest.param(GIB // 4, True, "", id="chunks"),
        pytest.param(GIB // 8, False, "client", id="secure client"),
        pytest.param(GIB // 8, False, "upstream", id="secure upstream"),
    ],
    indirect=["hops"],
)


@SHAPES
async def test_a_body_waits_for_its_slow_reader(size: int, chunks: bool, hops: Hops) -> None:
    sent, received = Counted(), Counted()

    def answer() -> None:
        with hops.accepted(server) as source:
            head_of(source)
            source.sendall(b"HTTP/1.1 200 OK\r\n" + framing(size, chunks) + b"\r\n\r\n")
            sent.send(source, size, chunks)
            assert not source.recv(1)

    with listening() as server:
        async with gateway_before(server, hops) as gateway:
            upstream = asyncio.create_task(asyncio.to_thread(answer))
            before = gateway.memory("VmRSS")
            gateway.forget_peak()
            with await asyncio.to_thread(hops.connected, gateway) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await asyncio.to_thread(head_of, client)
                assert await sent.stalls() < IN_BUFFERS
                await asyncio.to_thread(received.read, client, size)
            assert gateway.memory("VmHWM") - before < FLAT
            assert await gateway.stop() == 0
            await upstream


@SHAPES
async def test_an_upload_waits_for_its_slow_upstream(size: int, chunks: bool, hops: Hops) -> None:
    sent, received = Counted(), Counted()
    willing = threading.Event()

    def answer() -> None:
        with hops.accepted(server) as sink:
            head_of(sink)
            assert willing.wait(4 * PATIENCE)
            received.read(sink, size)
            sink.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            sink.recv(MIB)

    def upload(client: socket.socket) -> bytes:
        client.sendall(b"PUT / HTTP/1.1\r\nHost: a\r\n" + framing(size, chunks) + b"\r\n\r\n")
        sent.send(client, size, chunks)
        return head_of(client)

    with listening() as server:
        async with gateway_before(server, hops) as gateway:
            upstream = asyncio.create_task(asyncio.to_thread(answer))
            before = gateway.memory("VmRSS")
            gateway.forget_peak()
            with await asyncio.to_thread(hops.connected, gateway) as client:
                uploading = asyncio.create_task(asyncio.to_thread(upload, client))
                assert await sent.stalls() < IN_BUFFERS
                willing.set()
                assert (await uploading).startswith(b"HTTP/1.1 200 OK\r\n")
            assert gateway.memory("VmHWM") - before < FLAT
            await gateway.stop()
            await upstream


async def test_many_slow_readers_cost_a_buffer_each(hops: Hops) -> None:
    readers = 20
    sent = [Counted() for _ in range(readers)]

    def answer(counted: Counted, source: socket.socket) -> None:
        with source:
            head_of(source)
            source.sendall(b"HTTP/1.1 200 OK\r\n" + framing(GIB, chunks=False) + b"\r\n\r\n")
            with pytest.raises(OSError):  # noqa: PT011 - the reader leaves
                counted.send(source, GIB, chunks=False)

    with listening() as server:
        async with gateway_before(server, hops) as gateway:
            before = gateway.memory("VmRSS")
            clients, answers = [], []
            for counted in sent:
                client = hops.connected(gateway)
                clients.append(client)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                source, _ = await asyncio.to_thread(server.accept)
                thread = threading.Thread(target=answer, args=(counted, source))
                thread.start()
                answers.append(thread)
            await sent[-1].stalls()
            # Each the gateway's buffer and what came with the read that filled it (256 KiB).
            assert gateway.memory("VmRSS") - before < readers * MIB // 2 + FLAT
            for client in clients:
                client.close()
            for thread in answers:
                await asyncio.to_thread(thread.join, PATIENCE)
                assert not thread.is_alive()  # a reader that left stopped its sender, too
