"""Jobs across processes: whoever is killed, a job is done, or has failed and says so."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests import servers
from tests.e2e.jobs import ask, begin, events, get, over, post, taken, working
from tests.e2e.life import LONG, Program, running
from tests.servers import Server

JOBS = {"timeout": 0.6, "attempts": 2, "waiting": 2}


@pytest.fixture(params=["embedded", "servers"])
def stores(request: pytest.FixtureRequest) -> Iterator[Mapping[str, Server]]:
    """None, or a NATS and a Redis of this test's own."""
    with ExitStack() as stack:
        if request.param == "embedded":
            yield {}
            return
        yield {
            "nats": stack.enter_context(servers.nats()),
            "redis": stack.enter_context(servers.valkey()),
        }


@pytest.fixture
def table(stores: Mapping[str, Server], tmp_path: Path) -> dict[str, Any]:
    urls = {name: server.url for name, server in stores.items()}
    return {"apis": {"jobs": JOBS}, "stores": {"sqlite": str(tmp_path / "jobs.db"), **urls}}


@pytest_asyncio.fixture
async def gateway(table: dict[str, Any], tmp_path: Path) -> AsyncIterator[Program]:
    async with running(tmp_path, **table) as program:
        yield program


async def test_job_is_done_and_told_by_any_worker_of_any_gateway(
    table: dict[str, Any], stores: Mapping[str, Server], tmp_path: Path
) -> None:
    other_host = tmp_path / "other"
    other_host.mkdir()
    async with (
        running(tmp_path, workers=2, **table) as one,
        running(other_host, **table) as other,
        working(one.file) as worker,
    ):
        place = await begin(one, "wait", "X-Request-ID: r-17")
        job = place.rpartition("/")[2]
        watching = [
            asyncio.create_task(events(gateway, f"/progress/{job}"))
            for gateway in (one, one, one, other)
        ]
        await worker.has_begun(1)
        assert (await get(other, place)).status == 202
        worker.let_go()
        for told in await asyncio.gather(*watching):
            assert [name for name, _ in told][-1] == "done"
            assert told[-1][1]["result"]["text"] == "wait"
        answer = await over(other, place)
        assert answer.status == 200
        result = answer.body["result"]
        assert result["correlation_id"] == "r-17"
        assert result["traceparent"].startswith("00-")


async def test_worker_that_is_killed_loses_its_job_to_another(gateway: Program) -> None:
    async with working(gateway.file) as first:
        place = await begin(gateway, "wait")
        await first.has_begun(1)
        await first.kill()
    async with working(gateway.file) as second:
        await second.has_begun(2)
        second.let_go()
        answer = await over(gateway, place)
        assert answer.body["result"]["attempt"] == 2
        assert {pid for _, _, pid in second.begun()} == {
            str(first.process.pid),
            str(second.process.pid),
        }


async def test_worker_that_only_stalls_loses_its_job_too_and_comes_too_late(
    gateway: Program,
) -> None:
    async with working(gateway.file) as first, working(gateway.file) as second:
        place = await begin(gateway, "wait")
        ((_, _, pid),) = await first.has_begun(1)
        os.kill(int(pid), signal.SIGSTOP)
        await first.has_begun(2)
        second.let_go()
        answer = await over(gateway, place)
        assert answer.body["result"]["attempt"] == 2
        os.kill(int(pid), signal.SIGCONT)
        await begin(gateway, "after")
        assert (await get(gateway, place)).body == answer.body


async def test_job_that_kills_each_of_its_workers_has_failed(gateway: Program) -> None:
    place = await begin(gateway, "die")
    for count in (1, 2):
        async with working(gateway.file) as worker:
            await worker.has_begun(count)
            await worker.ended()
    async with working(gateway.file) as worker:
        answer = await over(gateway, place)
        assert answer.status == 500
        assert answer.body["error"] == "job_failed"
        assert answer.body["message"] == "lost by its worker, 2 times"
        assert (await over(gateway, await begin(gateway, "next"))).status == 200
        assert len(worker.begun()) == 3
        for _ in range(2):  # what was lost takes no room
            await begin(gateway, "more")


async def test_job_that_nobody_is_left_for_has_failed(gateway: Program) -> None:
    place = await begin(gateway, "die")
    for count in (1, 2):
        async with working(gateway.file) as worker:
            await worker.has_begun(count)
            await worker.ended()
    answer = await over(gateway, place)
    assert (answer.status, answer.body["message"]) == (500, "lost by its worker, 2 times")


async def test_gateway_that_is_killed_finds_its_jobs_again(
    table: dict[str, Any], tmp_path: Path
) -> None:
    async with running(tmp_path, **table) as first, working(first.file) as worker:
        running_job = await begin(first, "wait", "Idempotency-Key: one")
        await worker.has_begun(1)
        waiting_job = await begin(first, "next")
        first.process.kill()
        await first.process.wait()
        async with running(tmp_path, **table) as second:
            assert (await get(second, running_job)).status == 202
            assert (await begin(second, "wait", "Idempotency-Key: one")) == running_job
            worker.let_go()
            assert (await over(second, running_job)).body["result"]["attempt"] == 1
            assert (await over(second, waiting_job)).body["result"]["text"] == "next"
            history = await get(second, "/history")
            assert {one["job_id"] for one in history.body["jobs"]} == {
                place.rpartition("/")[2] for place in (running_job, waiting_job)
            }


async def test_worker_that_is_told_to_stop_ends_what_it_has_or_gives_it_back(
    gateway: Program,
) -> None:
    async with working(gateway.file) as first:
        place = await begin(gateway, "wait")
        await first.has_begun(1)
        first.process.terminate()
        assert await first.ended() == 0
    async with working(gateway.file) as second:
        await second.has_begun(2)
        second.let_go()
        assert (await over(gateway, place)).body["result"]["attempt"] == 2


async def test_what_a_worker_says_of_its_failure_is_told_and_what_breaks_is_not(
    gateway: Program,
) -> None:
    async with working(gateway.file) as worker:
        failed = await over(gateway, await begin(gateway, "fail"))
        assert (failed.status, failed.body["message"]) == (500, "there is no such thing")
        broken = await over(gateway, await begin(gateway, "break"))
        assert (broken.status, broken.body["message"]) == (500, "the worker could not do it")
        assert [attempt for _, attempt, _ in worker.begun()] == ["1", "1", "2"]


async def test_full_queue_is_503_until_there_is_room(gateway: Program) -> None:
    for _ in range(2):
        await begin(gateway)
    full = await post(gateway)
    assert full.status == 503
    assert int(full.field(b"retry-after")) >= 1
    explained = await ask(gateway, "POST", "/api/explanation/AAPL", body={})
    assert explained.status == 202
    async with working(gateway.file):
        assert (await over(gateway, explained.field(b"location"))).status == 200
        await taken(gateway)


async def test_ended_jobs_are_counted_once(table: dict[str, Any], tmp_path: Path) -> None:
    async with running(tmp_path, workers=2, **table) as gateway, working(gateway.file):
        await over(gateway, await begin(gateway, "one"))
        await over(gateway, await begin(gateway, "fail"))
        async with asyncio.timeout(LONG):
            while True:
                metrics = await gateway.metrics()
                found = [
                    metrics.value("gateway_jobs_total", kind="generate", result=result)
                    for result in ("accepted", "done", "failed")
                ]
                if None not in found:
                    break
                await asyncio.sleep(0.1)
        assert found == [2, 1, 1]
        name = "gateway_job_duration_seconds_count"
        assert metrics.value(name, kind="generate") == 1


# ---------------------------------------------------------------------- the servers themselves


@pytest.fixture
def only_servers(stores: Mapping[str, Server]) -> None:
    if not stores:
        pytest.skip("there is no server to be lost")


def killed(server: Server) -> None:
    os.kill(server.pid, signal.SIGKILL)
    server.stop()


@pytest.mark.usefixtures("only_servers")
async def test_nats_that_is_killed_has_its_jobs_when_it_is_back(
    gateway: Program, stores: Mapping[str, Server]
) -> None:
    waiting = await begin(gateway, "first")
    killed(stores["nats"])
    lost = await post(gateway, "second", "Idempotency-Key: two")
    assert (lost.status, lost.body["error"]) == (503, "service_unavailable")
    assert (await get(gateway, waiting)).status == 202
    assert (await get(gateway, "/history")).status == 200
    stores["nats"].start()
    again = await taken(gateway, "second", "Idempotency-Key: two")
    async with working(gateway.file) as worker:
        assert (await over(gateway, waiting)).body["result"]["text"] == "first"
        assert (await over(gateway, again)).body["result"]["text"] == "second"
        assert len(worker.begun()) == 2


@pytest.mark.usefixtures("only_servers")
async def test_nats_that_is_killed_under_a_worker_does_not_lose_its_job(
    gateway: Program, stores: Mapping[str, Server]
) -> None:
    async with working(gateway.file) as worker:
        place = await begin(gateway, "wait")
        await worker.has_begun(1)
        killed(stores["nats"])
        worker.let_go()
        stores["nats"].start()
        assert (await over(gateway, place)).body["result"]["text"] == "wait"
        assert (await over(gateway, await taken(gateway, "next"))).status == 200


@pytest.mark.usefixtures("only_servers")
async def test_without_redis_nothing_is_known_until_it_is_back(
    gateway: Program, stores: Mapping[str, Server]
) -> None:
    async with working(gateway.file):
        place = await begin(gateway)
        assert (await over(gateway, place)).status == 200
        with stores["redis"].down():
            for answer in (
                await post(gateway),
                await get(gateway, place),
                await get(gateway, "/history"),
                await get(gateway, "/progress/" + place.rpartition("/")[2]),
                await get(gateway, "/api/explanation/AAPL"),
            ):
                assert (answer.status, answer.body["error"]) == (503, "service_unavailable")
        assert (await over(gateway, await taken(gateway))).status == 200
