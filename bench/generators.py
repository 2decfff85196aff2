"""Runs a load generator once and reads what it reports."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.children import BenchError, clean_environment
from bench.loads import Load

ROOT = Path(__file__).resolve().parent.parent
LOAD_LUA = ROOT / "bench" / "wrk" / "load.lua"
WRK_TIMEOUT_SECONDS = 15
GRACE_SECONDS = 30.0
FAILURES = ("connect", "read", "write", "status", "timeout", "wrong")
# How far the mean size of an answer may fall below the one that was checked byte by byte.
SIZE_TOLERANCE = 0.02


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: counts, seconds, and latencies in milliseconds."""

    requests: int
    seconds: float
    bytes_read: int
    errors: int
    p50: float
    p95: float
    p99: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    @property
    def mean_bytes(self) -> float:
        return self.bytes_read / self.requests if self.requests else 0.0


def parse_report(text: str) -> Sample:
    """The last line that is a JSON object. Raises BenchError when there is none."""
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            found = json.loads(line)
            return Sample(
                requests=found["requests"],
                seconds=found["duration_us"] / 1e6,
                bytes_read=found["bytes"],
                errors=sum(found[name] for name in FAILURES),
                p50=found["p50_us"] / 1e3,
                p95=found["p95_us"] / 1e3,
                p99=found["p99_us"] / 1e3,
            )
    raise BenchError(f"the load generator reported nothing: {text[-400:].strip()}")


def short_answers(sample: Sample, checked: Sample) -> int:
    """How many answers were missing bytes, judged by the mean size against a checked run.

    Answers that were cut off by the end of the run add bytes and never take any away.
    """
    if not checked.requests or not sample.requests:
        return 0
    expected = checked.mean_bytes * (1 - SIZE_TOLERANCE)
    if sample.mean_bytes >= expected:
        return 0
    return math.ceil(sample.requests * (1 - sample.mean_bytes / checked.mean_bytes))


@dataclass(frozen=True, slots=True)
class Generator:
    """How wrk is called here. Load generators run where this program runs: on the load cores."""

    wrk: str

    def measure(self, load: Load, port: int, seconds: float, pause_ms: int = 0) -> Sample:
        """`seconds` is rounded up: wrk knows whole ones only."""
        if load.websocket:
            return self._websocket(load, port, seconds)
        options = [f"pause={pause_ms}"] if pause_ms else []
        return self._wrk(load, port, seconds, options)

    def check(self, load: Load, port: int, seconds: float) -> Sample:
        """The same load with every answer's status and length looked at."""
        if load.websocket:
            return self._websocket(load, port, seconds)
        return self._wrk(load, port, seconds, [f"check={load.answer}"])

    def _wrk(self, load: Load, port: int, seconds: float, options: list[str]) -> Sample:
        if load.upload:
            options = [*options, f"upload={load.upload}"]
        if load.varied:
            options = [*options, "varied=1"]
        whole = math.ceil(seconds)
        command = [self.wrk, "-t1", f"-c{load.connections}", f"-d{whole}s"]
        command += ["--timeout", f"{WRK_TIMEOUT_SECONDS}s", "-s", str(LOAD_LUA)]
        command += [part for line in load.fields for part in ("-H", line)]
        command += [f"http://127.0.0.1:{port}{load.path}", "--", *options]
        return parse_report(self._run(command, whole))

    def _websocket(self, load: Load, port: int, seconds: float) -> Sample:
        command = [sys.executable, "-m", "bench.wsload", str(port)]
        command += ["--connections", str(load.connections), "--seconds", str(seconds)]
        return parse_report(self._run(command, seconds))

    def _run(self, command: list[str], seconds: float) -> str:
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=clean_environment({}),
            capture_output=True,
            text=True,
            timeout=seconds + WRK_TIMEOUT_SECONDS + GRACE_SECONDS,
            check=False,
        )
        if done.returncode:
            raise BenchError(
                f"{Path(command[0]).name}: {(done.stderr or done.stdout).strip()[-400:]}"
            )
        return done.stdout
