from __future__ import annotations

from dataclasses import replace

from bench import loads, tables
from bench.alone import Figures, Users, Workers, parse_k6
from bench.generators import Sample
from bench.procfs import Memory
from bench.rounds import Cell
from bench.targets import Target, alone, at_least, at_most, compared

SAMPLE = Sample(
    requests=5000, seconds=2.0, bytes_read=100_000, errors=0, p50=1.25, p95=2.5, p99=3.75
)
SMALL = loads.BY_NAME["small"]


def cell(peer: str, *micros: float, errors: int = 0, load: str = "small") -> Cell:
    samples = [replace(SAMPLE, errors=errors) for _ in micros]
    return Cell(peer, load, micros=list(micros), samples=samples)


def test_table_columns_are_as_wide_as_their_longest_text() -> None:
    found = tables.table([("", "n", "work"), ("nginx", "1.0", "log"), ("a", "12.0", "")])

    assert found.splitlines() == [
        "          n  work",
        "-----  ----  ----",
        "nginx   1.0  log",
        "a      12.0",
    ]


def test_load_table_has_the_cheapest_first_with_its_ratio_to_nginx() -> None:
    found = tables.load_table(SMALL, [cell("nginx", 20, 20, 20), cell("haproxy", 10, 11, 9)])

    haproxy, nginx = found.splitlines()[3:]
    assert haproxy.split()[:5] == ["haproxy", "10.0", "9.0-11.0", "0.50", "2,500"]
    assert nginx.split()[:5] == ["nginx", "20.0", "20.0-20.0", "1.00", "2,500"]


def test_load_table_shows_the_errors_of_all_rounds() -> None:
    found = tables.load_table(SMALL, [cell("nginx", 20, 20, errors=700)])

    assert "1,400" in found.splitlines()[-1].split()


def test_peer_that_failed_stands_last_and_says_why() -> None:
    broken = replace_failure(cell("envoy"), "no route")

    found = tables.load_table(SMALL, [broken, cell("nginx", 20)]).splitlines()

    assert found[-2].split()[0] == "envoy"
    assert found[-1] == "envoy: no route"


def test_peer_without_a_single_answer_is_told_apart_from_a_fast_one() -> None:
    silent = cell("fastapi")
    silent.samples = [replace(SAMPLE, requests=0)]

    found = tables.load_table(SMALL, [cell("nginx", 20), silent]).splitlines()

    assert found[-2].split()[:4] == ["fastapi", "-", "-", "-"]
    assert found[-1] == "fastapi: not one answer within a run"


def replace_failure(broken: Cell, failure: str) -> Cell:
    broken.failure = failure
    return broken


def test_target_at_its_limit_is_met_and_beyond_it_is_missed() -> None:
    assert at_most("x", 1.6, 1.6, " times").met is True
    assert at_most("x", 1.61, 1.6, " times").met is False
    assert at_least("x", 1.69, 1.7, " times").met is False


def test_target_that_was_not_measured_is_neither_met_nor_missed() -> None:
    assert at_most("x", None, 60, " MB") == Target("x", "at most 60 MB", "not measured", None)


def verdicts(found: list[Target]) -> dict[str, bool | None]:
    return {target.what: target.met for target in found}


def test_gateway_is_compared_with_the_peers_of_the_same_load() -> None:
    found = verdicts(
        compared(
            [
                cell("gateway", 30, 31),
                cell("nginx", 20, 20),
                cell("envoy", 29, 29),
                cell("gateway", 500, 500, load="down1m"),
                cell("nginx", 800, 800, load="down1m"),
            ]
        )
    )

    assert found["small GET against nginx"] is True
    assert found["small GET against envoy"] is False
    assert found["small GET against caddy"] is None
    assert found["down1m against nginx"] is True
    assert found["errors in all loads"] is True


def test_one_error_of_the_gateway_misses_the_target_of_none() -> None:
    found = verdicts(compared([cell("gateway", 30, errors=1)]))

    assert found["errors in all loads"] is False


def test_figures_of_the_gateway_alone_are_held_against_their_goals() -> None:
    figures = Figures(
        start_seconds=[0.5, 0.9, 0.6],
        memory=[Memory(rss=59_000_000, pss=40_000_000), Memory(rss=61_000_000, pss=41_000_000)],
        workers=Workers(1000, 1800, 0.25, 0.5, "cgroup"),
        direct=SAMPLE,
        through=replace(SAMPLE, p95=200.0),
        users=Users(seconds=20, requests=20_000, failed=0.002, p95=12.0, passed=True),
    )

    found = verdicts(alone(figures))

    assert found == {
        "resident memory of a worker": False,
        "start to first answer": True,
        "two workers against one": True,
        "latency added, p95 at a modest rate": False,
        "/health, p95, idle": None,
        "/health, p95, beside full load": None,
        "1,000 users, p95": True,
        "1,000 users, errors": True,
    }


def test_lines_of_the_gateway_alone_tell_what_was_measured_and_how() -> None:
    figures = Figures(
        start_seconds=[0.512],
        workers=Workers(1000, 1800, 0.25, 0.5, "cgroup v2 cpu.max"),
        users=Users(seconds=20, requests=20_000, failed=0.02, p95=12.0, passed=False),
        notes=["health: not measured: no answer"],
    )

    start, workers, users, note = tables.alone_lines(figures)

    assert "512 ms" in start
    assert "1.80 times" in workers
    assert "cgroup v2 cpu.max" in workers
    assert "250.0 and 277.8 µs a request" in workers
    assert "2.00% failed, THRESHOLDS CROSSED" in users
    assert note == "health: not measured: no answer"


def test_k6_summary_gives_counts_share_and_percentile() -> None:
    summary = (
        '{"metrics":{"http_reqs":{"count":19876,"rate":993.8},'
        '"http_req_failed":{"passes":0,"fails":19876,"value":0.0},'
        '"http_req_duration":{"med":1.1,"p(95)":7.25,"p(99)":11.5,"max":30}}}'
    )

    assert parse_k6(summary, 20, True) == Users(
        seconds=20, requests=19876, failed=0.0, p95=7.25, passed=True
    )
