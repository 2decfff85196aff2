"""Where predictions are looked for, in which order, and how often."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from gateway.errors import StoreDown
from gateway.predictions.lookups import LINGER
from tests.predictions.pieces import Bench, codes, row


@pytest_asyncio.fixture
async def bench() -> Bench:
    return Bench()


async def settled() -> None:
    """Let all that is due happen."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_cached_is_told_at_once(bench: Bench) -> None:
    bench.cache.kept[b"pred:A"] = row(2)
    done = bench.begin("A")
    assert done.done()
    assert await bench.prices("A") == {"A": (2, b"cache")}
    assert bench.database.queries == []
    assert bench.counts == {"cache": 2}


async def test_cached_hash_is_told(bench: Bench) -> None:
    bench.cache.kept[b"pred:A"] = {b"predicted_price": b"2"}
    assert await bench.prices("A") == {"A": (2, b"cache")}


async def test_what_is_not_cached_comes_from_the_database_and_is_kept(bench: Bench) -> None:
    bench.database.rows["A"] = row(3)
    assert await bench.prices("A") == {"A": (3, b"database")}
    await settled()
    assert bench.cache.kept == {b"pred:A": row(3)}
    assert bench.cache.seconds == [60]
    assert await bench.prices("A") == {"A": (3, b"cache")}
    assert bench.counts == {"database": 1, "cache": 1}
    assert bench.asked == 1


async def test_what_is_nowhere_is_missing(bench: Bench) -> None:
    results = await bench.load("A")
    assert (results.found, results.missing, results.errors) == ({}, ["A"], {})
    assert bench.cache.seconds == []
    assert bench.counts == {"missing": 1}


async def test_several_are_one_question_to_each(bench: Bench) -> None:
    bench.cache.kept[b"pred:B"] = row(2)
    bench.database.rows = {"A": row(1), "D": row(4)}
    results = await bench.load("A", "B", "C", "D")
    assert set(results.found) == {"A", "B", "D"}
    assert results.missing == ["C"]
    assert bench.cache.asked == [[b"pred:A", b"pred:B", b"pred:C", b"pred:D"]]
    assert bench.database.queries == [["A", "C", "D"]]
    assert bench.counts == {"cache": 1, "database": 2, "missing": 1}


async def test_those_who_ask_in_one_turn_share_a_query(bench: Bench) -> None:
    bench.database.rows = {"A": row(1), "B": row(2)}
    await asyncio.gather(bench.load("A"), bench.load("B"), bench.load("B", "A"))
    assert bench.database.queries == [["A", "B"]]


async def test_stampede_makes_one_query(bench: Bench) -> None:
    bench.database.rows["A"] = row(1)
    bench.database.go.clear()
    crowd = [bench.begin("A") for _ in range(500)]
    await settled()
    crowd += [bench.begin("A") for _ in range(500)]
    await settled()
    bench.database.go.set()
    results = await asyncio.gather(*crowd)
    assert all(r.found["A"].prediction.fields["predicted_price"] == 1 for r in results)
    assert bench.database.queries == [["A"]]
    assert bench.asked == 1


async def test_who_comes_before_it_is_kept_asks_no_more(bench: Bench) -> None:
    bench.database.rows["A"] = row(1)
    bench.cache.keeping.clear()
    await bench.load("A")
    assert await bench.prices("A") == {"A": (1, b"database")}
    bench.cache.keeping.set()
    await settled()
    assert bench.database.queries == [["A"]]


async def test_who_saw_nothing_just_before_it_was_kept_asks_no_more(bench: Bench) -> None:
    bench.database.rows["A"] = row(1)
    bench.cache.later = []
    late = bench.begin("A")
    waiting, bench.cache.later = bench.cache.later, None
    await bench.load("A")
    await settled()
    assert bench.cache.kept
    for answer in waiting:
        answer()  # with what there was when it was asked: nothing
    assert (await late).found["A"].source == b"database"
    assert bench.database.queries == [["A"]]


async def test_after_that_the_database_is_asked_anew(bench: Bench) -> None:
    bench.database.rows["A"] = row(1)
    await bench.load("A")
    await settled()
    bench.cache.kept.clear()
    bench.database.rows["A"] = row(2)
    gone = asyncio.Event()
    asyncio.get_running_loop().call_later(LINGER * 1.5, gone.set)
    await gone.wait()
    assert await bench.prices("A") == {"A": (2, b"database")}


async def test_what_was_missing_is_asked_for_anew_at_once(bench: Bench) -> None:
    await bench.load("A")
    bench.database.rows["A"] = row(1)
    assert await bench.prices("A") == {"A": (1, b"database")}


# ---------------------------------------------------------------------------- what is wrong


async def test_database_that_is_lost_is_told_of_what_is_not_cached(bench: Bench) -> None:
    bench.cache.kept[b"pred:B"] = row(2)
    bench.database.error = StoreDown()
    results = await bench.load("A", "B")
    assert set(results.found) == {"B"}
    assert codes(results.errors) == {"A": 503}
    assert results.missing == []
    assert bench.counts == {"cache": 1, "unavailable": 1}


async def test_database_that_is_back_is_asked(bench: Bench) -> None:
    bench.database.rows["A"] = row(1)
    bench.database.error = StoreDown()
    await bench.load("A")
    bench.database.error = None
    assert await bench.prices("A") == {"A": (1, b"database")}


async def test_mistake_is_an_internal_error_and_its_stack_is_logged(bench: Bench) -> None:
    bench.database.error = RuntimeError("no such column")
    results = await bench.load("A")
    assert codes(results.errors) == {"A": 500}
    assert "column" not in results.errors["A"].message
    (line,) = bench.lines
    assert b"prediction_query_failed" in line
    assert b"no such column" in line
    assert b"Traceback" in line


async def test_cached_value_that_is_none_gives_way_to_the_database(bench: Bench) -> None:
    bench.cache.kept[b"pred:A"] = b"no JSON"
    bench.database.rows["A"] = row(1)
    for _ in range(3):
        assert await bench.prices("A") == {"A": (1, b"database")}
        bench.cache.kept[b"pred:A"] = b"no JSON"
    assert [line.count(b"prediction_malformed") for line in bench.lines] == [1]


async def test_row_that_is_none_is_missing(bench: Bench) -> None:
    bench.database.rows["A"] = b'{"predicted_price":null}'
    assert (await bench.load("A")).missing == ["A"]


# --------------------------------------------------------------------------------- features


async def test_features_are_asked_for_with_the_predictions(bench: Bench) -> None:
    bench.cache.kept = {
        b"pred:A": row(1),
        b"features:A": b'{"a":1}',
        b"features:B": {b"b": b"2"},
    }
    bench.database.rows["B"] = row(2)
    results = await bench.load("A", "B", features=True)
    assert results.found["A"].features == b'{"a":1}'
    assert results.found["B"].features == b'{"b":2}'
    assert bench.cache.asked == [[b"pred:A", b"pred:B", b"features:A", b"features:B"]]


async def test_features_are_not_asked_for_otherwise(bench: Bench) -> None:
    bench.cache.kept = {b"pred:A": row(1), b"features:A": b'{"a":1}'}
    assert (await bench.load("A")).found["A"].features == b""
    assert bench.cache.asked == [[b"pred:A"]]


# ------------------------------------------------------------------------------------- rest


async def test_prediction_is_read_again_only_when_it_changes(bench: Bench) -> None:
    bench.cache.kept[b"pred:A"] = row(1)
    first = (await bench.load("A")).found["A"].prediction
    bench.cache.kept[b"pred:A"] = bytes(bytearray(row(1)))
    assert (await bench.load("A")).found["A"].prediction is first
    bench.cache.kept[b"pred:A"] = row(2)
    assert (await bench.load("A")).found["A"].prediction is not first


async def test_only_so_many_are_remembered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.predictions.loader.REMEMBERED", 2)
    names = ("A", "B", "C", "D")
    bench.cache.kept = {b"pred:" + name.encode(): row(1) for name in names}
    first = (await bench.load("A")).found["A"].prediction
    assert len((await bench.load(*names)).found) == 4
    assert (await bench.load("A")).found["A"].prediction is not first


async def test_closing_lets_answers_come(bench: Bench) -> None:
    bench.database.rows["A"] = row(1)
    bench.database.go.clear()
    waiting = bench.begin("A")
    closing = asyncio.create_task(bench.loader.close())
    await settled()
    assert not closing.done()
    bench.database.go.set()
    await closing
    assert waiting.done()
    assert bench.cache.kept
    assert bench.cache.closed


async def test_closing_waits_until_what_was_found_is_kept(bench: Bench) -> None:
    bench.database.rows["A"] = row(1)
    bench.cache.keeping.clear()
    await bench.load("A")
    closing = asyncio.create_task(bench.loader.close())
    await settled()
    assert not bench.cache.closed
    bench.cache.keeping.set()
    await closing
    assert bench.cache.closed
