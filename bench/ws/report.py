"""The figures as people read them, and what the gateway is meant to reach."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TypeVar

from bench.rounds import median
from bench.tables import number, table
from bench.targets import Target, at_least, at_most, missing, without_goal
from bench.ws.lineup import BARE, BY_NAME
from bench.ws.parts import Hold, Plan, Round

KB = 1024
HOLD = (
    "",
    "KB connected",
    "subscribed",
    "after updates",
    "opened/s",
    "µs each",
    "welcome p95 ms",
    "lost",
    "",
)
BROADCAST = (
    "",
    "µs/subscriber",
    "min-max",
    "x bare",
    "min-max",
    "half ms",
    "all ms",
    "worst ms",
    "lost",
)
SYMBOLS = ("", "expected", "arrived", "dropped", "wrong", "% of core", "p50 ms", "p95 ms", "worst")
BESIDE = ("", "updates", "GET/s", "p50 ms", "p95 ms", "p99 ms", "errors", "lost", "")
Figure = TypeVar("Figure")


def gathered(rounds: Sequence[Round], what: Callable[[Round], Figure | None]) -> list[Figure]:
    return [found for one in rounds if (found := what(one)) is not None]


def by_peer(rounds: Sequence[Round]) -> dict[str, list[Round]]:
    peers: dict[str, list[Round]] = {}
    for one in rounds:
        peers.setdefault(one.peer, []).append(one)
    return peers


def ratios(rounds: Sequence[Round]) -> list[float]:
    """Each update's cost by that of the bare one that followed it."""
    return [
        own.micros / bare.micros
        for one in rounds
        for own, bare in zip(one.updates, one.floor, strict=False)
        if bare.micros
    ]


def spread(values: Sequence[float], digits: int = 1) -> str:
    return f"{number(min(values), digits)}-{number(max(values), digits)}" if values else "-"


def hold_table(rounds: Sequence[Round]) -> str:
    rows: list[Sequence[str]] = [HOLD]
    for name, mine in by_peer(rounds).items():
        holds = gathered(mine, lambda one: one.hold)
        grown = [size / KB for size in gathered(mine, lambda one: one.grown)]
        rows.append(
            (
                name,
                number(median([found.connected / KB for found in holds])),
                number(median([found.subscribed / KB for found in holds])),
                number(median(grown)),
                number(median([found.rate for found in holds]), 0),
                number(median([found.micros for found in holds]), 0),
                number(median([found.welcome_p95 for found in holds]), 2),
                f"{sum(gathered(mine, lambda one: one.lost)):,}",
                BY_NAME[name].peer.work,
            )
        )
    return table(rows)


def broadcast_table(rounds: Sequence[Round]) -> str:
    rows: list[Sequence[str]] = [BROADCAST]
    for name, mine in by_peer(rounds).items():
        updates = [update for one in mine for update in one.updates]
        times = ratios(mine)
        costs = [update.micros for update in updates]
        rows.append(
            (
                name,
                number(median(costs), 2),
                spread(costs, 2),
                number(median(times), 2),
                spread(times, 2),
                number(median([update.half for update in updates])),
                number(median([update.last for update in updates])),
                number(max((update.last for update in updates), default=None)),
                f"{sum(update.missing for update in updates):,}",
            )
        )
    return table(rows)


def symbols_table(rounds: Sequence[Round]) -> str:
    rows: list[Sequence[str]] = [SYMBOLS]
    for name, mine in by_peer(rounds).items():
        found = gathered(mine, lambda one: one.symbols)
        if found:
            rows.append(
                (
                    name,
                    f"{sum(one.expected for one in found):,}",
                    f"{sum(one.arrived for one in found):,}",
                    f"{sum(one.dropped for one in found):,}",
                    f"{sum(one.wrong for one in found):,}",
                    number(median([one.used * 100 for one in found])),
                    number(median([one.p50 for one in found]), 2),
                    number(median([one.p95 for one in found]), 2),
                    number(max(one.worst for one in found), 2),
                )
            )
    return table(rows)


def beside_table(rounds: Sequence[Round]) -> str:
    rows: list[Sequence[str]] = [BESIDE]
    for name, mine in by_peer(rounds).items():
        found = gathered(mine, lambda one: one.beside)
        for what, samples, updates, lost in (
            ("without updates", [one.quiet for one in found], 0, 0),
            (
                "beside updates to all",
                [one.busy for one in found],
                sum(one.updates for one in found),
                sum(one.missing for one in found),
            ),
        ):
            if samples:
                rows.append(
                    (
                        name,
                        f"{updates}",
                        number(median([one.rate for one in samples]), 0),
                        number(median([one.p50 for one in samples]), 2),
                        number(median([one.p95 for one in samples]), 2),
                        number(median([one.p99 for one in samples]), 2),
                        f"{sum(one.errors for one in samples)}",
                        f"{lost:,}",
                        what,
                    )
                )
    return table(rows)


TABLES = {
    "hold": ("{connections:,} connections held, KB of memory each", hold_table),
    "broadcast": ("One update to all {connections:,}", broadcast_table),
    "symbols": (
        "{symbols:,} symbols with {subscribers:,} subscribers each, {update_rate:g} updates/s",
        symbols_table,
    ),
    "beside": ("GET at {asked:g}/s", beside_table),
}


def lines(rounds: Sequence[Round], plan: Plan) -> list[str]:
    """A table for each part, and what failed."""
    told = []
    for part, (title, drawn) in TABLES.items():
        if part in plan.only:
            told += ["", title.format(**dataclasses.asdict(plan)), drawn(rounds)]
    return told + [f"{one.peer}: {one.failure}" for one in rounds if one.failure]


def targets(rounds: Sequence[Round], plan: Plan) -> list[Target]:
    """What the gateway is held to; what this run did not measure says so."""
    mine = [one for one in rounds if one.peer == "gateway"]
    holds = gathered(mine, lambda one: one.hold)
    sizes = [max(one.subscribed, after or 0) / KB for one, after in _sized(mine)]
    updates = [update for one in mine for update in one.updates]
    symbols = gathered(mine, lambda one: one.symbols)
    busy = [one.busy for one in gathered(mine, lambda one: one.beside)]
    gone = gathered(mine, lambda one: one.lost)
    found = [
        none("connections lost", sum(gone) if gone else None),
        at_most("memory of a connection", median(sizes), 16, " KB"),
        at_least("connections opened", median([one.rate for one in holds]), plan.rate, "/s", 0),
        at_most("update to all against bare sends", median(ratios(mine)), 1.25, " times", 2),
        at_most("until the last has it", median([one.last for one in updates]), 250, " ms"),
        none("updates to all, lost", sum(one.missing for one in updates) if updates else None),
    ]
    astray = sum(one.dropped + one.wrong for one in symbols) if symbols else None
    found.append(none(f"{plan.symbols:,} symbols, updates dropped or astray", astray))
    rate = median([one.rate for one in busy])
    p95 = median([one.p95 for one in busy])
    found += [
        at_least("GET beside updates to all", rate, plan.asked * 0.99, "/s", 0),
        at_most("its p95", p95, 50, " ms", 2),
    ]
    theirs = {
        name: median([update.micros for one in of for update in one.updates])
        for name, of in by_peer(rounds).items()
    }
    own = theirs.get("gateway")
    for name in BY_NAME:
        cost = theirs.get(name)
        if own and cost and name not in ("gateway", BARE):
            found.append(without_goal(f"update to all: {name} against it", cost / own, " times"))
    return found


def _sized(rounds: Sequence[Round]) -> list[tuple[Hold, float | None]]:
    return [(one.hold, one.grown) for one in rounds if one.hold]


def none(what: str, count: int | None) -> Target:
    if count is None:
        return missing(what, "none")
    return Target(what, "none", f"{count:,}", count == 0)
