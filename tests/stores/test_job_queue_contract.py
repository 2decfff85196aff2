"""What every queue of jobs does: a table in both databases, and NATS JetStream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.jobs.job import Delivery, Lost, Message, Queue, QueueFull
from tests.jobs.kept import ATTEMPTS, DEPTH, TIMEOUT, queue, remove_streams

SOON = 0.05
LONG = 5.0


@pytest_asyncio.fixture(params=["sqlite", "postgres", "nats"])
async def where(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[str, str]]:
    kind: str = request.param
    if kind == "sqlite":
        yield kind, str(tmp_path / "gateway.db")
        return
    url: str = request.getfixturevalue(f"{kind}_url")
    if kind == "nats":
        await remove_streams(url)
    else:
        await drop_table(url)
    yield kind, url


async def drop_table(url: str) -> None:
    from gateway.stores.job_queue import MIGRATION
    from gateway.stores.postgres import MIGRATIONS, Postgres

    database = Postgres(url)
    await database.execute(MIGRATIONS)
    await database.execute("DROP TABLE IF EXISTS gateway_job_queue")
    await database.execute("DELETE FROM gateway_migrations WHERE name = $1", MIGRATION)
    await database.close()


@pytest_asyncio.fixture
async def gate(where: tuple[str, str]) -> AsyncIterator[Queue]:
    async with queue(*where) as made:
        yield made


@pytest_asyncio.fixture
async def worker(where: tuple[str, str]) -> AsyncIterator[Queue]:
    async with queue(*where) as made:
        yield made


def message(name: str = "a", kind: str = "generate") -> Message:
    headers = {"Correlation-Id": "r1", "traceparent": "00-1-2-01"}
    return Message(name * 32, kind, b'{"n":"\xc3\xa4"}', headers)


async def taken(worker: Queue, kind: str = "generate") -> Delivery:
    delivery = await worker.take(kind, LONG)
    assert delivery is not None
    return delivery


async def lost(gate: Queue, worker: Queue) -> Sequence[Lost]:
    """As soon as a worker asks for more: that is when NATS tells."""
    async with asyncio.timeout(LONG):
        while not (found := await gate.lost()):
            assert await worker.take("generate", SOON) is None
    return found


async def test_message_is_taken_as_it_was_put(gate: Queue, worker: Queue) -> None:
    await gate.put(message())
    delivery = await taken(worker)
    sent = delivery.message
    assert (sent.id, sent.kind, sent.data) == ("a" * 32, "generate", message().data)
    assert message().headers.items() <= sent.headers.items()
    assert delivery.number == 1


async def test_worker_that_waits_gets_what_comes(gate: Queue, worker: Queue) -> None:
    assert await worker.take("generate", SOON) is None
    waiting = asyncio.create_task(taken(worker))
    await gate.put(message())
    assert (await waiting).message.id == "a" * 32


async def test_each_is_taken_by_one_and_the_oldest_first(
    gate: Queue, worker: Queue, where: tuple[str, str]
) -> None:
    for name in "abc":
        await gate.put(message(name))
        await asyncio.sleep(0.002)
    assert (await taken(worker)).message.id == "a" * 32
    async with queue(*where) as other:
        got = await asyncio.gather(taken(worker), taken(other))
        assert {one.message.id[0] for one in got} == {"b", "c"}
        assert await other.take("generate", SOON) is None


async def test_kinds_do_not_meet(gate: Queue, worker: Queue) -> None:
    await gate.put(message("a", "explanation"))
    assert await worker.take("generate", SOON) is None
    assert (await taken(worker, "explanation")).message.kind == "explanation"


async def test_what_is_put_twice_is_there_once(gate: Queue, worker: Queue) -> None:
    await gate.put(message())
    await gate.put(message())
    await (await taken(worker)).done()
    assert await worker.take("generate", SOON) is None


async def test_what_is_done_does_not_come_again(gate: Queue, worker: Queue) -> None:
    await gate.put(message())
    await (await taken(worker)).done()
    assert await worker.take("generate", 3 * TIMEOUT) is None
    assert await gate.lost() == []


async def test_what_nobody_acknowledges_is_delivered_again(gate: Queue, worker: Queue) -> None:
    await gate.put(message())
    assert (await taken(worker)).number == 1
    assert (await taken(worker)).number == 2


async def test_sign_of_life_keeps_it(gate: Queue, worker: Queue) -> None:
    await gate.put(message())
    delivery = await taken(worker)
    for _ in range(4):
        assert await worker.take("generate", TIMEOUT / 2) is None
        assert await delivery.extend()
    await delivery.done()
    assert await worker.take("generate", 2 * TIMEOUT) is None


async def test_what_is_given_back_is_taken_at_once(gate: Queue, worker: Queue) -> None:
    await gate.put(message())
    await (await taken(worker)).again(0)
    async with asyncio.timeout(TIMEOUT * 0.9):
        assert (await taken(worker)).number == 2


async def test_what_is_given_back_for_later_comes_later(gate: Queue, worker: Queue) -> None:
    await gate.put(message())
    await (await taken(worker)).again(TIMEOUT)
    assert await worker.take("generate", TIMEOUT / 3) is None
    assert (await taken(worker)).number == 2


async def test_what_was_lost_too_often_is_told_and_not_delivered(
    gate: Queue, worker: Queue
) -> None:
    await gate.put(message())
    for number in range(ATTEMPTS):
        assert (await taken(worker)).number == number + 1
    (gone,) = await lost(gate, worker)
    assert gone.job == "a" * 32
    assert await worker.take("generate", SOON) is None
    await gone.forget()
    assert await gate.lost() == []


async def test_what_was_lost_is_told_also_to_who_was_not_there(
    gate: Queue, worker: Queue, where: tuple[str, str]
) -> None:
    await gate.put(message())
    for _ in range(ATTEMPTS):
        await taken(worker)
    assert await worker.take("generate", 2 * TIMEOUT) is None
    async with queue(*where) as later:
        assert [one.job for one in await lost(later, later)] == ["a" * 32]


async def test_full_queue_takes_no_more_until_one_is_done(gate: Queue, worker: Queue) -> None:
    for number in range(DEPTH):
        await gate.put(message(str(number)))
    with pytest.raises(QueueFull):
        await gate.put(message("f"))
    await gate.put(message("e", "explanation"))
    await gate.put(message("0"))  # that is there
    await (await taken(worker)).done()
    await gate.put(message("f"))


async def test_what_was_lost_and_forgotten_makes_room(gate: Queue, worker: Queue) -> None:
    for number in range(DEPTH):
        await gate.put(message(str(number)))
    for _ in range(DEPTH * ATTEMPTS):
        await taken(worker)
    left = DEPTH
    while left:
        for gone in await lost(gate, worker):
            await gone.forget()
            left -= 1
    await gate.put(message("f"))


async def test_other_settings_hold_from_then_on(
    gate: Queue, worker: Queue, where: tuple[str, str]
) -> None:
    await gate.put(message())
    await (await taken(worker)).done()
    async with queue(*where, attempts=1, depth=1) as later:
        await later.put(message("b"))
        with pytest.raises(QueueFull):
            await later.put(message("c"))
        await taken(later)
        assert [one.job for one in await lost(later, later)] == ["b" * 32]


async def test_largest_image_is_carried(gate: Queue, worker: Queue) -> None:
    data = b"x" * 720_000
    await gate.put(Message("a" * 32, "detect_inventory", data))
    assert (await taken(worker, "detect_inventory")).message.data == data


async def test_table_forgets_what_nobody_came_for(tmp_path: Path) -> None:
    async with queue("sqlite", str(tmp_path / "gateway.db"), depth=1, patience=0.05) as table:
        await table.put(message("a"))
        with pytest.raises(QueueFull):
            await table.put(message("b"))
        await asyncio.sleep(0.06)
        await table.put(message("b"))
        assert (await taken(table)).message.id == "b" * 32
        assert await table.take("generate", 0.01) is None
