"""The four parts, each measured on a server that runs with its crowd connected."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

from bench.children import BenchError, Child
from bench.generators import Sample, parse_report
from bench.ws import wire
from bench.ws.stage import Running, Stage

PARTS = ("hold", "broadcast", "symbols", "beside")
# Ten percent more than the goal, so that one can see it reached.
RATE_MARGIN = 1.1
OPEN_SECONDS = 60.0
SUBSCRIBE_SECONDS = 60.0
ARRIVE_SECONDS = 10.0
# A client is given ten updates a second, and each update is to find the loop idle.
UPDATE_SECONDS = 0.2
WARM_TRIES = 5
WARM_SECONDS = 2.0
WARM = "WARM"
# Updates go round all symbols, and to neighbours never one after another.
STRIDE = 379
# An asker starts, waits for what is late, and ends.
ASKER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything. Rates are per second: of connections, of updates, of requests."""

    connections: int = 10_000
    rate: float = 2000.0
    updates: int = 25
    symbols: int = 1000
    subscribers: int = 100
    update_rate: float = 50.0
    asked: float = 1000.0
    seconds: float = 5.0
    only: frozenset[str] = frozenset(PARTS)


@dataclass(frozen=True, slots=True)
class Hold:
    """Memory that a connection holds, in bytes: connected, and with a subscription.

    `rate` is of connections a second, `micros` processor time of opening one, `welcome_p95` in
    milliseconds, `before` the server's memory with one connection.
    """

    rate: float
    micros: float
    welcome_p95: float
    connected: float
    subscribed: float
    before: int


@dataclass(frozen=True, slots=True)
class Update:
    """One update to all: processor µs for each subscriber, ms until half and until all had it."""

    micros: float
    half: float
    last: float
    bytes: int
    missing: int


@dataclass(frozen=True, slots=True)
class Symbols:
    """Updates that reached clients, of those that should; milliseconds; share of a core."""

    expected: int
    arrived: int
    dropped: int
    wrong: int
    used: float
    p50: float
    p95: float
    worst: float


@dataclass(frozen=True, slots=True)
class Beside:
    """GET without and with updates to all beside it."""

    quiet: Sample
    busy: Sample
    updates: int
    missing: int


@dataclass(slots=True)
class Round:
    """What one peer showed in one round.

    `floor` are the bare updates between its own, `grown` its memory a connection after them,
    `lost` the connections that were not there any more at the end.
    """

    peer: str
    hold: Hold | None = None
    updates: list[Update] = field(default_factory=list)
    floor: list[Update] = field(default_factory=list)
    grown: float | None = None
    symbols: Symbols | None = None
    beside: Beside | None = None
    lost: int | None = None
    failure: str = ""


def hold(running: Running, plan: Plan) -> Hold:
    """Opens the connections and subscribes all of them to one symbol. Raises BenchError."""
    warm_up(running, plan)
    count = plan.connections - 1
    before = running.resident()
    spent = running.spent_ns()
    found = _open(running, count, plan.rate * RATE_MARGIN)
    spent = running.spent_ns() - spent
    connected = running.resident()
    done = running.crowd.call("subscribe", symbol=wire.ALL, within=SUBSCRIBE_SECONDS)
    _expect_all(done["subscribed"], plan.connections, "subscriptions were answered")
    return Hold(
        rate=found["opened"] / found["seconds"],
        micros=spent / count / 1000,
        welcome_p95=found["p95_us"] / 1000,
        connected=(connected - before) / count,
        subscribed=(running.resident() - before) / count,
        before=before,
    )


def lost(running: Running, plan: Plan) -> int:
    """Connections that did not hold, whoever ended them. Raises BenchError."""
    return plan.connections - int(running.crowd.call("count")["clients"])


def warm_up(running: Running, plan: Plan) -> None:
    """The first client, and a first update: what is made once is not what a connection costs."""
    _open(running, 1, plan.rate)
    running.crowd.call("subscribe", symbol=WARM, within=SUBSCRIBE_SECONDS)
    for _ in range(WARM_TRIES):
        if not publish(running, WARM, 1, WARM_SECONDS).missing:
            return
    raise BenchError(f"no update arrived: {running.child.tail()}")


def _open(running: Running, count: int, rate: float) -> dict[str, Any]:
    found = running.crowd.call(
        "open", port=running.port, count=count, rate=rate, within=OPEN_SECONDS
    )
    _expect_all(found["opened"], count, "connections were welcomed")
    return found


def _expect_all(found: int, wanted: int, what: str) -> None:
    if found < wanted:
        raise BenchError(f"{found:,} of {wanted:,} {what}")


def publish(running: Running, symbol: str, frames: int, within: float = ARRIVE_SECONDS) -> Update:
    """One update that `frames` clients are to get. Raises BenchError."""
    running.crowd.call("expect", frames=frames, within=within)
    before = running.spent_ns()
    sent = time.perf_counter_ns()
    running.publisher.publish(wire.event(symbol, sent))
    found = running.crowd.answer()
    return Update(
        micros=(running.spent_ns() - before) / frames / 1000,
        half=max(0, found["half_ns"] - sent) / 1e6,
        last=max(0, found["last_ns"] - sent) / 1e6,
        bytes=found["bytes"],
        missing=abs(frames - found["arrived"]),
    )


def broadcast(running: Running, floor: Running | None, plan: Plan, found: Round) -> None:
    """Updates to all, each with one of the bare loop's beside it; the first of each is for warmth.

    Raises BenchError.
    """
    for number in range(plan.updates + 1):
        began = time.monotonic()
        pair = publish(running, wire.ALL, plan.connections)
        beside = publish(floor, wire.ALL, plan.connections) if floor else None
        if number:
            found.updates.append(pair)
            found.floor += [beside] if beside else []
        time.sleep(max(0.0, UPDATE_SECONDS - (time.monotonic() - began)))
    if found.hold:
        found.grown = (running.resident() - found.hold.before) / (plan.connections - 1)


def symbols(running: Running, plan: Plan) -> Symbols:
    """Each symbol with its subscribers, updates of one after another. Raises BenchError."""
    running.crowd.call(
        "share",
        symbols=plan.symbols,
        subscribers=plan.subscribers,
        within=SUBSCRIBE_SECONDS,
    )
    count = max(1, int(plan.update_rate * plan.seconds))
    expected = count * plan.subscribers
    within = plan.seconds + ARRIVE_SECONDS
    running.crowd.call("expect", frames=expected, within=within, check=True)
    before, began = running.spent_ns(), time.perf_counter()
    for number in range(count):
        wait = began + number / plan.update_rate - time.perf_counter()
        time.sleep(max(0.0, wait))
        symbol = wire.symbol(number * STRIDE % plan.symbols)
        running.publisher.publish(wire.event(symbol, time.perf_counter_ns()))
    found = running.crowd.answer()
    took = max(time.perf_counter() - began, plan.seconds)
    return Symbols(
        expected=expected,
        arrived=found["arrived"],
        dropped=found["kinds"].get("dropped", 0) + max(0, expected - found["arrived"]),
        wrong=found["kinds"].get("wrong", 0),
        used=(running.spent_ns() - before) / took / 1e9,
        p50=found["p50_us"] / 1000,
        p95=found["p95_us"] / 1000,
        worst=found["max_us"] / 1000,
    )


def beside(stage: Stage, running: Running, plan: Plan) -> Beside:
    """A thousand GET a second, alone and beside updates to all. Raises BenchError."""
    path = running.server.health
    quiet = _finish(stage.ask(running.port, path, plan.asked, plan.seconds), plan.seconds)
    asker = stage.ask(running.port, path, plan.asked, plan.seconds)
    updates: list[Update] = []
    while asker.popen.poll() is None:
        began = time.monotonic()
        updates.append(publish(running, wire.ALL, plan.connections))
        time.sleep(max(0.0, UPDATE_SECONDS - (time.monotonic() - began)))
    busy = _finish(asker, plan.seconds)
    return Beside(quiet, busy, len(updates), sum(update.missing for update in updates))


def _finish(asker: Child, seconds: float) -> Sample:
    try:
        asker.popen.wait(seconds + ASKER_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise BenchError("the asker did not end") from error
    return parse_report(asker.log.read_text())
