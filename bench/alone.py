"""What is measured of the gateway alone: start, memory, workers, added latency, health, users."""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from bench import loads, procfs
from bench.children import BenchError, clean_environment, free_port
from bench.generators import ROOT, Generator, Sample
from bench.lineup import Peer
from bench.share import shares
from bench.stage import Running, Stage

USERS_JS = ROOT / "bench" / "k6" / "users.js"
STARTS = 5
START_LIMIT_SECONDS = 15.0
POLL_SECONDS = 0.002
WORKER_SHARE = 0.25
# A quarter of a core makes a short run a very short one.
WORKERS_SECONDS = 3.0
# 32 connections that each wait 32 ms between requests: a little under 1,000 requests a second.
PACED_CONNECTIONS = 32
PACED_PAUSE_MS = 32
USERS = 1000
LIVE = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Users:
    """What k6 saw: seconds it ran, requests, share of failed ones, p95 in ms, its own verdict."""

    seconds: int
    requests: int
    failed: float
    p95: float
    passed: bool


@dataclass(frozen=True, slots=True)
class Workers:
    """Requests a second of one and of two workers, and the share of a core that they had."""

    one: float
    two: float
    one_used: float
    two_used: float
    held_by: str

    @property
    def growth(self) -> float:
        return self.two / self.one


@dataclass(slots=True)
class Figures:
    """Seconds, bytes, milliseconds; None is what was not measured."""

    start_seconds: list[float] = field(default_factory=list)
    memory: list[procfs.Memory] = field(default_factory=list)
    family_pss: int | None = None
    workers: Workers | None = None
    direct: Sample | None = None
    through: Sample | None = None
    health_idle: Sample | None = None
    health_loaded: Sample | None = None
    users: Users | None = None
    notes: list[str] = field(default_factory=list)


def start_time(stage: Stage, peer: Peer, number: int) -> float:
    """Seconds from the exec to the first 200 of /health/live. Raises BenchError."""
    name = f"start-{number}"
    home = stage.folder / name
    home.mkdir()
    port = free_port()
    began = time.monotonic()
    child = stage.launch(peer, name, home, port)
    try:
        while time.monotonic() - began < START_LIMIT_SECONDS:
            if _is_live(port):
                return time.monotonic() - began
            if child.popen.poll() is not None:
                break
            time.sleep(POLL_SECONDS)
        raise BenchError(f"no answer on /health/live: {child.tail()}")
    finally:
        stage.children.stop(child)


def _is_live(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(LIVE)
            return connection.recv(64).startswith(b"HTTP/1.1 200 ")
    except OSError:
        return False


def compare_workers(
    stage: Stage, generator: Generator, peer: Peer, rounds: int, seconds: float
) -> Workers:
    """One worker and two, in turns, each worker held to the same share. Raises BenchError."""
    seconds = max(seconds, WORKERS_SECONDS)
    held_by = ""
    rates: dict[int, list[float]] = {1: [], 2: []}
    used: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for workers in rates:
            with shares() as held, stage.briefly(peer, WORKERS=str(workers)) as running:
                # Connections, pools and caches are made before the share is.
                generator.measure(loads.BY_NAME["small"], running.port, 1)
                members = procfs.leaves(running.child.pid)
                if len(members) < workers:
                    raise BenchError(f"{workers} workers asked for, {len(members)} seen")
                for pid in members:
                    held.limit(pid, WORKER_SHARE)
                held_by = held.by
                before = procfs.cpu_ns(running.child.pid)
                sample = generator.measure(loads.BY_NAME["small"], running.port, seconds)
                spent = procfs.cpu_ns(running.child.pid) - before
                rates[workers].append(sample.rate)
                used[workers].append(spent / 1e9 / sample.seconds)
    one, two = statistics.median(rates[1]), statistics.median(rates[2])
    if not one:
        raise BenchError("one worker with a quarter of a core answered nothing")
    return Workers(one, two, statistics.median(used[1]), statistics.median(used[2]), held_by)


def paced(generator: Generator, port: int, path: str, seconds: float) -> Sample:
    load = replace(loads.BY_NAME["small"], path=path, connections=PACED_CONNECTIONS)
    return generator.measure(load, port, seconds, pause_ms=PACED_PAUSE_MS)


def middle(samples: list[Sample]) -> Sample:
    """The one with the median p95, errors of all added up."""
    chosen = sorted(samples, key=lambda sample: sample.p95)[len(samples) // 2]
    return replace(chosen, errors=sum(sample.errors for sample in samples))


def added_latency(
    stage: Stage, generator: Generator, running: Running, rounds: int, seconds: float
) -> tuple[Sample, Sample]:
    """Direct to the upstream and through the gateway, in turns."""
    direct, through = [], []
    for _ in range(rounds):
        direct.append(paced(generator, stage.upstream, "/api/small", seconds))
        through.append(paced(generator, running.port, "/api/service1/small", seconds))
    return middle(direct), middle(through)


def health(generator: Generator, running: Running, seconds: float) -> tuple[Sample, Sample]:
    """/health with nothing else to do, and beside 64 connections that ask without pause."""
    idle = paced(generator, running.port, "/health", seconds)
    with ThreadPoolExecutor(1) as beside:
        small = loads.BY_NAME["small"]
        busy = beside.submit(generator.measure, small, running.port, seconds + 1)
        loaded = paced(generator, running.port, "/health", seconds)
        busy.result()
    return idle, loaded


def parse_k6(summary: str, seconds: int, passed: bool) -> Users:
    """The file of `--summary-export`."""
    metrics = json.loads(summary)["metrics"]
    return Users(
        seconds=seconds,
        requests=int(metrics["http_reqs"]["count"]),
        failed=float(metrics["http_req_failed"]["value"]),
        p95=float(metrics["http_req_duration"]["p(95)"]),
        passed=passed,
    )


def thousand_users(stage: Stage, k6: str, running: Running, seconds: int) -> Users:
    """k6 with its thresholds; it exits with 99 when one is crossed."""
    exported = stage.folder / "k6.json"
    command = [k6, "run", "--quiet", "--no-usage-report", "--no-color", "--address="]
    command += [f"--summary-export={exported}"]
    for name, value in (
        ("BASE", f"http://127.0.0.1:{running.port}"),
        ("TARGET", "/api/service1/small"),
        ("USERS", str(USERS)),
        ("SECONDS", str(seconds)),
    ):
        command += ["-e", f"{name}={value}"]
    done = subprocess.run(
        [*command, str(USERS_JS)],
        env=clean_environment({"GOMAXPROCS": "1"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    if done.returncode not in (0, 99) or not exported.exists():
        raise BenchError(f"k6: {(done.stderr or done.stdout).strip()[-400:]}")
    return parse_k6(exported.read_text(), seconds, done.returncode == 0)
