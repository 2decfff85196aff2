"""A worker over a SQLite file: what becomes of a job, however its handler behaves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.errors import StoreDown
from gateway.jobs import worker as module
from gateway.jobs.job import DONE, FAILED, RUNNING, Job, Message, Outcome
from gateway.jobs.worker import Failed, Handler, Task, Worker
from gateway.stores.job_queue import TableQueue
from gateway.stores.jobs import DatabaseJobs
from gateway.stores.sqlite import Sqlite
from tests.jobs.kept import job

TIMEOUT = 0.3
ATTEMPTS = 2
KEEP = 60.0
NAME = "a" * 32
DATA = b'{"correlation_id":"r1","payload":{"input":{"prompt":"hello"}}}'


class Shop:
    """State, queue, and whether the state is down at present."""

    def __init__(self, database: Sqlite, timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self.jobs = DatabaseJobs(database)
        self.queue = TableQueue(database, timeout=timeout, attempts=ATTEMPTS, depth=10, patience=60)
        self.down = 0  # so many calls fail

    async def put(self, name: str = NAME, data: bytes = DATA) -> None:
        await self.jobs.add(job(name), KEEP)
        await self.queue.put(Message(name, "generate", data, {"traceparent": "00-1-2-01"}))

    async def found(self, name: str = NAME) -> Job:
        return (await self.jobs.find([name]))[name]

    async def over(self, name: str = NAME) -> Job:
        async with asyncio.timeout(10):
            while not (one := await self.found(name)).over:  # noqa: ASYNC110 - in a file
                await asyncio.sleep(0.01)
        return one

    async def empty(self) -> None:
        """When nothing is on the queue any more, not even hidden."""
        async with asyncio.timeout(10):
            while await self.queue._opened.fetch("SELECT id FROM gateway_job_queue"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    # What a worker sees of the state.

    def _check(self) -> None:
        if self.down:
            self.down -= 1
            raise StoreDown

    async def begin(self, name: str, attempt: int, now: int, fails_at: int = 0) -> Job | None:
        self._check()
        return await self.jobs.begin(name, attempt, now, fails_at)

    async def alive(self, name: str, fails_at: int) -> None:
        self._check()
        await self.jobs.alive(name, fails_at)

    async def progress(self, name: str, percent: int, message: str) -> bool:
        self._check()
        return await self.jobs.progress(name, percent, message)

    async def end(self, name: str, outcome: Outcome, now: int, keep: float) -> bool:
        self._check()
        return await self.jobs.end(name, outcome, now, keep)

    @asynccontextmanager
    async def served(self, handler: Handler, at_once: int = 1) -> AsyncIterator[Worker]:
        worker = Worker(
            self,
            self.queue,
            {"generate": handler},
            timeout=self.timeout,
            attempts=ATTEMPTS,
            keep=KEEP,
            at_once=at_once,
        )
        running = asyncio.create_task(worker.run())
        yield worker
        worker.stop()
        async with asyncio.timeout(10):
            await running


@pytest_asyncio.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    monkeypatch.setattr(module, "PAUSE", 0.02)
    database = Sqlite(tmp_path / "jobs.db")
    yield Shop(database)
    await database.close()


async def fine(task: Task) -> Mapping[str, Any]:
    return {"said": task.input["prompt"], "attempt": task.attempt}


async def test_job_is_done_with_what_the_handler_gives(shop: Shop) -> None:
    told: list[Task] = []

    async def handler(task: Task) -> Mapping[str, Any]:
        told.append(task)
        return await fine(task)

    await shop.put()
    async with shop.served(handler):
        done = await shop.over()
        await shop.empty()
    assert (done.status, done.result, done.progress) == (DONE, '{"said":"hello","attempt":1}', 100)
    (task,) = told
    assert (task.id, task.kind, task.correlation_id) == (NAME, "generate", "r1")
    assert task.traceparent == "00-1-2-01"


async def test_several_are_done_at_once(shop: Shop) -> None:
    together = asyncio.Barrier(3)

    async def handler(task: Task) -> Mapping[str, Any]:
        await together.wait()
        return {}

    for name in "abc":
        await shop.put(name * 32)
    async with shop.served(handler, at_once=3):
        for name in "abc":
            assert (await shop.over(name * 32)).status == DONE


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("no such thing", "no such thing"),
        ("", "the worker gave no reason"),
        ("two\nlines\0", "two lines"),
        ("x" * 600, "x" * 500),
    ],
)
async def test_failure_is_final_with_its_reason(shop: Shop, said: str, reason: str) -> None:
    async def handler(task: Task) -> Mapping[str, Any]:
        raise Failed(said)

    await shop.put()
    async with shop.served(handler):
        failed = await shop.over()
        await shop.empty()
    assert (failed.status, failed.reason, failed.attempt) == (FAILED, reason, 1)


async def test_other_errors_are_tried_again_and_not_told(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(task: Task) -> Mapping[str, Any]:
        raise RuntimeError("a secret")

    await shop.put()
    with caplog.at_level(logging.ERROR):
        async with shop.served(handler):
            failed = await shop.over()
            await shop.empty()
    assert (failed.reason, failed.attempt) == ("the worker could not do it", ATTEMPTS)
    assert caplog.text.count("RuntimeError: a secret") == ATTEMPTS


async def test_second_try_may_be_better(shop: Shop) -> None:
    async def handler(task: Task) -> Mapping[str, Any]:
        if task.attempt == 1:
            raise RuntimeError
        return await fine(task)

    await shop.put()
    async with shop.served(handler):
        assert (await shop.over()).result == '{"said":"hello","attempt":2}'


async def test_second_try_does_not_wait_for_the_time_out(tmp_path: Path) -> None:
    async def handler(task: Task) -> Mapping[str, Any]:
        if task.attempt == 1:
            raise RuntimeError
        return await fine(task)

    database = Sqlite(tmp_path / "jobs.db")
    shop = Shop(database, timeout=60)
    await shop.put()
    async with shop.served(handler):
        assert (await shop.over()).attempt == 2
    await database.close()


@pytest.mark.parametrize("result", [{"x": object()}, {1: 2}, 5, None])
async def test_what_is_no_json_is_an_error(shop: Shop, result: Any) -> None:
    async def handler(task: Task) -> Mapping[str, Any]:
        return result  # type: ignore[no-any-return]

    await shop.put()
    async with shop.served(handler):
        assert (await shop.over()).reason == "the worker could not do it"


async def test_result_that_is_too_large_is_a_failure(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RESULT", 20)
    await shop.put()
    async with shop.served(fine):
        assert (await shop.over()).reason == "the result is too large to be kept"


async def test_job_that_takes_too_long_is_given_up(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LONGEST", 0.05)

    async def handler(task: Task) -> Mapping[str, Any]:
        await asyncio.Event().wait()
        return {}

    await shop.put()
    async with shop.served(handler):
        assert (await shop.over()).reason == "the worker could not do it"


@pytest.mark.parametrize("data", [b"no json", b"{}", b'{"payload":{}}', b"[]"])
async def test_message_that_says_nothing_fails(shop: Shop, data: bytes) -> None:
    await shop.put(data=data)
    async with shop.served(fine):
        assert (await shop.over()).status == FAILED


async def test_job_that_nobody_knows_any_more_is_not_done(shop: Shop) -> None:
    begun: list[Task] = []

    async def handler(task: Task) -> Mapping[str, Any]:
        begun.append(task)
        return {}

    await shop.put()
    await shop.jobs.end(NAME, Outcome(reason="given up"), 1, KEEP)
    await shop.queue.put(Message("f" * 32, "generate", DATA))
    async with shop.served(handler):
        await shop.empty()
    assert not begun
    assert (await shop.found()).reason == "given up"


async def test_state_that_is_lost_for_a_moment_is_waited_for(shop: Shop) -> None:
    async def handler(task: Task) -> Mapping[str, Any]:
        shop.down = 3
        await task.progress(10)
        return await fine(task)

    await shop.put()
    shop.down = 2
    async with shop.served(handler):
        assert (await shop.over()).attempt == 1
        await shop.empty()


async def test_state_that_stays_lost_leaves_the_job_for_later(shop: Shop) -> None:
    async def handler(task: Task) -> Mapping[str, Any]:
        if task.attempt == 1:
            shop.down = 25  # longer than the job is ours
        return await fine(task)

    await shop.put()
    async with shop.served(handler):
        assert (await shop.over()).result == '{"said":"hello","attempt":2}'


async def test_signs_of_life_keep_a_job_that_takes_long(shop: Shop) -> None:
    async def handler(task: Task) -> Mapping[str, Any]:
        await asyncio.sleep(4 * TIMEOUT)
        return await fine(task)

    await shop.put()
    async with shop.served(handler, at_once=2):
        assert (await shop.over()).result == '{"said":"hello","attempt":1}'


async def test_last_attempt_gives_signs_of_life_too(shop: Shop) -> None:
    async def handler(task: Task) -> Mapping[str, Any]:
        if task.attempt == 1:
            raise RuntimeError
        await asyncio.sleep(4 * TIMEOUT)
        assert await shop.jobs.overdue(module._now()) == []
        return await fine(task)

    await shop.put()
    async with shop.served(handler):
        assert (await shop.over()).status == DONE


async def test_who_has_lost_a_job_stops_doing_it(shop: Shop) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def handler(task: Task) -> Mapping[str, Any]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return {}

    await shop.put()
    async with shop.served(handler):
        await begun.wait()
        await shop.queue.hide(NAME, 1, 0)  # as if its lease had ended
        other = await shop.queue.take("generate", 0)
        assert other is not None
        async with asyncio.timeout(5):
            await stopped.wait()
        assert not (await shop.found()).over
        assert await other.extend()


async def test_progress_is_told_and_stays_within_bounds(shop: Shop) -> None:
    seen: list[tuple[int, str]] = []

    async def handler(task: Task) -> Mapping[str, Any]:
        for percent, message in ((-5, "a\nb"), (40, ""), (100, "x" * 600)):
            await task.progress(percent, message)
            one = await shop.found()
            assert one.status == RUNNING
            seen.append((one.progress, one.message))
        return {}

    await shop.put()
    async with shop.served(handler):
        await shop.over()
    assert seen == [(0, "a b"), (40, ""), (99, "x" * 500)]


async def test_worker_that_is_cancelled_gives_back_what_it_has(shop: Shop) -> None:
    begun = asyncio.Event()

    async def handler(task: Task) -> Mapping[str, Any]:
        begun.set()
        await asyncio.Event().wait()
        return {}

    await shop.put()
    for attempt in range(1, ATTEMPTS + 1):
        begun.clear()
        worker = Worker(
            shop, shop.queue, {"generate": handler}, timeout=30, attempts=ATTEMPTS, keep=KEEP
        )
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(5):
            await begun.wait()
        assert (await shop.found()).attempt == attempt
        running.cancel()
        await asyncio.wait((running,))
    assert (await shop.found()).reason == "its worker was stopped"
    await shop.empty()


def test_kind_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no kind paint, only explanation"):
        Worker(None, None, {"paint": fine}, timeout=1, attempts=1, keep=1)  # type: ignore[arg-type]
