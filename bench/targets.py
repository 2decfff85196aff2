"""What the gateway is meant to reach, and whether this run shows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.alone import Figures
from bench.rounds import Cell, median, ratio

MB = 1_000_000
DEARER_PEERS = ("envoy", "traefik", "caddy")
LARGE_BODIES = ("down1m", "up1m")


@dataclass(frozen=True, slots=True)
class Target:
    """`met` is None where this run did not measure it."""

    what: str
    goal: str
    found: str
    met: bool | None


def missing(what: str, goal: str) -> Target:
    return Target(what, goal, "not measured", None)


def at_most(what: str, value: float | None, limit: float, unit: str, digits: int = 1) -> Target:
    goal = f"at most {limit:g}{unit}"
    if value is None:
        return missing(what, goal)
    return Target(what, goal, f"{value:.{digits}f}{unit}", value <= limit)


def at_least(what: str, value: float | None, limit: float, unit: str, digits: int = 2) -> Target:
    goal = f"at least {limit:g}{unit}"
    if value is None:
        return missing(what, goal)
    return Target(what, goal, f"{value:.{digits}f}{unit}", value >= limit)


def without_goal(what: str, value: float | None, unit: str) -> Target:
    return Target(what, "-", "not measured" if value is None else f"{value:.2f}{unit}", None)


def compared(cells: Sequence[Cell]) -> list[Target]:
    """Against the peers of the same run."""
    by_key = {(cell.peer, cell.load): cell for cell in cells}

    def against(load: str, peer: str) -> float | None:
        return ratio(by_key.get(("gateway", load)), by_key.get((peer, load)))

    found = [at_most("small GET against nginx", against("small", "nginx"), 1.6, " times", 2)]
    found += [
        at_most(f"small GET against {peer}", against("small", peer), 1.0, " times", 2)
        for peer in DEARER_PEERS
    ]
    found.append(
        without_goal("small GET, varied heads, against nginx", against("varied", "nginx"), " times")
    )
    found += [
        at_most("full chain against nginx", against("chain", "nginx"), 1.8, " times", 2),
        at_most("cache hit against nginx", against("cached", "nginx"), 1.5, " times", 2),
    ]
    found += [
        at_most(
            f"cached prediction{where} against an aiohttp handler",
            ratio(by_key.get((peer, "prediction")), by_key.get(("aiohttp", "prediction"))),
            1.3,
            " times",
            2,
        )
        for peer, where in (("gateway", ""), ("gateway-redis", " in Redis"))
    ]
    found += crowd(by_key.get(("gateway", "predictions")))
    found += [
        without_goal(f"{load} against nginx-tuned", against(load, "nginx-tuned"), " times")
        for load in ("cached", *LARGE_BODIES)
    ]
    found += [
        at_most(f"{load} against nginx", against(load, "nginx"), 0.9, " times", 2)
        for load in LARGE_BODIES
    ]
    gateway = [cell for cell in cells if cell.peer == "gateway"]
    if gateway:
        broken = sum(cell.errors for cell in gateway) + sum(bool(c.failure) for c in gateway)
        found.append(Target("errors in all loads", "none", f"{broken}", broken == 0))
    return found


def crowd(cell: Cell | None) -> list[Target]:
    """1,000 clients that ask for predictions without pause."""
    p95 = failed = None
    if cell is not None and cell.requests:
        p95 = median([sample.p95 for sample in cell.samples])
        failed = cell.errors / cell.requests * 100
    return [
        at_most("1,000 clients of predictions, p95", p95, 100, " ms"),
        at_most("1,000 clients of predictions, errors", failed, 1, " %", 2),
    ]


def alone(figures: Figures) -> list[Target]:
    memory = max((found.rss for found in figures.memory), default=None)
    growth = figures.workers.growth if figures.workers else None
    added = None
    if figures.direct and figures.through:
        added = figures.through.p95 - figures.direct.p95
    idle, loaded, users = figures.health_idle, figures.health_loaded, figures.users
    return [
        at_most("resident memory of a worker", memory / MB if memory else None, 60, " MB"),
        at_most("start to first answer", median(figures.start_seconds), 0.7, " s", 2),
        at_least("two workers against one", growth, 1.7, " times"),
        at_most("latency added, p95 at a modest rate", added, 100, " ms", 2),
        at_most("/health, p95, idle", idle.p95 if idle else None, 50, " ms", 2),
        at_most("/health, p95, beside full load", loaded.p95 if loaded else None, 50, " ms", 2),
        at_most("1,000 users, p95", users.p95 if users else None, 100, " ms", 2),
        at_most("1,000 users, errors", users.failed * 100 if users else None, 1, " %", 2),
    ]
