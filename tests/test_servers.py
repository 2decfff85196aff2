"""The servers that other tests rely on: they answer, come back, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from uuid import uuid4

import asyncpg
import nats
import pytest
import redis.asyncio
import uvloop

from tests import servers
from tests.servers import Server, ServerError

EVERY_SERVER = pytest.mark.parametrize("kind", [servers.postgres, servers.valkey, servers.nats])
Kind = Callable[[], AbstractContextManager[Server]]


async def test_asynchronous_test_runs_on_uvloop() -> None:
    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)


async def test_postgres_answers_a_query(postgres_url: str) -> None:
    connection = await asyncpg.connect(postgres_url)
    try:
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        await connection.close()


async def test_redis_answers_a_ping(redis_url: str) -> None:
    async with redis.asyncio.from_url(redis_url) as client:
        assert await client.ping() is True


async def test_nats_answers_a_flush_and_has_jetstream(nats_url: str) -> None:
    client = await nats.connect(nats_url)
    try:
        await client.flush(timeout=5)
        streams, name = client.jetstream(), uuid4().hex
        await streams.add_stream(name=name, subjects=[name])
        assert (await streams.publish(name, b"kept")).seq == 1
        await streams.delete_stream(name)
    finally:
        await client.close()


async def test_postgres_keeps_its_rows_over_a_stop(postgres_server: Server) -> None:
    connection = await asyncpg.connect(postgres_server.url)
    await connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    await connection.close()
    with postgres_server.down(), pytest.raises(ConnectionRefusedError):
        await asyncpg.connect(postgres_server.url)
    connection = await asyncpg.connect(postgres_server.url)
    assert await connection.fetchval("SELECT number FROM kept") == 7
    await connection.execute("DROP TABLE kept")
    await connection.close()


@EVERY_SERVER
def test_server_leaves_no_process_and_no_folder(kind: Kind) -> None:
    with kind() as server:
        pid, folder = server.pid, server.folder
    assert not Path(f"/proc/{pid}").exists()
    assert not folder.exists()


@EVERY_SERVER
def test_server_of_a_killed_parent_ends(kind: Kind) -> None:
    code = (
        "import time; from tests import servers\n"
        f"with servers.{kind.__name__}() as server:\n"
        "    print(server.pid, server.folder, flush=True); time.sleep(60)"
    )
    root = Path(__file__).parent.parent
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        pid, folder = parent.stdout.readline().decode().split()
    server = os.pidfd_open(int(pid))
    try:
        parent.kill()
        parent.wait()
        ended, _, _ = select.select([server], [], [], 10)
        assert ended, f"{kind.__name__} is still running"
    finally:
        os.close(server)
        shutil.rmtree(folder)


def test_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    command: list[str | Path] = ["/bin/sh", "-c", "echo the disk is full; exit 3"]
    server = Server("broken", "", 0, command, tmp_path, ready="ready")
    with pytest.raises(ServerError, match="the disk is full"):
        server.start()


def test_port_of_a_listener_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        other = servers.free_port()
        monkeypatch.setattr(servers, "CHOICE", Replayed([taken, taken, other]))
        assert servers.free_port() == other


class Replayed:
    """Chooses what it was told to, in order."""

    def __init__(self, choices: list[int]) -> None:
        self.choices = choices

    def choice(self, _: object) -> int:
        return self.choices.pop(0)


def test_program_below_a_closed_folder_is_not_open_to_all() -> None:
    with servers.private_folder() as folder:
        program = folder / "program"
        program.touch()
        program.chmod(0o755)
        folder.chmod(0o755)
        assert servers.open_to_all(program)
        folder.chmod(0o700)
        assert not servers.open_to_all(program)
