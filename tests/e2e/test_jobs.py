"""Jobs over HTTP, with a store that the test speaks to as a worker does."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from time import time
from typing import Any

import pytest
import pytest_asyncio

from gateway.jobs.job import Jobs, Outcome
from gateway.keyring import Keyring
from gateway.stores.keys import Keys
from gateway.stores.sqlite import Sqlite
from tests.e2e.jobs import ask, begin, events, get, post
from tests.e2e.life import request
from tests.e2e.stage import Stage, stage
from tests.jobs.kept import queue, state

KEEP = 60.0
IMAGE = b64encode(b"\x89PNG" + bytes(60)).decode()


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(tmp_path / "jobs.db")


@pytest_asyncio.fixture
async def jobs(file: str) -> AsyncIterator[Jobs]:
    async with state("sqlite", file) as made:
        yield made


def table(file: str, **jobs: Any) -> dict[str, Any]:
    return {"stores": {"sqlite": file}, "apis": {"jobs": {"image": 100, "prompt": 50, **jobs}}}


@pytest_asyncio.fixture
async def gateway(file: str) -> AsyncIterator[Stage]:
    async with stage(**table(file)) as scene:
        yield scene


@pytest_asyncio.fixture
async def lines(file: str) -> AsyncIterator[tuple[str, str]]:
    """What Ann and Bob send along."""
    database = Sqlite(Path(file))
    ring = Keyring(Keys(database))
    keys = [(await ring.create(owner, "free", (), None))[1] for owner in ("ann", "bob")]
    yield f"X-API-Key: {keys[0]}", f"X-API-Key: {keys[1]}"
    await database.close()


def name_of(place: str) -> str:
    return place.rpartition("/")[2]


async def end(jobs: Jobs, place: str, reason: str = "", result: str = '{"text":"x"}') -> None:
    outcome = Outcome(reason=reason) if reason else Outcome(result=result)
    assert await jobs.end(name_of(place), outcome, round(time() * 1000), KEEP)


# -------------------------------------------------------------------------------- taking on


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/api/explanation/aapl", {"depth": "fast"}, "/api/explanation/job/"),
        ("/api/explanation/AAPL", {}, "/api/explanation/job/"),
        ("/generate", {"prompt": "x", "seed": 0, "inventory_filter": ["tea"]}, "/generate/"),
        ("/generate", {"prompt": "x" * 50, "inventory_filter": {"kind": "tea"}}, "/generate/"),
        ("/detect_inventory", {"image": IMAGE}, "/detect_inventory/"),
        ("/detect_inventory", {"image": "data:image/png;base64," + IMAGE}, "/detect_inventory/"),
    ],
)
async def test_job_is_taken_on_and_found_at_its_location(
    gateway: Stage, path: str, body: dict[str, Any], where: str
) -> None:
    answer = await ask(gateway, "POST", path, body=body)
    assert answer.status == 202
    told = answer.body
    assert (told["status"], told["estimated_time_sec"] > 0) == ("queued", True)
    assert answer.field(b"location") == where + told["job_id"]
    found = await get(gateway, answer.field(b"location"))
    assert found.status == 202
    assert found.body == {**told, "progress": 0, "message": ""}
    assert int(found.field(b"retry-after")) > 0


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/explanation/toolong", {}, 400),
        ("/api/explanation/A1", {}, 400),
        ("/api/explanation/%C3%A9", {}, 400),
        ("/api/explanation/%EF%BC%A1", {}, 400),
        ("/api/explanation/AAPL", {"depth": "deepest"}, 422),
        ("/api/explanation/AAPL", {"deep": "fast"}, 422),
        ("/generate", b"{", 400),
        ("/generate", b"[]", 400),
        ("/generate", {}, 422),
        ("/generate", {"prompt": ""}, 422),
        ("/generate", {"prompt": "x" * 51}, 422),
        ("/generate", {"prompt": 5}, 422),
        ("/generate", {"prompt": "x", "seed": "1"}, 422),
        ("/generate", {"prompt": "x", "seed": -1}, 422),
        ("/generate", {"prompt": "x", "seed": 1 << 63}, 422),
        ("/generate", {"prompt": "x", "inventory_filter": 5}, 422),
        ("/generate", b'{"prompt":"x","inventory_filter":"%b"}' % (b"y" * 80_000), 413),
        ("/detect_inventory", {"image": ""}, 422),
        ("/detect_inventory", {"image": "no base64!"}, 422),
        ("/detect_inventory", {"image": IMAGE + "x"}, 422),
        ("/detect_inventory", {"image": "data:text/html;base64," + IMAGE}, 422),
        ("/detect_inventory", {"image": b64encode(bytes(101)).decode()}, 422),
        ("/detect_inventory", {"image": b64encode(bytes(9000)).decode()}, 413),
    ],
)
async def test_what_cannot_be_asked_for_is_refused(
    gateway: Stage, path: str, body: Any, status: int
) -> None:
    answer = await ask(gateway, "POST", path, body=body)
    assert answer.status == status
    assert (status == 422) == bool(answer.body.get("details"))
    assert (await get(gateway, "/history")).body["jobs"] == []


async def test_only_kinds_that_are_named_are_taken(file: str) -> None:
    async with stage(**table(file, kinds=["generate"])) as gateway:
        assert (await post(gateway)).status == 202
        answer = await ask(gateway, "POST", "/detect_inventory", body={"image": IMAGE})
        assert answer.status == 404
        assert (await get(gateway, "/history")).status == 200


async def test_workers_are_told_what_was_asked_for_and_by_which_request(
    gateway: Stage, file: str
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    place = await begin(gateway, "hello", "X-Request-ID: r-1", f"traceparent: {trace}")
    async with queue("sqlite", file) as worker:
        delivery = await worker.take("generate", 1)
    assert delivery is not None
    assert delivery.message.id == name_of(place)
    assert delivery.message.headers["Correlation-Id"] == "r-1"
    assert delivery.message.headers["traceparent"].split("-")[1] == trace.split("-")[1]
    assert b'"input":{"prompt":"hello"}' in delivery.message.data


async def test_estimate_is_the_median_of_the_last_ones(gateway: Stage, jobs: Jobs) -> None:
    for seconds in (3, 20, 7):
        place = await begin(gateway)
        now = round(time() * 1000)
        assert await jobs.end(name_of(place), Outcome("{}"), now + seconds * 1000, KEEP)
    assert (await post(gateway)).body["estimated_time_sec"] in (7, 8)
    other = await ask(gateway, "POST", "/detect_inventory", body={"image": IMAGE})
    assert other.body["estimated_time_sec"] == 15


# --------------------------------------------------------------------------- asking twice


async def test_same_key_gives_the_same_job_whatever_became_of_it(
    gateway: Stage, jobs: Jobs
) -> None:
    first = await begin(gateway, "one", "Idempotency-Key: k")
    assert await begin(gateway, "one", "Idempotency-Key: k") == first
    await end(jobs, first)
    again = await post(gateway, "one", "Idempotency-Key: k")
    assert (again.status, again.field(b"location")) == (202, first)
    assert again.body["status"] == "done"
    assert await begin(gateway, "one", "Idempotency-Key: other") != first
    assert await begin(gateway, "one") != first


async def test_at_once_too(gateway: Stage, file: str) -> None:
    places = await asyncio.gather(*(begin(gateway, "one", "Idempotency-Key: k") for _ in range(8)))
    assert len(set(places)) == 1
    async with queue("sqlite", file) as worker:
        assert await worker.take("generate", 0.01) is not None
        assert await worker.take("generate", 0.01) is None


async def test_same_key_for_another_request_is_refused(gateway: Stage) -> None:
    await begin(gateway, "one", "Idempotency-Key: k")
    for answer in (
        await post(gateway, "two", "Idempotency-Key: k"),
        await ask(gateway, "POST", "/api/explanation/A", "Idempotency-Key: k", body={}),
    ):
        assert answer.status == 422
        assert answer.body["details"][0]["name"] == "Idempotency-Key"


async def test_same_key_for_another_symbol_is_refused(gateway: Stage) -> None:
    for symbol, status in (("AAPL", 202), ("aapl", 202), ("MSFT", 422)):
        path = f"/api/explanation/{symbol}"
        answer = await ask(gateway, "POST", path, "Idempotency-Key: k", body={})
        assert answer.status == status


@pytest.mark.parametrize("lines", [["", ""], [""], ["a b"], ["\xe9"], ["x" * 256], ["a", "b"]])
async def test_what_is_no_key_is_refused(gateway: Stage, lines: list[str]) -> None:
    answer = await post(gateway, "x", *(f"Idempotency-Key: {line}" for line in lines))
    assert answer.status == 400


async def test_key_is_its_callers(file: str, lines: tuple[str, str]) -> None:
    async with stage(**table(file, auth="api_key")) as gateway:
        ann, bob = lines
        mine = await begin(gateway, "one", "Idempotency-Key: k", ann)
        assert await begin(gateway, "two", "Idempotency-Key: k", bob) != mine
        assert await begin(gateway, "one", "Idempotency-Key: k", ann) == mine


# --------------------------------------------------------------------------------- telling


async def test_result_is_told_when_it_is_there(gateway: Stage, jobs: Jobs) -> None:
    place = await begin(gateway)
    await jobs.begin(name_of(place), 1, 1)
    await jobs.progress(name_of(place), 40, "halfway")
    under = await get(gateway, place)
    assert (under.status, under.body["status"]) == (202, "running")
    assert (under.body["progress"], under.body["message"]) == (40, "halfway")
    await end(jobs, place, result='{"text":"\\u0000\xe4"}')
    answer = await get(gateway, place)
    assert answer.status == 200
    assert answer.body["result"] == {"text": "\0\xe4"}
    assert answer.field(b"cache-control") == "no-store"


async def test_failure_is_500_with_its_reason(gateway: Stage, jobs: Jobs) -> None:
    place = await begin(gateway)
    await end(jobs, place, reason="there is no such thing")
    answer = await get(gateway, place)
    assert answer.status == 500
    assert (answer.body["error"], answer.body["message"]) == (
        "job_failed",
        "there is no such thing",
    )


@pytest.mark.parametrize("name", ["f" * 32, "x", "F" * 32, "'; DROP TABLE gateway_jobs"])
async def test_job_that_is_not_there_is_404(gateway: Stage, name: str) -> None:
    name = name.replace(" ", "%20")
    for where in ("/generate/", "/progress/", "/api/explanation/job/", "/detect_inventory/"):
        assert (await get(gateway, where + name)).status == 404


async def test_job_of_another_kind_is_404(gateway: Stage) -> None:
    name = name_of(await begin(gateway))
    assert (await get(gateway, f"/detect_inventory/{name}")).status == 404
    assert (await get(gateway, f"/api/explanation/job/{name}")).status == 404


async def test_job_is_its_owners_alone(file: str, jobs: Jobs, lines: tuple[str, str]) -> None:
    async with stage(**table(file, auth="api_key")) as gateway:
        ann, bob = lines
        place = await begin(gateway, "one", ann)
        progress = "/progress/" + name_of(place)
        assert (await get(gateway, place)).status == 401
        assert (await get(gateway, place, bob)).status == 404
        assert (await get(gateway, progress, bob)).status == 404
        assert (await get(gateway, place, ann)).status == 202
        await end(jobs, place)
        assert (await get(gateway, place, bob)).status == 404
        assert (await get(gateway, "/history", bob)).body["jobs"] == []
        assert len((await get(gateway, "/history", ann)).body["jobs"]) == 1
    async with stage(**table(file)) as gateway:  # where nobody is asked any more
        assert (await get(gateway, place)).status == 404


async def test_newest_explanation_has_its_time_and_its_sources(gateway: Stage, jobs: Jobs) -> None:
    path = "/api/explanation/AAPL"
    assert (await get(gateway, path)).status == 404
    for text in ("old", "new"):
        answer = await ask(gateway, "POST", path, body={})
        result = f'{{"explanation":"{text}","sources":["a"],"generated_at":"never"}}'
        await end(jobs, answer.field(b"location"), result=result)
        await asyncio.sleep(0.002)
    await ask(gateway, "POST", path, body={})
    found = await get(gateway, "/api/explanation/aapl")
    assert found.status == 200
    assert found.body["explanation"] == "new"
    assert (found.body["symbol"], found.body["sources"]) == ("AAPL", ["a"])
    assert found.body["generated_at"].endswith("Z")
    assert (await get(gateway, "/api/explanation/MSFT")).status == 404


async def test_history_goes_page_by_page_to_its_end(gateway: Stage, jobs: Jobs) -> None:
    places = [await begin(gateway) for _ in range(5)]
    for number, place in enumerate(places):
        await end(jobs, place, reason="no" if number == 2 else "")
        await asyncio.sleep(0.002)
    await begin(gateway)
    seen: list[dict[str, Any]] = []
    path = "/history?limit=2"
    while True:
        page = (await get(gateway, path)).body
        seen += page["jobs"]
        if page["next_cursor"] is None:
            break
        path = f"/history?limit=2&cursor={page['next_cursor']}"
    assert [one["job_id"] for one in seen] == [name_of(place) for place in reversed(places)]
    assert [one["reason"] for one in seen] == [None, None, "no", None, None]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=x", "limit=%D9%A1", "cursor=x", "cursor=", "cursor=AAAA"],
)
async def test_page_that_is_none_is_refused(gateway: Stage, query: str) -> None:
    assert (await get(gateway, f"/history?{query}")).status == 400


# -------------------------------------------------------------------------------- progress


async def test_progress_is_told_as_it_comes_and_ends_by_itself(gateway: Stage, jobs: Jobs) -> None:
    place = await begin(gateway)
    client = await gateway.client()
    await client.send(request("GET", "/progress/" + name_of(place)))
    head = await client.head()
    assert b"text/event-stream" in head
    assert b'"status":"queued"' in await client.until(b"\n\n\r\n")
    await jobs.begin(name_of(place), 1, 1)
    await jobs.progress(name_of(place), 40, "halfway")
    assert b'"progress":40,"message":"halfway"' in await client.until(b"\n\n\r\n")
    await end(jobs, place)
    last = await client.until(b"0\r\n\r\n")
    assert b"id: end\nevent: done\n" in last
    assert b'"result":{"text":"x"}' in last


async def test_progress_of_what_is_over_is_its_end(gateway: Stage, jobs: Jobs) -> None:
    place = await begin(gateway)
    await end(jobs, place, reason="no")
    ((name, told),) = await events(gateway, "/progress/" + name_of(place))
    assert (name, told["reason"]) == ("failed", "no")


async def test_who_has_heard_the_end_is_not_told_again(gateway: Stage, jobs: Jobs) -> None:
    place = await begin(gateway)
    await end(jobs, place)
    answer = await get(gateway, "/progress/" + name_of(place), "Last-Event-ID: end")
    assert answer.status == 204


async def test_head_of_a_progress_has_no_events(gateway: Stage) -> None:
    place = await begin(gateway)
    client = await gateway.client()
    await client.send(request("HEAD", "/progress/" + name_of(place)))
    assert b"200 OK" in await client.head()
    await client.send(request("GET", place))
    assert b"202 Accepted" in await client.head()


async def test_only_so_many_watch_and_who_leaves_makes_room(file: str) -> None:
    async with stage(**table(file, watchers=1)) as gateway:
        path = "/progress/" + name_of(await begin(gateway))
        client = await gateway.client()
        await client.send(request("GET", path))
        await client.until(b"\n\n\r\n")
        assert (await get(gateway, path)).status == 503
        client.writer.transport.abort()
        async with asyncio.timeout(5):
            while True:
                other = await gateway.client()
                await other.send(request("GET", path))
                if (await other.head()).split()[1] == b"200":
                    break


async def test_progress_ends_where_the_gateway_shuts_down(gateway: Stage) -> None:
    place = await begin(gateway)
    client = await gateway.client()
    await client.send(request("GET", "/progress/" + name_of(place)))
    await client.until(b"\n\n\r\n")
    gateway.gateway.front.draining = True
    await client.until(b"0\r\n\r\n")
