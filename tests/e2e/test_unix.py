"""Upstreams on Unix sockets, and upstreams with a name."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.answering import Answering, answering, body, in_front, request, started, status
from tests.e2e.stage import field


async def test_a_unix_socket_is_an_upstream_like_any_other(tmp_path: Path) -> None:
    async with (
        started(Answering(b"here"), at=tmp_path / "s") as [upstream],
        in_front(f"unix://{tmp_path}/s") as scene,
    ):
        assert [await body(scene, request(b"/a%2Fb?c")) for _ in range(2)] == [b"here"] * 2
        assert upstream.targets == [b"/a%2Fb?c"] * 2
        assert field(upstream.heads[0], b"host") == b"a"
        assert len(upstream.connections) == 1


async def test_a_host_of_its_own_is_localhost(tmp_path: Path) -> None:
    async with (
        started(Answering(b"here"), at=tmp_path / "s") as [upstream],
        in_front(f"unix://{tmp_path}/s", route={"preserve_host": False}) as scene,
    ):
        assert await body(scene) == b"here"
        assert field(upstream.heads[0], b"host") == b"localhost"


async def test_a_socket_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    async with in_front(f"unix://{tmp_path}/missing") as scene:
        head, text = await scene.ask(request())
        assert head.startswith(b"HTTP/1.1 503 ")
        assert str(tmp_path).encode() not in text


async def test_a_socket_that_appears_later_is_found(tmp_path: Path) -> None:
    async with in_front(f"unix://{tmp_path}/s") as scene:
        assert await status(scene) == 503
        async with started(Answering(b"here"), at=tmp_path / "s"):
            assert await body(scene) == b"here"


async def test_a_large_body_passes_both_ways(tmp_path: Path) -> None:
    data = bytes(range(251)) * 8000
    async with (
        started(Answering(data), at=tmp_path / "s") as [upstream],
        in_front(f"unix://{tmp_path}/s") as scene,
    ):
        client = await scene.client()
        client.writer.write(request(method=b"PUT", body=data))
        assert (await client.answer())[1] == data
        assert upstream.bodies == [data]


async def test_a_unix_socket_is_checked_for_health(tmp_path: Path) -> None:
    check = {"path": "/health", "interval": 0.05, "timeout": 0.05, "unhealthy_after": 1}
    async with (
        started(Answering(b"here"), at=tmp_path / "s") as [upstream],
        in_front(f"unix://{tmp_path}/s", health_check=check) as scene,
    ):
        upstream.status = 500
        while await status(scene) != 503:
            assert len(upstream.heads) < 10000
        assert b"/health" in upstream.targets


async def test_a_name_is_resolved() -> None:
    async with (
        answering(b"here") as [upstream],
        in_front(f"http://localhost:{upstream.port}") as scene,
    ):
        assert await body(scene) == b"here"
        assert len(upstream.connections) == 1
