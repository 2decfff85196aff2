"""What every store of jobs does: both databases, and Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.jobs.job import DONE, FAILED, MADE, QUEUED, RECENT, RUNNING, Ended, Job, Jobs, Outcome
from gateway.stores.sqlite import Sqlite
from tests.jobs.kept import NOW, flush, job, state

KEEP = 60.0
RESULT = '{"text":"ä ☃ \\u0000"}'


@pytest_asyncio.fixture(params=["sqlite", "postgres", "redis"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    kind: str = request.param
    if kind == "sqlite":
        yield kind, str(tmp_path / "gateway.db")
        return
    url: str = request.getfixturevalue(f"{kind}_url")
    if kind == "redis":
        await flush(url)
    else:
        await drop_table(url)
    yield kind, url


async def drop_table(url: str) -> None:
    from gateway.stores.jobs import MIGRATION
    from gateway.stores.postgres import MIGRATIONS, Postgres

    database = Postgres(url)
    await database.execute(MIGRATIONS)
    await database.execute("DROP TABLE IF EXISTS gateway_jobs")
    await database.execute("DELETE FROM gateway_migrations WHERE name = $1", MIGRATION)
    await database.close()


@pytest_asyncio.fixture
async def jobs(where: tuple[str, str]) -> AsyncIterator[Jobs]:
    async with state(*where) as made:
        yield made


async def found(jobs: Jobs, name: str) -> Job | None:
    return (await jobs.find([name])).get(name)


async def done(jobs: Jobs, one: Job, when: int, keep: float = KEEP, **fields: str) -> None:
    await jobs.add(one, KEEP)
    assert await jobs.begin(one.id, 1, one.created_at)
    assert await jobs.end(one.id, Outcome(**(fields or {"result": RESULT})), when, keep)


async def test_job_is_found_as_it_was_added(jobs: Jobs) -> None:
    one = job(key="k", digest="d", symbol="AAPL", message="ä", progress=3)
    assert await jobs.add(one, KEEP) == one
    assert await jobs.find([one.id, "b" * 32]) == {one.id: one}
    assert await jobs.find([]) == {}


async def test_another_process_finds_it_too(jobs: Jobs, where: tuple[str, str]) -> None:
    await jobs.add(job(), KEEP)
    async with state(*where) as other:
        assert await found(other, job().id) == job()


async def test_job_of_a_key_that_was_used_is_the_first_one(jobs: Jobs) -> None:
    first = await jobs.add(job("a", key="k", digest="one"), KEEP)
    assert await jobs.add(job("b", key="k", digest="two"), KEEP) == first
    assert await found(jobs, "b" * 32) is None


async def test_of_several_at_once_with_one_key_one_is_added(jobs: Jobs) -> None:
    added = await asyncio.gather(*(jobs.add(job(n, key="k"), KEEP) for n in "abcdef"))
    assert len({one.id for one in added}) == 1


async def test_key_is_its_callers_and_no_key_is_nobodys(jobs: Jobs) -> None:
    for one in (job("a", key="k"), job("b", key="k", caller="bob"), job("c"), job("d")):
        assert await jobs.add(one, KEEP) == one


async def test_key_is_free_again_when_its_job_has_expired(jobs: Jobs) -> None:
    await jobs.add(job("a", key="k"), 0.02)
    await asyncio.sleep(0.05)
    assert await found(jobs, "a" * 32) is None
    assert (await jobs.add(job("b", key="k"), KEEP)).id == "b" * 32


async def test_what_is_kept_longer_keeps_its_key(jobs: Jobs) -> None:
    await jobs.add(job("a", key="k"), 0.2)
    await jobs.queued("a" * 32, KEEP)
    await asyncio.sleep(0.25)
    assert (await jobs.add(job("b", key="k"), KEEP)).id == "a" * 32


async def test_job_goes_from_made_to_done(jobs: Jobs) -> None:
    one = await jobs.add(job(), KEEP)
    assert one.status == MADE
    await jobs.queued(one.id, KEEP)
    assert (await jobs.find([one.id]))[one.id].status == QUEUED
    begun = await jobs.begin(one.id, 1, NOW + 10)
    assert begun == replace(one, status=RUNNING, attempt=1, started_at=NOW + 10)
    assert await jobs.progress(one.id, 40, "halfway")
    assert await found(jobs, one.id) == replace(begun, progress=40, message="halfway")
    assert await jobs.end(one.id, Outcome(result=RESULT), NOW + 20, KEEP)
    ended = replace(begun, status=DONE, progress=100, result=RESULT, finished_at=NOW + 20)
    assert await found(jobs, one.id) == ended


async def test_worker_that_is_faster_than_the_queueing_stays_ahead(jobs: Jobs) -> None:
    one = await jobs.add(job(), KEEP)
    await jobs.begin(one.id, 1, NOW)
    await jobs.queued(one.id, KEEP)
    assert (await jobs.find([one.id]))[one.id].status == RUNNING


async def test_second_delivery_begins_anew(jobs: Jobs) -> None:
    one = await jobs.add(job(), KEEP)
    await jobs.begin(one.id, 1, NOW)
    await jobs.progress(one.id, 80, "nearly")
    again = await jobs.begin(one.id, 2, NOW + 5)
    assert again is not None
    assert (again.attempt, again.progress, again.message) == (2, 0, "")


@pytest.mark.parametrize(
    "outcome", [Outcome(result=RESULT), Outcome(reason="no")], ids=["done", "failed"]
)
async def test_what_is_over_stays_as_it_is(jobs: Jobs, outcome: Outcome) -> None:
    one = await jobs.add(job(), KEEP)
    await jobs.end(one.id, outcome, NOW, KEEP)
    before = await found(jobs, one.id)
    assert before is not None
    assert before.status == outcome.status
    assert not await jobs.end(one.id, Outcome(result="{}"), NOW + 1, KEEP)
    assert not await jobs.end(one.id, Outcome(reason="late"), NOW + 1, KEEP)
    assert not await jobs.progress(one.id, 1, "late")
    assert await jobs.begin(one.id, 9, NOW + 1) is None
    await jobs.queued(one.id, KEEP)
    assert await found(jobs, one.id) == before


async def test_of_two_results_at_once_one_counts(jobs: Jobs) -> None:
    one = await jobs.add(job(), KEEP)
    ends = [jobs.end(one.id, Outcome(result=f'{{"n":{n}}}'), NOW, KEEP) for n in range(5)]
    assert sum(await asyncio.gather(*ends)) == 1
    assert len(await jobs.uncounted()) == 1


async def test_what_is_not_there_cannot_be_changed(jobs: Jobs) -> None:
    name = "f" * 32
    assert await jobs.begin(name, 1, NOW) is None
    assert not await jobs.progress(name, 1, "")
    assert not await jobs.end(name, Outcome(result="{}"), NOW, KEEP)
    await jobs.queued(name, KEEP)
    assert await jobs.find([name]) == {}


async def test_result_is_forgotten_after_its_time(jobs: Jobs) -> None:
    await done(jobs, job(), NOW, keep=0.02)
    await asyncio.sleep(0.05)
    assert await found(jobs, job().id) is None
    assert await jobs.history("ann", None, 10) == []
    assert await jobs.explained("AAPL") is None


async def test_newest_explanation_is_found_by_its_symbol(jobs: Jobs) -> None:
    for name, when in (("a", NOW), ("b", NOW + 5)):
        await done(jobs, job(name, kind="explanation", symbol="AAPL"), when)
    await done(jobs, job("c", kind="explanation", symbol="AAPL"), NOW + 9, reason="no")
    await done(jobs, job("d", kind="explanation", symbol="MSFT"), NOW + 9)
    newest = await jobs.explained("AAPL")
    assert newest is not None
    assert newest.id == "b" * 32
    assert await jobs.explained("GOOG") is None


async def test_history_is_the_callers_newest_first_page_by_page(jobs: Jobs) -> None:
    for number in range(6):
        when = NOW + number // 2  # two at the same moment
        await done(jobs, job(f"{number:032x}"), when, **({"reason": "no"} if number == 1 else {}))
    await done(jobs, job("f", caller="bob"), NOW + 100)
    await jobs.add(job("e"), KEEP)
    names: list[str] = []
    before: tuple[int, str] | None = None
    while page := await jobs.history("ann", before, 2):
        assert len(page) <= 2
        names += [one.id for one in page]
        before = page[-1].finished_at, page[-1].id
    assert names == [f"{number:032x}" for number in (5, 4, 3, 2, 1, 0)]
    assert [one.status for one in await jobs.history("ann", None, 9)].count(FAILED) == 1


async def test_expired_are_left_out_of_a_page_that_is_full_all_the_same(jobs: Jobs) -> None:
    for number in range(110):
        await done(jobs, job(f"{number:032x}"), NOW + number, keep=KEEP if number < 3 else 0.01)
    await asyncio.sleep(0.05)
    page = await jobs.history("ann", None, 3)
    assert [one.id for one in page] == [f"{number:032x}" for number in (2, 1, 0)]


async def test_durations_are_of_the_last_ones_that_were_done(jobs: Jobs) -> None:
    for number in range(RECENT + 3):
        await done(jobs, job(f"{number:032x}"), NOW + 1000 + number)
    await done(jobs, job("e"), NOW + 5000, reason="no")
    await done(jobs, job("f", kind="explanation"), NOW + 7)
    assert sorted(await jobs.recent("generate")) == [1000 + n for n in range(3, RECENT + 3)]
    assert await jobs.recent("explanation") == [7]
    assert await jobs.recent("detect_inventory") == []


async def test_what_is_over_is_counted_once_by_somebody(jobs: Jobs, where: tuple[str, str]) -> None:
    await done(jobs, job("a"), NOW + 30)
    await done(jobs, job("b", kind="explanation"), NOW + 40, reason="no")
    await jobs.add(job("c"), KEEP)
    async with state(*where) as other:
        told = await asyncio.gather(jobs.uncounted(), other.uncounted())
    assert sorted(map(str, [*told[0], *told[1]])) == sorted(
        map(str, [Ended("generate", DONE, 30), Ended("explanation", FAILED, 40)])
    )
    assert await jobs.uncounted() == []


async def test_last_attempt_without_a_sign_of_life_is_overdue(jobs: Jobs) -> None:
    for name in "abcd":
        await jobs.add(job(name), KEEP)
    await jobs.begin("a" * 32, 1, NOW)
    for name in "bcd":
        await jobs.begin(name * 32, 2, NOW, NOW + 10)
    await jobs.alive("b" * 32, NOW + 30)
    await jobs.end("d" * 32, Outcome(result=RESULT), NOW + 5, KEEP)
    await jobs.alive("d" * 32, NOW + 5)
    assert await jobs.overdue(NOW + 9) == []
    assert await jobs.overdue(NOW + 10) == ["c" * 32]
    assert sorted(await jobs.overdue(NOW + 30)) == ["b" * 32, "c" * 32]
    await jobs.end("c" * 32, Outcome(reason="no"), NOW + 30, KEEP)
    assert await jobs.overdue(NOW + 30) == ["b" * 32]


async def test_table_does_not_keep_what_has_expired(tmp_path: Path) -> None:
    file = tmp_path / "gateway.db"
    async with state("sqlite", str(file)) as jobs:
        await done(jobs, job(), NOW, keep=0.02)
        await asyncio.sleep(0.05)
        assert len(await jobs.uncounted()) == 1
    database = Sqlite(file)
    assert await database.fetch("SELECT id FROM gateway_jobs") == []
    await database.close()
