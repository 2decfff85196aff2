"""The figures as people read them."""

from __future__ import annotations

from collections.abc import Sequence

from bench.alone import Figures
from bench.generators import Sample
from bench.loads import Load
from bench.rounds import Cell, median, ratio
from bench.targets import Target

HEADINGS = ("", "µs/request", "min-max", "x {}", "requests/s", "p50 ms", "p95 ms", "p99 ms")


def table(rows: Sequence[Sequence[str]]) -> str:
    """First row is the heading. First and last column stand left, the others right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    last = len(widths) - 1
    lines = []
    for row in rows:
        parts = [
            text.ljust(width) if i in (0, last) else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def number(value: float | None, digits: int = 1) -> str:
    if value is None:
        return "-"
    return f"{value:,.{digits}f}" if abs(value) < 1000 else f"{value:,.0f}"


def load_table(load: Load, cells: Sequence[Cell]) -> str:
    """One load, the cheapest first; what failed stands last."""
    mine = [cell for cell in cells if cell.load == load.name]
    reference = next((cell for cell in mine if cell.peer == load.reference), None)
    mine.sort(key=lambda cell: median(cell.micros) or float("inf"))
    headings = [heading.format(load.reference) for heading in HEADINGS]
    rows: list[Sequence[str]] = [(*headings, "errors", "beside forwarding it does")]
    rows += [_row(cell, reference) for cell in mine]
    failures = [f"{cell.peer}: {cell.failure}" for cell in mine if cell.failure]
    failures += [
        f"{cell.peer}: not one answer within a run"
        for cell in mine
        if cell.samples and not cell.micros
    ]
    return "\n".join([load.title, table(rows), *failures])


def _row(cell: Cell, reference: Cell | None) -> tuple[str, ...]:
    spread = "-"
    if cell.micros:
        spread = f"{number(min(cell.micros))}-{number(max(cell.micros))}"
    return (
        cell.peer,
        number(median(cell.micros)),
        spread,
        number(ratio(cell, reference), 2),
        number(median([s.rate for s in cell.samples]), 0),
        *(number(value, 2) for value in _latencies(cell)),
        f"{cell.errors:,}",
        cell.work,
    )


def _latencies(cell: Cell) -> list[float | None]:
    """A run in which nothing came back has no latencies."""
    runs = [sample for sample in cell.samples if sample.requests]
    return [
        median([sample.p50 for sample in runs]),
        median([sample.p95 for sample in runs]),
        median([sample.p99 for sample in runs]),
    ]


def alone_lines(figures: Figures) -> list[str]:
    lines = []
    if figures.start_seconds:
        times = ", ".join(f"{seconds * 1000:.0f}" for seconds in figures.start_seconds)
        lines.append(f"start, exec to first 200 of /health/live: {times} ms")
    lines += [
        f"worker after the loads: RSS {_mb(found.rss)}, PSS {_mb(found.pss)}"
        for found in figures.memory
    ]
    if figures.family_pss is not None:
        lines.append(f"all its processes together: PSS {_mb(figures.family_pss)}")
    if figures.workers:
        workers = figures.workers
        lines.append(
            f"workers: one {workers.one:,.0f}, two {workers.two:,.0f} requests/s, "
            f"{workers.growth:.2f} times; each held to 25 % of one core ({workers.held_by}), "
            f"they had {workers.one_used:.0%} and {workers.two_used:.0%} of it, "
            f"{_micros(workers.one_used, workers.one)} and "
            f"{_micros(workers.two_used, workers.two)} µs a request"
        )
    for name, sample in (
        ("direct, about 1,000 requests/s", figures.direct),
        ("through the gateway, same rate", figures.through),
        ("/health, same rate, idle", figures.health_idle),
        ("/health, same rate, beside 64 busy connections", figures.health_loaded),
    ):
        if sample:
            lines.append(f"{name}: {_percentiles(sample)}")
    if figures.users:
        users = figures.users
        verdict = "thresholds kept" if users.passed else "THRESHOLDS CROSSED"
        lines.append(
            f"k6, 1,000 users with about 1 s between requests, {users.seconds} s: "
            f"{users.requests:,} requests, p95 {users.p95:.2f} ms, "
            f"{users.failed:.2%} failed, {verdict}"
        )
    return [*lines, *figures.notes]


def _micros(cores: float, rate: float) -> str:
    return f"{cores / rate * 1e6:.1f}"


def _mb(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _percentiles(sample: Sample) -> str:
    return (
        f"p50 {sample.p50:.2f}, p95 {sample.p95:.2f}, p99 {sample.p99:.2f} ms, "
        f"{sample.rate:,.0f} requests/s, {sample.errors} errors"
    )


def target_table(targets: Sequence[Target]) -> str:
    verdicts = {True: "met", False: "MISSED", None: "-"}
    rows = [("target", "goal", "found", "")]
    rows += [(t.what, t.goal, t.found, verdicts[t.met]) for t in targets]
    return table(rows)
