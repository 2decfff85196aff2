"""What the gateway does about jobs beyond its endpoints: a queue that is lost, who watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import orjson
import pytest
import pytest_asyncio

from gateway.errors import PayloadTooLarge, StoreDown
from gateway.jobs import watching as watching_module
from gateway.jobs.job import MADE, QUEUED, Delivery, Job, Lost, Message, Outcome, QueueFull
from gateway.jobs.service import Service, Times, Wanted, message_of
from gateway.jobs.watching import TooMany, Watching
from gateway.stores.jobs import DatabaseJobs
from gateway.stores.sqlite import Sqlite
from tests.jobs.kept import NOW, job

KEEP = 60.0
ASKED = Wanted("explanation", {"depth": "fast"}, "ann", "k", "r1", "00-1-2-01", "AAPL")


class Line:
    """A queue that does as it is told."""

    def __init__(self) -> None:
        self.problem: Exception | None = None
        self.sent: list[Message] = []

    async def put(self, message: Message) -> None:
        self.sent.append(message)
        if self.problem is not None:
            raise self.problem

    async def take(self, kind: str, wait: float) -> Delivery | None:
        return None

    async def lost(self) -> Sequence[Lost]:
        return []


@pytest_asyncio.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[DatabaseJobs]:
    database = Sqlite(tmp_path / "jobs.db")
    yield DatabaseJobs(database)
    await database.close()


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
def counted() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def service(jobs: DatabaseJobs, line: Line, counted: list[tuple[str, str]]) -> Service:
    return Service(
        jobs,
        line,
        Times(KEEP, 600, 3),
        now=lambda: NOW / 1000,
        counted=lambda kind, result: counted.append((kind, result)),
        took=lambda kind, seconds: None,
    )


async def test_message_says_what_was_asked_for() -> None:
    message = message_of(job(kind="explanation", symbol="AAPL"), ASKED)
    assert orjson.loads(message.data) == {
        "message_id": "a" * 32,
        "correlation_id": "r1",
        "timestamp": "2027-01-15T08:00:00.000Z",
        "version": "1.0",
        "source": "api-gateway",
        "payload": {
            "job_id": "a" * 32,
            "kind": "explanation",
            "input": {"depth": "fast", "symbol": "AAPL"},
        },
    }
    assert message.headers == {"Correlation-Id": "r1", "traceparent": "00-1-2-01"}


async def test_job_that_was_not_queued_is_queued_when_it_is_asked_for_again(
    service: Service, line: Line, jobs: DatabaseJobs, counted: list[tuple[str, str]]
) -> None:
    line.problem = StoreDown()
    with pytest.raises(StoreDown):
        await service.submit(ASKED)
    (first,) = line.sent
    assert (await jobs.find([first.id]))[first.id].status == MADE
    line.problem = None
    assert (await service.submit(ASKED)).id == first.id
    assert [message.id for message in line.sent] == [first.id, first.id]
    assert (await jobs.find([first.id]))[first.id].status == QUEUED
    await service.submit(ASKED)
    assert len(line.sent) == 2
    assert counted == [("explanation", "repeated"), ("explanation", "repeated")]


async def test_full_queue_says_when_there_may_be_room(
    service: Service, line: Line, counted: list[tuple[str, str]]
) -> None:
    line.problem = QueueFull()
    with pytest.raises(QueueFull) as caught:
        await service.submit(ASKED)
    assert caught.value.fields == (b"Retry-After: 10",)
    assert counted == [("explanation", "full")]


async def test_what_the_queue_cannot_carry_is_too_large(service: Service, line: Line) -> None:
    line.problem = ValueError("maximum payload exceeded")
    with pytest.raises(PayloadTooLarge):
        await service.submit(ASKED)


async def test_last_attempt_that_is_overdue_has_failed(
    service: Service, jobs: DatabaseJobs
) -> None:
    await jobs.add(job(), KEEP)
    await jobs.begin("a" * 32, 3, NOW - 10, NOW - 1)
    await service.give_up()
    assert (await jobs.find(["a" * 32]))["a" * 32].reason == "lost by its worker, 3 times"
    assert await jobs.overdue(NOW) == []


# -------------------------------------------------------------------------------- watching


class Flaky(DatabaseJobs):
    """Is lost now and then; counts the questions."""

    asked = 0

    async def find(self, names: Sequence[str]) -> Mapping[str, Job]:
        self.asked += 1
        if self.asked % 2:
            raise StoreDown
        return await super().find(names)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching_module, "POLL", 0.01)


async def test_change_is_heard_also_after_the_store_was_lost(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "jobs.db")
    jobs = Flaky(database)
    one = await jobs.add(job(), KEEP)
    watching = Watching(jobs, 10)
    async with watching.watch(one) as watched:
        assert not await watched.changed(0.1)
        await jobs.end(one.id, Outcome(reason="no"), NOW, KEEP)
        assert await watched.changed(5)
        assert watched.job is not None
        assert watched.job.over
    await watching.close()
    await database.close()


async def test_many_who_watch_one_job_are_one_question(tmp_path: Path) -> None:
    database = Sqlite(tmp_path / "jobs.db")
    jobs = Flaky(database)
    one = await jobs.add(job(), KEEP)
    watching = Watching(jobs, 10)
    async with watching.watch(one) as first, watching.watch(one) as second:
        await jobs.begin(one.id, 1, NOW)
        assert all(await asyncio.gather(first.changed(5), second.changed(5)))
    asked = jobs.asked
    await asyncio.sleep(0.05)
    assert jobs.asked <= asked + 1
    await watching.close()
    await database.close()


async def test_job_that_expires_is_told_as_gone(jobs: DatabaseJobs) -> None:
    one = await jobs.add(job(), 0.05)
    watching = Watching(jobs, 10)
    async with watching.watch(one) as watched:
        assert await watched.changed(5)
        assert watched.job is None
    await watching.close()


async def test_only_so_many_watch(jobs: DatabaseJobs) -> None:
    one = await jobs.add(job(), KEEP)
    watching = Watching(jobs, 1)
    async with watching.watch(one):
        with pytest.raises(TooMany):
            async with watching.watch(one):
                pass
    async with watching.watch(one):
        pass
    await watching.close()


async def test_watchers_hear_that_it_is_closed(jobs: DatabaseJobs) -> None:
    one = await jobs.add(job(), KEEP)
    watching = Watching(jobs, 1)
    async with watching.watch(one) as watched:
        await watching.close()
        assert await watched.changed(5)
        assert watched.job is None
