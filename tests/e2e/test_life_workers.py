"""Two workers: both serve, both are counted, and one that dies or hangs is replaced."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from gateway import __version__
from tests.e2e.life import Program, answering, listening, request, route, running, until
from tests.e2e.stage import OK

REQUESTS = "gateway_requests_total"


def workers_of(gateway: Program) -> list[int]:
    pid = gateway.process.pid
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def owner(gateway: Program, port: int) -> int:
    """The worker that holds a client's connection, found by the socket's number."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        ends = [int(end.rpartition(":")[2], 16) for end in fields[1:3]]
        if ends == [gateway.port, port]:
            for pid in workers_of(gateway):
                for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                    try:
                        if os.readlink(descriptor) == f"socket:[{fields[9]}]":
                            return pid
                    except FileNotFoundError:
                        continue
    return 0


@asynccontextmanager
async def pair(folder: Path, **settings: Any) -> AsyncIterator[Program]:
    """Two workers before an upstream that answers everything."""
    async with answering() as upstream:
        routes = [route(upstream)]
        async with running(folder, workers=2, routes=routes, **settings) as gateway:
            yield gateway


async def ask_both(gateway: Program) -> dict[int, int]:
    """Requests to each worker, by its pid: connections are opened until both had one."""
    asked: dict[int, int] = {}
    while len(asked) < 2:
        client = await gateway.send(request("GET", "/api/x"))
        assert (await client.answer())[1] == b"ok"
        pid = owner(gateway, client.writer.get_extra_info("sockname")[1])
        asked[pid] = asked.get(pid, 0) + 1
        await client.close()
    return asked


async def count(gateway: Program) -> float:
    return (await gateway.metrics()).value(REQUESTS, route="api", method="GET", status="200") or 0


async def test_both_workers_serve_and_metrics_answer_for_both(tmp_path: Path) -> None:
    async with pair(tmp_path) as gateway:
        asked = await ask_both(gateway)
        assert sorted(asked) == workers_of(gateway)
        for _ in range(6):  # whichever worker answers
            assert await count(gateway) == sum(asked.values())
        metrics = await gateway.metrics()
        assert metrics.value("gateway_build_info", version=__version__) == 1


async def test_each_line_of_the_log_is_whole_with_two_workers(tmp_path: Path) -> None:
    async with pair(tmp_path) as gateway:
        path = "/api/" + "x" * 6000  # longer than what a pipe takes at once (PIPE_BUF)
        clients = [await gateway.client() for _ in range(8)]
        for _ in range(10):
            for client in clients:
                await client.send(request("GET", path))
            for client in clients:
                await client.answer()
        await gateway.logged(path, count=80)  # every line was read as JSON


async def test_a_killed_worker_is_replaced_and_its_counts_survive(tmp_path: Path) -> None:
    async with pair(tmp_path) as gateway:
        asked = await ask_both(gateway)
        first, second = workers_of(gateway)
        os.kill(first, signal.SIGKILL)
        await gateway.event("worker_started", count=3)
        assert second in workers_of(gateway)
        assert first not in workers_of(gateway)
        assert await count(gateway) == sum(asked.values())
        more = await ask_both(gateway)
        assert sorted(more) == workers_of(gateway)
        assert await count(gateway) == sum(asked.values()) + sum(more.values())
        metrics = await gateway.metrics()
        assert metrics.value("gateway_worker_exits_total", reason="died") == 1
    (exited,) = gateway.found("worker_exited", pid=first)
    assert exited["code"] == -signal.SIGKILL


async def test_a_stopped_worker_is_replaced(tmp_path: Path) -> None:
    async with pair(tmp_path, worker_timeout=2.5) as gateway:
        asked = await ask_both(gateway)
        hung = workers_of(gateway)[0]
        os.kill(hung, signal.SIGSTOP)
        assert (await gateway.event("worker_hung"))["pid"] == hung
        await gateway.event("worker_started", count=3)
        assert hung not in workers_of(gateway)
        more = await ask_both(gateway)
        assert sorted(more) == workers_of(gateway)
        metrics = await gateway.metrics()
        assert metrics.value("gateway_worker_exits_total", reason="hung") == 1
        assert await count(gateway) == sum(asked.values()) + sum(more.values())


async def test_who_was_queued_for_a_stopped_worker_is_served_by_its_successor(
    tmp_path: Path,
) -> None:
    async with pair(tmp_path, worker_timeout=5) as gateway:
        hung = workers_of(gateway)[0]
        os.kill(hung, signal.SIGSTOP)
        clients = [await gateway.send(request("GET", "/api/x")) for _ in range(16)]
        await gateway.event("worker_hung")
        await gateway.event("worker_started", count=3)  # on a busy machine it takes its time
        for client in clients:
            assert (await client.answer())[1] == b"ok"


async def test_a_worker_that_dies_takes_only_its_own_requests_along(tmp_path: Path) -> None:
    async with listening() as upstream:
        routes = [route(upstream)]
        async with running(tmp_path, workers=2, routes=routes) as gateway:
            flights = {}
            while len(flights) < 2:
                client = await gateway.send(request("GET", "/api/x"))
                target = await upstream.accept()
                await target.head()
                pid = owner(gateway, client.writer.get_extra_info("sockname")[1])
                flights[pid] = (client, target)
            dead, alive = sorted(flights)
            os.kill(dead, signal.SIGKILL)
            await gateway.event("worker_started", count=3)
            client, target = flights[alive]
            await target.send(OK)
            assert (await client.answer())[1] == b"ok"


async def test_a_reload_reaches_both_workers(tmp_path: Path) -> None:
    async with answering() as upstream, running(tmp_path, workers=2) as gateway:
        before = workers_of(gateway)
        gateway.write(routes=[route(upstream)])
        gateway.signal(signal.SIGHUP)
        await gateway.event("reloaded", count=2)
        assert sorted(await ask_both(gateway)) == before
        metrics = await gateway.metrics()
        assert metrics.value("gateway_config_reloads_total", result="done") == 1


async def test_a_bad_reload_leaves_both_workers_as_they_were(tmp_path: Path) -> None:
    async with pair(tmp_path) as gateway:
        before = workers_of(gateway)
        gateway.write(timeout="soon")
        gateway.signal(signal.SIGHUP)
        problem = (await gateway.event("reload_refused"))["problem"]
        assert "timeout: expected a length of time" in problem
        assert sorted(await ask_both(gateway)) == before


async def test_no_worker_outlives_a_killed_parent(tmp_path: Path) -> None:
    async with running(tmp_path, workers=2) as gateway:
        pids = workers_of(gateway)
        gateway.process.kill()
        await gateway.ended()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))
