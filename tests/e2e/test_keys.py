"""API keys at real gateways: two processes over PostgreSQL, two workers over a SQLite file."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway import apikeys
from tests.e2e.life import ROOT, Program, answering, request, route, running
from tests.e2e.stage import field
from tests.servers import Server

SOON = 5.0  # s in which a revocation has to be effective everywhere
ENOUGH = 24  # connections after which each of two workers was met, all but surely


class Site:
    """Gateways that share a database, and the commands that manage its keys."""

    def __init__(self, programs: list[Program]) -> None:
        self.programs = programs

    async def run(self, *arguments: str) -> list[str]:
        """The lines that `gateway keys` prints."""
        kept = {k: v for k, v in os.environ.items() if k.startswith(("COV", "PATH", "PYTHON"))}
        file = self.programs[0].file
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "keys", *arguments, "--config", str(file)),
            cwd=file.parent,
            env=kept | {"PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await process.communicate()
        assert process.returncode == 0
        return printed.decode().splitlines()

    async def create(self, *more: str, tier: str = "pro") -> tuple[str, str]:
        """Id and key of a new one."""
        name, key = await self.run("create", "--owner", "ann", "--tier", tier, *more)
        return name.removeprefix("id: "), key

    async def statuses(self, key: str, path: str = "/api/x") -> set[int]:
        """What all workers say, asked again and again on connections of their own."""
        asked = [
            program.get(path, f"X-API-Key: {key}")
            for program in self.programs
            for _ in range(ENOUGH // len(self.programs))
        ]
        return {status for status, _, _ in await asyncio.gather(*asked)}

    async def settles(self, key: str, status: int) -> None:
        """Until all workers say so; it must not take longer than it may."""
        async with asyncio.timeout(SOON):
            while await self.statuses(key) != {status}:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.fixture(params=["postgres_and_two_processes", "sqlite_and_two_workers"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    two = request.param == "postgres_and_two_processes"
    stores = {"sqlite": str(tmp_path / "keys.db")}
    if two:
        stores = {"postgres": request.getfixturevalue("postgres_url")}
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(answering())
        programs = []
        for number in range(2 if two else 1):
            folder = tmp_path / str(number)
            folder.mkdir()
            programs.append(
                await stack.enter_async_context(
                    running(
                        folder,
                        workers=1 if two else 2,
                        stores=stores,
                        routes=[
                            route(upstream, auth="api_key"),
                            route(upstream, "/scoped", auth="any", scopes=["write"]),
                        ],
                    )
                )
            )
        yield Site(programs)


async def test_key_opens_every_worker_until_it_is_revoked(site: Site) -> None:
    name, key = await site.create()
    assert apikeys.is_sound(key.encode())
    assert await site.statuses(key) == {200}
    assert await site.run("revoke", name) == [f"revoked: {name}"]
    await site.settles(key, 401)


async def test_rotated_key_opens_until_its_grace_is_over(site: Site) -> None:
    name, old = await site.create()
    assert await site.statuses(old) == {200}
    line, new = await site.run("rotate", name, "--grace", "3s")
    assert line.startswith("id: key_")
    assert line != f"id: {name}"
    assert await site.statuses(new) == {200}
    assert await site.statuses(old) == {200}
    await asyncio.sleep(3)
    await site.settles(old, 401)
    assert await site.statuses(new) == {200}


async def test_key_without_the_scope_is_forbidden(site: Site) -> None:
    _, plain = await site.create("--scope", "read")
    _, scoped = await site.create("--scope", "read", "--scope", "write")
    assert await site.statuses(plain, "/scoped/x") == {403}
    assert await site.statuses(scoped, "/scoped/x") == {200}


async def test_refusals_are_counted_and_logged_without_the_key(site: Site) -> None:
    program = site.programs[0]
    _, key = await site.create()
    mistyped = key[:-1] + ("a" if key[-1] != "a" else "b")
    unknown = apikeys.make(lambda letters: letters[3])
    for lines in ((), (f"X-API-Key: {mistyped}",), (f"X-API-Key: {unknown}",)):
        status, head, _ = await program.get("/api/secret", *lines)
        assert status == 401
        assert field(head, b"www-authenticate").startswith(b"ApiKey ")
    told = await program.event("auth_failed", count=3)
    assert told["route"] == "api"
    metrics = await program.metrics()
    for reason in ("missing", "malformed_key", "unknown_key"):
        assert metrics.value("gateway_auth_failures_total", reason=reason) == 1
    await program.logged("/api/secret", 3)
    for secret in (key, mistyped, unknown):
        assert secret.encode() not in b"".join(program.lines)


async def test_two_keys_or_two_tokens_are_refused(site: Site) -> None:
    _, key = await site.create()
    program = site.programs[0]
    for lines in (
        (f"X-API-Key: {key}", f"x-api-key: {key}"),
        ("Authorization: Bearer a", "Authorization: Bearer a", f"X-API-Key: {key}"),
    ):
        assert (await program.get("/api/x", *lines))[0] == 400


async def test_use_is_written_down_when_a_worker_ends(site: Site) -> None:
    name, key = await site.create()
    await site.statuses(key)
    for program in site.programs:
        program.process.terminate()
        assert await program.ended() == 0
    lines = await site.run("list")
    used = lines[0].index("LAST USED")
    (mine,) = (line for line in lines if line.startswith(name))
    assert mine[used : used + 4].startswith("20")


# ---------------------------------------------------------------------------- over HTTP


async def post(program: Program, path: str, body: object, key: str) -> tuple[int, bytes, Any]:
    data = json.dumps(body).encode()
    client = await program.send(request("POST", path, f"X-API-Key: {key}", body=data))
    head, answer = await client.answer()
    await client.close()
    return int(head.split()[1]), head, json.loads(answer) if answer else None


KEYS = "/api/gateway/keys"


async def test_administrator_manages_keys_over_http(site: Site) -> None:
    program = site.programs[0]
    _, admin = await site.create("--scope", "admin")
    status, head, made = await post(program, KEYS, {"owner": "ben", "tier": "free"}, admin)
    assert status == 201
    assert field(head, b"cache-control") == b"no-store"
    assert await site.statuses(made["key"]) == {200}
    status, _, other = await post(
        program, f"{KEYS}/rotate", {"id": made["id"], "grace": "1h"}, admin
    )
    assert status == 201
    assert await site.statuses(other["key"]) == {200}
    for name in (made["id"], other["id"]):
        client = await program.send(
            request(
                "POST",
                f"{KEYS}/revoke",
                f"X-API-Key: {admin}",
                body=json.dumps({"id": name}).encode(),
            )
        )
        assert b" 204 " in await client.head()
        await client.close()
    await site.settles(made["key"], 401)
    await site.settles(other["key"], 401)
    status, _, body = await program.get(KEYS, f"X-API-Key: {admin}")
    listed = {each["id"]: each for each in json.loads(body)["keys"]}
    assert (status, listed[made["id"]]["state"]) == (200, "revoked")
    assert made["key"].encode() not in body
    await program.event("key_revoked", key=made["id"])
    assert not any(made["key"].encode() in line for line in program.lines)


async def test_only_administrators_manage_keys(site: Site) -> None:
    program = site.programs[0]
    _, plain = await site.create("--scope", "read")
    assert (await program.get(KEYS))[0] == 401
    assert (await program.get(KEYS, f"X-API-Key: {plain}"))[0] == 403
    assert (await post(program, KEYS, {"owner": "eve", "tier": "pro"}, plain))[0] == 403
    assert (await post(program, f"{KEYS}/revoke", {"id": "key_x"}, plain))[0] == 403


# -------------------------------------------------------------------------------- lost


async def test_known_keys_go_on_while_postgres_is_lost_and_all_is_well_when_it_is_back(
    tmp_path: Path, postgres_server: Server
) -> None:
    async with answering() as upstream:
        settings = {
            "stores": {"postgres": postgres_server.url},
            "routes": [route(upstream, auth="api_key")],
        }
        async with running(tmp_path, **settings) as program:
            site = Site([program])
            name, key = await site.create()
            _, fresh = await site.create()
            assert await site.statuses(key) == {200}
            assert await site.statuses(key) == {200}
            with postgres_server.down():
                assert await site.statuses(key) == {200}
                await program.event("store_lost", store="postgres")
                assert await site.statuses(fresh) == {503}
                assert await site.statuses(key) == {200}
                metrics = await program.metrics()
                assert (metrics.value("gateway_store_errors_total", store="postgres") or 0) > 0
            await program.event("store_back", store="postgres")
            assert await site.statuses(fresh) == {200}
            assert len(program.found("store_lost")) == 1
            await site.run("revoke", name)
            await site.settles(key, 401)
