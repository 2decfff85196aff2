from __future__ import annotations

from bench.generators import Sample
from bench.ws import report
from bench.ws.parts import Beside, Hold, Plan, Round, Symbols, Update

GOOD = Update(micros=10.0, half=40.0, last=80.0, bytes=200, missing=0)
FLOOR = Update(micros=8.0, half=30.0, last=60.0, bytes=200, missing=0)
HELD = Hold(
    rate=2100.0, micros=200.0, welcome_p95=1.0, connected=10_000.0, subscribed=11_000.0, before=1
)
SPREAD = Symbols(
    expected=100, arrived=100, dropped=0, wrong=0, used=0.1, p50=1.0, p95=2.0, worst=3.0
)
ASKED = Sample(requests=5000, seconds=5.0, bytes_read=1, errors=0, p50=0.3, p95=20.0, p99=30.0)


def measured(**changed: object) -> list[Round]:
    figures: dict[str, object] = {
        "hold": HELD,
        "updates": [GOOD, GOOD],
        "floor": [FLOOR, FLOOR],
        "grown": 12_000.0,
        "symbols": SPREAD,
        "beside": Beside(ASKED, ASKED, 25, 0),
        "lost": 0,
    }
    return [Round("gateway", **(figures | changed))]  # type: ignore[arg-type]


def verdicts(rounds: list[Round]) -> dict[str, bool | None]:
    return {aim.what: aim.met for aim in report.targets(rounds, Plan())}


def test_gateway_that_reaches_all_meets_all() -> None:
    assert set(verdicts(measured()).values()) == {True}


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert set(verdicts([Round("gateway", failure="did not start")]).values()) == {None}


def test_each_goal_is_missed_by_what_misses_it() -> None:
    dear = Update(micros=10.1, half=40.0, last=251.0, bytes=200, missing=1)
    lost = Symbols(
        expected=100, arrived=99, dropped=1, wrong=0, used=0.1, p50=1.0, p95=2.0, worst=3.0
    )
    slow = Sample(requests=4900, seconds=5.0, bytes_read=1, errors=0, p50=1.0, p95=51.0, p99=60.0)
    rare = Hold(rate=1999.0, micros=400.0, welcome_p95=1.0, connected=1.0, subscribed=2.0, before=1)

    found = verdicts(
        measured(
            hold=rare,
            updates=[dear, dear],
            grown=16.1 * 1024,
            symbols=lost,
            beside=Beside(ASKED, slow, 25, 0),
            lost=1,
        )
    )

    assert set(found.values()) == {False}


def test_ratio_is_that_of_updates_beside_each_other() -> None:
    twice = Update(micros=20.0, half=1.0, last=2.0, bytes=200, missing=0)
    slow_floor = Update(micros=16.0, half=1.0, last=2.0, bytes=200, missing=0)

    rounds = measured(updates=[GOOD, twice], floor=[FLOOR, slow_floor])

    assert report.ratios(rounds) == [1.25, 1.25]


def test_memory_that_counts_is_the_most_that_was_held() -> None:
    aim = report.targets(measured(grown=15.5 * 1024), Plan())[1]

    assert aim.found == "15.5 KB"


def test_peers_stand_beside_it_in_the_tables_and_failures_below() -> None:
    rounds = [*measured(), Round("bare", updates=[FLOOR]), Round("fastapi", failure="no port")]

    told = "\n".join(report.lines(rounds, Plan()))

    assert "10,000 connections held" in told
    assert "1,000 symbols with 100 subscribers each, 50 updates/s" in told
    assert told.endswith("fastapi: no port")


def test_part_that_was_not_asked_for_has_no_table() -> None:
    told = "\n".join(report.lines(measured(), Plan(only=frozenset({"hold"}))))

    assert "held" in told
    assert "One update" not in told
