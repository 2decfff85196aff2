"""`python -m bench.ws`: live updates to ten thousand WebSockets, in one run on one machine.

Each server runs alone on its core with a crowd of clients of its own; only the bare loop of `send`
calls stays beside all of them, and updates alternate between it and the server that is measured.
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
from contextlib import ExitStack
from pathlib import Path

from bench import tables
from bench.__main__ import named, positive, processor, say, split
from bench.children import BenchError, Children, Cores
from bench.lineup import Found
from bench.targets import Target
from bench.ws import parts, report
from bench.ws.lineup import BARE, BY_NAME, SERVERS, Server
from bench.ws.stage import SPARE_FILES, Running, Stage

PARTS = parts.PARTS
ROUNDS = 3


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    usual = parts.Plan()
    parser = argparse.ArgumentParser(prog="python -m bench.ws", description=__doc__)
    parser.add_argument("--connections", type=positive, default=usual.connections)
    parser.add_argument("--peers", metavar="NAMES", help=f"comma-separated: {', '.join(BY_NAME)}")
    parser.add_argument("--only", metavar="PARTS", help=f"comma-separated: {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help=f"({ROUNDS})")
    parser.add_argument("--rate", type=positive, default=usual.rate, help="connections/s (2000)")
    parser.add_argument("--updates", type=positive, default=usual.updates, help="to all (25)")
    parser.add_argument("--symbols", type=positive, default=usual.symbols)
    parser.add_argument("--subscribers", type=positive, default=usual.subscribers, help="of each")
    parser.add_argument(
        "--update-rate", type=positive, default=usual.update_rate, help="in all (50/s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=usual.seconds, help="of symbols and of beside (5)"
    )
    parser.add_argument(
        "--venv",
        type=Path,
        default=Path(sys.prefix),
        help="virtual environment that holds the peers from PyPI (this interpreter's)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every figure there")
    args = parser.parse_args(arguments)
    for given, known in ((args.only, set(PARTS)), (args.peers, set(BY_NAME))):
        unknown = set(split(given)) - known
        if unknown:
            parser.error(f"not known: {', '.join(sorted(unknown))}")
    if args.connections < 2:
        parser.error("--connections: the first one is for warmth, so at least 2")
    return args


def plan_of(args: argparse.Namespace) -> parts.Plan:
    """A symbol cannot have more subscribers than there are clients."""
    return parts.Plan(
        connections=args.connections,
        rate=args.rate,
        updates=args.updates,
        symbols=args.symbols,
        subscribers=min(args.subscribers, args.connections),
        update_rate=args.update_rate,
        seconds=args.seconds,
        only=frozenset(split(args.only) or PARTS),
    )


def servers_of(args: argparse.Namespace) -> list[Server]:
    names = split(args.peers)
    return [server for server in SERVERS if not names or server.name in names]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all was measured, 1 when the gateway failed, 2 where the machine does not allow it."""
    args = parse(arguments)
    plan, servers = plan_of(args), servers_of(args)
    lacking = raise_file_limit(plan.connections + SPARE_FILES)
    if lacking:
        say(lacking)
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cores = Cores.split(os.sched_getaffinity(0))
    # Clients inherit this; servers are given their own core when they start.
    os.sched_setaffinity(0, cores.load)
    began = time.monotonic()
    found = Found(args.venv)
    for line in introduction(plan, servers, found, cores, args.rounds):
        say(line)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-ws-") as name:
            folder = Path(name)
            with Children(folder) as children:
                stage = Stage(folder, children, cores, found)
                rounds = measure(stage, servers, plan, args.rounds)
    except KeyboardInterrupt:
        say("stopped")
        return 130
    aims = report.targets(rounds, plan)
    for line in report.lines(rounds, plan):
        say(line)
    say("\n" + tables.target_table(aims))
    say(f"\n{time.monotonic() - began:.0f} s")
    if args.json:
        write_json(args.json, plan, rounds, aims)
    return 1 if any(one.failure for one in rounds if one.peer == "gateway") else 0


def raise_file_limit(needed: int) -> str:
    """What is wrong with the limit of open files, if it is too small."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        return (
            f"a process may have {hard:,} files open here (`ulimit -Hn`), {needed:,} are needed: "
            "raise it, or ask for fewer with --connections"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return ""


def introduction(
    plan: parts.Plan, servers: Sequence[Server], found: Found, cores: Cores, rounds: int
) -> list[str]:
    busy = os.getloadavg()[0]
    versions = [f"{one.name} {found.version(one.peer)}" for one in servers if found.peer(one.peer)]
    return [
        f"{platform.platform()}, {processor()}, Python {platform.python_version()}",
        f"servers on core {named(cores.proxy)}, {plan.connections:,} clients of each in a process "
        f"of their own on {named(cores.load)}; interleaved rounds: {rounds}; medians",
        f"load average before the run: {busy:.2f}"
        + (" (NOT IDLE: expect noise)" if busy > 0.5 else ""),
        "; ".join(versions),
        "",
    ]


def measure(
    stage: Stage, servers: Sequence[Server], plan: parts.Plan, count: int
) -> list[parts.Round]:
    """Those that are missing or fail have a line that says so, and the others go on."""
    rounds: list[parts.Round] = []
    present = [server for server in servers if stage.found.peer(server.peer)]
    for server in servers:
        if server not in present:
            say(f"missing: {server.name}: {server.peer.get}")
    with ExitStack() as stack:
        floor = None
        if BY_NAME[BARE] in present:
            one, floor = floor_round(stage, stack, plan)
            rounds.append(one)
        for number in range(1, count + 1):
            for server in present:
                if server.name == BARE:
                    continue
                began = time.monotonic()
                one = peer_round(stage, server, floor, plan)
                rounds += [one, parts.Round(BARE, updates=one.floor)] if floor else [one]
                told = one.failure or f"{time.monotonic() - began:.0f} s"
                say(f"round {number} of {count}: {server.name}: {told}")
    return rounds


def floor_round(
    stage: Stage, stack: ExitStack, plan: parts.Plan
) -> tuple[parts.Round, Running | None]:
    """Started once, as it costs nothing while nobody publishes to it."""
    one = parts.Round(BARE)
    try:
        floor = stack.enter_context(stage.running(BY_NAME[BARE], plan.connections))
        one.hold = parts.hold(floor, plan)
        if "broadcast" in plan.only:
            parts.broadcast(floor, None, plan, one)
    except (BenchError, OSError) as error:
        one.failure = str(error)
        return one, None
    return one, floor


def peer_round(
    stage: Stage, server: Server, floor: Running | None, plan: parts.Plan
) -> parts.Round:
    one = parts.Round(server.name)
    try:
        with stage.running(server, plan.connections) as running:
            one.hold = parts.hold(running, plan)
            if "broadcast" in plan.only:
                parts.broadcast(running, floor, plan, one)
            if "symbols" in plan.only:
                one.symbols = parts.symbols(running, plan)
            if "beside" in plan.only and server.health:
                one.beside = parts.beside(stage, running, plan)
            one.lost = parts.lost(running, plan)
    except (BenchError, OSError) as error:
        one.failure = str(error)
    return one


def write_json(
    file: Path, plan: parts.Plan, rounds: Sequence[parts.Round], aims: Sequence[Target]
) -> None:
    content = {
        "machine": {"platform": platform.platform(), "processor": processor()},
        "plan": {**dataclasses.asdict(plan), "only": sorted(plan.only)},
        "rounds": [dataclasses.asdict(one) for one in rounds],
        "targets": [dataclasses.asdict(aim) for aim in aims],
    }
    file.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
