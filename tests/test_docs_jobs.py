"""What docs/JOBS.md says is so: its settings load, its workers work, its answers come."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.config import load
from gateway.jobs.job import KINDS
from gateway.stores.nats_jobs import STREAM
from gateway.stores.redis_jobs import HISTORY, PREFIX, TOOK
from tests import servers
from tests.e2e.jobs import ask, begin, get, over, taken
from tests.e2e.life import ROOT, Program, running
from tests.jobs.kept import flush, remove_streams
from tests.test_docs import blocks, text_of

PAGE = "docs/JOBS.md"


def program(name: str) -> str:
    (found,) = (text for text in blocks(PAGE, "python") if text.startswith(f"# {name}\n"))
    return found


@asynccontextmanager
async def started(folder: Path, name: str, *arguments: str) -> AsyncIterator[None]:
    """One of the page's programs, as a process in that folder."""
    (folder / name).write_text(program(name), "utf-8")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, name, *arguments),
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
    )
    try:
        yield
        assert process.returncode is None
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def is_done(gateway: Program, prompt: str, result: dict[str, object]) -> None:
    answer = await over(gateway, await begin(gateway, prompt))
    assert (answer.status, answer.body["result"]) == (200, result)
    (past, *_) = (await get(gateway, "/history")).body["jobs"]
    assert past["job_id"] == answer.body["job_id"]
    again = await ask(gateway, "POST", "/generate", body={"prompt": prompt})
    assert again.body["estimated_time_sec"] < KINDS["generate"].seconds


def test_settings_are_valid(tmp_path: Path) -> None:
    (text,) = blocks(PAGE, "yaml")
    (tmp_path / "gateway.yaml").write_text(text, "utf-8")
    settings = load(None, {}, {}, tmp_path)
    assert settings.apis.jobs is not None
    assert settings.apis.jobs.kinds == tuple(KINDS)


def test_example_is_valid(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(text_of("deploy/examples/jobs.yaml"), "utf-8")
    assert load(None, {}, {}, tmp_path).apis.jobs is not None


def test_names_are_those_of_the_code() -> None:
    text = text_of(PAGE)
    for name in (STREAM, PREFIX.decode(), HISTORY.decode(), TOOK.decode() + "generate"):
        assert name in text
    assert set(re.findall(r"`(job\.[a-z.]+)`", text)) == {kind.subject for kind in KINDS.values()}


async def test_worker_works(tmp_path: Path) -> None:
    async with (
        running(tmp_path, apis={"jobs": True}, stores={"sqlite": "./jobs.db"}) as gateway,
        started(tmp_path, "worker.py"),
    ):
        await is_done(gateway, "tea and honey", {"text": "honey", "words": 3})
        failed = await over(gateway, await begin(gateway, "tea " * 101))
        assert (failed.status, failed.body["message"]) == (500, "a hundred words are enough")


async def test_worker_in_any_language_works(tmp_path: Path, nats_url: str, redis_url: str) -> None:
    await remove_streams(nats_url)
    await flush(redis_url)
    stores = {"nats": nats_url, "redis": redis_url}
    async with running(tmp_path, apis={"jobs": True}, stores=stores) as gateway:
        await taken(gateway)  # the stream is there
        async with started(tmp_path, "plain.py", nats_url, redis_url):
            await is_done(gateway, "tea", {"text": "TEA"})


async def test_samples_work(tmp_path: Path) -> None:
    async with running(tmp_path, apis={"jobs": True}, stores={"sqlite": "./jobs.db"}) as gateway:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.worker"),
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
            preexec_fn=servers.end_with(os.getpid(), signal.SIGKILL),
        )
        try:
            asked = await ask(gateway, "POST", "/api/explanation/aapl", body={"depth": "fast"})
            answer = await over(gateway, asked.field(b"location"))
            assert "random walk" in answer.body["result"]["explanation"]
            found = await get(gateway, "/api/explanation/AAPL")
            assert found.body["sources"] == [{"name": "sample walk", "predictions": 10}]
        finally:
            process.terminate()
            assert await process.wait() == 0
